"""``evaluate``: the accuracy of a run, or of an ensemble."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from .options import add_data, add_runs, open_runs


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    add_runs(parser)
    parser.add_argument("--all", action="store_true", help="every utterance of DATA_DIR, which training must not have seen")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..evaluation.ensemble import evaluate_ensemble
    from ..evaluation.identification import evaluate
    from ..evaluation.text import evaluation_text
    from ..utils.device import get_device

    runs, averaging = open_runs(options)
    corpus = Corpus.open(options.data)
    if len(runs) == 1:
        result, logits, labels = evaluate(runs[0], corpus, get_device(), options.all)
        if not options.all:
            runs[0].save_evaluation(result.to_dict())
    else:
        result, logits, labels = evaluate_ensemble(runs, corpus, get_device(), options.all, averaging)
    print(json.dumps(asdict(result), indent=1) if options.json else evaluation_text(result, logits, labels, corpus.speakers))
    return 0
