"""Training runs: the loop, its step, refreshes, checkpoints and records."""
