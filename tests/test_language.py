"""Lessons in other languages: their code is that of the English lesson, and no sentence of the library is forgotten."""

import ast
import json
import re
import string
from pathlib import Path

import nbformat
import pytest

import speaker_lib
from speaker_lib.course import check, own_voice
from speaker_lib.course.profiles import PROFILES
from speaker_lib.experiments import classical_conclusion
from speaker_lib.experiments.classical import ClassicalResult
from speaker_lib.experiments.ladder import LADDER, Ladder
from speaker_lib.utils.errors import ConfigError
from speaker_lib.utils.language import ENGLISH, MESSAGES, VARIABLE, languages, messages, translate
from tools.errors import ToolError
from tools.gate import problems
from tools.pairs import read_source, write_pair
from tools.project import ROOT, Project
from tools.translations import english_left, is_translatable, lesson_texts, translated_code

from .test_gate import LESSON, project  # noqa: F401, a fixture

SOURCES = sorted(Path(speaker_lib.__file__).parent.rglob("*.py"))
LANGUAGES = [language for language in languages() if language != ENGLISH]
EXERCISES = [getattr(check, name) for name in check.__all__]
# Names, and words that stand in brackets because a figure, a button or a program shows them.
NO_TERMS = {
    *("librispeech", "log", "cell", "shell", "benchmark", "deviation", "slope", "validation", "vocal tract", "nobody", "layers"),
    *("dampen", "correlations of cepstra"),
}
CHINESE = re.compile("[\u4e00-\u9fff]")


def constants(node: ast.AST) -> list[str]:
    """The strings that an expression may be."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def said_to_translate() -> set[str]:
    """What the library hands to `translate`: as it stands there, by a name, or as a part of a table."""
    found = {text for step in LADDER for text in [step.label]} | {profile.meaning for profile in PROFILES.values()}
    found |= {Ladder({}, "", split).evaluated_on for split in ("random", "session")}
    for exercise in EXERCISES:
        found |= {exercise.tried, *(hint for hint, _ in exercise.mistakes)}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {
            t.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for t in node.targets
            if isinstance(t, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "translate" and node.args:
                asked = node.args[0]
                found |= set(constants(named.get(asked.id, asked) if isinstance(asked, ast.Name) else asked))
    return found


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_has_its_translation_with_the_same_values(language):
    table, said = messages(language), said_to_translate()
    assert len(said) > 150 and said - set(table) == set()
    for english, other in table.items():
        if fields(english) or "{" not in english:
            assert fields(english) == fields(other), english


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_table_holds_what_nobody_says(language):
    spoken = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            spoken |= {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
    dynamic = {Ladder({}, "", split).evaluated_on for split in ("random", "session")}
    hints = {hint for exercise in EXERCISES for hint, _ in exercise.mistakes}
    assert set(messages(language)) - spoken - dynamic - hints == set()
    code = "\n".join(cell.source for lesson in Project.read().lessons for cell in read_source(Project.read(), lesson).cells)
    assert [text for text in lesson_texts(language) if text not in code] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_found_by_its_pattern_is_made_of_words_that_are_said(language):
    """The patterns are of finished texts, whose parts may come from several places."""
    said = " ".join(
        node.value
        for path in [*SOURCES, *sorted((ROOT / "notebooks").glob("*.py"))]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    words = set(re.findall("[a-z]+", f"{said} x86 cores".lower()))
    for english, other in messages(language, "finished").items():
        assert fields(english) == fields(other), english
        assert set(re.findall("[a-z]+", re.sub(r"{\w+}", "", english).lower())) <= words, english


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_of_the_panel_is_one_of_its_script(language):
    script = Path(own_voice.__file__).with_suffix(".js").read_text(encoding="utf-8") + own_voice._STILL
    table = messages(language, "panel")
    assert [text for text in table if text not in script] == []
    asked = re.findall(r'(?:(?:tell\(|aria-label=|: )"|<button[^>]*>|<span>)([A-Z●■][^"<\n]*)["<]', script)
    assert len(asked) > 20 and set(asked) - set(table) == set()


def test_english_is_what_is_written_and_another_language_is_looked_up(monkeypatch):
    lda = [ClassicalResult("all", 0.5, 0.01, 0.9, 2.0)]
    monkeypatch.delenv(VARIABLE, raising=False)
    assert "Without a network, LDA names 0.900 of 100 whole utterances right" in classical_conclusion(lda, "x", 0.5, 100)
    monkeypatch.setenv(VARIABLE, "zh-TW")
    said = classical_conclusion(lda, "x", 0.5, 100)
    assert "0.900" in said and "比它低 0.400" in said and not re.search("[a-z]{4}", said)
    assert translate("a sentence without a translation, {n}", n=3) == "a sentence without a translation, 3"
    monkeypatch.setenv(VARIABLE, "tlh")
    with pytest.raises(ConfigError, match=r"^SPEAKER_LANGUAGE is 'tlh': choose one of en, zh-TW\.$"):
        translate("x")


@pytest.mark.parametrize("lesson", Project.read().translations)
def test_a_translation_has_the_code_of_its_lesson_and_no_english_in_it(lesson):
    project = Project.read()  # noqa: F811
    language, original = lesson.split("/")
    texts, english = lesson_texts(language), read_source(project, original)
    for cell, other in zip(read_source(project, lesson).cells, english.cells, strict=True):
        if is_translatable(other):
            assert cell.source == translated_code(other.source, texts) and english_left(other.source, texts) == []
        elif cell.cell_type == "markdown" and "badge" not in cell.source:
            assert CHINESE.search(cell.source)


def test_there_is_every_lesson_in_every_language():
    project = Project.read()  # noqa: F811
    assert project.translations == [f"{language}/{lesson}" for language in LANGUAGES for lesson in project.lessons]


@pytest.fixture
def translated(project) -> Project:  # noqa: F811
    """The gate's checkout with a translation of its lesson, as `make notebooks` leaves it."""
    (project.root / "notebooks" / "zh-TW").mkdir()
    source = project.path(LESSON, "py").read_text(encoding="utf-8")
    source = source.replace("A lesson", "一課").replace("With two lines of text, and 繁體中文.", "兩行文字。")
    project.path(f"zh-TW/{LESSON}", "py").write_text(source, encoding="utf-8")
    notebook = read_source(project, f"zh-TW/{LESSON}")
    ran = nbformat.read(project.path(LESSON, "ipynb"), as_version=4)
    for cell, other in zip(notebook.cells, ran.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = other.outputs, other.execution_count
    write_pair(notebook, project, f"zh-TW/{LESSON}")
    return project


def test_a_translation_passes_the_gate_and_chooses_its_language(translated):
    assert problems(translated) == []
    bootstrap = translated.path(f"zh-TW/{LESSON}", "py").read_text(encoding="utf-8")
    assert 'os.environ.setdefault("SPEAKER_LANGUAGE", "zh-TW")' in bootstrap and '"../../speaker_lib"' in bootstrap


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "兩行文字。",
            "These are two lines of plain English text.",
            "'These are two lines of plain English text' is not translated",
        ),
        ("# %%\n1 + 1\n", "# %%\n1 + 2\n", "say different things"),
        ("# %%\n1 + 1\n", "", "the zh-TW lesson has other cells than the English one, from cell 5 on"),
    ],
)
def test_the_gate_names_what_differs(translated, old, new, said):
    path = translated.path(f"zh-TW/{LESSON}", "py")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert any(said in problem for problem in problems(translated)), problems(translated)


def test_the_gate_notices_when_the_english_code_has_changed(translated):
    path = translated.path(LESSON, "py")
    path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "1 + 1 + 1"), encoding="utf-8")
    assert any("notebooks/zh-TW/01_small.ipynb, cell 5: is not made from" in problem for problem in problems(translated))


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("# a name and a sound", ["# a name and a sound"]),
        ("x = 1  # (batch, frames)", []),
        ('D = "a"  # @param ["here", "Google Drive"]', []),
        ('print(f"{n} steps at {v} a second")', ['f"{n} steps at {v} a second"']),
        ('open("metadata.json")', []),
    ],
)
def test_what_a_reader_reads_in_code_is_found(code, left):
    assert english_left(code, {}) == left


def test_a_translation_may_not_change_the_code():
    assert translated_code('print(f"{a} of {b}")', {'f"{a} of {b}"': 'f"{b} 裡的 {a}"'}) == 'print(f"{b} 裡的 {a}")'
    with pytest.raises(ToolError, match="is other code"):
        translated_code("print(a)", {"print(a)": "print(b)"})


def test_the_tables_are_plain():
    for language in LANGUAGES:
        assert set(json.loads((MESSAGES / f"{language}.json").read_text(encoding="utf-8"))) == {
            "finished",
            "lessons",
            "library",
            "panel",
        }


@pytest.mark.parametrize("lesson", Project.read().translations)
def test_a_term_is_the_glossarys_wherever_a_lesson_gives_its_english(lesson):
    """Where English stands in brackets, it is a term of the glossary, and the Chinese before it is the glossary's."""
    names = {}
    for row in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines():
        english, chinese, *_ = [cell.strip() for cell in row.strip("|").split("|")] if row.startswith("| ") else ("", "")
        words = re.split(r"[、/]", re.sub(r"（.*?）", "", chinese))
        for term in [*re.split(r"[,/]", re.sub(r"\(.*?\)", "", english)), *re.findall(r"\((.*?)\)", english)]:
            names.setdefault(term.strip().lower(), []).extend(word.strip() for word in words)
    text = "\n".join(cell.source for cell in read_source(Project.read(), lesson).cells if cell.cell_type == "markdown")
    found = re.findall(r"([^（）。，；：\n]+?)[*「」]*（([A-Za-z][A-Za-z /-]*)(?:，[^）]*)?）", text)
    terms = [(before, term.lower()) for before, term in found if term.lower() not in NO_TERMS]
    assert len(terms) > 8
    for before, term in terms:
        known = [w for key, words in names.items() if term.removesuffix("s") in key or term.endswith(f" {key}") for w in words]
        assert known, f"{term} is not in the glossary"
        untranslated = term in map(str.lower, known)
        assert untranslated or any(word in before or before in word for word in known), f"{before} ({term}): {known}"
