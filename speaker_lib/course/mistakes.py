"""The explorer of mistakes: a held-out utterance that was taken for another speaker's, to see and to listen to."""

from __future__ import annotations

import html

import numpy as np
import torch

from ..data.corpus import Corpus
from ..evaluation.identification import heldout_indices
from ..evaluation.mistakes import Mistake, find_mistakes
from ..models.inspect import attention_maps, pooling_weights
from ..plots.mistakes import mistake_figure
from ..plots.style import Figure
from ..sound.features import FRAMES_PER_SECOND, SAMPLE_RATE
from ..training.run import Run
from ..utils.errors import CorpusError
from ..utils.language import translate
from .speech import sound_of
from .widgets import display, find_ipywidgets, show, show_below, widget_view

MOST = 50  # mistakes in the menu
SHOWN = 10.0  # seconds of an utterance: attention in a longer one needs much memory
STORED = 2.0  # seconds of a sound in the notebook's file: 85 kB


def explore_mistakes(run: Run, corpus: Corpus, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Shows a menu of the most confident mistakes in what `evaluate` returned; of the chosen one, a figure and three sounds.

    The sounds are the utterance, one of its speaker and one of the speaker named.  Where the notebook is not running, or
    without ipywidgets, the figure and the sounds are those of the first mistake.  Raises RunError as `heldout_indices`, and
    ConfigError as `find_mistakes`.
    """
    heldout = heldout_indices(run, corpus)
    found = find_mistakes(logits, labels, heldout)[:MOST]
    if not found:
        print(translate("The model made no mistake here, so there is none to explore."))
        return
    model, names = run.load_model(), corpus.speakers

    def figure_of(i: int) -> Figure:
        whole = corpus.labelled.mel(found[i].utterance)  # (frames, n_mels)
        mel = whole[: round(SHOWN * FRAMES_PER_SECOND)]  # (frames, n_mels), fewer
        frames = torch.from_numpy(mel)
        maps, weights = attention_maps(model, frames)[-1], pooling_weights(model, frames)
        source = f"the first {SHOWN:.0f} s of an utterance; " * (len(mel) < len(whole)) + corpus.source
        return mistake_figure(found[i], names, mel, maps, weights, source)

    def players_of(i: int, seconds: float = SHOWN) -> str:
        return players(corpus, found[i], heldout, seconds)

    ipywidgets = find_ipywidgets("a menu of mistakes")
    bundle = {"text/html": players_of(0, STORED), "text/plain": translate("Sounds of the utterance and of both speakers.")}
    if ipywidgets is None:
        show(figure_of(0))
    else:
        said = "{speaker} taken for {other}, {probability:.2f}"
        options = [
            (translate(said, speaker=names[m.true], other=names[m.named], probability=m.probability), i)
            for i, m in enumerate(found)
        ]
        menu = ipywidgets.Dropdown(options=options, description=translate("mistake"), layout={"width": "60%"})
        page = ipywidgets.HTML(value=players_of(0))
        menu.observe(lambda change: setattr(page, "value", players_of(change["new"])), names="value")
        show_below(menu, figure_of(0), figure_of)
        bundle |= widget_view(page)
    display(bundle, raw=True)


def sounds(corpus: Corpus, mistake: Mistake, heldout: torch.Tensor) -> list[tuple[str, np.ndarray]]:
    """Titles and sounds (samples,) at 16 kHz: the utterance, and one of each speaker that is not ``heldout`` (n,).

    Raises CorpusError as `sound_of`.
    """
    utterances, names = corpus.labelled, corpus.speakers
    known = np.setdiff1d(utterances.clean, heldout.numpy())  # (utterances to train on,)
    found = [(translate("the utterance, by {name}", name=names[mistake.true]), sound_of(corpus, mistake.utterance))]
    for speaker in (mistake.true, mistake.named):
        own = known[utterances.labels[known] == speaker]  # (utterances of the speaker,)
        if len(own):
            found.append((translate("{name}, in training", name=names[speaker]), sound_of(corpus, int(own[0]))))
    return found


def players(corpus: Corpus, mistake: Mistake, heldout: torch.Tensor, seconds: float) -> str:
    """HTML of a player for each of the `sounds`, at most so many seconds; a sentence where they cannot be had."""
    from IPython.display import Audio

    try:
        found = sounds(corpus, mistake, heldout)
    except CorpusError as problem:
        return f"<p>{html.escape(str(problem))}</p>"
    n_samples = round(seconds * SAMPLE_RATE)
    cells = (
        f"<td style='text-align: left'>{html.escape(title)}<br>{Audio(sound[:n_samples], rate=SAMPLE_RATE)._repr_html_()}</td>"
        for title, sound in found
    )
    return f"<table><tr>{''.join(cells)}</tr></table>"
