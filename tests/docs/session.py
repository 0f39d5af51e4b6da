"""The commands of a page, run as a reader would run them, though on fewer images."""

import re
import shlex

from tests import programs
from tests.docs.pages import ROOT, blocks, write_modules

# What makes an environment, and the parallel search, which tests/tune/test_search.py runs on a
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
    """Lines of the bash blocks, with flags that make them quick; what is left out is a comment."""
    lines = []
    for block in blocks(page):
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                lines.append(f"# {line}" if line.startswith(LEFT_OUT) else _quicker(line))
    return lines


def _quicker(line):
    module = re.search(r"python -m ([\w.]+)", line)
    return f"{line} {SMALLER[module[1]]}" if module else line


def run(page, folder):
    """Runs them, all of which must succeed, in a folder with the configs and the page's modules."""
    (folder / "configs").symlink_to(ROOT / "configs")
    write_modules(page, folder)
    for line in script(page):
        if not line.startswith("#"):
            python, option, module, *flags = shlex.split(line)
            assert (python, option) == ("python", "-m"), line
            finished = programs.run(module, *flags, cwd=folder)
            assert finished.returncode == 0, f"{line}\n{finished.stdout}{finished.stderr}"
