"""Packages that the kit can do without: missing or broken, each is reported in one sentence."""

import os
import sys

import pytest

from speaker_lib.utils.errors import SpeakerError
from speaker_lib.utils.optional import optional

from .conftest import command


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package whose import runs some code."""
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name, code: (tmp_path / f"{name}.py").write_text(code)


def test_a_package_that_works_is_returned(package):
    package("works_well", "answer = 42")
    assert optional("works_well", "answering").answer == 42
    assert optional("importlib.util", "looking").find_spec


def test_a_missing_package_is_one_sentence():
    with pytest.raises(SpeakerError, match=r"^drawing needs the package no_such_package: run `pip install no_such_package`\.$"):
        optional("no_such_package.figure", "drawing")


@pytest.mark.parametrize(
    "raised",
    [
        "ImportError('Numba needs NumPy 2.4 or less')",
        "OSError('libfoo.so: cannot open shared object file')",
        "RuntimeError('cannot cache function: no locator available')",
        "AttributeError('_ARRAY_API not found')",
        "ValueError('numpy.dtype size changed, may indicate binary incompatibility')",
        "ModuleNotFoundError(\"No module named 'its_own_need'\", name='its_own_need')",
        "SystemError('two lines\\nof text')",
        "KeyError('\\x1b[31mred')",
    ],
)
def test_a_package_whose_import_fails_is_one_sentence(package, raised):
    package("breaks", f"raise {raised}")
    with pytest.raises(SpeakerError) as caught:
        optional("breaks", "drawing")
    sentence = str(caught.value)
    assert sentence.startswith(f"drawing needs the package breaks, which is installed but fails ({raised.partition('(')[0]}: ")
    assert sentence.endswith("): run `pip install --force-reinstall breaks`.") and sentence.isprintable()


def test_a_missing_system_library_is_named(package, monkeypatch):
    package("soundfile", "raise OSError('sndfile library not found using ctypes.util.find_library')")
    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    with pytest.raises(SpeakerError, match=r"sndfile library not found .*: install libsndfile .*apt-get install libsndfile1"):
        optional("soundfile", "reading recordings")


@pytest.mark.parametrize("code", ["raise ValueError('numpy.dtype size changed')", "raise ModuleNotFoundError(name='matplotlib')"])
def test_a_command_that_draws_ends_in_a_sentence(uninterrupted, tmp_path, code):
    (tmp_path / "matplotlib.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = command("compare", uninterrupted.folder, "--out", tmp_path / "c.png", env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 1 and "drawing figures needs the package matplotlib" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "c.png").exists()
