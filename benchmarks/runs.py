"""Finished training runs, and figures of several seeds."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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
    return read_values(summary)


def measured(workdir: Path, command: str, file: str, examples: int) -> dict[str, Any]:
    """What a command has written about a run, or now writes.

    Args:
        workdir: of the run.
        command: evaluate or certify.
        file: the JSON file that it writes into the workdir.
        examples: test images that it has to be about; not more than there are.

    Returns:
        What the file holds.
    """
    if not (workdir / file).exists() or read_values(workdir / file)["examples"] != examples:
        flags = (f"--workdir={workdir}", f"--examples={examples}")
        command_line = [sys.executable, "-m", f"clustr_tf.{command}", *flags]
        subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)
    return read_values(workdir / file)


def read_values(file: Path) -> dict[str, Any]:
    """What a JSON file holds."""
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def cell(values: Sequence[float], scale: float, digits: int) -> str:
    """Mean and range of the seeds, as `mean (lowest-highest)`."""
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{scale * mean:.{digits}f} ({scale * low:.{digits}f}-{scale * high:.{digits}f})"
