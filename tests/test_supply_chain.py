"""What comes from elsewhere: packages, workflows, files of strangers; and that nothing is fetched behind one's back."""

import ast
import json
import re
import socket
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import pytest_socket

from tools import audit
from tools.__main__ import main
from tools.project import tomllib

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("speaker_lib/**/*.py"), *ROOT.glob("tools/*.py"), *ROOT.glob("benchmarks/*.py")])

WITHOUT_NETWORK = """
import socket, sys
def refuse(*_, **__):
    raise SystemExit("something asked for the network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
import importlib
import pkgutil, speaker_lib
for module in pkgutil.walk_packages(speaker_lib.__path__, "speaker_lib."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from speaker_lib.cli.main import main
data, run = sys.argv[1] + "/voices", sys.argv[1] + "/run"
assert main(["simulate", data, "--speakers", "3", "--utterances", "8", "--workers", "1"]) == 0
assert main(["train", "--data", data, "--run", run, "--preset", "laptop_baseline", "--steps", "2"]) == 0
assert main(["evaluate", "--data", data, "--run", run]) == 0
print("done")
"""


def test_neither_import_nor_work_asks_for_the_network(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_NETWORK, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr


@pytest.mark.filterwarnings("ignore:A test tried to use socket")  # it warns before it raises
def test_the_tests_themselves_reach_this_machine_only():
    with pytest.raises(pytest_socket.SocketConnectBlockedError), socket.socket() as outside:
        outside.connect(("192.0.2.1", 80))  # an address kept for documentation


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_a_file_holds(path):
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not imported & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
    for name, call in calls(tree):
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in ("eval", "exec", "torch.jit.load", "os.system"), name
        assert name == "yaml.safe_load" or not name.startswith("yaml.") or "dump" in name, name
        if name == "torch.load":
            assert said.get("weights_only") == "True"
        assert said.get("allow_pickle", "False") == "False" and said.get("shell", "False") == "False"


def test_the_check_above_can_fail():
    with pytest.raises(AssertionError):
        test_no_source_runs_what_a_file_holds(_Source("import torch\ntorch.load('a.pt')"))
    with pytest.raises(AssertionError):
        test_no_source_runs_what_a_file_holds(_Source("import pickle"))


class _Source:
    def __init__(self, text: str) -> None:
        self.text = text

    def read_text(self) -> str:
        return self.text


def test_workflows_are_pinned_and_may_only_read():
    workflows = list(ROOT.glob(".github/workflows/*.yml"))
    assert workflows
    for workflow in workflows:
        text = workflow.read_text()
        assert re.search(r"^permissions:\n  contents: read$", text, re.MULTILINE)
        assert "pull_request_target" not in text and "secrets." not in text
        written = set(re.findall(r"^ +(\S+): write$", text, re.MULTILINE))
        assert written <= ({"pages", "id-token"} if workflow.stem == "site" else set())  # to publish the pages, nothing else
        used = re.findall(r"uses: (\S+)", text)
        assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used)
        assert "persist-credentials: false" in text


def third_party(folder: Path) -> set[str]:
    """What the modules of a package import from elsewhere, at any level: the names of distributions."""
    modules: set[str] = set()
    for tree in map(ast.parse, (path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "optional":  # speaker_lib.utils.optional
                constants = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                modules.add(str(constants[0]).split(".")[0])  # also of f"sklearn.{name}"
    outside = modules - sys.stdlib_module_names - {folder.name, "google"}  # google.colab is there on Colab only
    provided = packages_distributions()
    return {normal(provided[module][0]) for module in outside}


def normal(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")


def test_every_package_that_the_library_imports_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {normal(line) for group in project["optional-dependencies"].values() for line in group}
    declared |= {normal(line) for line in project["dependencies"]}
    for_readers = {normal(line) for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()}
    imported = third_party(ROOT / "speaker_lib")
    assert {"torch", "scikit-learn", "psutil"} <= imported
    assert imported - declared == set() and imported - for_readers == set()


def answer(monkeypatch, stdout: str = "", stderr: str = "") -> None:
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, stdout, stderr))


def test_a_known_hole_is_an_error(monkeypatch, capsys):
    packages = [
        {"name": "jinja2", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"]}]},
        {"name": "numpy", "version": "2.0", "vulns": []},
        {"name": "torch", "skip_reason": "not found"},
    ]
    answer(monkeypatch, json.dumps({"dependencies": packages}))
    assert main(["audit"]) == 1
    out = capsys.readouterr().out
    assert "2 of 3 packages looked up, 1 known holes" in out
    assert "error: jinja2 2.0 has a known hole, PYSEC-1: raise it in constraints.txt to 2.1 or 3.0." in out


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ("", "Traceback\nConnectionError: no route", "could not ask anybody (ConnectionError: no route)"),
        ('{"dependencies": [{"name": "numpy", "skip_reason": "not found"}]}', "", "of 1 packages none could be looked up"),
    ],
)
def test_where_nobody_can_be_asked_that_is_said_aloud(monkeypatch, capsys, stdout, stderr, said):
    answer(monkeypatch, stdout, stderr)
    assert main(["audit"]) == 0
    out = capsys.readouterr().out
    assert "Audit SKIPPED" in out and said in out


def test_an_audit_does_not_wait_for_ever(monkeypatch, capsys):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(audit.subprocess, "run", hang)
    assert main(["audit"]) == 0 and "Audit SKIPPED: no answer after" in capsys.readouterr().out
