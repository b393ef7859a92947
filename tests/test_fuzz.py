"""Bad input, systematically: what the kit reads from outside, changed at random.

The files of a stranger - data sets, recordings, a downloaded run - get every change; those that only the kit itself writes
may be missing, cut short, no such file, or of another model.  Whatever comes, a command either does its work (the change was
harmless) or ends with one sentence that names the file, with exit code 1 (2 for values of the command line).  Then nothing
that was there has changed and nothing is new, but for ``packed/``, a cache.
"""

from __future__ import annotations

import contextlib
import functools
import random
import re
import resource
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from speaker_lib import Corpus, Run, train
from speaker_lib.evaluation.identification import evaluate
from speaker_lib.training.loop import StopTraining
from speaker_lib.utils.device import get_device
from speaker_lib.utils.errors import is_text

from . import fuzzing
from .conftest import call, write_corpus
from .test_training import PRESET

MOST_GROWTH = 300  # MB of memory, over all cases
BAR = re.compile(r"(Pack|Check|Train|Valid|Full|Crop|Prepare): ")
SAID = re.compile(r"skipped: |Step \d+, best model saved|(\S+/seed\d+: )?At step \d+ the validation accuracy")
PACKED = re.compile(r"data/packed(/|$)")


@dataclass
class World:
    """Good files, a copy of them to spoil, and how many commands did what."""

    pristine: Path
    case: Path
    counts: Counter = field(default_factory=Counter)
    memory: float = 0.0

    def fresh(self) -> Path:
        shutil.rmtree(self.case, ignore_errors=True)
        shutil.copytree(self.pristine, self.case, symlinks=True)
        return self.case


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)  # MB


def _small_run(folder: Path, corpus: Corpus, until: int = 60) -> None:
    def stop(row: dict[str, float]) -> None:
        if row["step"] == until < 60:
            raise StopTraining

    train(run := Run.create(folder, PRESET, corpus), corpus, callbacks=[stop])
    run.save_evaluation(evaluate(run, corpus, get_device())[0].to_dict())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("fuzz")
    good = root / "good"
    corpus = Corpus.open(write_corpus(good / "data", n_utterances=4, n_test=2))
    _small_run(good / "run", corpus)
    _small_run(good / "half", corpus, until=40)
    rng = np.random.default_rng(0)
    for speaker in ("ada", "bo"):
        (good / "recordings" / speaker).mkdir(parents=True)
        soundfile.write(good / "recordings" / speaker / "a.wav", rng.normal(0, 0.1, 8_000), 16_000)
    paths = corpus.labelled.paths  # four of each speaker
    (good / "pairs.txt").write_text(f"1 {paths[0]} {paths[1]}\n0 {paths[0]} {paths[4]}\n0 {paths[1]} {paths[4]}\n")
    fuzzing.Evil.mark = root / "owned"
    made = World(good, root / "case")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEAKER_CACHE", str(root / "cache"))
        made.fresh()
        for arguments in ("compare case/run --out case/c.svg", "identify --run case/run case/recordings/ada/a.wav"):
            call(*[str(root / word) if word.startswith("case/") else word for word in arguments.split()])  # loads what they need
        librosa.resample(rng.normal(size=8_000), orig_sr=44_100, target_sr=16_000)
        made.memory = _memory()
        yield made


def _snapshot(root: Path) -> dict[str, object]:
    def content(path: Path) -> object:
        return path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None

    return {path.relative_to(root).as_posix(): content(path) for path in sorted(root.rglob("*"))}


def check(world: World, arguments: list[object], named: list[str], may_write: str, usage: bool = False) -> None:
    """Runs a command over the spoiled copy and holds it to what the head of this file says.

    ``named`` are the words of which the sentence must hold one, ``may_write`` a pattern for the files that the command is
    there to write, relative to the copy.
    """
    before = _snapshot(world.case)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph|constrained_layout|Tight layout")  # a font without that character
        done = call(*arguments)
    code, out, err = done.returncode, done.stdout, done.stderr
    world.counts["harmless" if code == 0 else "refused"] += 1
    after = _snapshot(world.case)
    assert not fuzzing.Evil.mark.exists(), "a pickle was believed"
    assert code in ((0, 1, 2) if usage else (0, 1)), err
    new = {name for name in before.keys() | after.keys() if before.get(name, "") != after.get(name, "")}
    allowed = may_write if code == 0 else "$^"
    assert not {name for name in new if not (re.fullmatch(allowed, name) or PACKED.match(name))}, (code, err)
    assert is_text(out.replace("\n", "")), out
    lines = [line for line in re.split(r"[\r\n]", err) if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    if code == 0:
        assert not told and all(BAR.match(line) or SAID.match(line) for line in lines), err
        return
    if usage and code == 2 and not told:  # argparse's own: usage, then its sentence
        told = [lines[-1].partition(": ")[2]]
    else:
        assert all(len(line) < 2_000 for line in told), told
        assert all(BAR.match(line) or SAID.match(line) or line in told for line in lines), err
    assert len(told) == 1 or (arguments[0] == "check" and told), err
    assert any(word in told[0] for word in named), told
    assert is_text(told[0]), told


RUN_FILES = r"(run|half)/(config\.json|metrics\.jsonl|model\.safetensors|resume\.pt|\.lock)"


def _arguments(case: Path, command: str) -> tuple[list[object], str]:
    """A command over the copy, and what it is there to write."""
    data, run = ["--data", case / "data"], ["--run", case / "run"]
    return {
        "check": (["check", case / "data"], "$^"),
        "train": (["train", *data, *run, "--resume"], RUN_FILES),
        "go on": (["train", *data, "--run", case / "half", "--resume"], RUN_FILES + "|half/evaluation.json"),
        "evaluate": (["evaluate", *data, *run], "run/evaluation.json"),
        "predict": (["predict", *data, *run, "--out", case / "out.csv"], "out.csv"),
        "average": (["predict", *data, case / "run", case / "half", "--out", case / "out.csv"], "out.csv"),
        "embed": (["embed", *data, *run, "--all", "--out", case / "out.npz"], "out.npz"),
        "verify": (["verify", *data, *run, "--pairs", case / "pairs.txt"], "$^"),
        "compare": (["compare", case / "run", "--out", case / "out.svg"], "out.svg"),
        "identify": (["identify", *run, case / "recordings/ada/a.wav"], "$^"),
        "prepare": (["prepare", case / "recordings", case / "out", "--workers", "1"], "out(/.*)?"),
    }[command]


def _spoil(world: World, where: str, mutate: fuzzing.Mutator, command: str, rng: random.Random, unpacked: float = 0.0) -> None:
    case = world.fresh()
    if rng.random() < unpacked:
        shutil.rmtree(case / "data/packed")
    path = rng.choice(sorted(case.glob(where)))
    mutate(path, rng)
    arguments, may_write = _arguments(case, command)
    check(world, arguments, [str(path), str(path.parent)], may_write)


def _config(world: World, mutate: fuzzing.Mutator, command: str, rng: random.Random) -> None:
    case = world.fresh()
    path = case / "run/config.json"
    mutate(path, rng)
    if command == "train":
        with contextlib.suppress(Exception):  # what asks for more steps is no bad input, but takes its time
            if Run.open(case / "run").preset.train.total_steps > 60:
                command = "evaluate"
    arguments, may_write = _arguments(case, command)
    gone = command == "train" and not path.exists()  # then there is no run to go on with, and no preset was named
    check(world, arguments, [str(path), str(path.parent), "--preset" if gone else str(path)], may_write, usage=gone)


WORDS = (
    *("", "0", "-1", "1e400", "nan", "inf", "9" * 5000, "9" * 30, "2147483647", "2147483648", "x", "\ud800", "a\nb", "\x1b[2J"),
    *("1,\n1", "1,,2", "1,2,1", "3.5", "0x10", "true", "1e308", "0.05", "=", "１", "--", "$(id)", "1_0", "7201"),
)
# Without a slash: they are to be files. The half character stands for a byte that is not UTF-8.
FILE_NAMES = (
    *("\udce9", "a\nb", "\x1b[2J", "$\\frac{$", "\u202eevil", "x" * 200, "宋\u3000玉"),
    *("_hidden", "-x", "ünï", "{}", "a b", "%s"),
)
NAMES = (
    *("model.d_model", "model.nhead", "model.num_layers", "model.dim_feedforward", "model.n_speakers", "model.norm"),
    *("model.dropout", "train.batch_size", "train.segment_len", "train.total_steps", "train.learning_rate", "train.seed"),
    *("train.save_minutes", "train.split", "train.valid_fraction", "x.y", "", "model.", "model.__class__", "train"),
    *("\ud800", "\x1b[2J\n"),
)
NAMED = ("speaker", "recording", "recordings", "data", "run", "out")


def _name(world: World, name: str, what: str) -> None:
    """Files and folders with names that no index, and perhaps no terminal, can hold."""
    case = world.fresh()
    if what in ("speaker", "recording", "recordings"):
        old = {"speaker": "recordings/ada", "recording": "recordings/ada/a.wav", "recordings": "recordings"}[what]
        new = (case / old).rename((case / old).with_name(name + ".wav" * (what == "recording")))
        folder = new if what == "recordings" else case / "recordings"
        arguments, may_write = ["prepare", folder, case / "out", "--workers", "1"], "out(/.*)?"
    elif what == "data":
        folder = (case / "data").rename(case / name)
        arguments = ["train", "--data", folder, "--run", case / "new", "--preset", "laptop_baseline", "--steps", "1"]
        may_write = "new(/.*)?"
    elif what == "run":
        folder = (case / "run").rename(case / name)
        arguments, may_write = ["compare", folder, "--out", case / "out.svg"], "out.svg"
    else:
        arguments = ["predict", "--data", case / "data", "--run", case / "run", "--out", case / f"{name}.csv"]
        may_write = re.escape(f"{name}.csv")
    check(world, arguments, ["characters that cannot be shown", str(case)], may_write)


def _value(world: World, option: str, name: str, word: str) -> None:
    """What is not valid must be refused before anything is read: the data folder that is named is not there."""
    case = world.fresh()
    train_with = ["train", "--data", case / "nowhere", "--preset", "baseline", "--run", case / "new"]
    if option == "--set":
        check(
            world, [*train_with, "--set", f"{name}={word}"], ["model.", "train.", "nowhere", "setting", "--set"], "$^", usage=True
        )
    elif option == "--chunk":
        shutil.rmtree(case / "recordings/ada")
        arguments = ["prepare", case / "recordings", case / "out", "--workers", "1", f"--chunk={word}"]
        check(world, arguments, ["chunk"], "out(/.*)?", usage=True)
    else:
        check(world, [*train_with, f"{option}={word}"], ["train.", "nowhere", option], "$^", usage=True)


Body = tuple[int, Callable[..., None], dict[str, st.SearchStrategy]]  # how many examples, what is done, with what is drawn


def _bodies() -> dict[str, Body]:
    """By the name of what is spoiled."""

    def file(n: int, where: str, kinds: tuple[fuzzing.Mutator, ...], *commands: str, unpacked: float = 0.0) -> Body:
        return n, functools.partial(_spoil, where=where, unpacked=unpacked), of(kinds, *commands)

    def of(kinds: tuple[fuzzing.Mutator, ...], *commands: str) -> dict[str, st.SearchStrategy]:
        rng = st.integers(0, 2**32 - 1).map(random.Random)
        return {"mutate": st.sampled_from(kinds), "command": st.sampled_from(commands), "rng": rng}

    reading = ("evaluate", "check", "predict", "train", "embed", "verify")
    options = st.sampled_from(("--set", "--set", "--steps", "--seeds", "--chunk"))
    return {
        "an index": file(80, "data/*.json", fuzzing.INDEX, *reading, unpacked=0.5),
        "a feature": file(60, "data/uttr-*.pt", fuzzing.FEATURE, *reading, unpacked=1.0),
        "pairs of utterances": file(40, "pairs.txt", fuzzing.LINES, "verify"),
        "a recording": file(50, "recordings/ada/*.wav", fuzzing.AUDIO, "identify", "prepare"),
        "settings": (60, _config, of(fuzzing.JSON, "evaluate", "compare", "identify", "train", "average", "verify")),
        "weights": file(40, "run/model.safetensors", fuzzing.WEIGHTS, "evaluate", "identify", "average", "embed"),
        "a state": file(15, "half/resume.pt", fuzzing.STATE, "go on"),
        "validations": file(8, "run/metrics.jsonl", fuzzing.BROKEN, "compare", "train"),
        "an evaluation": file(5, "run/evaluation.json", fuzzing.BROKEN, "compare"),
        "a pack": file(12, "data/packed/*.npy", fuzzing.PACK, "evaluate", "predict"),
        "a name": (25, _name, {"name": st.sampled_from(FILE_NAMES), "what": st.sampled_from(NAMED)}),
        "a value": (50, _value, {"option": options, "name": st.sampled_from(NAMES), "word": st.sampled_from(WORDS)}),
    }


BODIES = _bodies()
TIMES = [1.0, pytest.param(4.5, marks=pytest.mark.long)]  # as many examples; the many are drawn with another seed


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", BODIES)
def test_bad_input_gets_a_sentence(world, name, times):
    examples, body, strategies = BODIES[name]

    @seed(int(times))
    @settings(
        max_examples=round(examples * times),
        derandomize=times == 1.0,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # one change is small already
        suppress_health_check=list(HealthCheck),
    )
    @given(**strategies)
    def one(**drawn: object) -> None:
        body(world, **drawn)

    one()


@pytest.mark.parametrize("times", TIMES)
def test_memory_does_not_grow(world, capsys, times):
    growth = _memory() - world.memory
    with capsys.disabled():
        print(f"\nfuzz: {dict(world.counts)}; memory grew by {growth:.0f} MB")
    assert growth < MOST_GROWTH
