"""kill -9: the command goes on at the trial, and the trial at its checkpoint."""

import csv
import os
from contextlib import closing

import pytest

from tests.programs import Program

FLAGS = (
    "--max_trials=1",
    "--config.search.algorithm=random",
    "--config.backbone.width=4",
    "--config.training.epochs=6",
    "--config.training.steps_per_epoch=3",
)


def _start(root):
    return Program("clustr_tf.tune", f"--workdir={root}", *FLAGS)


def _epochs(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("kill", [Program.kill, Program.kill_group], ids=["search", "both"])
def test_a_killed_search_goes_on_at_the_checkpoint_of_its_trial(kill, tmp_path):
    trial = tmp_path / "run" / "trials" / "0"
    trial.mkdir(parents=True)
    # What the trial says is read as it says it: so the test knows where it is.
    os.mkfifo(trial / "log.txt")
    with closing(_start(tmp_path / "run")) as search, (trial / "log.txt").open() as log:
        for line in log:
            # An epoch is told when its checkpoint is there.
            if line.startswith("epoch 2/6"):
                kill(search)
                break
        search.communicate()
        log.read()  # until the trial has left: a search that is gone it notices, and saves
    (trial / "log.txt").unlink()
    before = _epochs(trial)
    assert 2 <= len(before) < 6

    again = _start(tmp_path / "run")
    output, errors = again.communicate()
    assert again.returncode == 0, output + errors
    assert _epochs(trial)[: len(before)] == before  # with their times: they were not run again
    assert len(_epochs(trial)) == 6
    assert "1 trials, 0 failed" in output
