"""Checkpoints: complete or not there, the newest readable one is used."""

import itertools
import logging

import keras
import numpy as np
import pytest

from clustr_tf.data.batches import NeighbourhoodSampler, ShuffledBatches
from clustr_tf.run.errors import RunError
from clustr_tf.run.files import write_arrays
from clustr_tf.train.checkpoints import (
    EpochProgress,
    TrainingState,
    packed,
    read_arrays,
    read_checkpoint,
    save_checkpoint,
    unpacked,
)

LABELS = np.repeat([0, 1, 2], 10)
CENTROIDS = np.arange(6.0)[:, None]


def _state(seed):
    rng = np.random.default_rng(seed)
    variables = [keras.Variable(rng.normal(size=shape)) for shape in [(2, 3), ()]]
    assignments = 2 * LABELS + np.arange(30) % 2
    sampler = NeighbourhoodSampler(LABELS, assignments, CENTROIDS, 3, 2, seed=seed)
    return TrainingState(
        {"model": variables},
        sampler,
        history=[],
        progress=EpochProgress(),
        perturbation=np.zeros((0, 1, 1, 1), np.float32),
    )


def _restore(folder, state):
    arrays = read_checkpoint(folder)
    assert arrays is not None
    state.restore(arrays)


def _train_epoch(state, epoch):
    for variable in state.variables["model"]:
        variable.assign_add(np.full(variable.shape, epoch, np.float32))
    indices, _ = state.source.sample()
    state.source.update_losses(indices, np.arange(len(indices)) + epoch)
    state.history.append({"epoch": epoch, "loss": 0.1 * epoch})


def _values(state):
    return [keras.ops.convert_to_numpy(v).copy() for v in state.variables["model"]]


def test_restores_variables_history_and_the_sampler_bit_for_bit(tmp_path):
    saved, fresh = _state(0), _state(1)
    _train_epoch(saved, 1)
    save_checkpoint(tmp_path, saved)
    _restore(tmp_path, fresh)
    assert fresh.history == saved.history == [{"epoch": 1, "loss": 0.1}]
    for ours, theirs in zip(_values(fresh), _values(saved), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(fresh.source.cluster_losses, saved.source.cluster_losses)
    for _ in range(3):
        for ours, theirs in zip(fresh.source.sample(), saved.source.sample(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_keeps_the_two_newest(tmp_path):
    state = _state(0)
    for epoch in (1, 2, 3):
        _train_epoch(state, epoch)
        save_checkpoint(tmp_path, state)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch-0002-step-000000.npz", "epoch-0003-step-000000.npz"]


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_checkpoint_is_passed_over_with_one_warning(tmp_path, caplog, damage):
    state = _state(0)
    _train_epoch(state, 1)
    save_checkpoint(tmp_path, state)
    expected = _values(state)
    _train_epoch(state, 2)
    newest = save_checkpoint(tmp_path, state)
    content = bytearray(newest.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    else:
        # The first array's data begin after the zip and the npy header.
        position = content.index(b"\x93NUMPY") + 130
        content[position] ^= 0xFF
    newest.write_bytes(content)
    fresh = _state(1)
    with caplog.at_level(logging.WARNING):
        _restore(tmp_path, fresh)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert fresh.epoch == 1
    for ours, theirs in zip(_values(fresh), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_flipped_bits_are_noticed_or_harmless(tmp_path):
    """Every other bit of a whole file: its arrays are read as they were written, or not at all."""
    path = tmp_path / "small.npz"
    write_arrays(path, {"ab": np.arange(3), "c": np.array("text")})
    content, expected, damaged = path.read_bytes(), read_arrays(path), 0
    for position, bit in itertools.product(range(len(content)), range(0, 8, 2)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            arrays = read_arrays(path)
        except ValueError:
            damaged += 1
            continue
        assert arrays.keys() == expected.keys(), (position, bit)
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype, (position, bit)
            np.testing.assert_array_equal(array, expected[name])
    # The data, 2 x 128 bytes of npy headers and the rest: most bits matter.
    assert damaged > 4 * (3 * 8 + 4 * 4 + 2 * 128)


def test_only_damaged_checkpoints_are_refused_in_one_line(tmp_path):
    state = _state(0)
    for epoch in (1, 2):
        _train_epoch(state, epoch)
        save_checkpoint(tmp_path, state).write_bytes(b"")
    names = r"epoch-0002-step-000000\.npz \(.*\), epoch-0001-step-000000\.npz \(.*\)"
    with pytest.raises(RunError, match=rf"Every checkpoint in .* is damaged: {names}\. Nothing"):
        read_checkpoint(tmp_path)


def test_what_is_damaged_is_not_the_one_that_is_kept_besides(tmp_path):
    """Else a good one would go for it, or those that follow would be older than it."""
    state = _state(0)
    _train_epoch(state, 1)
    save_checkpoint(tmp_path, state)
    for name in ("epoch-0001-step-000003.npz", "epoch-0003-step-000000.npz"):
        (tmp_path / name).write_bytes(b"damaged")
    (tmp_path / ".epoch-0002-step-000004.partial.npz").write_bytes(b"half")
    (tmp_path / "best.npz").write_bytes(b"best")
    _restore(tmp_path, state)
    state.progress = EpochProgress(4)
    save_checkpoint(tmp_path, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.npz",
        "damaged-epoch-0001-step-000003.npz",
        "damaged-epoch-0003-step-000000.npz",
        "epoch-0001-step-000000.npz",
        "epoch-0001-step-000004.npz",
    ]


def test_without_checkpoints_nothing_is_restored(tmp_path):
    assert read_checkpoint(tmp_path / "missing") is None


def test_the_middle_of_an_epoch_is_restored(tmp_path):
    saved, fresh = _state(0), _state(1)
    _train_epoch(saved, 1)
    draws = [saved.source.sample(), saved.source.sample()]
    saved.progress = EpochProgress(7, {"loss": 1.25, "magnet": 0.1}, 42, 3.5, draws)
    saved.perturbation = np.random.default_rng(0).normal(size=(4, 1, 2, 1)).astype(np.float32)
    assert save_checkpoint(tmp_path, saved).name == "epoch-0001-step-000007.npz"
    _restore(tmp_path, fresh)
    assert (fresh.progress.step, fresh.progress.sums) == (7, {"loss": 1.25, "magnet": 0.1})
    assert (fresh.progress.images, fresh.progress.seconds) == (42, 3.5)
    np.testing.assert_array_equal(fresh.perturbation, saved.perturbation)
    for ours, theirs in zip(fresh.progress.pending, draws, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_the_middle_of_an_epoch_is_newer_than_its_beginning(tmp_path):
    state = _state(0)
    _train_epoch(state, 1)
    for step in (0, 9, 10, 100_000):
        state.progress = EpochProgress(step)
        save_checkpoint(tmp_path, state)
    _restore(tmp_path, state)
    assert state.progress.step == 100_000


def test_another_number_of_replicas_goes_on_and_says_so(tmp_path, caplog):
    state = _state(0)
    state.progress = EpochProgress(3, pending=[state.source.sample()] * 2)
    state.perturbation = np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1)
    state.fit_to(replicas=2, batch=4)
    assert len(state.progress.pending) == 2
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        state.fit_to(replicas=3, batch=4)
    assert len(caplog.records) == 1
    assert state.progress.pending == []
    assert state.perturbation.ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]


def test_shuffled_batches_continue_where_they_stopped(tmp_path):
    def dense(seed):
        batches = ShuffledBatches(LABELS, 7, seed=seed)
        return TrainingState({}, batches, [], EpochProgress(), np.zeros((0, 1, 1, 1)))

    saved, fresh = dense(0), dense(1)
    for _ in range(3):
        saved.source.sample()
    save_checkpoint(tmp_path, saved)
    _restore(tmp_path, fresh)
    for _ in range(10):
        np.testing.assert_array_equal(fresh.source.sample()[0], saved.source.sample()[0])


def test_arrays_travel_as_bytes():
    arrays = {"a": np.arange(3), "b": np.array("text")}
    restored = unpacked(packed(arrays))
    np.testing.assert_array_equal(restored["a"], arrays["a"])
    assert str(restored["b"]) == "text"
    assert unpacked(packed(None)) is None
