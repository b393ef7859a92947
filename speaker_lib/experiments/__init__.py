"""Many runs, one question: seeds, ablation, ladder, and what they say."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "ablation": "STEPS changes_between run_ablation variants_of",
        "classical": "classical_baseline classical_baselines classical_conclusion",
        "conclusions": "ablation_conclusions guess_and_outcome ladder_conclusions ladder_gains measuring",
        "generalisation": "run_generalisation",
        "ladder": "run_ladder",
        "leaderboard": "rank_folder",
        "published": "people_results",
        "tables": "ablation_table classical_table comparison_table ladder_table seeds_summary",
    },
)
