"""K-means per class against the official code's clusters and hand derivations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustr_tf.data.kmeans import cluster_by_class


def test_official_clusters(golden):
    """The same inertia and, up to their order within a class, the same centroids."""
    read = lambda key: golden[f"f_sampler/{key}"]  # noqa: E731
    embeddings, labels, per_class = read("embeddings"), read("labels"), int(read("K"))
    clusters = cluster_by_class(embeddings, labels, per_class, seed=1, n_init=1, max_iter=20)
    squared = ((embeddings - clusters.centroids[clusters.assignments]) ** 2).sum(axis=1)
    inertia = np.bincount(labels, weights=squared)
    np.testing.assert_allclose(inertia, read("inertia_per_class"), rtol=1e-9)
    for ours, official in zip(
        clusters.centroids.reshape(-1, per_class, embeddings.shape[1]),
        read("centroids").reshape(-1, per_class, embeddings.shape[1]),
        strict=True,
    ):
        distances = np.abs(ours[:, None] - official).max(axis=2)
        nearest = distances.argmin(axis=1)
        assert sorted(nearest) == list(range(per_class))
        np.testing.assert_allclose(ours, official[nearest], atol=1e-5)
    assert clusters.variance == pytest.approx(squared.sum() / (len(labels) - 1))


def test_by_hand():
    """Class 0: 0, 2 and 10, 12; class 1: 100, 101, 103, 104. K = 2.

    Centroids 1, 11 | 100.5, 103.5; squared distances 1, 1, 1, 1, 1/4 four times: sum 5, / 7.
    """
    embeddings = np.array([0, 2, 10, 12, 100, 101, 103, 104], float)[:, None]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    clusters = cluster_by_class(embeddings, labels, 2, n_init=5)
    assert sorted(clusters.centroids[:2, 0]) == [1, 11]
    assert sorted(clusters.centroids[2:, 0]) == [100.5, 103.5]
    np.testing.assert_array_equal(clusters.assignments // 2, labels)
    assert clusters.assignments[0] == clusters.assignments[1] != clusters.assignments[2]
    assert clusters.variance == pytest.approx(5 / 7)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    per_class=st.integers(1, 4),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
)
def test_every_example_has_the_nearest_centroid_of_its_class(seed, per_class, scale):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1, 2], 12))
    embeddings = scale * rng.normal(size=(36, 5))
    clusters = cluster_by_class(embeddings, labels, per_class, seed=seed, max_iter=300)
    assert clusters.centroids.shape == (3 * per_class, 5)
    distances = ((embeddings[:, None] - clusters.centroids) ** 2).sum(axis=2)
    other_class = np.arange(3 * per_class) // per_class != labels[:, None]
    distances[other_class] = np.inf
    np.testing.assert_array_equal(distances.argmin(axis=1), clusters.assignments)
    for cluster, centroid in enumerate(clusters.centroids):
        members = embeddings[clusters.assignments == cluster]
        np.testing.assert_allclose(members.mean(axis=0), centroid, atol=1e-9 * scale)


def test_fewer_distinct_embeddings_than_clusters_give_shared_centroids():
    """Class 0 is one point, so that three clusters share it; class 1 spreads."""
    embeddings = np.array([[5.0]] * 4 + [[0.0], [1.0], [2.0], [3.0]])
    clusters = cluster_by_class(embeddings, np.repeat([0, 1], 4), 3)
    np.testing.assert_array_equal(clusters.centroids[:3], 5.0)
    assert np.isfinite(clusters.centroids).all()


def test_keeps_float32():
    embeddings = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    assert cluster_by_class(embeddings, np.repeat([0, 1], 10), 2).centroids.dtype == np.float32


@pytest.mark.parametrize(
    ("embeddings", "labels", "per_class", "message"),
    [
        (np.zeros((4, 2)) + np.arange(4)[:, None], [0, 0, 0, 1], 2, "Received: 1 in class 1"),
        (np.arange(8.0).reshape(4, 2), [0, 0, 2, 2], 1, "Received: 0 in class 1"),
        (np.full((4, 2), np.nan), [0, 0, 1, 1], 1, "finite"),
        (np.zeros((4, 2)), [0, 0, 1, 1], 1, "collapsed"),
        (np.zeros((4, 2)), [0, 1], 1, "shapes"),
        (np.arange(8).reshape(4, 2), [0, 0, 1, 1], 1, "floating. Received: int64"),
        (np.arange(8.0).reshape(4, 2), [0.0, 0.0, 1.0, 1.0], 1, "integers. Received: float64"),
        (np.arange(8.0).reshape(4, 2), [0, 0, -1, 1], 1, "at least 0"),
        (np.arange(8.0).reshape(4, 2), [0, 0, 1, 1], 0, "at least 1"),
    ],
)
def test_bad_input_is_refused(embeddings, labels, per_class, message):
    with pytest.raises(ValueError, match=message):
        cluster_by_class(embeddings, np.array(labels), per_class)


def test_a_large_class_is_clustered_by_some_of_its_examples(monkeypatch):
    """Class 0 has three separate groups: each example is with its group whoever was drawn."""
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.repeat([0, 1], [600, 60]))
    groups = rng.integers(0, 3, 660)
    embeddings = 100.0 * np.eye(3)[groups] + rng.normal(size=(660, 3))
    whole = cluster_by_class(embeddings, labels, 3, seed=1, n_init=3)
    monkeypatch.setattr("clustr_tf.data.kmeans._MOST_FITTED", 90)
    monkeypatch.setattr("clustr_tf.data.kmeans._PART", 50)
    clusters = cluster_by_class(embeddings, labels, 3, seed=1, n_init=3)
    again = cluster_by_class(embeddings, labels, 3, seed=1, n_init=3)
    for label in (0, 1):
        pairs = set(
            zip(groups[labels == label], clusters.assignments[labels == label], strict=True)
        )
        assert len(pairs) == 3
    np.testing.assert_array_equal(clusters.centroids, again.centroids)
    np.testing.assert_array_equal(clusters.centroids[3:], whole.centroids[3:])  # 60 examples
    assert not np.array_equal(clusters.centroids[:3], whole.centroids[:3])
    residuals = embeddings - clusters.centroids[clusters.assignments]
    assert clusters.variance == pytest.approx((residuals**2).sum() / 659, rel=1e-12)
