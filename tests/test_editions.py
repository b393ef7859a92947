"""What students are given: stubs without outputs, solutions apart, the library beside them, in one zip."""

import ast
import re
import zipfile
from pathlib import Path

import nbformat
import pytest

from tools.__main__ import main
from tools.commands import smoke, student
from tools.editions import solved_edition, student_edition
from tools.errors import ToolError
from tools.exercises import is_exercise, solution, stub, stub_output
from tools.gate import problems
from tools.generated import BOOTSTRAP, tags_of
from tools.pairs import read_source, with_outputs, write_pair
from tools.project import ROOT, Project

LESSON = "01_small"
EXERCISE = """\
def double(x):
    # solution: say "twice" \\\\ in Python.
    # stub: y = x
    y = x  # a first line
    return 2 * y
    # end of solution


check.double(double)
"""
SOURCE = f"""\
# %% [markdown] tags=["badges"]

# %% [markdown]
# # A lesson
#
# See [the page](../docs/page.md) and [the next](02_next.ipynb).

# %% tags=["bootstrap"]

# %% tags=["exercise"]
{EXERCISE}
# %%
print("the rest")
"""


@pytest.fixture
def project(tmp_path) -> Project:
    """A checkout with one lesson."""
    (tmp_path / "notebooks").mkdir()
    for name in ("pyproject.toml", "requirements.txt", "LICENSE"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "speaker_lib" / "__pycache__").mkdir(parents=True)
    (tmp_path / "speaker_lib" / "__init__.py").write_text("")
    (tmp_path / "speaker_lib" / "__pycache__" / "old.pyc").write_text("")
    project = Project.read(tmp_path)
    project.path(LESSON, "py").write_text(SOURCE)
    write_pair(read_source(project, LESSON), project, LESSON)
    return project


def edit(project: Project, old: str, new: str) -> None:
    path = project.path(LESSON, "py")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_stub_names_its_task_and_keeps_the_lines_that_are_given():
    assert stub(EXERCISE) == EXERCISE.split("    # solution")[0] + (
        '    y = x\n    raise NotImplementedError("say \\"twice\\" \\\\\\\\ in Python.")\n\n\ncheck.double(double)\n'
    )
    assert stub_output(EXERCISE) == '✗ Your turn: say "twice" \\\\ in Python.\n'
    assert solution(EXERCISE) == "def double(x):\n    y = x  # a first line\n    return 2 * y"


def test_the_student_edition_has_stubs_no_outputs_and_folded_solutions(project):
    notebook = student_edition(project, LESSON)
    nbformat.validate(notebook)
    text, bootstrap, exercise, folded, rest = notebook.cells
    assert project.address in bootstrap.source and rest.source == 'print("the rest")'
    assert f"]({project.address}/blob/{project.tag}/docs/page.md)" in text.source and "](02_next.ipynb)" in text.source
    assert "raise NotImplementedError" in exercise.source and "return 2 * y" not in exercise.source
    assert folded.source.startswith("<details><summary>Solution</summary>\n\n```python\ndef double(x):\n")
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert "jupytext" not in notebook.metadata and notebook.metadata.accelerator == "GPU"
    assert len(student_edition(project, LESSON, solutions=False).cells) == 4


def test_the_solved_edition_finds_the_library_beside_the_student_edition(project):
    _, bootstrap, exercise, _ = solved_edition(project, LESSON).cells
    assert bootstrap.source.startswith('import sys\n\nsys.path.append("..")')
    assert "return 2 * y" in exercise.source and "# solution" not in exercise.source


def test_the_zip_holds_the_edition_and_is_the_same_each_time(project, capsys):
    assert student(project) == 0
    assert re.match(r"build/student\.zip: 1 lessons, 0\.\d MB to hand out\.", capsys.readouterr().out)
    archive = project.root / "build" / "student.zip"
    before = archive.read_bytes()
    names = zipfile.ZipFile(archive).namelist()
    folder = f"{project.slug.split('/')[1]}-student"
    expected = ["01_small.ipynb", "LICENSE", "START.md", "pyproject.toml", "requirements.txt", "solutions/01_small.ipynb"]
    assert sorted(names) == [f"{folder}/{name}" for name in [*expected, "speaker_lib/__init__.py"]]
    about = zipfile.ZipFile(archive).read(f"{folder}/START.md").decode()
    assert "solutions/" in about and "pip install -r requirements.txt jupyterlab" in about
    assert student(project) == 0 and archive.read_bytes() == before

    assert student(project, without_solutions=True) == 0
    bare = zipfile.ZipFile(archive)
    everything = "".join(bare.read(name).decode() for name in bare.namelist() if "speaker_lib" not in name)
    assert "return 2 * y" not in everything and "olution" not in everything


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    # end of solution\n", "", "needs one solution, between the lines"),
        ("    # solution: ", "    # solution ", "needs one solution, between the lines"),
        ("    # end of solution\n", "    # end of solution\n    # solution: more.\n", "needs one solution, between the lines"),
        ("check.double(double)", "double(2)", "needs one line `check.NAME(FUNCTION)`"),
        ("def double(x):", "if True:", "needs one function, which the student writes"),
        ('# %% tags=["exercise"]', "# %%", "holds a solution without the tag 'exercise'"),
        ("# stub: y = x", "# stub: y = (x", "makes a stub that is no Python"),
    ],
)
def test_an_exercise_that_no_stub_can_be_made_of_is_refused_in_a_sentence(project, old, new, said):
    edit(project, old, new)
    with pytest.raises(ToolError, match=r"^notebooks/01_small\.py, cell 4: .+\.$") as error:
        student_edition(project, LESSON)
    assert said in str(error.value)
    write_pair(read_source(project, LESSON), project, LESSON)
    assert [problem for problem in problems(project) if said in problem and "cell 4" in problem]


def test_the_gate_refuses_a_solution_that_its_own_check_refuses(project):
    def said(text: str) -> list[str]:
        notebook = read_source(project, LESSON)
        (cell,) = filter(is_exercise, notebook.cells)
        cell.outputs = [nbformat.v4.new_output("stream", text=text)]
        write_pair(notebook, project, LESSON)
        return [problem for problem in problems(project) if "its own check refuses" in problem]

    assert said("✓ Right: doubled.\n") == []
    assert said("✗ Not yet: for 2 it gives 5.\n") == [
        "notebooks/01_small.ipynb, cell 4: holds a solution that its own check refuses: mend it, then run `make notebooks`."
    ]


def test_smoke_holds_every_stub_to_what_its_check_must_say(project):
    notebook = read_source(project, LESSON)
    notebook.cells[-1].outputs, notebook.cells[-1].execution_count = [nbformat.v4.new_output("stream", text="the rest\n")], 3
    write_pair(notebook, project, LESSON)
    edit(project, "a first line", "an edited line")
    assert smoke(project) == 0
    folder = project.root / "build" / "smoke"
    solved = nbformat.read(folder / "solved" / "01_small.ipynb", as_version=4)
    assert solved.cells[-1].outputs[0].text == "the rest\n" and "an edited line" in solved.cells[-2].source
    laid_out = nbformat.read(folder / "student" / "01_small.ipynb", as_version=4)
    (cell,) = [cell for cell in laid_out.cells if "raise NotImplementedError" in cell.source]
    assert cell.metadata.tags == ["NBVAL_CHECK_OUTPUT"] and cell.outputs[0].text == stub_output(EXERCISE)


def test_outputs_follow_a_cell_and_not_its_place(project):
    earlier = read_source(project, LESSON)
    earlier.cells[-1].outputs = [nbformat.v4.new_output("stream", text="the rest\n")]
    edit(project, '# %% tags=["exercise"]', "# %%\n1 + 1\n\n" + '# %% tags=["exercise"]')
    found = with_outputs(read_source(project, LESSON), earlier)
    assert [len(cell.outputs) for cell in found.cells if cell.cell_type == "code"] == [0, 0, 0, 1]


@pytest.mark.parametrize("lesson", Project.read().lessons)
def test_no_code_cell_of_a_real_student_edition_holds_a_solution(lesson):
    project = Project.read()
    exercises = [cell for cell in read_source(project, lesson).cells if is_exercise(cell)]
    given = [cell.source for cell in student_edition(project, lesson).cells if cell.cell_type == "code"]
    for cell in exercises:
        body = solution(cell.source).splitlines()
        assert not [source for source in given if body[-1] in source and BOOTSTRAP not in source]
    for cell in solved_edition(project, lesson).cells:
        if cell.cell_type == "code" and BOOTSTRAP not in tags_of(cell):
            ast.parse(cell.source)


def test_a_broken_exercise_ends_the_command_with_a_sentence(project, monkeypatch, capsys):
    edit(project, "check.double(double)", "double(2)")
    monkeypatch.setattr(Project, "read", lambda: project)
    assert main(["student"]) == 1
    assert capsys.readouterr().err.startswith("error: notebooks/01_small.py, cell 4: needs one line `check.NAME(FUNCTION)`")
    assert not Path(project.root / "build" / "student.zip").exists()
