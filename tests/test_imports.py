"""What importing the library costs and needs."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import speaker_lib
from tools.house import PICTURE, house
from tools.project import Project
from tools.reference import PAGE, reference

PACKAGE = Path(speaker_lib.__file__).parent


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_no_module_holds_two_ideas():
    assert {p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 300} == {}


def test_the_library_its_settings_and_its_command_line_start_without_pytorch():
    """What a program imports when it starts, not what its source says: an import may hide in a package's ``__init__``."""
    loaded = python(
        "import sys, speaker_lib, speaker_lib.config.schema, speaker_lib.config.presets, speaker_lib.cli.main\n"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    assert loaded == "[]"


def test_the_core_imports_without_audio_plots_and_widgets():
    absent = "soxr soundfile ipywidgets matplotlib IPython sklearn scipy"
    python(  # None in sys.modules makes an import fail
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}.split()))\n"
        "import speaker_lib, speaker_lib.simulation.corpus, speaker_lib.data.recordings, speaker_lib.experiments.tables\n"
        "import speaker_lib.cli.main"
    )


PACKAGES = ["data", "models", "training", "simulation", "evaluation", "experiments", "plots", "course"]


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_package_offers_can_be_imported_from_it(name):
    package = importlib.import_module(f"speaker_lib.{name}")
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    for module in modules:  # whatever was imported before
        importlib.import_module(f"{package.__name__}.{module}")
    assert package.__all__ and set(package.__all__) <= set(dir(package)) and not set(package.__all__) & set(modules)
    for public in package.__all__:
        assert not isinstance(getattr(package, public), types.ModuleType)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {package.__name__} import nothing")


def test_lessons_import_from_packages_and_a_name_loads_no_other_package():
    for lesson in Path(__file__).parents[1].glob("notebooks/*.py"):
        assert re.findall(r"speaker_lib\.\w+\.\w+ import", lesson.read_text(encoding="utf-8")) == []
    assert python("import sys, speaker_lib.plots, speaker_lib.course; print('matplotlib' in sys.modules)") == "False"


def test_the_picture_of_the_library_is_today_s():
    project = Project.read()
    assert (project.root / PICTURE).read_text(encoding="utf-8") == house(project), "draw it anew: make house"


def test_the_reference_is_today_s():
    assert (Project.read().root / PAGE).read_text(encoding="utf-8") == reference(), "write it anew: make reference"


def test_the_reading_path_is_short():
    page = Project.read().root / "docs" / "library.md"
    listed = re.findall(r"^\d+\. \[`[a-z_/]+\.py`\]\((.+)\)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == 15
    assert sum(len((page.parent / path).read_text(encoding="utf-8").splitlines()) for path in listed) <= 1500


def test_the_examples_in_docstrings_say_what_comes_out():
    names = [module.name for module in pkgutil.walk_packages(speaker_lib.__path__, "speaker_lib.")]
    modules = [speaker_lib, *(importlib.import_module(name) for name in names if not name.endswith("__main__"))]
    results = {module.__name__: doctest.testmod(module) for module in modules}
    assert {name: result for name, result in results.items() if result.failed} == {}
    assert sum(result.attempted for result in results.values()) >= 4


def test_reading_audio_without_its_packages_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['soundfile'] = None\nfrom speaker_lib.sound.reading import read_audio\n"
        "try: read_audio('a.wav')\nexcept Exception as e: print(e)"
    )
    assert "pip install soundfile soxr" in python(code)
