"""From recordings or HW4's files to batches."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "batches": "SpeakerDataset get_dataloader",
        "corpus": "Corpus",
        "hidden": "hold_out",
        "splits": "split_utterances",
        "writer": "CorpusWriter",
    },
)
