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
    values: dict[str, float] = json.loads(summary.read_text(encoding="utf-8"))
    return values


def measured(workdir: Path, command: str, file: str, examples: int | None) -> dict[str, Any]:
    """What a command has written about a run, or now writes.

    Args:
        workdir: of the run.
        command: evaluate or certify.
        file: the JSON file that it writes into the workdir.
        examples: test images that it has to be about; None: any number, the config's if it is now
            written.

    Returns:
        What the file holds.
    """
    found = workdir / file
    if found.exists():
        known: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
        if examples in (None, known["examples"]):
            return known
    flags = [f"--workdir={workdir}", *([f"--examples={examples}"] if examples else [])]
    command_line = [sys.executable, "-m", f"clustr_tf.{command}", *flags]
    subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)
    values: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return values


def cell(values: Sequence[float], scale: float, digits: int) -> str:
    """Mean and range of the seeds, as `mean (lowest-highest)`."""
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{scale * mean:.{digits}f} ({scale * low:.{digits}f}-{scale * high:.{digits}f})"
