"""A line on each preset, for ``train --help`` and docs/reference.md."""

ABOUT = {
    "baseline": "the sample code of 2023, unchanged: the report's first model",
    "baseline_relu": "one word changed: ReLU in the head, as in the sample code of 2022",
    "tuned": "the report's four changes; all six layers run, with pre-norm, without which they do not train",
    "seed_tuned": "the report's second model as declared; it collapses to chance at this learning rate",
    "seed_tuned_as_run": "the report's second model as it most likely ran: six layers declared, one called",
    "conformer": "the report's own wish; a public run of this shape reached 0.953 on HW4's whole utterances",
    "strong": "256 wide, 3 layers, and the ladder's four settings that cost almost no time",
    "best": "all settings that the ladder keeps, trained twice as long; not measured on HW4",
    "laptop_baseline": "a scaled-down baseline for a CPU",
    "laptop_tuned": "a scaled-down tuned for a CPU; it differs from laptop_baseline in the same settings",
    "laptop_best": "a scaled-down best, with as many steps as a CPU takes in the time of laptop_tuned",
}
