"""From recordings or HW4's files to batches."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "batches": "SpeakerDataset get_dataloader",
        "corpus": "Corpus",
        "features": "SAMPLE_RATE log_mel normalise_peak remove_silence",
        "pitch": "median_pitch",
        "splits": "split_utterances",
        "writer": "CorpusWriter",
    },
)
