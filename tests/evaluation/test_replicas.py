"""An evaluation that two replicas share gives what one device gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "two_replicas.py"


@pytest.mark.slow
def test_two_replicas_find_what_one_device_finds():
    """The program compares predictions and what each attack breaks, example by example."""
    finished = subprocess.run(
        [sys.executable, PROGRAM],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
