"""Finished training runs, and figures of several seeds."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def finished_run(workdir: Path, *flags: str) -> dict[str, float]:
    """The summary of a run, which is trained if it has none.

    Args:
        workdir: of the run.
        *flags: further flags of `python -m clustr_tf.train`.

    Returns:
        What summary.json holds.
    """
    summary = workdir / "summary.json"
    if not summary.exists():
        command = [sys.executable, "-m", "clustr_tf.train", f"--workdir={workdir}", *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    values: dict[str, float] = json.loads(summary.read_text(encoding="utf-8"))
    return values


def cell(values: Sequence[float], scale: float, digits: int) -> str:
    """Mean and range of the seeds, as `mean (lowest-highest)`."""
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{scale * mean:.{digits}f} ({scale * low:.{digits}f}-{scale * high:.{digits}f})"
