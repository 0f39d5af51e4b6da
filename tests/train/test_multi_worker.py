"""`clustr_tf.train` in two processes over loopback: accuracy, lost workers, SIGTERM."""

import csv
import json
import re
import shutil
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Two workers, comparable rows, and little time for what does not touch the weights.
OVERRIDES = (
    f"--config={ROOT}/configs/digits.py:plain",
    "--config.training.strategy=multi_worker",
    "--config.training.deterministic=True",
    "--config.watch.attack.steps=1",
    "--config.evaluation.attack.steps=1",
)
# What TensorFlow says at its start, and warnings.
LOG_LINE = re.compile(r"[IW]\d{4} |WARNING: All log messages before")


@pytest.fixture
def train(start_workers, tmp_path):
    """Starts two workers that train in a folder: (folder, forked) -> processes."""

    def start_training(name, forked=True):
        return start_workers(
            lambda index: (
                *("clustr_tf.train", f"--workdir={tmp_path / name / str(index)}"),
                *OVERRIDES,
            ),
            forked,
        )

    return start_training


def ended(process):
    """Exit status and what was told on stderr besides log messages."""
    _, errors = process.communicate(timeout=300)
    return process.returncode, [line for line in errors.splitlines() if not LOG_LINE.match(line)]


def wait_for_epoch(chief, epoch):
    for line in chief.stdout:
        if line.startswith(f"epoch {epoch}/"):
            return
    raise AssertionError(f"epoch {epoch} did not come: {ended(chief)}")


def rows(workdir):
    with (workdir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_workers_reach_the_accuracy_of_one_and_resume_exactly(train, tmp_path):
    """Plain ClusTR, stopped once by SIGTERM; then its copy, which loses the chief and a worker.

    Every row of metrics.csv depends on everything before it, so equal rows mean an exact resume.
    """
    chief, worker = train("whole")
    wait_for_epoch(chief, 1)
    worker.send_signal(signal.SIGTERM)
    for process in (chief, worker):
        status, (line,) = ended(process)
        assert (status, line.split(".")[0]) == (143, "Terminated")
    shutil.copytree(tmp_path / "whole", tmp_path / "losing")

    for process in train("whole", forked=False):
        assert ended(process) == (0, [])
    assert not (tmp_path / "whole" / "1").exists()  # only the chief touches its workdir
    whole = tmp_path / "whole" / "0"
    assert json.loads((whole / "summary.json").read_text())["test/accuracy"] >= 0.98

    for epoch, lost in [(3, 0), (5, 1)]:
        workers = train("losing")
        wait_for_epoch(workers[0], epoch)
        workers[lost].send_signal(signal.SIGKILL)
        status, (line,) = ended(workers[1 - lost])
        assert status == 1
        assert line.startswith("error: Another worker is gone (")
        assert line.endswith("start all workers again with the same commands to resume")
    finished = rows(tmp_path / "losing" / "0")
    assert len(finished) >= 5
    assert finished == rows(whole)[: len(finished)]
