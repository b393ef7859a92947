"""The main job on people's voices, in short: recordings to a corpus, a trained model, a name for an unheard recording.

Uses LibriSpeech beside the checkout (CC BY 4.0); skipped where it is not.
"""

import json
import shutil

import pytest
import torch

from speaker_lib import PRESETS, Classifier, Corpus, Run
from speaker_lib.training.checkpoints import Checkpoints
from speaker_lib.training.distributed import ALONE
from speaker_lib.training.run import weights_bytes

from .conftest import call, command

STEPS = 140


@pytest.fixture(scope="module")
def held_out(speech, tmp_path_factory):
    """The last recording of each speaker, which nothing is trained on; and the others."""
    folder = tmp_path_factory.mktemp("speech")
    for speaker in sorted(p for p in speech.iterdir() if p.is_dir()):
        *known, unheard = sorted(speaker.glob("*.flac"))
        for part, paths in (("known", known), ("unheard", [unheard])):
            (folder / part / speaker.name).mkdir(parents=True)
            for path in paths:
                shutil.copy(path, folder / part / speaker.name)
    return folder


@pytest.fixture(scope="module")
def run(held_out):
    for part in ("known", "unheard"):
        done = command("prepare", held_out / part, held_out / f"{part}-corpus", "--chunk", 2, "--session-from", "file")
        assert done.returncode == 0, done.stderr
        assert "10 speakers" in done.stdout and "0 skipped" in done.stdout
    done = command(
        "train", "--data", held_out / "known-corpus", "--preset", "laptop_tuned", "--run", held_out / "run",
        "--steps", STEPS, "--set", "train.split=session", "--set", "train.batch_size=16",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return held_out / "run"


def test_people_are_recognised_in_recordings_that_were_not_trained_on(held_out, run):
    own = json.loads(call("evaluate", "--data", held_out / "known-corpus", "--run", run, "--json").stdout)
    new = json.loads(call("evaluate", "--data", held_out / "unheard-corpus", "--run", run, "--json", "--all").stdout)
    print(f"held-out sessions {own['full']}, unheard recordings {new['full']}")
    assert own["full"]["accuracy"] >= 0.95 and new["full"]["accuracy"] >= 0.9
    assert Run.open(run).preset.model == PRESETS["laptop_tuned"].override({"model.n_speakers": 10}).model


def test_an_unheard_recording_is_given_its_speakers_name(held_out, run):
    right = 0
    for speaker in sorted((held_out / "unheard").iterdir())[::3]:
        (recording,) = speaker.glob("*.flac")
        done = call("identify", "--run", run, recording)
        assert done.returncode == 0, done.stderr
        right += done.stdout.split()[1] == speaker.name
    assert right >= 3  # of four


def test_people_that_a_run_never_heard_are_told_apart(held_out, run, simulated, tmp_path):
    """Even by weights that never heard anybody, for the spectrum passes through them; better by some that know these people."""
    untrained = Run.create(tmp_path / "untrained", PRESETS["laptop_tuned"], Corpus.open(simulated))
    torch.manual_seed(0)
    Checkpoints(untrained, ALONE).write("model.safetensors", weights_bytes(Classifier(untrained.preset.model)))
    found = {}
    for folder in (untrained.folder, run):
        done = call("verify", "--run", folder, "--data", held_out / "known-corpus", "--all", "--trials", 4_000, "--json")
        assert done.returncode == 0, done.stderr
        found[folder] = json.loads(done.stdout)
    print(f"untrained {found[untrained.folder]}, trained {found[run]}")
    assert all(result["n_speakers"] == 10 and result["n_targets"] == 2_000 for result in found.values())
    assert found[run]["eer"] < 0.1 < found[untrained.folder]["eer"] < 0.35
