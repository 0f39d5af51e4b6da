"""What a run writes, in which order, and what it says when it cannot."""

import csv
import errno
import resource
from contextlib import nullcontext
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.data.batches import ShuffledBatches
from clustr_tf.run.distribution import Replicas
from clustr_tf.run.errors import RunError
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.callbacks import record as record_module
from clustr_tf.train.callbacks.record import Checkpoint, KeepBest, RecordEpochs
from clustr_tf.train.checkpoints import EpochProgress, TrainingState


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def _replicas(is_chief=True):
    replicas = Replicas(tf.distribute.get_strategy())
    replicas.is_chief = is_chief
    return replicas


def _of(callback, state):
    """The callback, of a trainer that does nothing."""
    optimizer = keras.optimizers.SGD()
    callback.trainer = SimpleNamespace(
        state=state,
        complete_state=lambda: state,
        refresh=None,
        classifier=SimpleNamespace(variables=state.variables["classifier"]),
        averaged_weights=nullcontext,
        optimizer=optimizer,
    )
    return callback


def _recorders(workdir, state, is_chief=True):
    """A checkpoint, and what is recorded after it: as a run has them."""
    callbacks = [Checkpoint(workdir, _replicas(is_chief))]
    if is_chief:
        callbacks.append(RecordEpochs(workdir, {"method": {"name": "clustr"}}))
    return [_of(callback, state) for callback in callbacks]


def _end_epoch(recorders):
    for callback in recorders:
        callback.on_epoch_end(1, {})


@pytest.fixture
def state():
    """After two epochs."""
    history = [
        {"epoch": epoch, "loss": 1.0 / epoch, "val_pgd_accuracy": epoch / 10} for epoch in (1, 2)
    ]
    batches = ShuffledBatches(np.arange(10) % 2, 5)
    variables = {"classifier": [keras.Variable([1.0, 2.0])]}
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
    recorders = _recorders(workdir, state)
    _end_epoch(recorders)
    assert (workdir.checkpoints / "epoch-0002-step-000000.npz").exists()
    assert recorders[0].last_good == "epoch-0002-step-000000.npz"
    assert _epochs(workdir) == ["1", "2"]
    assert _logged_steps(workdir) == [2]
    np.testing.assert_array_equal(recorders[0].newest()["classifier/0000"], [1.0, 2.0])


def test_resuming_records_what_a_killed_session_had_saved_alone(workdir, state):
    checkpoint, _ = _recorders(workdir, state)
    checkpoint.on_epoch_end(1, {})
    assert not workdir.metrics.exists()
    state.resumed = True
    resumed = _recorders(workdir, state)
    for callback in resumed:
        callback.on_train_begin()
    assert resumed[0].last_good == "epoch-0002-step-000000.npz"
    assert _epochs(workdir) == ["1", "2"]
    assert _logged_steps(workdir) == [2]


def test_before_the_first_epoch_there_is_nothing_to_record(workdir, state):
    state.history.clear()
    checkpoint, record = _recorders(workdir, state)
    for callback in (checkpoint, record):
        callback.on_train_begin()
    assert checkpoint.last_good is None
    assert not workdir.metrics.exists()


def test_the_checkpoint_comes_first(workdir, state, monkeypatch):
    """Metrics can be written again from it."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_module, "write_metrics", full)
    with pytest.raises(RunError, match=r"cannot be written: No space left on device\. What was"):
        _end_epoch(_recorders(workdir, state))
    assert (workdir.checkpoints / "epoch-0002-step-000000.npz").exists()


def test_tensorboard_without_room_is_told_in_one_line(workdir, state):
    _, record = _recorders(workdir, state)
    (file,) = workdir.tensorboard.glob("events*")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
    try:
        for write in (
            record.on_train_begin,
            lambda: _recorders(workdir, state)[1].on_train_begin(),
        ):
            with pytest.raises(RunError) as caught:
                write()
            (line,) = str(caught.value).splitlines()
            assert f"{workdir.root} cannot be written: {workdir.tensorboard}/events" in line
            assert "; File too large. What was saved before is intact" in line
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_best_epoch_comes_back_or_is_told_to_be_lost(workdir, state):
    best = _of(KeepBest(workdir, _replicas()), state)
    best.on_epoch_end(1, {})  # 0.2 after 0.1
    state.variables["classifier"][0].assign([7.0, 7.0])
    state.history.append({"epoch": 3, "val_pgd_accuracy": 0.2})
    best.on_epoch_end(2, {})  # the first of equals stays
    np.testing.assert_array_equal(best.best()["classifier/0000"], [1.0, 2.0])
    (workdir.checkpoints / "best.npz").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"best\.npz is damaged .* the best epoch is lost"):
        best.best()


def test_only_the_chief_writes(workdir, state):
    (checkpoint,) = _recorders(workdir, state, is_chief=False)
    best = _of(KeepBest(workdir, _replicas(is_chief=False)), state)
    for callback in (checkpoint, best):
        callback.on_train_begin()
        callback.on_epoch_end(1, {})
    assert list(workdir.root.iterdir()) == []
    assert checkpoint.newest() is None
