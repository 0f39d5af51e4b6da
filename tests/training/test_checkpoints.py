"""Checkpoints: complete or not there, the newest readable one is used."""

import logging

import keras
import numpy as np
import pytest

from clustr_tf.clustering import NeighbourhoodSampler
from clustr_tf.training.checkpoints import TrainingState, restore_checkpoint, save_checkpoint

LABELS = np.repeat([0, 1, 2], 10)
CENTROIDS = np.arange(6.0)[:, None]


def _state(seed):
    rng = np.random.default_rng(seed)
    variables = [keras.Variable(rng.normal(size=shape)) for shape in [(2, 3), ()]]
    assignments = 2 * LABELS + np.arange(30) % 2
    sampler = NeighbourhoodSampler(LABELS, assignments, CENTROIDS, 3, 2, seed=seed)
    return TrainingState({"model": variables}, sampler, history=[])


def _train_epoch(state, epoch):
    for variable in state.variables["model"]:
        variable.assign_add(np.full(variable.shape, epoch, np.float32))
    indices, _ = state.sampler.sample()
    state.sampler.update_losses(indices, np.arange(len(indices)) + epoch)
    state.history.append({"epoch": epoch, "loss": 0.1 * epoch})


def _values(state):
    return [keras.ops.convert_to_numpy(v).copy() for v in state.variables["model"]]


def test_restores_variables_history_and_the_sampler_bit_for_bit(tmp_path):
    saved, fresh = _state(0), _state(1)
    _train_epoch(saved, 1)
    save_checkpoint(tmp_path, saved)
    assert restore_checkpoint(tmp_path, fresh)
    assert fresh.history == saved.history == [{"epoch": 1, "loss": 0.1}]
    for ours, theirs in zip(_values(fresh), _values(saved), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(fresh.sampler.cluster_losses, saved.sampler.cluster_losses)
    for _ in range(3):
        for ours, theirs in zip(fresh.sampler.sample(), saved.sampler.sample(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_keeps_the_two_newest(tmp_path):
    state = _state(0)
    for epoch in (1, 2, 3):
        _train_epoch(state, epoch)
        save_checkpoint(tmp_path, state)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch-0002.npz", "epoch-0003.npz"]


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
        assert restore_checkpoint(tmp_path, fresh)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert fresh.epoch == 1
    for ours, theirs in zip(_values(fresh), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_checkpoints_nothing_is_restored(tmp_path):
    assert not restore_checkpoint(tmp_path / "missing", _state(0))
