"""Guesses are kept beside the runs and quoted later; a quiz explains every choice and keeps nothing. test_browser has both."""

import json
import re
import sys

import pytest

from speaker_lib.course import guesses, quizzes
from speaker_lib.course.guesses import FILE, guess, store_guess, stored_guess
from speaker_lib.course.quizzes import QUESTIONS, explain, parse_quiz, questions, quiz, quiz_page
from speaker_lib.utils.errors import ConfigError, RunError
from tools.pairs import read_source
from tools.project import Project

QUESTION, OPTIONS = "Which of the four?", ["d_model", "nhead", "num_layers", "activation"]
LANGUAGES = sorted(folder.name for folder in QUESTIONS.iterdir())
LESSONS = range(1, len(Project.read().lessons) + 1)


@pytest.fixture
def displayed(monkeypatch) -> list[object]:
    """What a notebook would have shown."""
    shown: list[object] = []
    for module in (guesses, quizzes):
        monkeypatch.setattr(module, "display", lambda thing, **_: shown.append(thing))
    return shown


@pytest.fixture
def without_widgets(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)


# Guesses


def test_a_page_without_a_guess_says_so_and_how_to_guess(tmp_path, displayed, capsys):
    guess(tmp_path / "runs", QUESTION, OPTIONS)
    assert capsys.readouterr().out == (
        "Which of the four?  d_model · nhead · num_layers · activation\n"
        'No guess is stored here. To guess, click on one; or add answer="…" to this call and run the cell again.\n'
    )
    assert stored_guess(tmp_path / "runs", QUESTION) is None and not (tmp_path / "runs").exists()


def test_a_click_stores_the_answer_and_the_next_one_replaces_it(tmp_path, displayed):
    guess(tmp_path, QUESTION, OPTIONS)
    buttons, status = displayed[0].children
    assert list(buttons.options) == OPTIONS and buttons.value is None
    for answer in ("nhead", "activation"):
        buttons.value = answer
        assert stored_guess(tmp_path, QUESTION) == answer and f"You said <b>{answer}</b>" in status.value
    guess(tmp_path, QUESTION, OPTIONS)  # the cell once more
    assert displayed[1].children[0].value == "activation"


def test_without_widgets_the_answer_is_given_in_the_call(tmp_path, displayed, without_widgets, capsys):
    guess(tmp_path, QUESTION, OPTIONS)
    assert 'To guess, add answer="…" to this call and run the cell again.' in capsys.readouterr().out
    guess(tmp_path, QUESTION, OPTIONS, answer="nhead")
    assert capsys.readouterr().out.endswith("You said nhead.\n") and displayed == []
    store_guess(tmp_path, "Loud or soft?", ["loud", "soft"], "soft")
    assert json.loads((tmp_path / FILE).read_text()) == {QUESTION: "nhead", "Loud or soft?": "soft"}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_an_answer_that_is_no_option_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^'heads' is none of the options: choose one of d_model, nhead, num_layers, activation\.$"
    ):
        guess(tmp_path, QUESTION, OPTIONS, answer="heads")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]", b'{"a": 1}', b""])
def test_a_damaged_file_is_named(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RunError, match=r"^guesses\.json .+: delete it, and guess again\.$"):
        stored_guess(tmp_path, QUESTION)


def test_lesson_3_quotes_the_question_that_lesson_2_asks():
    project = Project.read()
    texts = {lesson: "\n".join(cell.source for cell in read_source(project, lesson).cells) for lesson in project.lessons}
    asked = re.findall(r'lesson\.guess\(\s*"(.+?)"', texts["02_tuned"])
    assert re.findall(r'lesson\.guessed\("(.+?)"\)', texts["03_compare"]) == asked and len(asked) == 1


# Quizzes


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("lesson", LESSONS)
def test_a_quiz_has_five_questions_with_one_right_answer_and_a_reason_for_each(lesson, language):
    asked = questions(lesson, language)
    assert len(asked) == 5 and len({question.text for question in asked}) == 5
    for question in asked:
        assert question.text.endswith(("?", "？"))
        assert len(question.choices) >= 3 and sum(choice.right for choice in question.choices) == 1
        assert len({choice.text for choice in question.choices}) == len(question.choices)
        assert all(len(choice.text) <= 100 and choice.why.endswith((".", "。")) for choice in question.choices)
    places = [[choice.right for choice in question.choices].index(True) for question in asked]
    assert len(set(places)) > 2  # nobody learns where the right one stands
    longest = [max(question.choices, key=lambda choice: len(choice.text)).right for question in asked]
    assert sum(longest) <= 3  # or that it is the longest
    text = (QUESTIONS / language / f"lesson{lesson}.md").read_text(encoding="utf-8")
    read = [text for q in asked for text in (q.text, *(part for c in q.choices for part in (c.text, c.why)))]
    lines = [line.lstrip("#+- ") for line in text.splitlines()[1:]]
    assert " ".join(filter(None, lines)) == " ".join(read)  # no line of the file is passed over


def test_every_lesson_ends_with_its_quiz():
    project = Project.read()
    for number, lesson in enumerate(project.lessons, 1):
        code = [cell.source for cell in read_source(project, lesson).cells if cell.cell_type == "code"]
        assert code[-1] == f"quiz({number})"


def test_a_choice_is_explained_when_it_is_clicked(displayed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quiz(1)
    (bundle,) = displayed
    (view,) = [value for kind, value in bundle.items() if "widget-view" in kind]
    from ipywidgets.widgets.widget import _instances

    box = _instances[view["model_id"]]
    for part, question in zip(box.children, questions(1), strict=True):
        _, buttons, explanation = part.children
        assert buttons.value is None and explanation.value == ""
        for choice in question.choices:
            buttons.value = choice.text
            assert explanation.value.startswith("✓ Yes." if choice.right else "✗ No.")
    assert list(tmp_path.iterdir()) == []  # nothing is stored


def test_without_widgets_the_answers_are_folded(displayed, without_widgets):
    quiz(2)
    (bundle,) = displayed
    assert set(bundle) == {"text/html", "text/plain"}
    for question in questions(2):
        assert question.text in bundle["text/plain"]
        assert not any(choice.why in bundle["text/plain"] for choice in question.choices)
    assert bundle["text/html"].count("<details>") == sum(len(question.choices) for question in questions(2))


def test_texts_are_escaped():
    (question,) = parse_quiz("## Is 1 < 2?\n\n+ <b>yes</b>\n  1 & 2.\n- no\n  Count\n  again.\n")
    assert "1 &lt; 2" in quiz_page((question,)) and "&lt;b&gt;yes" in quiz_page((question,))
    assert explain(question.choices[1]) == "✗ No. Count again."


@pytest.mark.parametrize(("lesson", "language"), [(9, "en"), (1, "tlh")])
def test_a_quiz_that_is_not_written_is_named(lesson, language):
    with pytest.raises(ConfigError, match=rf"^there is no quiz of lesson {lesson} in '{language}'"):
        questions(lesson, language)
