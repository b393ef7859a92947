"""Many runs, one question: seeds, ablation, ladder, and what they say."""
