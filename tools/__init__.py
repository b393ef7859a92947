"""What keeps the lessons whole: generated cells, execution, the gate. Run ``python -m tools --help``."""
