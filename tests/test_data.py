from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import random_split

from speaker_lib import Corpus, SpeakerDataset, TrainConfig, get_dataloader
from speaker_lib.data.batches import random_stream
from speaker_lib.data.corpus import Utterances
from speaker_lib.data.splits import split_utterances
from speaker_lib.utils.errors import CorpusError

from .conftest import write_corpus

CONFIG = TrainConfig(batch_size=5, segment_len=128, total_steps=12, warmup_steps=1)


def listing(n: int, sessions: tuple[str, ...] | None = None, labels: np.ndarray | None = None) -> Utterances:
    """Utterances of one frame each, to be split."""
    labels = np.zeros(n, dtype=np.int64) if labels is None else labels
    return Utterances(np.zeros((n, 40), np.float16), np.arange(n + 1), labels, sessions, tuple(map(str, range(n))))


def test_the_split_is_the_sample_codes():
    training, validation = split_utterances(listing(56_666), TrainConfig())
    assert (len(training), len(validation)) == (50_999, 5_667)
    assert validation[:5].tolist() == [43097, 46091, 22324, 24456, 274]


def test_the_split_is_that_of_random_split():
    torch.manual_seed(3)
    theirs = random_split(range(101), [90, 11])
    ours = split_utterances(listing(101), TrainConfig(split_seed=3))
    assert [list(part.indices) for part in theirs] == [part.tolist() for part in ours]


def test_sessions_are_held_out_whole():
    labels = np.repeat(np.arange(5), 20)
    names = tuple(f"s{i % 10 if label else 0}" for i, label in enumerate(labels))  # speaker 0 has one session, the others ten
    utterances = listing(100, names, labels)
    training, validation = split_utterances(utterances, TrainConfig(split="session"))
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(100))
    in_training = {(labels[i], names[i]) for i in training.tolist()}
    in_validation = {(labels[i], names[i]) for i in validation.tolist()}
    assert not in_training & in_validation
    assert sorted(label for label, _ in in_validation) == [1, 2, 3, 4]  # a tenth of each speaker's ten
    other = split_utterances(utterances, TrainConfig(split="session", split_seed=1))[1]
    assert other.tolist() != validation.tolist()


@pytest.mark.parametrize("kind", ["random", "session"])
def test_the_seed_of_training_does_not_decide_what_is_held_out(kind):
    utterances = listing(60, tuple(f"s{i % 6}" for i in range(60)), np.repeat(np.arange(5), 12))
    held_out = [split_utterances(utterances, TrainConfig(split=kind, seed=seed))[1].tolist() for seed in (0, 1, 87)]
    assert held_out[0] == held_out[1] == held_out[2]


def test_a_split_that_cannot_be_made_says_why():
    with pytest.raises(CorpusError, match="has two named sessions"):
        split_utterances(listing(10), TrainConfig(split="session"))
    with pytest.raises(CorpusError, match="no speaker in these data has two named sessions"):
        split_utterances(listing(3, ("a", "b", "c"), np.arange(3)), TrainConfig(split="session"))
    with pytest.raises(CorpusError, match="1 utterances cannot be split"):
        split_utterances(listing(1), TrainConfig())


def test_a_segment_is_cut_from_its_utterance_anew_each_time(corpus):
    dataset = SpeakerDataset(corpus.labelled, segment_len=50)
    i = int(corpus.labelled.lengths.argmax())
    whole = torch.from_numpy(corpus.labelled.mel(i))
    starts = set()
    for _ in range(20):
        mel, length, label = dataset[i]
        assert mel.shape == (50, 40) and mel.dtype == torch.float32 and length == 50 and label == corpus.labelled.labels[i]
        starts.add(next(s for s in range(len(whole) - 49) if torch.equal(whole[s : s + 50], mel)))
    assert len(starts) > 10


def test_every_position_of_an_utterance_can_be_cut(corpus):
    dataset = SpeakerDataset(corpus.labelled, segment_len=100)
    length = int(corpus.labelled.lengths[5])
    whole = torch.from_numpy(corpus.labelled.mel(5))
    ends = torch.tensor([0.0, 1 - 1e-12], dtype=torch.float64)
    mels = dataset.cut(*dataset.locate(torch.tensor([5, 5]), ends, 100), 100).mels
    assert torch.equal(mels[0], whole[:100]) and torch.equal(mels[1], whole[length - 100 :])


def test_short_utterances_are_padded_and_say_how_long_they_are(tmp_path):
    corpus = Corpus.open(write_corpus(tmp_path / "c", n_speakers=2, n_utterances=1, n_test=0, shortest=60))
    dataset = SpeakerDataset(corpus.labelled, segment_len=128)
    mel, length, _ = dataset[1]  # the last in the corpus: there is nothing behind it to cut by mistake
    assert length == 97 and mel.shape == (128, 40)
    assert torch.equal(mel[:97], torch.from_numpy(corpus.labelled.mel(1))) and (mel[97:] == -20).all()


def test_whole_utterances_are_padded_to_the_longest(corpus):
    batch = SpeakerDataset(corpus.labelled).whole(torch.tensor([4, 0, 7]))
    lengths = corpus.labelled.lengths[[4, 0, 7]]
    assert batch.lengths.tolist() == lengths.tolist() and batch.mels.shape == (3, lengths.max(), 40)
    for mel, length, i in zip(batch.mels, lengths, (4, 0, 7), strict=True):
        assert torch.equal(mel[:length], torch.from_numpy(corpus.labelled.mel(i))) and (mel[length:] == -20).all()


def test_the_loaders_are_what_the_assignment_expects(corpus):
    train_loader, valid_loader, n_speakers = get_dataloader(corpus, CONFIG)
    assert n_speakers == 3 and len(train_loader) == 12
    batches = list(train_loader)
    assert len(batches) == 12
    for mels, lengths, labels in batches:
        assert mels.shape == (5, 128, 40) and lengths.shape == labels.shape == (5,)
        assert mels.dtype == torch.float32 and labels.dtype == torch.int64
    seen = sum(len(batch.labels) for batch in valid_loader)
    assert seen == 3  # of 24 utterances a tenth, and the rest of rounding: none dropped
    first, again = (torch.cat([b.mels for b in valid_loader]) for _ in range(2))
    assert torch.equal(first, again)


def test_validation_cuts_where_it_always_did(corpus):
    """`SeedSequence((seed, 2))` since the first version, so that old and new validations can be compared."""
    _, loader, _ = get_dataloader(corpus, replace(CONFIG, seed=7))
    held_out = split_utterances(corpus.labelled, CONFIG)[1]
    positions = torch.rand(len(held_out), generator=random_stream(7, 2), dtype=torch.float64)
    dataset = SpeakerDataset(corpus.labelled)
    expected = dataset.cut(*dataset.locate(held_out, positions, 128), 128).mels
    assert torch.equal(torch.cat([batch.mels for batch in loader]), expected)


def test_an_epoch_shows_every_utterance_once(corpus):
    config = replace(CONFIG, batch_size=7, total_steps=6)
    training, _ = split_utterances(corpus.labelled, config)
    assert len(training) == 21
    owner = {frame.tobytes(): i for i in range(len(corpus.labelled)) for frame in corpus.labelled.mel(i)}  # no two are alike
    seen = [owner[mel[0].numpy().tobytes()] for mels, _, _ in get_dataloader(corpus, config)[0] for mel in mels]
    first, second = seen[:21], seen[21:]
    assert sorted(first) == sorted(second) == sorted(training.tolist())
    assert first != second


def test_what_a_step_sees_depends_on_the_seed_and_the_step_alone(corpus):
    def batches(config, first_step=0):
        return list(get_dataloader(corpus, config, first_step)[0])

    whole = batches(CONFIG)
    torch.manual_seed(99)
    np.random.seed(99)
    state = torch.get_rng_state()
    for expected, found in zip(whole[7:], batches(CONFIG, first_step=7), strict=True):
        assert all(torch.equal(e, f) for e, f in zip(expected, found, strict=True))
    assert torch.equal(torch.get_rng_state(), state)  # and leaves PyTorch's global stream alone
    assert not torch.equal(whole[0].mels, batches(replace(CONFIG, seed=88))[0].mels)


def test_a_batch_larger_than_the_data_is_the_data(corpus):
    batch = next(iter(get_dataloader(corpus, replace(CONFIG, batch_size=500))[0]))
    assert len(batch.labels) == 21
