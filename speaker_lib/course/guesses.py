"""Guesses: what a student expects, written down before the answer is seen, in ``guesses.json`` beside the runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ..utils.errors import ConfigError, RunError, escape_controls, short_repr
from ..utils.files import make_folder, replacing
from ..utils.language import translate
from .widgets import display, find_ipywidgets

FILE = "guesses.json"


def guess(folder: Path, question: str, options: Sequence[str], answer: str | None = None) -> None:
    """Asks a question and stores the answer in ``folder``: a click on one of the options, or ``answer``.

    Raises ConfigError if the answer is none of the options, RunError as `stored_guess`.
    """
    if answer is not None:
        store_guess(folder, question, options, answer)
    print(f"{question}  {' · '.join(options)}")
    said = stored_guess(folder, question)
    ipywidgets = find_ipywidgets("a click on a guess")
    if ipywidgets is None:
        print(_status(said, translate('To guess, add answer="…" to this call and run the cell again.')))
        return
    print(_status(said, translate('To guess, click on one; or add answer="…" to this call and run the cell again.')))
    _buttons(ipywidgets, folder, question, options, said)


def store_guess(folder: Path, question: str, options: Sequence[str], answer: str) -> None:
    """Stores an answer in the place of an earlier one. Raises as `guess`."""
    if answer not in options:
        raise ConfigError(f"{short_repr(answer)} is none of the options: choose one of {', '.join(options)}.")
    guesses = _read(folder) | {question: answer}
    make_folder(folder)
    with replacing(folder / FILE, "w", encoding="utf-8") as file:
        json.dump(guesses, file, ensure_ascii=False, indent=2)


def stored_guess(folder: Path, question: str) -> str | None:
    """The answer that was stored for a question, or None. Raises RunError if the file is damaged."""
    return _read(folder).get(question)


def _read(folder: Path) -> dict[str, str]:
    path = folder / FILE
    try:
        guesses = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise RunError(f"{_shown(path)} cannot be read ({type(error).__name__}): delete it, and guess again.") from None
    if not isinstance(guesses, dict) or not all(isinstance(answer, str) for answer in guesses.values()):
        raise RunError(f"{_shown(path)} does not hold guesses: delete it, and guess again.")
    return guesses


def _shown(path: Path) -> str:
    return escape_controls(os.path.relpath(path))


def _status(said: str | None, how: str) -> str:
    if said is None:
        return translate("No guess is stored here.") + translate(" ") + how
    return translate("You said {answer}.", answer=escape_controls(said))


def _buttons(ipywidgets: ModuleType, folder: Path, question: str, options: Sequence[str], said: str | None) -> None:
    """Shows the options as radio buttons, each of which stores its answer."""
    buttons = ipywidgets.RadioButtons(options=list(options), value=said if said in options else None)
    status = ipywidgets.HTML()

    def store(change: dict[str, str]) -> None:
        store_guess(folder, question, options, change["new"])
        status.value = translate("You said {answer}. It is kept with the runs.", answer=f"<b>{change['new']}</b>")

    buttons.observe(store, names="value")
    display(ipywidgets.VBox([buttons, status]))
