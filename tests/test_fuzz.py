"""Fuzzing: what the kit reads from outside, changed at random.

The files of a stranger (data sets, recordings, a downloaded run) get every change; those that only the kit writes may be
missing, cut short, or no such file.  A command then either does its work (the change was harmless) or ends with one sentence
that names the file, with exit code 1 (2 for values of the command line).  In that case nothing that was there has changed and
nothing is new, but for ``packed/``, a cache.
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

import numpy as np
import pytest
import soundfile
import soxr
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
SAID = re.compile(
    r"(skipped|warning|note): |No utterance of |Step \d+, best model saved|(\S+/seed\d+: )?At step \d+ the validation accuracy"
    r"|.* holds all [\d,]+ steps of this run, so nothing is trained"
    r"|No font here has "
)
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


def _stop_at_40(row: dict[str, float]) -> None:
    if row["step"] == 40:
        raise StopTraining


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("fuzz")
    good = root / "good"
    corpus = Corpus.open(write_corpus(good / "data", n_utterances=4, n_test=2))
    for name, callbacks in (("run", []), ("half", [_stop_at_40])):
        train(run := Run.create(good / name, PRESET, corpus), corpus, callbacks=callbacks)
        run.save_evaluation(evaluate(run, corpus, get_device())[0].to_dict())
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
        soxr.resample(rng.normal(size=8_000), 44_100, 16_000)
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
        "resume": (["train", *data, "--run", case / "half", "--resume"], RUN_FILES + "|half/evaluation.json"),
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
    if command == "train":
        with contextlib.suppress(Exception):  # settings that ask for more steps are no bad input, but take their time
            command = "evaluate" if Run.open(case / "run").preset.train.total_steps > 60 else command
    new = command == "train" and not (case / "run/config.json").exists()  # a new run, and no preset was named
    arguments, may_write = _arguments(case, command)
    check(world, arguments, ["--preset"] if new else [str(path), str(path.parent)], may_write, usage=new)


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
    old = {"speaker": "recordings/ada", "recording": "recordings/ada/a.wav"}.get(what, what)
    new = (case / old).with_name(name + {"recording": ".wav", "out": ".csv"}.get(what, ""))
    if what != "out":
        (case / old).rename(new)
    train = ["train", "--data", new, "--run", case / "new", "--preset", "laptop_baseline", "--steps", "1"]
    prepare = ["prepare", new if what == "recordings" else case / "recordings", case / "out", "--workers", "1"]
    arguments, may_write = {
        "data": (train, "new(/.*)?"),
        "run": (["compare", new, "--out", case / "out.svg"], "out.svg"),
        "out": (["predict", "--data", case / "data", "--run", case / "run", "--out", new], re.escape(new.name)),
    }.get(what, (prepare, "out(/.*)?"))
    check(world, arguments, ["characters that cannot be shown", str(case)], may_write)


def _value(world: World, option: str, name: str, word: str) -> None:
    """What is not valid must be refused before anything is read: the data folder that is named is not there."""
    case = world.fresh()
    arguments, may_write = ["train", "--data", case / "nowhere", "--preset", "baseline", "--run", case / "new"], "$^"
    if option == "--chunk":
        shutil.rmtree(case / "recordings/ada")
        arguments, may_write = _arguments(case, "prepare")
    words, named = [f"{option}={word}"], ["train.", "nowhere", option]
    if option == "--set":
        words, named = ["--set", f"{name}={word}"], ["model.", "setting", *named]
    check(world, [*arguments, *words], ["chunk"] if option == "--chunk" else named, may_write, usage=True)


Body = tuple[int, Callable[..., None], dict[str, st.SearchStrategy]]  # how many examples, what is done, with what is drawn


def _file(n: int, where: str, kinds: tuple[fuzzing.Mutator, ...], commands: str, unpacked: float = 0.0) -> Body:
    rng = st.integers(0, 2**32 - 1).map(random.Random)
    drawn = {"mutate": st.sampled_from(kinds), "command": st.sampled_from(commands.split()), "rng": rng}
    return n, functools.partial(_spoil, where=where, unpacked=unpacked), drawn


OPTIONS = ("--set", "--set", "--steps", "--seeds", "--chunk")
BODIES = {  # by the name of what is spoiled
    "an index": _file(80, "data/*.json", fuzzing.INDEX, "evaluate check predict train embed verify", unpacked=0.5),
    "a feature": _file(60, "data/uttr-*.pt", fuzzing.FEATURE, "evaluate check predict train embed verify", unpacked=1.0),
    "pairs of utterances": _file(40, "pairs.txt", fuzzing.LINES, "verify"),
    "a recording": _file(50, "recordings/ada/*.wav", fuzzing.AUDIO, "identify prepare"),
    "settings": _file(60, "run/config.json", fuzzing.JSON, "evaluate compare identify train average verify"),
    "weights": _file(40, "run/model.safetensors", fuzzing.WEIGHTS, "evaluate identify average embed"),
    "a pack": _file(12, "data/packed/*.npy", fuzzing.PACK, "check evaluate predict"),
    "a state": _file(8, "half/resume.pt", fuzzing.STATE, "resume"),
    "results": _file(8, "run/[em]*.json*", fuzzing.BROKEN, "compare"),  # evaluation.json, metrics.jsonl
    "a name": (25, _name, {"name": st.sampled_from(FILE_NAMES), "what": st.sampled_from(NAMED)}),
    "a value": (50, _value, {k: st.sampled_from(v) for k, v in (("option", OPTIONS), ("name", NAMES), ("word", WORDS))}),
}
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
