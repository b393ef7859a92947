"""The explorer of mistakes: which utterances were taken for another speaker's, their sound and their figure.

test_browser chooses a mistake in a page.
"""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.colors import to_rgba

from speaker_lib import Classifier, Corpus
from speaker_lib.course import explore_mistakes, mistakes, widgets
from speaker_lib.course.speech import sound_of
from speaker_lib.data.recordings import prepare
from speaker_lib.data.writer import write_subset
from speaker_lib.evaluation import evaluate, find_mistakes, heldout_indices
from speaker_lib.models import attention_maps, pooling_weights
from speaker_lib.plots import mistake_figure
from speaker_lib.plots.style import BLUE, ORANGE, description
from speaker_lib.simulation.corpus import Simulation, simulate, simulated_audio
from speaker_lib.sound.features import HOP, log_mel
from speaker_lib.utils.errors import ConfigError, CorpusError

from .test_enrolment import record, untrained
from .test_inspection import DEEP, is_drawn

CPU = torch.device("cpu")
# Four utterances of six speakers: right, taken for another by a little, and by far; a true speaker who is the unlikeliest.
LOGITS = torch.tensor([[9.0, 0, 0, 0, 0, 0], [0, 1.0, 1.5, 0, 0, 0], [6.0, 0, 0, 2.0, 1.0, -1.0], [0, 0, 0, 0, 4.0, -9.0]])
LABELS = torch.tensor([0, 1, 3, 5])


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Recordings of four speakers, cut into utterances of a second."""
    folder = tmp_path_factory.mktemp("people")
    for speaker in range(4):
        for take in range(3):
            record(folder / "audio" / f"s{speaker}" / f"{take}.wav", speaker, take, 2.6)
    prepare(folder / "audio", folder / "corpus", 1.0, workers=1)
    return Corpus.open(folder / "corpus")


def played(page: str) -> list[str]:
    return re.findall(r'src="data:audio/wav;base64,([^"]+)"', page)


# Which mistakes


def test_the_surest_mistake_comes_first_with_its_likeliest_speakers():
    sure, less, close = find_mistakes(LOGITS, LABELS, torch.tensor([10, 11, 12, 13]))
    assert [(m.utterance, m.true, m.named, m.rank) for m in (sure, less, close)] == [(12, 3, 0, 2), (13, 5, 4, 6), (11, 1, 2, 2)]
    expected = LOGITS[2].softmax(dim=0)
    assert [speaker for speaker, _ in sure.top] == [0, 3, 4, 1, 2]  # of equal ones the first
    assert [probability for _, probability in sure.top] == pytest.approx(expected[[0, 3, 4, 1, 2]].tolist())
    assert sure.probability > less.probability > close.probability
    assert less.true_probability == pytest.approx(float(LOGITS[3].softmax(dim=0)[5])) and 5 not in dict(less.top)


def test_logits_of_other_utterances_are_refused():
    with pytest.raises(ConfigError, match="logits has 4 rows for 3 utterances: give the logits that `evaluate` returned"):
        find_mistakes(LOGITS, LABELS, torch.arange(3))


# Their sound


def test_a_simulated_utterance_is_synthesised_again_to_the_bit(simulated, tmp_path):
    corpus = Corpus.open(simulated)
    for i in range(0, len(corpus.labelled), 7):
        samples = sound_of(corpus, i)
        np.testing.assert_array_equal(log_mel(samples).astype(np.float16), corpus.labelled.mel(i).astype(np.float16))
    write_subset(corpus, tmp_path / "few", 2, 2)  # fewer utterances than sessions
    few = Corpus.open(tmp_path / "few")
    np.testing.assert_array_equal(sound_of(few, 3), sound_of(corpus, 11))


def test_beside_augmented_copies_the_clean_utterance_is_played(tmp_path):
    simulate(tmp_path / "data", Simulation(speakers=2, utterances=2, test_utterances=0, sessions=2, augment=1), workers=1)
    corpus = Corpus.open(tmp_path / "data")
    for i in corpus.labelled.clean.tolist():
        mel = corpus.labelled.mel(i)
        np.testing.assert_array_equal(log_mel(sound_of(corpus, i)).astype(np.float16), mel.astype(np.float16))
        assert simulated_audio(corpus, int(corpus.labelled.copies_of(np.array([i]))[0])) is None


def test_an_utterance_of_people_is_cut_from_its_recording(people):
    for i in range(len(people.labelled)):
        assert abs(len(sound_of(people, i)) / HOP - people.labelled.lengths[i]) <= 1
    audio, _ = soundfile.read(people.folder.parent / "audio" / people.labelled.recordings[1], dtype="float32")
    heard = sound_of(people, 1)  # the second second
    assert np.corrcoef(heard, audio[16_000 : 16_000 + len(heard)])[0, 1] > 0.999


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "the recording s0/0.wav is not at hand: put it back where it was"),
        (lambda path: record(path, 0, 99, 2.6), "does not have the features that are stored: make the data set anew"),
        (lambda path: record(path, 0, 0, 0.3), "does not have the features that are stored: make the data set anew"),
    ],
)
def test_a_recording_that_is_gone_or_another_is_not_played(people, spoil, said):
    path = people.folder.parent / "audio" / people.labelled.recordings[0]
    before = path.read_bytes()
    try:
        spoil(path)
        with pytest.raises(CorpusError, match=f"{people.folder} cannot be played, because .*{said}"):
            sound_of(people, 1)
    finally:
        path.write_bytes(before)


def test_features_alone_cannot_be_played(corpus):
    with pytest.raises(CorpusError, match="names no recordings, as HW4's data do not: to listen, choose data that were prepared"):
        sound_of(corpus, 0)


# Their figure


@pytest.mark.parametrize("subsampling", [1, 4])
def test_the_figure_of_a_mistake_has_one_time_axis_and_the_speakers_colours(subsampling, tmp_path):
    torch.manual_seed(0)
    settings = {"n_speakers": 6, "pooling": "attentive_statistics", "subsampling": subsampling}
    model, mel = Classifier(replace(DEEP, **settings)), torch.randn(203, 40)
    maps, weights = attention_maps(model, mel)[-1], pooling_weights(model, mel)
    speakers = [f"speaker {i}" for i in range(6)]
    surest, true_is_last, _ = find_mistakes(LOGITS, LABELS, torch.arange(4))
    figure = mistake_figure(surest, speakers, mel.numpy(), maps, weights, "invented")
    spectrogram, below, *heads, bars = figure.axes
    assert spectrogram.get_shared_x_axes().joined(spectrogram, below) and spectrogram.get_xlim() == (0.0, 2.03)
    drawn = [steps.get_data() for steps in below.patches]
    assert [steps.values.mean() for steps in drawn] == pytest.approx([1.0, 1.0], rel=1e-4)
    np.testing.assert_allclose(drawn[0].values, maps.sum(dim=1).mean(dim=0), rtol=1e-5)  # over queries, then over heads
    assert [steps.edges[-1] for steps in drawn] == pytest.approx([2.03, 2.03])
    assert [axes.get_title() for axes in heads] == ["attention, head 1 of 4", "head 2", "head 3", "head 4"]
    assert figure.get_suptitle() == "speaker 3 taken for speaker 0 with probability 0.97"
    labels = [label.get_text() for label in bars.get_yticklabels()]
    assert labels[:2] == ["speaker 0\n(named)", "speaker 3\n(true, rank 2)"] and len(bars.patches) == 5
    assert [bar.get_facecolor() for bar in bars.patches[:2]] == [to_rgba(ORANGE), to_rgba(BLUE)]
    assert "speaker 3 0.02" in description(figure) and is_drawn(figure, tmp_path / "mistake.png")
    sixth = mistake_figure(true_is_last, speakers, mel.numpy(), maps[:1], weights).axes[-1].patches
    assert len(sixth) == 6 and sixth[5].get_facecolor() == to_rgba(BLUE)


# The explorer


@pytest.fixture
def displayed(monkeypatch) -> list[dict]:
    """What a notebook would have shown."""
    shown: list[dict] = []
    for module in (widgets, mistakes):
        monkeypatch.setattr(module, "display", lambda bundle, **_: shown.append(bundle))
    return shown


def test_without_widgets_the_first_mistake_is_shown_and_its_three_sounds(people, tmp_path, displayed, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    run = untrained(tmp_path / "run", people)
    _, logits, labels = evaluate(run, people, CPU)
    explore_mistakes(run, people, logits, labels)
    first = find_mistakes(logits, labels, heldout_indices(run, people))[0]
    picture, sounds = displayed
    true, named = people.speakers[first.true], people.speakers[first.named]
    assert picture["text/plain"].startswith(f"{true} taken for {named}") and picture["image/png"]
    assert f"the utterance, by {true}" in sounds["text/html"] and f"{named}, in training" in sounds["text/html"]
    assert len(set(played(sounds["text/html"]))) == 3
    said = capsys.readouterr()
    assert "Shown without widgets: a menu of mistakes needs the package ipywidgets" in said.out + said.err


def test_with_widgets_both_outputs_are_also_still_and_small(simulated, tmp_path, displayed):
    corpus = Corpus.open(simulated)
    run = untrained(tmp_path / "run", corpus)
    _, logits, labels = evaluate(run, corpus, CPU)
    explore_mistakes(run, corpus, logits, labels)
    assert [sorted(bundle) for bundle in displayed] == [
        ["application/vnd.jupyter.widget-view+json", kind, "text/plain"] for kind in ("image/png", "text/html")
    ]
    sounds = played(displayed[1]["text/html"])  # of utterances of 1 to 8 seconds
    assert len(sounds) == 3 and 80_000 < max(map(len, sounds)) < 100_000


def test_the_sounds_of_a_speaker_are_none_of_those_held_out(people):
    heldout = torch.arange(0, len(people.labelled), 2)
    labels = torch.from_numpy(people.labelled.labels)[heldout]  # (held out,)
    mistake = find_mistakes(torch.eye(4)[(labels + 1) % 4], labels, heldout)[0]
    of = {tuple(sound_of(people, i)): i for i in range(len(people.labelled))}
    first, *known = [of[tuple(sound)] for _, sound in mistakes.sounds(people, mistake, heldout)]
    assert first == mistake.utterance and not set(known) & set(heldout.tolist())
    assert people.labelled.labels[known].tolist() == [mistake.true, mistake.named]


def test_without_sound_there_is_a_sentence_and_without_a_mistake_too(corpus, tmp_path, displayed, capsys):
    run = untrained(tmp_path / "run", corpus)
    logits = evaluate(run, corpus, CPU)[1]
    explore_mistakes(run, corpus, logits, (logits.argmax(dim=1) + 1) % 3)
    assert displayed[1]["text/html"].startswith("<p>") and "HW4&#x27;s data do not: to listen" in displayed[1]["text/html"]
    explore_mistakes(run, corpus, logits, logits.argmax(dim=1))
    assert len(displayed) == 2 and capsys.readouterr().out.endswith("made no mistake here, so there is none to explore.\n")
