"""What a run writes, in which order, and what it says when it cannot."""

import csv
import errno
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.errors import RunError
from clustr_tf.experiment import read_experiment
from clustr_tf.training import record as record_module
from clustr_tf.training.batches import ShuffledBatches
from clustr_tf.training.checkpoints import EpochProgress, TrainingState
from clustr_tf.training.distribution import Replicas
from clustr_tf.training.record import Record
from clustr_tf.workdir import Workdir
from configs import digits


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def _record(workdir, is_chief=True):
    replicas = Replicas(tf.distribute.get_strategy())
    replicas.is_chief = is_chief
    return Record(workdir, read_experiment(digits.get_config("plain").to_dict()), replicas)


@pytest.fixture
def state():
    """After two epochs."""
    history = [{"epoch": epoch, "loss": 1.0 / epoch} for epoch in (1, 2)]
    batches = ShuffledBatches(np.arange(10) % 2, 5)
    variables = {"model": [keras.Variable([1.0, 2.0])]}
    return TrainingState(variables, batches, history, EpochProgress(), np.zeros((0, 1, 1, 1)))


def _logged_steps(workdir):
    return [
        event.step
        for file in sorted(workdir.tensorboard.glob("events*"))
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.tag == "train/loss"
    ]


def _epochs(workdir):
    with workdir.metrics.open(newline="") as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def test_an_epoch_is_in_checkpoint_metrics_and_tensorboard(workdir, state):
    record = _record(workdir)
    record.end_epoch(state, np.array([3, 4]))
    assert (workdir.checkpoints / "epoch-0002-step-000000.npz").exists()
    assert _epochs(workdir) == ["1", "2"]
    assert _logged_steps(workdir) == [2]
    np.testing.assert_array_equal(record.newest_checkpoint()["model/0000"], [1.0, 2.0])


def test_resuming_records_what_a_killed_session_had_saved_alone(workdir, state):
    _record(workdir).save_state(state)
    assert not workdir.metrics.exists()
    _record(workdir).resume(state)
    assert _epochs(workdir) == ["1", "2"]
    assert _logged_steps(workdir) == [2]


def test_before_the_first_epoch_there_is_nothing_to_record(workdir, state):
    state.history.clear()
    _record(workdir).resume(state)
    assert not workdir.metrics.exists()


def test_the_checkpoint_comes_first(workdir, state, monkeypatch):
    """Metrics can be written again from it."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_module, "write_metrics", full)
    with pytest.raises(RunError, match=r"cannot be written: No space left on device\. What was"):
        _record(workdir).end_epoch(state, None)
    assert (workdir.checkpoints / "epoch-0002-step-000000.npz").exists()


def test_tensorboard_without_room_is_told_in_one_line(workdir, state):
    record = _record(workdir)
    (file,) = workdir.tensorboard.glob("events*")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
    try:
        for write in (lambda: record.resume(state), lambda: _record(workdir).resume(state)):
            with pytest.raises(RunError) as caught:
                write()
            (line,) = str(caught.value).splitlines()
            assert f"{workdir.root} cannot be written: {workdir.tensorboard}/events" in line
            assert "; File too large. What was saved before is intact" in line
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_best_epoch_comes_back_or_is_told_to_be_lost(workdir, state):
    record = _record(workdir)
    record.save_best(state.variables)
    state.variables["model"][0].assign([7.0, 7.0])
    np.testing.assert_array_equal(record.best()["model/0000"], [1.0, 2.0])
    (workdir.checkpoints / "best.npz").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"best\.npz is damaged .* the best epoch is lost"):
        record.best()


def test_only_the_chief_writes(workdir, state):
    record = _record(workdir, is_chief=False)
    record.end_epoch(state, None)
    record.resume(state)
    record.save_best(state.variables)
    record.save_classifier(None)
    assert list(workdir.root.iterdir()) == []
    assert record.newest_checkpoint() is None
