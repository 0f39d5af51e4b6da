"""`clustr_tf.train` in two processes over loopback: accuracy, lost workers, SIGTERM."""

import csv
import json
import signal

import pytest

OVERRIDES = ("--config.training.strategy=multi_worker", "--config.training.deterministic=True")


@pytest.fixture
def train(start_workers, tmp_path):
    """Starts two workers that train in a folder: (folder, flags) -> processes."""

    def start_training(name, *flags):
        return start_workers(
            lambda index: (
                *("-m", "clustr_tf.train", f"--workdir={tmp_path / name / str(index)}"),
                *OVERRIDES,
                *flags,
            )
        )

    return start_training


def ended(process):
    """Exit status and what was told on stderr, without TensorFlow's own start-up messages."""
    _, errors = process.communicate(timeout=120)
    lines = [
        line
        for line in errors.splitlines()
        if not line.startswith(("I0000", "WARNING: All log messages before"))
    ]
    return process.returncode, lines


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
    """The default run with two workers; then its first epochs again, interrupted three times."""
    for process in train("whole"):
        assert ended(process) == (0, [])
    whole = tmp_path / "whole"
    assert not (whole / "1").exists()
    summary = json.loads((whole / "0" / "summary.json").read_text())
    assert summary["clean_accuracy"] >= 0.98

    interrupted = ("interrupted", "--config.training.epochs=8", "--config.evaluation.examples=50")
    chief, worker = train(*interrupted)
    wait_for_epoch(chief, 1)
    worker.send_signal(signal.SIGTERM)
    for process in (chief, worker):
        status, (line,) = ended(process)
        assert (status, line.split(".")[0]) == (143, "Terminated")

    for epoch, lost in [(3, 1), (5, 0)]:
        workers = train(*interrupted)
        wait_for_epoch(workers[0], epoch)
        workers[lost].send_signal(signal.SIGKILL)
        status, (line,) = ended(workers[1 - lost])
        assert status == 1
        assert line.startswith("error: Another worker is gone (")
        assert line.endswith("start all workers again with the same commands to resume")

    for process in train(*interrupted):
        assert ended(process) == (0, [])
    assert rows(tmp_path / "interrupted" / "0") == rows(whole / "0")[:8]
