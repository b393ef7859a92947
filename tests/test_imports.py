"""The floors of the house: a module imports from floors below it or beside it, never in a circle, and lightly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import speaker_lib

PACKAGE = Path(speaker_lib.__file__).parent
FLOORS = [
    # what lies on disk, audio to mel, simulated voices, plain settings
    "errors settings config presets files progress parallel report interrupt devices distributed layout packing corpus features "
    "prepare voices rooms simulate phantoms standin profiles subset",
    # mathematics | batches
    "layers conformer encoders pooling heads model losses augment placement splits data costs inspection",
    "state diagnosis checkpoint saving logbook step training",  # the loop
    # numbers about a trained model
    "evaluation averaging replicas embeddings trials verification tables ablation ladder conclusions",
    "plots plots_speech plots_model plots_ablation plots_embeddings plots_margin widgets",  # pictures
    "lesson preflight cli cli_train cli_judge cli_embeddings __main__ __init__",  # what people touch
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}


def imports_of(module: str) -> set[str]:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module}


def test_every_module_has_a_floor():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(FLOOR_OF)


@pytest.mark.parametrize("module", FLOOR_OF)
def test_imports_go_down(module):
    above = {name for name in imports_of(module) if FLOOR_OF[name] > FLOOR_OF[module]}
    assert above == set()


def test_no_circle():
    waiting = {module: imports_of(module) for module in FLOOR_OF}
    while waiting:
        free = {module for module, needs in waiting.items() if not needs & waiting.keys()}
        assert free, f"these import each other in a circle: {sorted(waiting)}"
        waiting = {module: needs for module, needs in waiting.items() if module not in free}


def test_the_model_knows_nothing_of_files_and_the_data_nothing_of_models():
    parts = {"layers", "conformer", "encoders", "pooling", "heads"}
    assert set.union(*(imports_of(name) for name in parts | {"model"})) == parts | {"config"}
    assert "model" not in imports_of("data")


def test_no_module_holds_two_ideas():
    assert {p.name: n for p in PACKAGE.glob("*.py") if (n := len(p.read_text().splitlines())) > 300} == {}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_core_imports_without_audio_plots_and_widgets():
    absent = "librosa soundfile ipywidgets matplotlib IPython sklearn scipy"
    python(  # None in sys.modules makes an import fail
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}.split()))\n"
        "import speaker_lib, speaker_lib.simulate, speaker_lib.prepare, speaker_lib.tables, speaker_lib.cli"
    )


def test_the_settings_need_no_torch():
    assert imports_of("config") == {"errors", "settings"}
    sources = [(PACKAGE / f"{name}.py").read_text() for name in ("config", "errors", "settings", "presets")]
    assert "import torch" not in "".join(sources)


def test_reading_audio_without_its_packages_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['soundfile'] = None\nfrom speaker_lib.features import read_audio\n"
        "try: read_audio('a.wav')\nexcept Exception as e: print(e)"
    )
    assert "pip install soundfile librosa" in python(code)
