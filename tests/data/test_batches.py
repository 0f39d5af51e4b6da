"""Neighbourhoods against the official code and, where they deviate, by hand; shuffled batches."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from clustr_tf.data import NeighbourhoodSampler, ShuffledBatches


def _official(golden, **options):
    read = lambda key: golden[f"f_sampler/{key}"]  # noqa: E731
    return NeighbourhoodSampler(
        read("labels"),
        read("assignments"),
        read("centroids"),
        int(read("M")),
        int(read("D")),
        **options,
    )


def test_official_losses_and_seed_probabilities_after_each_update(golden):
    sampler = _official(golden)
    assert np.isnan(sampler.cluster_losses).all()
    for number in range(4):
        read = lambda key, n=number: golden[f"f_sampler/update{n}/{key}"]  # noqa: E731
        sampler.update_losses(read("indices"), read("losses"))
        expected = read("cluster_losses")
        known = np.isfinite(sampler.cluster_losses)
        assert known.any()
        np.testing.assert_allclose(sampler.cluster_losses[known], expected[known], rtol=1e-5)
        if known.all():
            np.testing.assert_allclose(
                sampler.seed_probabilities, read("seed_probabilities"), rtol=1e-5
            )
    assert known.all()


def test_official_losses_of_the_early_set(golden):
    read = lambda key: golden[f"sampler/{key}"]  # noqa: E731
    sampler = NeighbourhoodSampler(
        read("labels"), read("assignments"), read("centroids"), 4, 5, seed=0
    )
    for number in range(3):
        sampler.update_losses(read(f"update{number}/indices"), read(f"update{number}/losses"))
        expected = read(f"update{number}/cluster_losses")
        known = np.isfinite(sampler.cluster_losses)
        np.testing.assert_allclose(sampler.cluster_losses[known], expected[known], rtol=1e-5)
    for seed_cluster, expected in enumerate(read("nearest_impostors_M=4")):
        assert sorted(sampler.impostors(seed_cluster)) == sorted(expected)


def test_official_impostors(golden):
    """The official list is the seed, then its impostors by id; ours come nearest first."""
    sampler = _official(golden)
    centroids = golden["f_sampler/centroids"].astype(np.float64)
    for seed_cluster, (first, *impostors) in enumerate(
        golden["f_sampler/chosen_clusters_seed_first_impostors_sorted"]
    ):
        assert first == seed_cluster
        ours = sampler.impostors(seed_cluster)
        assert sorted(ours) == impostors
        distances = np.linalg.norm(centroids[ours] - centroids[seed_cluster], axis=1)
        assert (np.diff(distances) >= 0).all()


def test_a_batch_has_the_structure_of_an_official_one(golden):
    sampler = _official(golden, seed=4)
    indices, targets = sampler.sample()
    official = golden["f_sampler/one_batch/indices"]
    assert indices.shape == official.shape
    assert len(set(indices)) == len(official) == len(set(official))
    for rows, clusters in [
        (indices, targets[:, 1]),
        (official, golden["f_sampler/one_batch/clust_assigns"]),
    ]:
        np.testing.assert_array_equal(clusters, golden["f_sampler/assignments"][rows])
        assert (np.bincount(clusters)[np.unique(clusters)] == 6).all()
        seed_cluster = clusters[0]
        assert set(np.unique(clusters)) == {seed_cluster, *sampler.impostors(seed_cluster)}


def _sampler(sizes=(4, 4, 4, 4), per_class=2, **options):
    assignments = np.repeat(np.arange(len(sizes)), sizes)
    arguments = {"clusters_per_batch": 3, "examples_per_cluster": 2, **options}
    centroids = np.arange(len(sizes), dtype=float)[:, None]
    return NeighbourhoodSampler(assignments // per_class, assignments, centroids, **arguments)


def test_unmeasured_clusters_count_with_the_mean_of_the_measured():
    """Losses 1 and 3 for clusters 0 and 2, mean 2 for the others: 1, 2, 3, 2 of 8.

    The published code gives clusters 1 and 3 probability 0, so that they can starve.
    """
    sampler = _sampler()
    np.testing.assert_array_equal(sampler.seed_probabilities, 0.25)
    sampler.update_losses([0, 1, 8], [0.5, 1.5, 3.0])
    np.testing.assert_allclose(sampler.cluster_losses, [1, np.nan, 3, np.nan])
    np.testing.assert_allclose(sampler.seed_probabilities, np.array([1, 2, 3, 2]) / 8)
    sampler.update_losses(np.arange(16), np.zeros(16))
    np.testing.assert_array_equal(sampler.seed_probabilities, 0.25)


def test_losses_that_fell_to_zero_leave_no_rounding_behind():
    """(0.1 + 0.2) - 0.1 - 0.2 is 3e-17, not 0: it would draw cluster 0 for ever.

    All losses are 0, so that every cluster has mean 0 and probability 1/4. With loss 1 for
    example 4 only cluster 1 has a loss: probability 1.
    """
    sampler = _sampler()
    sampler.update_losses(np.arange(16), [0.1, 0.2, *[0.0] * 14])
    sampler.update_losses([0], [0.0])
    sampler.update_losses([1], [0.0])
    np.testing.assert_array_equal(sampler.cluster_losses, 0.0)
    np.testing.assert_array_equal(sampler.seed_probabilities, 0.25)
    sampler.update_losses([4], [1.0])
    np.testing.assert_array_equal(sampler.seed_probabilities, [0, 1, 0, 0])


def test_a_refresh_keeps_the_losses_of_the_examples():
    """Examples 0 and 8 have losses 1 and 3. After 0 moves to cluster 1, so does its loss."""
    sampler = _sampler()
    sampler.update_losses([0, 8], [1.0, 3.0])
    assignments = np.repeat(np.arange(4), 4)
    assignments[0] = 1
    sampler.set_clusters(assignments, np.arange(4.0)[:, None])
    np.testing.assert_array_equal(sampler.cluster_losses, [np.nan, 1, 3, np.nan])


def test_seeds_follow_their_probabilities():
    sampler = _sampler(seed=11)
    sampler.update_losses(np.arange(0, 16, 4), [1.0, 2.0, 3.0, 4.0])
    seeds = [int(sampler.sample()[1][0, 1]) for _ in range(2000)]
    expected = 2000 * np.array([1, 2, 3, 4]) / 10
    assert chisquare(np.bincount(seeds), expected).pvalue > 0.01


def test_small_clusters_shrink_the_batch_and_say_so_once(caplog):
    sampler = _sampler(sizes=(1, 4, 4, 4), examples_per_cluster=3, seed=1)
    with caplog.at_level(logging.WARNING):
        sizes = [len(sampler.sample()[0]) for _ in range(20)]
    assert set(sizes) == {7, 9}
    assert len(caplog.records) == 1
    assert "fewer than examples_per_cluster=3" in caplog.text


def test_empty_clusters_are_never_drawn():
    sampler = _sampler(sizes=(4, 0, 4, 4))
    assert sampler.seed_probabilities[1] == 0
    np.testing.assert_array_equal(sampler.impostors(2), [0])
    drawn = {int(cluster) for _ in range(30) for cluster in sampler.sample()[1][:, 1]}
    assert drawn == {0, 2, 3}


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    num_classes=st.integers(2, 5),
    per_class=st.integers(1, 3),
    examples=st.integers(1, 4),
    data=st.data(),
)
def test_structure_of_every_batch(seed, num_classes, per_class, examples, data):
    clusters_per_batch = data.draw(st.integers(2, per_class * (num_classes - 1) + 1))
    rng = np.random.default_rng(seed)
    assignments = rng.permutation(np.repeat(np.arange(num_classes * per_class), 5))
    sampler = NeighbourhoodSampler(
        assignments // per_class,
        assignments,
        rng.normal(size=(num_classes * per_class, 3)),
        clusters_per_batch,
        examples,
        seed=seed,
    )
    for _ in range(3):
        indices, targets = sampler.sample()
        assert len(indices) == len(set(indices)) == clusters_per_batch * examples
        np.testing.assert_array_equal(targets[:, 1], assignments[indices])
        np.testing.assert_array_equal(targets[:, 0], assignments[indices] // per_class)
        groups = targets[::examples]
        assert len(set(groups[:, 1])) == clusters_per_batch
        assert (groups[1:, 0] != groups[0, 0]).all()
        sampler.update_losses(indices, rng.uniform(size=len(indices)))


def test_incremental_means_do_not_drift():
    """After 2,000 updates the means are those of the remembered losses, within 1e-9."""
    sampler = _sampler()
    rng = np.random.default_rng(0)
    remembered = np.full(16, np.nan)
    for _ in range(2000):
        indices = rng.choice(16, 5, replace=False)
        remembered[indices] = losses = rng.exponential(size=5) * 10.0 ** rng.integers(-6, 4)
        sampler.update_losses(indices, losses)
    np.testing.assert_allclose(
        sampler.cluster_losses, remembered.reshape(4, 4).mean(axis=1), rtol=1e-6, atol=1e-9
    )


def test_continues_bit_for_bit_after_restoring():
    first = _sampler(seed=3)
    for _ in range(5):
        indices, _ = first.sample()
        first.update_losses(indices, np.linspace(0, 1, len(indices)))
    state = first.state()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    assert not any(value.dtype.hasobject for value in state.values())
    second = _sampler(seed=99)
    second.restore(state)
    np.testing.assert_array_equal(second.cluster_losses, first.cluster_losses)
    for _ in range(5):
        for ours, theirs in zip(second.sample(), first.sample(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "options", [{"clusters_per_batch": 4}, {"clusters_per_batch": 1}, {"examples_per_cluster": 0}]
)
def test_impossible_batches_are_refused(options):
    with pytest.raises(ValueError, match=r"must be .* Received"):
        _sampler(**options)


def test_clusters_of_another_class_are_refused():
    sampler = _sampler()
    with pytest.raises(ValueError, match="own class"):
        sampler.set_clusters(np.zeros(16, int), np.arange(4.0)[:, None])
    with pytest.raises(ValueError, match="shape"):
        sampler.set_clusters(np.zeros(3, int), np.arange(4.0)[:, None])


@pytest.mark.parametrize(
    "centroids", [np.arange(2.0)[:, None], np.arange(4.0), np.full((4, 1), np.nan)]
)
def test_bad_centroids_are_refused(centroids):
    with pytest.raises(ValueError, match=r"^centroids must be .* Received"):
        _sampler().set_clusters(np.repeat(np.arange(4), 4), centroids)


@pytest.mark.parametrize("labels", [[], [[0], [1]], [0, -1]])
def test_bad_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"^labels must be .* Received"):
        NeighbourhoodSampler(labels, labels, np.zeros((2, 1)), 2, 1)


@pytest.mark.parametrize("seed_cluster", [-1, 4])
def test_unknown_clusters_have_no_impostors(seed_cluster):
    with pytest.raises(ValueError, match=f"from 0 to 3. Received: {seed_cluster}"):
        _sampler().impostors(seed_cluster)


def test_the_state_of_other_data_is_refused_and_nothing_changes():
    sampler = _sampler()
    sampler.update_losses([0], [1.0])
    other = _sampler(sizes=(4, 4, 4, 4, 4, 4))
    for state in (other.state(), {**sampler.state(), "loss_sums": np.zeros(3)}):
        with pytest.raises(ValueError, match=r"16 examples in 4 clusters\. Received"):
            sampler.restore(state)
    np.testing.assert_array_equal(sampler.cluster_losses, [1, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("indices", "losses"),
    [
        ([0, 1], [1.0]),
        ([0], [np.nan]),
        ([[0]], [[1.0]]),
        ([-1], [1.0]),
        ([16], [1.0]),
        ([3, 3], [1.0, 2.0]),
    ],
)
def test_bad_losses_are_refused_and_nothing_is_remembered(indices, losses):
    sampler = _sampler()
    with pytest.raises(ValueError, match="Received"):
        sampler.update_losses(indices, losses)
    assert np.isnan(sampler.cluster_losses).all()


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
def test_impossible_batch_sizes_are_refused(batch):
    with pytest.raises(ValueError, match=f"batch_size must be from 1 to 10. Received: {batch}"):
        ShuffledBatches(np.zeros(10, int), batch)


def test_a_state_of_other_data_is_refused():
    state = ShuffledBatches(np.zeros(10, int), 5).state()
    with pytest.raises(ValueError, match=r"must be of 9 examples\. Received: 10"):
        ShuffledBatches(np.zeros(9, int), 5).restore(state)
