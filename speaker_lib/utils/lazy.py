"""Lazy imports: a package imports a public name from its module at the first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def exports(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from its public names by module, separated by spaces.

    ``from speaker_lib.plots import ladder_figure`` then loads one module of the package.  No name may be that of a module:
    Python would bind the module to it.
    """
    module_of = {name: module for module, listed in names.items() for name in listed.split()}

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    def listing() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get, listing, sorted(module_of)
