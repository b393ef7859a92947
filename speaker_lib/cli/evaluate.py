"""``evaluate``: the accuracy of a run, or of an ensemble."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..utils.errors import ConfigError
from .options import add_data, add_runs, open_runs


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    add_runs(parser)
    parser.add_argument("--all", action="store_true", help="every utterance of DATA_DIR, which training must not have seen")
    parser.add_argument("--classical", action="store_true", help="also train a baseline without a network (LDA)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..evaluation.ensemble import evaluate_ensemble
    from ..evaluation.identification import evaluate
    from ..evaluation.text import evaluation_text
    from ..experiments import classical_baselines, classical_table
    from ..utils.device import get_device

    if options.classical and options.all:
        raise ConfigError("--classical trains on a part of DATA_DIR and --all evaluates on all of it: omit one of them.")
    runs, averaging = open_runs(options)
    corpus = Corpus.open(options.data)
    if len(runs) == 1:
        result, logits, labels = evaluate(runs[0], corpus, get_device(), options.all)
    else:
        result, logits, labels = evaluate_ensemble(runs, corpus, get_device(), options.all, averaging)
    classical = classical_baselines(corpus, runs[0].preset.train) if options.classical else []
    found = asdict(result) | ({"classical": [asdict(baseline) for baseline in classical]} if classical else {})
    if len(runs) == 1 and not options.all:
        runs[0].save_evaluation(found)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print(evaluation_text(result, logits, labels, corpus.speakers))
        if classical:
            print(f"\n{classical_table(classical)}")
    return 0
