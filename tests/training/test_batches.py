"""Shuffled batches of the dense baselines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustr_tf.training.batches import ShuffledBatches


@settings(deadline=None, derandomize=True, max_examples=50)
@given(examples=st.integers(1, 60), batch=st.integers(1, 60), seed=st.integers(0, 5))
def test_an_order_gives_every_example_at_most_once(examples, batch, seed):
    batch = min(batch, examples)
    labels = np.random.default_rng(seed).integers(0, 3, examples)
    batches = ShuffledBatches(labels, batch, seed)
    for _ in range(2):
        indices, targets = zip(*[batches.sample() for _ in range(examples // batch)], strict=True)
        together = np.concatenate(indices)
        assert all(len(part) == batch for part in indices)
        assert len(np.unique(together)) == len(together)
        expected = np.stack([labels[together]] * 2, axis=1)
        np.testing.assert_array_equal(np.concatenate(targets), expected)


def test_orders_differ():
    batches = ShuffledBatches(np.zeros(50, int), 50)
    first, second = batches.sample()[0], batches.sample()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.sort(second))


@pytest.mark.parametrize("batch", [0, 11])
def test_impossible_batches_are_refused(batch):
    with pytest.raises(ValueError, match=f"batch_size must be from 1 to 10. Received: {batch}"):
        ShuffledBatches(np.zeros(10, int), batch)


def test_a_state_of_other_data_is_refused():
    state = ShuffledBatches(np.zeros(10, int), 5).state()
    with pytest.raises(ValueError, match=r"must be of 9 examples\. Received: 10"):
        ShuffledBatches(np.zeros(9, int), 5).restore(state)
