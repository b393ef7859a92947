"""The quiz at the end of a lesson: questions with an explanation for each choice. Answers are stored nowhere."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..utils.errors import ConfigError, short_repr
from ..utils.language import language as reader_language
from ..utils.language import translate
from .widgets import display, find_ipywidgets, widget_view

QUESTIONS = Path(__file__).parent / "questions"


@dataclass(frozen=True)
class Choice:
    """A possible answer."""

    text: str
    why: str  # why it is right, or what is wrong with it
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A multiple-choice question with one right answer."""

    text: str
    choices: tuple[Choice, ...]


def questions(lesson: int, language: str = "en") -> tuple[Question, ...]:
    """A lesson's questions, from ``questions/<language>/lesson<number>.md``. Raises ConfigError if there are none."""
    path = QUESTIONS / language / f"lesson{lesson}.md"
    if not path.is_file():
        raise ConfigError(f"there is no quiz of lesson {short_repr(lesson)} in {short_repr(language)}: choose another lesson.")
    return parse_quiz(path.read_text(encoding="utf-8"))


def parse_quiz(text: str) -> tuple[Question, ...]:
    """Questions from Markdown: a heading ``## Question?``, then a line ``- choice`` or, for the right one, ``+ choice``.

    The indented lines below a choice say why it is right, or what is wrong with it.
    """
    asked = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        question, listed = part.split("\n", 1)
        choices = re.findall(r"^([+-]) (.+)\n((?:  .+(?:\n|$))*)", listed, re.MULTILINE)
        asked.append(
            Question(question, tuple(Choice(answer, " ".join(why.split()), mark == "+") for mark, answer, why in choices))
        )
    return tuple(asked)


def quiz(lesson: int, language: str | None = None) -> None:
    """Shows a lesson's quiz in the reader's language or ``language``.

    There are buttons with explanations, or, without widgets, the questions with their answers folded.  Raises ConfigError as
    `questions`.
    """
    asked = questions(lesson, language or reader_language())
    bundle: dict[str, object] = {"text/html": quiz_page(asked), "text/plain": quiz_text(asked)}
    ipywidgets = find_ipywidgets("a quiz with buttons")
    if ipywidgets is not None:
        bundle |= widget_view(_buttons(ipywidgets, asked))
    display(bundle, raw=True)


def explain(choice: Choice) -> str:
    """What a student reads who has chosen it."""
    return f"{translate('✓ Yes.' if choice.right else '✗ No.')}{translate(' ')}{choice.why}"


def quiz_text(asked: tuple[Question, ...]) -> str:
    """The questions and choices as text, without the answers."""
    return "\n\n".join(
        "\n".join([f"{number}. {question.text}", *(f"   ( ) {choice.text}" for choice in question.choices)])
        for number, question in enumerate(asked, 1)
    )


def quiz_page(asked: tuple[Question, ...]) -> str:
    """The questions as HTML that needs no kernel: each choice unfolds its explanation."""
    parts = []
    for number, question in enumerate(asked, 1):
        parts.append(f"<p><b>{number}. {html.escape(question.text)}</b></p>")
        parts += [
            f"<details><summary>{html.escape(choice.text)}</summary><p>{html.escape(explain(choice))}</p></details>"
            for choice in question.choices
        ]
    return "\n".join(parts)


def _buttons(ipywidgets: ModuleType, asked: tuple[Question, ...]):
    boxes = []
    for number, question in enumerate(asked, 1):
        texts = [choice.text for choice in question.choices]
        buttons = ipywidgets.RadioButtons(options=texts, value=None, layout={"width": "max-content"})
        explanation = ipywidgets.HTML()

        def answer(change: dict[str, str], question: Question = question, explanation: object = explanation) -> None:
            chosen = next(choice for choice in question.choices if choice.text == change["new"])
            explanation.value = html.escape(explain(chosen))

        buttons.observe(answer, names="value")
        boxes.append(ipywidgets.VBox([ipywidgets.HTML(f"<b>{number}. {html.escape(question.text)}</b>"), buttons, explanation]))
    return ipywidgets.VBox(boxes)
