"""What a wheel carries: a sub-package that it lacked would be missed by nobody who works in a checkout."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
WORK = """
import sys
from pathlib import Path
import speaker_lib
from speaker_lib.cli.main import main
assert Path(sys.prefix) in Path(speaker_lib.__file__).parents, speaker_lib.__file__
assert main(["simulate", "voices", "--speakers", "3", "--utterances", "8", "--workers", "1"]) == 0
assert main(["train", "--data", "voices", "--run", "run", "--preset", "laptop_baseline", "--steps", "2"]) == 0
assert main(["evaluate", "--data", "voices", "--run", "run"]) == 0
from speaker_lib.course.quizzes import questions
assert len(questions(1)) == 5
from speaker_lib.utils.language import languages
assert languages() == ['en', 'zh-TW']
assert Path(speaker_lib.__file__).with_name("course").joinpath("own_voice.js").is_file()
"""


def run(*command: object, cwd: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of a fresh environment with the wheel; the packages that it needs are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    run("git", "clone", "--quiet", REPO, folder / "source", cwd=folder)  # a build leaves folders behind
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", folder / "source", "-w", folder, cwd=folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "environment", cwd=folder)
    fresh = folder / "environment" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", fresh, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    site = subprocess.run(
        [fresh, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    Path(site.stdout.strip(), "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return fresh


@pytest.mark.skipif(os.name != "posix", reason="the folders of an environment have other names")
def test_simulate_train_and_evaluate_run_from_a_wheel(python, tmp_path):
    run(python, "-c", WORK, cwd=tmp_path)
