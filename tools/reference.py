"""``make reference``: docs/reference.md, from the command line's own parsers, the settings' help texts and the presets."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Iterator
from dataclasses import fields

from speaker_lib.cli.main import COMMANDS
from speaker_lib.config.about import ABOUT
from speaker_lib.config.presets import PRESETS
from speaker_lib.config.schema import ModelConfig, Preset, TrainConfig
from speaker_lib.models.cost import parameters_of

PAGE = "docs/reference.md"
_TOP = """\
# Reference: commands, settings, presets

This page is made by `make reference` from the program itself; edit the help texts there.

`python -m speaker_lib COMMAND --help` prints the same in a terminal. An error is one sentence. The exit code is 0 for success,
1 for a problem that the sentence explains, and 2 for wrong usage. The environment variable `SPEAKER_DATA` names a data set once
and for all: `--data` can then be omitted."""
_SETTINGS = """\
## Settings

Every preset consists of these settings, and `train --set NAME=VALUE` changes them: `--set model.d_model=256 --set train.seed=1`.
The defaults are the assignment's sample code of 2023; all that the report did not have is off by default."""
_PRESETS = """\
## Presets

`train --preset NAME`. Parameters are counted for the 600 speakers of HW4; with fewer speakers the last layer is smaller.
`seed_tuned` differs from `baseline` in the report's four settings, `tuned` in one more, the place of the LayerNorm."""


class _Options:
    """Stands in for an ArgumentParser and writes down the arguments that a command adds."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def add_argument(self, *names: str, metavar: str = "", help: str = "", **more: object) -> None:
        if help == SUPPRESS:
            return
        choices = " or ".join(f"`{choice}`" for choice in more.get("choices", ()))
        if not names[0].startswith("-"):
            names = (metavar or names[0],)
        elif metavar:
            names = tuple(f"{name} {metavar}" for name in names)
        meaning = help % {"default": more.get("default")} if "%(" in help else help
        self.rows.append((", ".join(f"`{name}`" for name in names), meaning or choices))

    def add_mutually_exclusive_group(self, **_: object) -> _Options:
        return self

    def add_argument_group(self, *_: object, **__: object) -> _Options:
        return self


def reference() -> str:
    """The text of the page."""
    settings = [_settings(ModelConfig, "model"), _settings(TrainConfig, "train")]
    parts = [_TOP, "## Commands", *_commands(), _SETTINGS, *settings]
    rows = []
    for name, preset in PRESETS.items():
        rows.append((f"`{name}`", f"{parameters_of(preset.model):,}", _changes(preset), ABOUT[name]))
    return (
        "\n\n".join([*parts, _PRESETS, _table(("preset", "parameters", "differs from `baseline` in", "what it is"), rows)]) + "\n"
    )


def _commands() -> Iterator[str]:
    for name, (module, summary, example, more) in COMMANDS.items():
        options = _Options()
        module.add_arguments(options)
        further = [f"# {line}" for line in more.split("\n\n")[0].splitlines()]  # the rest are the lists of presets and settings
        usage = "\n".join([f"python -m speaker_lib {name} {example}", *further])
        yield f"### `{name}`\n\n{summary[0].upper()}{summary[1:]}.\n\n```sh\n{usage}\n```"
        yield _table(("argument", "meaning"), options.rows)


def _settings(config: type, part: str) -> str:
    rows = []
    for item in fields(config):
        choices = ", ".join(f"`{choice}`" for choice in item.metadata.get("choices", ()))
        rows.append((f"`{part}.{item.name}`", f"`{item.default}`", item.metadata["help"] + f" ({choices})" * bool(choices)))
    return _table(("setting", "default", "meaning"), rows)


def _changes(preset: Preset) -> str:
    changes = Preset().differences(preset)
    return ", ".join(f"`{name.removeprefix('model.')}={after}`" for name, (_, after) in changes.items())


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
