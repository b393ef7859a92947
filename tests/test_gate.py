"""The gate is tested with deliberately broken notebooks: each must be refused with a sentence that says what to do."""

import inspect
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from jupytext.cli import jupytext

from speaker_lib import Classifier
from tools.clean import WIDGET
from tools.commands import repository
from tools.errors import ToolError
from tools.gate import problems
from tools.generated import links
from tools.pairs import read_source, write_pair
from tools.project import ROOT, Project, slug_of

LESSON = "01_small"
NUMBER = re.compile(r"\d+\.?\d*")
SOURCE = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["badges"]

# %% [markdown]
# # A lesson
#
# With two lines of text, and 繁體中文.

# %% tags=["bootstrap"]

# %% tags=["NBVAL_CHECK_OUTPUT"]
print("hello")

# %%
1 + 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A checkout with one lesson, as `make notebooks` leaves it."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    project = Project.read(tmp_path)
    project.path(LESSON, "py").write_text(SOURCE, encoding="utf-8")
    notebook = read_source(project, LESSON)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
    code[1].outputs = [nbformat.v4.new_output("stream", text="hello\n")]
    code[2].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=3)]
    write_pair(notebook, project, LESSON)
    return project


def broken(project: Project, change) -> list[str]:
    """What the gate says after ``change(notebook)``."""
    path = project.path(LESSON, "ipynb")
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)
    return problems(project)


def code(notebook, number: int):
    return [cell for cell in notebook.cells if cell.cell_type == "code"][number]


def test_a_lesson_as_it_should_be_passes(project):
    assert problems(project) == []


def test_the_committed_lessons_pass():
    assert problems(Project.read()) == []


def set_source(notebook):
    code(notebook, 1).source = 'print("goodbye")'


def add_cell(notebook):
    notebook.cells.append(nbformat.v4.new_markdown_cell("more", id="more"))


def mistype_tag(notebook):
    code(notebook, 1).metadata["tags"] = ["NBVAL_CHEK_OUTPUT"]


def drop_tag(notebook):
    code(notebook, 1).metadata = {}


def add_widget_state(notebook):
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}


def add_foreign_kernel(notebook):
    notebook.metadata.kernelspec.name = "my-env"


def add_times(notebook):
    code(notebook, 1).metadata["execution"] = {"iopub.execute_input": "2026-11-24T00:00:00Z"}


def change_badge(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("colab", "coolab")


def change_bootstrap(notebook):
    code(notebook, 0).source += "\n!pip install -U torch"


def drop_bootstrap(notebook):
    code(notebook, 0).metadata = {}


def add_output(**output):
    def change(notebook):
        code(notebook, 2).outputs.append(nbformat.v4.new_output(**output))

    return change


def forget_count(notebook):
    code(notebook, 1).execution_count = None


def swap_counts(notebook):
    code(notebook, 1).execution_count, code(notebook, 2).execution_count = 3, 2


def add_big_figure(notebook):
    code(notebook, 2).outputs.append(nbformat.v4.new_output("display_data", {"image/png": "A" * 1_600_000}))


def add_long_cells(notebook):
    for i in range(30):
        notebook.cells.append(nbformat.v4.new_code_cell("x = 1\n" * 14, id=f"long{i}", execution_count=4 + i))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_source, "say different things"),
        (add_cell, "say different things"),
        (drop_tag, "say different things"),
        (add_widget_state, "its metadata widgets"),
        (add_foreign_kernel, "its metadata kernelspec"),
        (set_source, "cell 4: was edited after it was run"),
        (mistype_tag, "cell 4: has the tag 'NBVAL_CHEK_OUTPUT', which nothing here reads"),
        (add_output(output_type="display_data", metadata={"image/png": {"x": 1}}), "an output carries the metadata image/png x"),
        (add_output(output_type="display_data", metadata={"text/plain": {}}), "an output carries the metadata text/plain"),
        (add_output(output_type="display_data", data={"image/png": "AAAA"}), "a picture has no description: show it by `show`"),
        (add_times, "carries the metadata execution"),
        (change_badge, "its badges cell is not the generated one"),
        (change_bootstrap, "its bootstrap cell is not the generated one"),
        (drop_bootstrap, "has 0 cells with the tag 'bootstrap'"),
        (add_output(output_type="error", ename="ValueError", evalue="no"), "shows the error ValueError"),
        (add_output(output_type="stream", name="stderr", text="UserWarning: hm"), "shows the warning 'UserWarning: hm'"),
        (add_output(output_type="display_data", data={WIDGET: {}, "text/plain": "a bar"}), "carries a widget"),
        (add_output(output_type="stream", text="saved in /home/me/runs."), "contains /home/me/runs, a path of one machine"),
        (add_output(output_type="stream", text="C:\\Users\\me\\runs"), "a path of one machine"),
        (add_output(output_type="execute_result", data={"text/plain": "\t/kaggle/working/x"}), "contains /kaggle/working/x"),
        (forget_count, "cell 4: was not run in one go"),
        (swap_counts, "cell 4: was not run in one go"),
        (add_big_figure, "more than 1,500,000"),
        (add_long_cells, "has 33 code cells, more than 25"),
        (add_long_cells, "31 of its 33 code cells have 12 lines or more"),
    ],
)
def test_a_broken_notebook_is_refused(project, change, said):
    found = broken(project, change)
    assert any(said in problem for problem in found), found
    assert all(problem.startswith(f"notebooks/{LESSON}.ipynb") and problem.endswith(".") for problem in found)


def test_a_picture_with_its_size_and_description_is_fine(project):
    about = {"image/png": {"alt": "a curve", "width": 900, "height": 280}}
    add = add_output(output_type="display_data", data={"image/png": "AAAA"}, metadata=about)
    assert broken(project, add) == []


def test_an_edit_that_jupyterlab_synced_is_refused_because_its_output_is_old(project):
    path = project.path(LESSON, "py")
    path.write_text(path.read_text(encoding="utf-8").replace("hello", "goodbye"), encoding="utf-8")
    jupytext(["--quiet", "--sync", str(path)])
    assert problems(project) == [f"notebooks/{LESSON}.ipynb, cell 4: was edited after it was run: run `make notebooks`."]


def show_source(project, expression: str, printed: str, tags: tuple[str, ...] = ("NBVAL_CHECK_OUTPUT",)) -> list[str]:
    """What the gate says of a lesson with a cell more, which prints a source of the library."""
    path = project.path(LESSON, "ipynb")
    notebook = nbformat.read(path, as_version=4)
    source = f"import inspect\n\nfrom speaker_lib import Classifier\n\nprint(inspect.getsource({expression}))"
    output = nbformat.v4.new_output("stream", text=printed)
    notebook.cells.append(
        nbformat.v4.new_code_cell(source, execution_count=4, outputs=[output], metadata={"tags": list(tags)} if tags else {})
    )
    write_pair(notebook, project, LESSON)
    return problems(project)


def test_a_lesson_shows_the_source_that_the_library_has_today(project):
    today = inspect.getsource(Classifier.forward)
    assert show_source(project, "Classifier.forward", today + "\n") == []


@pytest.mark.parametrize(
    ("expression", "printed", "tags", "said"),
    [
        (
            "Classifier.forward",
            "def forward(self): ...\n",
            ["NBVAL_CHECK_OUTPUT"],
            "shows another source of Classifier.forward than",
        ),
        (
            "Classifier.backward",
            "\n",
            ["NBVAL_CHECK_OUTPUT"],
            "its imports or sources cannot be found (type object 'Classifier' has",
        ),
        ("Classifier.forward", inspect.getsource(Classifier.forward), [], "prints a source without the tag NBVAL_CHECK_OUTPUT"),
    ],
)
def test_another_source_than_today_s_is_refused(project, expression, printed, tags, said):
    (problem,) = show_source(project, expression, printed, tags)
    assert f"notebooks/{LESSON}.ipynb, cell 6: {said}" in problem and problem.endswith("run `make notebooks`.")


@pytest.mark.parametrize("content", [b"# ---\n# jupyter:\n#   a: b: c\n# ---\n\n# %%\n1\n", b"\xff\xfe# %%"])
def test_a_text_that_cannot_be_read_is_refused(project, content):
    project.path(LESSON, "py").write_bytes(content)
    assert any(f"jupytext cannot read notebooks/{LESSON}.py" in problem for problem in problems(project))


def test_an_edit_of_the_text_alone_is_noticed(project):
    path = project.path(LESSON, "py")
    path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "1 + 2"), encoding="utf-8")
    assert problems(project) == [f"notebooks/{LESSON}.ipynb and notebooks/{LESSON}.py say different things: edit the .py only, "
                                 "then run `make notebooks`."]  # fmt: skip


def test_a_file_of_this_checkout_is_a_path_of_one_machine(project):
    said = broken(project, add_output(output_type="stream", text=f"in {project.root}/runs"))
    assert any(f"contains {project.root}" in problem for problem in said)


def test_half_a_pair_is_refused(project):
    project.path(LESSON, "ipynb").unlink()
    assert problems(project) == [f"notebooks/{LESSON}.ipynb is missing beside its other half: run `make notebooks`."]


def test_a_readme_without_a_lesson_s_links_is_refused(project):
    (project.root / "README.md").write_text("old links: v0.0.9", encoding="utf-8")
    (problem,) = problems(project)
    assert problem.startswith(
        f"README.md lacks the link https://colab.research.google.com/github/{project.slug}/blob/{project.tag}/"
    )


def test_what_is_no_notebook_is_refused(project):
    project.path(LESSON, "ipynb").write_text("{}", encoding="utf-8")
    (problem,) = problems(project)
    assert "is not a notebook" in problem
    project.path(LESSON, "ipynb").write_text("no json", encoding="utf-8")
    (problem,) = problems(project)
    assert "is not a notebook" in problem


def test_an_empty_folder_is_refused(project):
    for ending in ("py", "ipynb"):
        project.path(LESSON, ending).unlink()
    assert "holds no lesson" in problems(project)[0]


def test_the_gate_changes_nothing(project):
    before = {path: path.read_bytes() for path in (project.root / "notebooks").iterdir()}
    broken_source = project.path(LESSON, "py").read_text(encoding="utf-8") + "\n# %%\nnew = 1\n"
    project.path(LESSON, "py").write_text(broken_source, encoding="utf-8")
    assert problems(project)
    after = {path: path.read_bytes() for path in (project.root / "notebooks").iterdir()}
    assert after == before | {project.path(LESSON, "py"): broken_source.encode()}


@pytest.mark.parametrize("address", ["https://gitlab.com/a/b", "https://github.com/a", "git@github.com:a/b.git", "a/b"])
def test_an_address_where_colab_cannot_look_is_refused(address):
    with pytest.raises(ToolError, match="write it as https://github"):
        slug_of(address)


def test_another_address_is_used_everywhere_and_keeps_the_outputs(project, tmp_path, monkeypatch):
    badges = " ".join(links(project, LESSON))
    (tmp_path / "README.md").write_text(f"git clone {project.address}\n{badges}\n", encoding="utf-8")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", "--all")
    edited = project.path(LESSON, "py").read_text(encoding="utf-8") + "\n# %%\nunfinished = 1\n"
    project.path(LESSON, "py").write_text(edited, encoding="utf-8")
    repository(project, "https://github.com/school/their-course.git")
    texts = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.*") if ".git" not in path.parts}
    assert not any(project.slug in text for text in texts.values())
    assert "https://github.com/school/their-course" in texts["README.md"]
    assert 'COURSE, RELEASE = "their-course"' in texts[f"{LESSON}.py"] and "hello" in texts[f"{LESSON}.ipynb"]
    assert "unfinished = 1" in texts[f"{LESSON}.py"]
    assert [p for p in problems(Project.read(tmp_path)) if "different things" not in p] == []


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


# What the pages say of the runs


def printed(lesson: str) -> str:
    """All that a committed lesson prints, its Markdown without the backslashes before marks."""
    notebook = nbformat.read(Project.read().path(lesson, "ipynb"), as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output.get("text", "") + output.get("data", {}).get("text/markdown", "") for output in outputs]
    return "".join(re.sub(r"\\(.)", r"\1", text) for text in shown)


def quoted(readme: str) -> list[str]:
    """The lines that a README quotes from lesson 3, a block quote each."""
    lines = (ROOT / readme).read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("> - ") for line in lines if line.startswith("> - ")]


def test_the_readme_quotes_what_the_committed_runs_say():
    lines, said = quoted("README.md"), printed("03_compare")
    assert len(lines) >= 5 and [line for line in lines if line not in said] == []


def test_the_chinese_readme_gives_the_same_numbers():
    english, chinese = quoted("README.md"), quoted("README.zh-TW.md")
    assert [sorted(NUMBER.findall(line)) for line in chinese] == [sorted(NUMBER.findall(line)) for line in english]


def test_wherever_lessons_are_counted_there_are_as_many():
    lessons = Project.read().lessons
    number = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.py"), ROOT / "Makefile"]
    counted = {page.name: re.findall(rf"\b({'|'.join(number)}) lessons\b", page.read_text(encoding="utf-8")) for page in pages}
    assert {page: said for page, said in counted.items() if set(said) - {number[len(lessons)]}} == {}
    assert counted["README.md"] and counted["01_baseline.py"]
