"""Imports a package that the kit can do without: where it is missing or broken, one sentence says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import SpeakerError, escape_controls, first_line

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}  # where pip knows a package by another name
_SYSTEM_LIBRARIES = {
    "soundfile": "install libsndfile (`apt-get install libsndfile1`, or `conda install -c conda-forge libsndfile`)",
}


def optional(module: str, purpose: str) -> ModuleType:
    """The imported module, such as ``matplotlib.figure``. ``purpose`` begins the sentence: "drawing figures".

    Raises SpeakerError if its package is not installed, or if the import fails in any other way.
    """
    package = module.partition(".")[0]
    name = _DISTRIBUTIONS.get(package, package)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in (package, module):
            raise SpeakerError(f"{purpose} needs the package {name}: run `pip install {name}`.") from None
        raise _broken(package, name, purpose, error) from error
    except Exception as error:  # a missing system library, two versions of NumPy, no place for a cache: nearly any error
        raise _broken(package, name, purpose, error) from error


def _broken(package: str, name: str, purpose: str, error: Exception) -> SpeakerError:
    advice = f"run `pip install --force-reinstall {name}`"
    if isinstance(error, OSError):
        advice = _SYSTEM_LIBRARIES.get(package, advice)
    reason = f"{type(error).__name__}: {escape_controls(first_line(error))}"
    return SpeakerError(f"{purpose} needs the package {name}, which is installed but fails ({reason}): {advice}.")
