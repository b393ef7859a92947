"""The main job on people's voices, in short: recordings to a corpus, a trained model, a name for an unheard recording.

Uses LibriSpeech beside the checkout (CC BY 4.0); skipped where it is not.
"""

import json
import shutil

import pytest

from speaker_lib import PRESETS, Run

from .conftest import command

STEPS = 150


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
        done = command("prepare", held_out / part, held_out / f"{part}-corpus", "--chunk", 2)
        assert done.returncode == 0, done.stderr
        assert "10 speakers" in done.stdout and "0 skipped" in done.stdout
    done = command(
        "train", "--data", held_out / "known-corpus", "--preset", "laptop_tuned", "--run", held_out / "run",
        "--steps", STEPS, "--set", "train.split=session",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return held_out / "run"


def test_people_are_recognised_in_recordings_that_were_not_trained_on(held_out, run):
    own = json.loads(command("evaluate", "--data", held_out / "known-corpus", "--run", run, "--json").stdout)
    new = json.loads(command("evaluate", "--data", held_out / "unheard-corpus", "--run", run, "--json", "--all").stdout)
    print(f"held-out sessions {own['full']}, unheard recordings {new['full']}")
    assert own["full"]["accuracy"] >= 0.95 and new["full"]["accuracy"] >= 0.9
    assert Run.open(run).preset.model == PRESETS["laptop_tuned"].override({"model.n_speakers": 10}).model


def test_an_unheard_recording_is_given_its_speakers_name(held_out, run):
    right = 0
    for speaker in sorted((held_out / "unheard").iterdir())[::3]:
        (recording,) = speaker.glob("*.flac")
        done = command("identify", "--run", run, recording)
        assert done.returncode == 0, done.stderr
        right += done.stdout.split()[1] == speaker.name
    assert right >= 3  # of four
