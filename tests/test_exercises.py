"""The exercises: solutions pass their check, stubs say what is to be done, and every typical mistake gets a hint of its own."""

import ast
import textwrap

import pytest
import torch

from speaker_lib.course import check
from speaker_lib.course.check.exercise import RIGHT, WRONG, YOUR_TURN, Exercise
from tools.exercises import is_exercise, stub
from tools.pairs import read_source
from tools.project import Project

PROJECT = Project.read()
LESSONS = {lesson: read_source(PROJECT, lesson) for lesson in PROJECT.lessons}
CELLS = {
    f"{lesson}-{number}": (lesson, number)
    for lesson, notebook in LESSONS.items()
    for number, cell in enumerate(notebook.cells)
    if is_exercise(cell)
}
EXERCISES = [getattr(check, name) for name in check.__all__]
MISTAKES = [(exercise, hint, mistake) for exercise in EXERCISES for hint, mistake in exercise.mistakes]


def run_cell(lesson: str, number: int, source: str) -> None:
    """Runs a cell as a student would who has run the cells above it; of those only the imports are needed."""
    above = "\n".join(cell.source for cell in LESSONS[lesson].cells[:number] if cell.cell_type == "code")
    imports = [node for node in ast.parse(above).body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec("\n".join([*map(ast.unparse, imports), source]), {})


@pytest.mark.parametrize("name", CELLS)
def test_a_solution_is_right_and_its_stub_is_not(name, capsys):
    lesson, number = CELLS[name]
    source = LESSONS[lesson].cells[number].source
    run_cell(lesson, number, source)
    assert capsys.readouterr().out.startswith(RIGHT)
    run_cell(lesson, number, stub(source))
    said = capsys.readouterr().out
    task = said.removeprefix(YOUR_TURN).strip()
    assert said.startswith(YOUR_TURN) and f"# solution: {task}" in source and source.count("def ") == 1


def test_every_lesson_has_two_to_four_exercises_and_every_check_is_used_once():
    assert all(2 <= sum(map(is_exercise, notebook.cells)) <= 4 for notebook in LESSONS.values())
    sources = [LESSONS[lesson].cells[number].source for lesson, number in CELLS.values()]
    assert sorted(source.split("check.")[1].split("(")[0] for source in sources) == check.__all__


@pytest.mark.parametrize("exercise", EXERCISES, ids=check.__all__)
def test_the_library_passes_and_every_check_knows_several_mistakes(exercise, capsys):
    state = torch.get_rng_state()
    exercise(exercise.right)
    assert capsys.readouterr().out == f"{RIGHT}{exercise.tried}\n"
    assert exercise is getattr(check, exercise.name) and len(exercise.mistakes) >= 4
    assert torch.equal(torch.get_rng_state(), state)  # a check draws no number that a lesson would have drawn


@pytest.mark.parametrize(("exercise", "hint", "mistake"), MISTAKES, ids=lambda value: getattr(value, "name", ""))
def test_a_typical_mistake_gets_its_own_hint(exercise, hint, mistake):
    assert exercise.verdict(mistake) == f"{WRONG}{hint}"
    assert [other for other, _ in exercise.mistakes].count(hint) == 1
    assert hint.endswith((".", ".)")) and "\n" not in hint


# What students write, by their hand instead of the check's, and a piece of what they must read.
WRITTEN = {
    "no root": ("attention", "q, k, v", "return torch.softmax(q @ k.mT, -1) @ v", "by √d before the softmax"),
    "d instead of its root": ("attention", "q, k, v", "return torch.softmax(q @ k.mT / k.size(-1), 2) @ v", "square root of d"),
    "the wrong axis": ("attention", "q, k, v", "return ((q @ k.mT) * k.size(-1) ** -0.5).softmax(-2) @ v", "dim=-1"),
    "no transpose": ("attention", "q, k, v", "return (q.matmul(k) / q.size(2) ** 0.5).softmax(2) @ v", "not transposed"),
    "dimensions": (
        "attention",
        "q, k, v",
        "return (q @ k.transpose(0, 1) / q.size(2) ** 0.5).softmax(2) @ v",
        "stops with RuntimeError",
    ),
    "weights": ("attention", "q, k, v", "return torch.softmax(q @ k.mT / q.size(2) ** 0.5, 2)", "multiply them by v"),
    "both": ("attention", "q, k, v", "w = torch.softmax(q @ k.mT, 2); return w @ v, w", "it returns a tuple"),
    "twice": (
        "loss_of_guessing",
        "n",
        "return 2 * __import__('math').log(n)",
        "for 2 it gives 1.38629",
    ),
    "a sign": ("loss_of_guessing", "n", "return torch.tensor(1 / n).log()", "sign is wrong"),
    "a list": ("loss_of_guessing", "n", "return [0.0] * n", "it should be one number"),
    "a mean": ("mean_over_frames", "f, n", "return torch.stack([x.mean(0) for x in f])", "padded frames are in your mean"),
    "a slice": (
        "mean_over_frames",
        "f, n",
        "return torch.stack([x[: i + 1].mean(0) for x, i in zip(f, n)])",
        "one frame too many",
    ),
    "per head": ("attention_parameters", "d, h", "return 4 * (d * d + d) * h", "share the width"),
    "no bias": ("attention_parameters", "d, h", "return 3 * d**2 + d**2", "biases are missing"),
    "e to the minus x": ("sigmoid_slope", "x", "return torch.exp(-x) / (1 + torch.exp(-x))", "one factor is missing"),
    "post-norm": ("residual", "x, f, norm", "x = x + f(x); return norm(x)", "post-norm"),
    "NumPy's ddof": ("paired_t", "a, b", "d = b - a; return d.mean() / d.std() * len(d) ** 0.5", "ddof=1"),
    "unpaired": (
        "paired_t",
        "a, b",
        "from scipy.stats import ttest_ind; return ttest_ind(b, a).statistic",
        "unpaired",
    ),
    "p": ("paired_t", "a, b", "from scipy.stats import ttest_rel; return ttest_rel(a, b).pvalue", "p-value"),
    "before minus after": ("paired_t", "a, b", "from scipy.stats import ttest_rel; return ttest_rel(a, b).statistic", "sign"),
    "the mean": ("surplus", "b, a, t", "return (t - b) - (a - b).mean(0)", "summed, not averaged"),
    "of all": (
        "people_reached",
        "f, x",
        "x.requires_grad_(); f(x).sum().backward(); return (x.grad.flatten(1).abs().sum(1) > 0).sum()",
        "first person's output only",
    ),
    "squeeze": ("pool", "f, w", "return torch.einsum('bt,btd->bd', w, f)[:, None]", "one dimension too many"),
    "mean of products": ("pool", "f, w", "return (w.unsqueeze(-1) * f).mean(1)", "do not average once more"),
    "no scale": ("lower_logit", "z, y, m, s", "z = z.clone(); z[range(len(y)), y] -= m; return z", "scale * margin"),
    "in place": ("lower_logit", "z, y, m, s", "z[range(len(y)), y] -= m * s; return z", "changes its argument in place"),
    "all": ("lower_logit", "z, y, m, s", "return z - m * s", "changes no softmax"),
    "no return": ("lower_logit", "z, y, m, s", "z = z - m * s", "returns nothing"),
    "a half": (
        "equal_error_rate",
        "same, other",
        "return ((same < 0.5).sum() / len(same) + (other >= 0.5).sum() / len(other)) / 2",
        "not fixed at 0.5",
    ),
    "the threshold": (
        "equal_error_rate",
        "same, other",
        "t = torch.cat([same, other]).sort().values; gaps = [abs((same < x).float().mean() - (other >= x).float().mean()) "
        "for x in t]; return t[gaps.index(min(gaps))]",
        "the question was for the rate",
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_student_writes_gets_the_hint_for_it(name, capsys):
    exercise, arguments, body, said = WRITTEN[name]
    space = {"torch": torch, "check": check}
    exec(f"def mine({arguments}):\n{textwrap.indent(body, '    ')}\ncheck.{exercise}(mine)", space)
    printed = capsys.readouterr().out
    assert printed.startswith(WRONG) and said in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (torch.ones(2), f"{WRONG}hand over the function itself, not what it returns: check.double(double)."),
        (lambda: 1, f"{WRONG}it stops with TypeError: "),
        (lambda x: 1 / 0, f"{WRONG}it stops with ZeroDivisionError: division by zero"),
        (lambda x: {}[f"\x1b[31m{x}"], f"{WRONG}it stops with KeyError: "),
        (lambda x: [2 * x, 3 * x], f"{WRONG}it returns a list: return one number or one tensor."),
        (lambda x: "two", f"{WRONG}it returns a str: return one number or one tensor."),
        (lambda x: torch.stack([2 * x, 3 * x]), f"{WRONG}its answer has the shape (2, 3), it should have (3,)."),
        (lambda x: 2 * x + torch.tensor([0, 0, 1]), f"{WRONG}the shape is right, but its answer[2] is 5, it should be 4."),
        (lambda x: x * torch.nan, f"{WRONG}the shape is right, but its answer[0] is nan, it should be 0."),
        (lambda x: x.mul_(2), f"{WRONG}it changes its argument in place"),
    ],
)
def test_any_other_answer_is_explained(function, said):
    double = Exercise("double", lambda x: 2 * x, [(torch.arange(3),)], "doubled.", [])
    verdict = double.verdict(function)
    assert verdict.startswith(said) and verdict.isprintable()


def test_an_answer_may_be_a_number_of_any_kind_and_may_carry_a_gradient():
    double = Exercise("double", lambda x: 2 * x, [(1.5,)], "doubled.", [])
    for answer in (3, 3.0, torch.tensor(3), torch.tensor([3.0], requires_grad=True), torch.tensor(3.0).numpy()):
        assert double.verdict(lambda x, answer=answer: answer) == f"{RIGHT}doubled."


def test_a_stub_without_a_task_is_named_too():
    def stub(x):
        raise NotImplementedError

    assert Exercise("double", abs, [(1,)], "", []).verdict(stub) == f"{YOUR_TURN}write this function."
