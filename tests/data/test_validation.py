"""The validation split: a partition of the training data, stratified, seeded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustr_tf.data.dataset import Dataset, hold_out
from clustr_tf.run.errors import InputError


def _numbered(sizes, order_seed=0):
    """Images whose four bytes are their number, of classes of the given sizes, shuffled."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(order_seed).permutation(labels)
    images = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1)
    return Dataset(
        name="numbered",
        train_images=images,
        train_labels=labels,
        validation_images=images[:0],
        validation_labels=labels[:0],
        test_images=images,
        test_labels=labels,
        class_names=tuple(map(str, range(len(sizes)))),
        mean=(0.25,),
        std=(0.5,),
    )


def _numbers(images):
    return np.ascontiguousarray(images).reshape(-1, 4).view(np.uint32)[:, 0]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.integers(10, 40), min_size=2, max_size=5), st.floats(0.2, 0.7), st.data())
def test_the_two_parts_are_a_stratified_partition_in_the_old_order(sizes, share, data):
    dataset = _numbered(sizes)
    examples, seed = int(share * sum(sizes)), data.draw(st.integers(0, 2**32 - 1))
    split = hold_out(dataset, examples, seed)
    kept, held = _numbers(split.train_images), _numbers(split.validation_images)
    assert len(held) == examples
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    assert set(kept) | set(held) == set(range(sum(sizes)))
    np.testing.assert_array_equal(split.train_labels, dataset.train_labels[kept])
    np.testing.assert_array_equal(split.validation_labels, dataset.train_labels[held])
    # Each class gives its share, rounded down or up.
    counts = np.bincount(split.validation_labels, minlength=len(sizes))
    assert (np.abs(counts - np.array(sizes) * examples / sum(sizes)) < 1).all()


def test_the_seed_decides():
    dataset = _numbered([30, 20])
    first, again, other = (
        _numbers(hold_out(dataset, 10, seed).validation_images) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_none_held_out_is_the_same_data():
    dataset = _numbered([3, 3])
    assert hold_out(dataset, 0, 0) is dataset


@pytest.mark.parametrize(
    ("sizes", "examples"),
    [
        ([9, 9, 9], 2),  # fewer than classes
        ([9, 9, 9], 25),  # two images left for three classes
        ([9, 9, 9], 28),  # more than there are
        ([9, 9, 1], 5),  # a class of one image cannot be shared
        ([2, 98], 90),  # 90 % of class 0 are both of its images
    ],
)
def test_a_split_that_cannot_be_is_refused(sizes, examples):
    with pytest.raises(InputError) as raised:
        hold_out(_numbered(sizes), examples, 0)
    assert str(raised.value).startswith("config.dataset.validation_examples must be 0, or at least")
    assert str(raised.value).endswith(f"Received: {examples}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("examples", "seed", "line"),
    [
        (-1, 0, r"^validation_examples must be at least 0\. Received: -1"),
        (0, -1, r"^validation_seed must be in 0\.\.2\*\*32-1\. Received: -1"),
        (2, 2**32, r"^validation_seed must be in 0\.\.2\*\*32-1\. Received: 4294967296"),
    ],
)
def test_numbers_out_of_range_are_refused(examples, seed, line):
    with pytest.raises(ValueError, match=line):
        hold_out(_numbered([9, 9]), examples, seed)
