"""Speed and memory, measured as ratios inside one process, never asserted in tests."""
