"""The clustering head against the official code's scores and hand derivations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from clustr_tf.layers import ClusteringHead
from clustr_tf.layers.clustering_head import UNRANKED_GAP

NEAREST = {1: (1, 5, 10), 2: (1, 5, 10), 4: (1, 5, 10)}


def _head(centroids, variance, num_classes, **options):
    head = ClusteringHead(num_classes, len(centroids) // num_classes, dtype="float64", **options)
    head.set_clusters(centroids, variance)
    return head


def _assert_published(log_scores, scores, probabilities):
    """The exp and the softmax equal the published numbers wherever those have not underflowed."""
    log_scores = np.asarray(log_scores)
    usable = scores > 1e-300
    assert usable.any()
    np.testing.assert_allclose(np.exp(log_scores)[usable], scores[usable], rtol=1e-9)
    assert (np.exp(log_scores)[~usable] <= 1e-290).all()
    # F.normalize divides by max(sum, 1e-12): below, the published probabilities are not one.
    normal = scores.sum(axis=1) > 1e-12
    np.testing.assert_allclose(
        softmax(log_scores, axis=1)[normal], probabilities[normal], rtol=1e-9, atol=1e-300
    )


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("clusters_per_class", "nearest"), [(k, n) for k, options in NEAREST.items() for n in options]
)
def test_published_scores_of_ten_classes(golden, clusters_per_class, nearest, normalize):
    inputs = f"bcd_inputs/K={clusters_per_class}"
    results = f"c_probs/K={clusters_per_class}/L={nearest}/normalize={normalize}/f64"
    head = _head(
        golden[f"{inputs}/centroids"],
        golden[f"{inputs}/variance_given"][0],
        num_classes=10,
        nearest=nearest,
        normalize=normalize,
    )
    log_scores = head(golden[f"{inputs}/embeddings"])
    _assert_published(log_scores, golden[f"{results}/scores"], golden[f"{results}/probs"])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("clusters_per_class", "nearest"),
    [(1, 1), (1, 5), (2, 1), (2, 5), (2, 10), (4, 1), (4, 5), (4, 20)],
)
def test_published_scores_of_five_classes(golden, clusters_per_class, nearest, normalize):
    inputs = f"scores/K={clusters_per_class}"
    results = f"{inputs}/L={nearest}/normalize={int(normalize)}"
    head = _head(
        golden[f"{inputs}/centroids"],
        golden[f"{inputs}/variance"],
        num_classes=5,
        nearest=nearest,
        normalize=normalize,
    )
    log_scores = head(golden[f"{inputs}/embeddings"])
    _assert_published(log_scores, golden[f"{results}/scores"], golden[f"{results}/probabilities"])


def test_log_scores_keep_the_gradient_that_published_scores_lose(golden):
    """`c_underflow`: far from the centroids the published scores and gradients are exactly 0.

    The log-score's gradient of the nearest class there is (mu - z) / sigma^2 up to the softmax
    weights: its norm grows with the distance instead.
    """
    centroids, embeddings = golden["c_underflow/centroids"], golden["c_underflow/embeddings"]
    variance = np.ravel(golden["c_underflow/variance"])[0]
    published = golden["c_underflow/f64/d_sum_scores_d_embeddings"].reshape(-1, centroids.shape[1])
    embeddings = embeddings.reshape(-1, centroids.shape[1])
    dead = np.abs(published).max(axis=1) == 0
    assert dead.any()
    head = _head(centroids, variance, num_classes=10)
    points = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(points)
        best = tf.reduce_max(head(points), axis=1)
    gradient = tape.gradient(best, points).numpy()
    nearest = np.linalg.norm(embeddings[:, None] - centroids, axis=2).min(axis=1)
    assert (np.linalg.norm(gradient, axis=1)[dead] >= nearest[dead] / variance * 0.5).all()


def test_by_hand():
    """Centroids -1 and 0 (class 0), 1 and 5 (class 1), sigma^2 = 1/2, so a = -distance^2.

    At z = 0.25: a = -1.5625, -0.0625 | -0.5625, -22.5625. All clusters: logsumexp of each pair.
    L = 2: clusters 1 and 2, one a class. L = 1: class 1 keeps its full score less the gap.
    """
    centroids = np.array([[-1.0], [0.0], [1.0], [5.0]])
    full = [np.logaddexp(-1.5625, -0.0625), np.logaddexp(-0.5625, -22.5625)]
    for nearest, expected in [
        (None, full),
        (4, full),
        (2, [-0.0625, -0.5625]),
        (1, [-0.0625, full[1] - UNRANKED_GAP]),
    ]:
        head = _head(centroids, 0.5, num_classes=2, nearest=nearest)
        np.testing.assert_allclose(head(np.array([[0.25]])), [expected], rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    num_classes=st.integers(2, 5),
    clusters_per_class=st.integers(1, 4),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    data=st.data(),
)
def test_log_scores_by_an_independent_computation(
    seed, num_classes, clusters_per_class, scale, data
):
    """Plain NumPy: sort the clusters by distance, keep L, logsumexp a class; finite everywhere."""
    num_clusters = num_classes * clusters_per_class
    nearest = data.draw(st.integers(1, num_clusters))
    rng = np.random.default_rng(seed)
    centroids = scale * rng.normal(size=(num_clusters, 3))
    embeddings = 4 * scale * rng.normal(size=(6, 3))
    variance = 0.3 * scale**2
    head = _head(centroids, variance, num_classes, nearest=nearest)
    log_scores = np.asarray(head(embeddings))
    assert np.isfinite(log_scores).all()
    for row, z in zip(log_scores, embeddings, strict=True):
        exponents = -((z - centroids) ** 2).sum(axis=1) / (2 * variance)
        kept = np.argsort(-exponents)[:nearest]
        ranked = set(kept // clusters_per_class)
        for label in range(num_classes):
            own = [j for j in kept if j // clusters_per_class == label]
            if own:
                assert row[label] == pytest.approx(logsumexp(exponents[own]), rel=1e-9)
        if len(ranked) < num_classes:
            absent = [label for label in range(num_classes) if label not in ranked]
            assert row[absent].max() < row[list(ranked)].min()


def test_stays_accurate_close_to_a_centroid_in_float32():
    """|mu| = 1000, sigma = 1e-3, z one sigma away: a = -1/2, though |mu|^2 = 1e6 in float32."""
    centroids = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    head = ClusteringHead(2, 1)
    head.set_clusters(centroids, 1e-6)
    log_scores = np.asarray(head(np.array([[1000.0, 1e-3]], np.float32)))
    assert log_scores[0, 0] == pytest.approx(-0.5, rel=1e-5)


def test_config_and_clusters_survive_saving(tmp_path):
    inputs = keras.Input((3,))
    head = ClusteringHead(3, 2, nearest=4, normalize=False)
    model = keras.Model(inputs, head(inputs))
    centroids = np.random.default_rng(0).normal(size=(6, 3))
    head.set_clusters(centroids, 2.0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert again.get_config() == head.get_config()
    np.testing.assert_allclose(again.centroids, centroids, rtol=1e-6)
    assert float(again.variance) == 2.0


@pytest.mark.parametrize(
    "arguments",
    [(1, 1), (2, 0), (2, 1, 0), (2, 1, 3)],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        ClusteringHead(*arguments)


@pytest.mark.parametrize(
    ("centroids", "variance"),
    [
        (np.zeros((3, 2)), 1.0),
        (np.zeros(4), 1.0),
        (np.full((4, 2), np.nan), 1.0),
        (np.zeros((4, 2)), 0.0),
        (np.zeros((4, 2)), np.nan),
        (np.zeros((4, 2)), np.ones(2)),
    ],
)
def test_bad_clusters_are_refused_and_the_old_ones_stay(centroids, variance):
    head = ClusteringHead(2, 2)
    head.set_clusters(np.ones((4, 2)), 3.0)
    with pytest.raises(ValueError, match="Received"):
        head.set_clusters(centroids, variance)
    np.testing.assert_array_equal(head.centroids, np.ones((4, 2)))
    assert float(head.variance) == 3.0
