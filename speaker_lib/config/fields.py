"""Dataclass fields with bounds and a help text, from which every setting is checked and explained."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import field, fields

from ..utils.errors import ConfigError, short_repr

LARGEST = 2**31 - 1  # the limit of every number: some arguments of PyTorch are 32-bit integers
_KIND_NAMES = {int: "a whole number", float: "a number", str: "a word"}


def choice(*choices: str, help: str) -> str:
    """A dataclass field for one of these strings; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices, "help": help})


def bounded(minimum: float, default: float, most: float = LARGEST, *, help: str) -> float:
    """A dataclass field for a number from ``minimum`` up to ``most``."""
    return field(default=default, metadata={"minimum": minimum, "most": most, "help": help})


def fraction(default: float = 0.0, *, help: str) -> float:
    """A dataclass field for a number from 0 up to, not including, 1."""
    return field(default=default, metadata={"fraction": True, "help": help})


def field_types(config: type) -> dict[str, type]:
    """The type of each field of a dataclass, by name."""
    return typing.get_type_hints(config)


def describe(config: type, part: str) -> str:
    """A line per setting: its name, its default, its help text and its choices."""
    lines = []
    for item in fields(config):
        choices = item.metadata.get("choices")
        listed = f" ({', '.join(choices)})" if choices else ""
        lines.append(f"  {f'{part}.{item.name}={item.default}':<34} {item.metadata['help']}{listed}")
    return "\n".join(lines)


def split_settings(texts: Iterable[str]) -> dict[str, str]:
    """The ``NAME=VALUE`` texts of ``--set`` as a dictionary for `Preset.override`. Raises ConfigError without a value."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--set {name} has no value: write it as NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def parse(name: str, value: object, kind: type) -> object:
    """A string as the type of its field; any other value is returned as it is. Raises ConfigError."""
    if not isinstance(value, str) or kind is str:
        return value
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"{name} is {short_repr(value)}: it takes {_KIND_NAMES[kind]}.") from None


def check(config: object, part: str) -> None:
    """Checks the type, the choices and the bounds of every field of a frozen dataclass. Raises ConfigError."""
    kinds = field_types(type(config))
    for item in fields(config):
        value, kind, name = getattr(config, item.name), kinds[item.name], f"{part}.{item.name}"
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        if type(value) is not kind and not (kind is float and numeric):
            raise ConfigError(f"{name} is {short_repr(value)}: it takes {_KIND_NAMES[kind]}.")
        choices = item.metadata.get("choices")
        if choices and value not in choices:
            raise ConfigError(f"{name} is {short_repr(value)}: choose one of {', '.join(choices)}.")
        minimum, most = item.metadata.get("minimum"), item.metadata.get("most")
        if minimum is not None and not minimum <= value <= most:  # false for NaN, too
            raise ConfigError(f"{name} is {short_repr(value)}: choose {_KIND_NAMES[kind]} from {minimum} up to {most:,}.")
        if "fraction" in item.metadata and not 0 <= value < 1:
            raise ConfigError(f"{name} is {short_repr(value)}: choose a number from 0 up to, not including, 1.")
        if kind is float:
            object.__setattr__(config, item.name, float(value))  # 0 and 0.0 are the same setting
