"""The commands of a page, run as a reader would run them, though on fewer images."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, blocks

# What makes an environment, and the parallel search, which tests/tuning/test_search.py runs on a
# port that is free.
LEFT_OUT = ("python3.11 -m venv", "export KERASTUNER_", "KERASTUNER_")
SMALLER = {
    "clustr_tf.train": "--config.training.epochs=1 --config.evaluation.examples=20",
    "clustr_tf.evaluate": "--attacks=clean,pgd --examples=20",
    "clustr_tf.certify": "--examples=20",
    "clustr_tf.tune": "--max_trials=1 --config.training.epochs=1",
    "export.savedmodel": "",
}


def script(page):
    """The bash blocks of a page, with flags that make them quick; what is left out is a comment."""
    lines = []
    for block in blocks(page):
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                lines.append(f"# {line}" if line.startswith(LEFT_OUT) else _quicker(line))
    return "\n".join(["set -eu", *lines]) + "\n"


def _quicker(line):
    module = re.search(r"python -m ([\w.]+)", line)
    return f"{line} {SMALLER[module[1]]}" if module else line


def run(page, folder):
    """Runs them in a folder that holds nothing but the configs; gives what they said."""
    (folder / "configs").symlink_to(ROOT / "configs")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["bash"],
        input=script(page),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
