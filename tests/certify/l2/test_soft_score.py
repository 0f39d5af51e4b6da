"""Radius of the soft classifier: against the formulas written out, and against attacks."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from clustr_tf.certify.l2.clusters import cluster_geometry, nearest_cluster_radius
from clustr_tf.certify.l2.soft_score import signed_class_radii, soft_score_radius
from clustr_tf.certify.radii import soft_score_proof


def draw(seed, classes, clusters, dim, count=4):
    """Embeddings and centroids of one scale, so that many predictions are contested."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)), rng.normal(size=(classes * clusters, dim))


def exponents_of(points, centroids, variance):
    return -np.sum((points[:, None] - centroids) ** 2, axis=2) / (2 * variance)


def predict(points, centroids, variance, clusters, nearest=None):
    """The published scores: sums over the clusters of a class among the nearest ones."""
    exponents = exponents_of(points, centroids, variance)
    if nearest is not None:
        threshold = np.sort(exponents, axis=1)[:, -nearest][:, None]
        exponents = np.where(exponents >= threshold, exponents, -np.inf)
    by_class = exponents.reshape(len(points), -1, clusters)
    largest = exponents.max(axis=1)[:, None, None]
    return np.argmax(np.exp(by_class - largest).sum(axis=2), axis=1)


def radius_by_the_formula(point, centroids, variance, clusters, nearest=None):
    """The two formulas, one competitor after the other."""
    by_class = centroids.reshape(-1, clusters, len(point))
    exponents = exponents_of(point[None], centroids, variance).reshape(-1, clusters)
    own = predict(point[None], centroids, variance, clusters, nearest)[0]
    others = [k for k in range(len(by_class)) if k != own]

    def smallest(own_score, reference):
        return min(
            variance
            * (own_score - logsumexp(exponents[k]))
            / np.linalg.norm(reference - by_class[k], axis=1).max()
            for k in others
        )

    if nearest is None:
        mean = softmax(exponents[own]) @ by_class[own]
        found = smallest(logsumexp(exponents[own]), mean)
    else:
        found = max(smallest(exponents[own, i], by_class[own, i]) for i in range(clusters))
    return max(found, 0.0)


mixtures = {
    "seed": st.integers(0, 10_000),
    "classes": st.integers(2, 4),
    "clusters": st.integers(1, 4),
    "dim": st.integers(1, 6),
    "variance": st.sampled_from([0.01, 0.3, 3.0]),
    "nearest": st.sampled_from([None, 1, 2, 5]),
}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(**mixtures)
def test_radius_is_that_of_the_formula(seed, classes, clusters, dim, variance, nearest):
    if nearest is not None and nearest >= classes * clusters:
        nearest = None
    points, centroids = draw(seed, classes, clusters, dim)
    predicted, radius = soft_score_radius(points, centroids, variance, clusters, nearest)
    expected = [
        radius_by_the_formula(point, centroids, variance, clusters, nearest) for point in points
    ]
    np.testing.assert_array_equal(
        predicted, predict(points, centroids, variance, clusters, nearest)
    )
    np.testing.assert_allclose(radius, expected, rtol=1e-8, atol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(**{name: drawn for name, drawn in mixtures.items() if name != "nearest"})
def test_gaps_between_centroids_give_the_same_radius(seed, classes, clusters, dim, variance):
    """The distance of a mean from a centroid, through those of its parts: never too small."""
    points, centroids = draw(seed, classes, clusters, dim)
    geometry = cluster_geometry(tf.constant(centroids), clusters)
    distances = tf.reduce_sum((points[:, None] - centroids) ** 2, axis=2)
    predicted, radius = soft_score_proof(None).margin(
        distances, geometry, tf.constant(variance, tf.float64)
    )
    expected = [radius_by_the_formula(point, centroids, variance, clusters) for point in points]
    np.testing.assert_array_equal(predicted, predict(points, centroids, variance, clusters))
    np.testing.assert_allclose(radius, expected, rtol=1e-8, atol=1e-11)
    assert np.all(radius <= np.array(expected) * (1 + 1e-13))


def test_two_clusters_by_hand():
    """At z = 0, sigma^2 = 1, own clusters (-1, 1) and (-1, -1), the other class twice at (2, 0).

    a = -1 for the own clusters, -2 for the others: both classes have log 2 more, m = 1. The
    weights are 1/2 each, mubar = (-1, 0), at distance 3: radius 1/3. With L = 1 one own cluster
    must outrank both others: a_i - LSE = -1 - (log 2 - 2) = 1 - log 2, at distance sqrt(10).
    """
    centroids = np.array([[-1.0, 1], [-1, -1], [2, 0], [2, 0]])
    point = np.zeros((1, 2))
    _, everything = soft_score_radius(point, centroids, 1.0, 2)
    _, all_nearest = soft_score_radius(point, centroids, 1.0, 2, nearest=4)
    _, one_nearest = soft_score_radius(point, centroids, 1.0, 2, nearest=1, lipschitz=2.0)
    np.testing.assert_allclose(everything, [1 / 3], rtol=1e-12)
    np.testing.assert_allclose(all_nearest, [1 / 3], rtol=1e-12)
    np.testing.assert_allclose(one_nearest, [(1 - np.log(2)) / np.sqrt(10) / 2], rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seed=st.integers(0, 10_000), variance=st.sampled_from([1e-4, 1.0, 100.0]))
def test_single_clusters_have_the_radius_of_the_nearest_cluster(seed, variance):
    """K = 1: the scores order classes by distance, whatever sigma^2 and L."""
    points, centroids = draw(seed, classes=4, clusters=1, dim=3)
    predicted, expected = nearest_cluster_radius(points, centroids, 1)
    for nearest in (None, 2):
        found, radius = soft_score_radius(points, centroids, variance, 1, nearest)
        np.testing.assert_array_equal(found, predicted)
        np.testing.assert_allclose(radius, expected, rtol=1e-9, atol=1e-11)


def descend(point, centroids, variance, clusters, own, radius):
    """Where gradient descent on each competitor's margin ends inside the ball."""
    by_class = centroids.reshape(-1, clusters, len(point))
    ends = []
    for competitor in set(range(len(by_class))) - {own}:
        step = np.zeros_like(point)
        for _ in range(50):
            exponents = exponents_of((point + step)[None], centroids, variance)
            exponents = exponents.reshape(-1, clusters)
            gradient = (
                softmax(exponents[own]) @ by_class[own]
                - softmax(exponents[competitor]) @ by_class[competitor]
            )
            step = step - 0.3 * radius * gradient / np.linalg.norm(gradient)
            step *= min(1.0, radius / np.linalg.norm(step))
        ends.append(point + step)
    return np.array(ends)


@pytest.mark.parametrize("nearest", [None, 1, 2, 5])
@pytest.mark.parametrize("clusters", [1, 2, 4])
@pytest.mark.parametrize("variance", [0.05, 1.0])
def test_nothing_inside_the_radius_changes_the_class(variance, clusters, nearest):
    """Random directions, straight lines to all centroids and gradient descent on the margins."""
    if nearest is not None and nearest > 3 * clusters:
        nearest = None
    points, centroids = draw(seed=11, classes=3, clusters=clusters, dim=4, count=12)
    predicted, radius = soft_score_radius(points, centroids, variance, clusters, nearest)
    rng = np.random.default_rng(12)
    assert np.any(radius.numpy() > 0)
    for point, own, within in zip(points, predicted.numpy(), radius.numpy(), strict=True):
        if within == 0:
            continue
        within = (1 - 1e-9) * within
        directions = np.concatenate([rng.normal(size=(500, 4)), centroids - point])
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        changed = np.concatenate(
            [
                point + within * directions,
                descend(point, centroids, variance, clusters, own, within),
            ]
        )
        assert np.all(predict(changed, centroids, variance, clusters, nearest) == own)


def test_coinciding_centroids_leave_no_radius():
    """Class 1 has its clusters where class 0 has them, then where the first of them is."""
    points = np.array([[0.0, 0.0], [1.0, 2.0], [-3.0, 0.5]])
    own = [[0.0, 0.0], [2.0, 0.0]]
    for other in (own, [own[0], own[0]]):
        for nearest in (None, 1, 3):
            _, radius = soft_score_radius(points, np.array(own + other), 0.5, 2, nearest)
            assert np.all(np.isfinite(radius))
    _, same = soft_score_radius(points, np.array(own + own), 0.5, 2)
    np.testing.assert_allclose(same, 0, atol=1e-12)
    _, one_place = soft_score_radius(points, np.zeros((4, 2)), 0.5, 2, nearest=1)
    np.testing.assert_array_equal(one_place, 0)


@pytest.mark.parametrize("nearest", [None, 2])
def test_tiny_variance_underflows_nothing(nearest):
    """For sigma^2 -> 0 the scores become those of the nearest cluster, log K fades away.

    exp(a) is 0 in float32 and float64 here (a is about -1e8).
    """
    points, centroids = draw(seed=13, classes=3, clusters=2, dim=4)
    for dtype in ("float32", "float64"):
        predicted, radius = soft_score_radius(
            points.astype(dtype), centroids.astype(dtype), 1e-8, 2, nearest
        )
        nearest_class, largest = nearest_cluster_radius(points, centroids, 2)
        np.testing.assert_array_equal(predicted, nearest_class)
        assert np.all(radius.numpy() > 0)
        assert np.all(radius.numpy() <= largest.numpy() * (1 + 1e-4))


@pytest.mark.parametrize("nearest", [None, 1])
@pytest.mark.parametrize("far", [1e2, 1e4, 1e6, 1e8])
def test_far_from_the_centroids_rounding_makes_no_radius(nearest, far):
    """K = 1: the exact radius is (|z - mu_j|^2 - |z - mu_i|^2) / (2 |mu_i - mu_j|), in fractions.

    The centroids are a few units apart, the point is far from both and 0.001 from their bisector:
    the difference of the squared distances is less than their rounding.
    """
    for seed in range(20):
        rng = np.random.default_rng(seed)
        centroids = rng.normal(size=(2, 16)).astype("float32").astype("float64")
        across = (centroids[1] - centroids[0]) / np.linalg.norm(centroids[1] - centroids[0])
        point = far * rng.normal(size=16)
        point -= ((point - centroids.mean(axis=0)) @ across + 1e-3) * across
        point = point.astype("float32").astype("float64")
        predicted, radius = soft_score_radius(point[None], centroids, 0.5, 1, nearest)
        own = int(predicted[0])
        lower = Fraction(float(radius[0])) * (1 - Fraction(1, 2**40))
        exactly = [[Fraction(value) for value in row] for row in (point, *centroids)]
        same, other, gap = (
            sum((a - b) ** 2 for a, b in zip(exactly[i], exactly[j], strict=True))
            for i, j in ((0, 1 + own), (0, 2 - own), (1, 2))
        )
        assert lower == 0 or (other > same and 4 * gap * lower**2 <= (other - same) ** 2)


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_far_from_the_origin_the_tangent_keeps_its_slope(shift):
    """All centroids and the point moved together: the radius can only become smaller."""
    points, centroids = draw(seed=21, classes=3, clusters=3, dim=4, count=20)
    # Multiples of 2^-20, which stay exact when 1e7 is added.
    points, centroids = np.round(points * 2**20) / 2**20, np.round(centroids * 2**20) / 2**20
    _, radius = soft_score_radius(points, centroids, 0.3, 3)
    _, moved = soft_score_radius(points + shift, centroids + shift, 0.3, 3)
    assert np.all(moved.numpy() <= radius.numpy() * (1 + 1e-13))
    np.testing.assert_allclose(moved, radius, rtol=1e-5)


@pytest.mark.parametrize("nearest", [None, 3])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_radius_scales_with_the_embeddings(scale, nearest):
    points, centroids = draw(seed=14, classes=3, clusters=3, dim=8)
    for dtype, tolerance in (("float32", 1e-3), ("float64", 1e-9)):
        _, radius = soft_score_radius(
            points.astype(dtype), centroids.astype(dtype), 0.7, 3, nearest
        )
        _, scaled = soft_score_radius(
            (points * scale).astype(dtype),
            (centroids * scale).astype(dtype),
            0.7 * scale**2,
            3,
            nearest,
        )
        assert radius.dtype == dtype
        np.testing.assert_allclose(
            scaled, radius.numpy() * scale, rtol=tolerance, atol=1e-6 * scale
        )


@pytest.mark.parametrize("nearest", [None, 2])
def test_traces_for_batches_of_any_size(nearest):
    _, centroids = draw(seed=15, classes=3, clusters=2, dim=5)
    traced = tf.function(
        lambda points: soft_score_radius(points, centroids, 0.5, 2, nearest),
        input_signature=[tf.TensorSpec((None, 5), tf.float64)],
    )
    for count in (1, 7):
        points, _ = draw(seed=count, classes=3, clusters=2, dim=5, count=count)
        predicted, radius = traced(points)
        expected = soft_score_radius(points, centroids, 0.5, 2, nearest)
        assert predicted.dtype == tf.int64
        np.testing.assert_array_equal(predicted, expected[0])
        np.testing.assert_allclose(radius, expected[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nearest": 0}, "nearest must be None or at least 1"),
        ({"clusters_per_class": 4}, "clusters_per_class must divide the 6 centroids"),
        ({"clusters_per_class": 6}, "into at least 2 classes"),
        ({"lipschitz": -1.0}, "lipschitz must be above 0"),
        ({"variance": [0.5]}, "variance must be a scalar"),
    ],
)
def test_refuses_in_one_clear_line(arguments, message):
    points, centroids = draw(seed=0, classes=2, clusters=3, dim=2)
    valid = {
        "embeddings": points,
        "centroids": centroids,
        "variance": 0.5,
        "clusters_per_class": 3,
    }
    with pytest.raises(ValueError, match=message) as error:
        soft_score_radius(**{**valid, **arguments})
    assert "Received" in str(error.value)


def test_signed_radii_of_one_cluster_a_class_are_distances_to_bisectors():
    """Whichever side of the bisector the embedding is on; whatever the variance."""
    points, centroids = draw(seed=3, classes=3, clusters=1, dim=2, count=6)
    labels = np.array([0, 1, 2, 0, 1, 2])
    found = np.array(signed_class_radii(points, centroids, 0.3, 1, labels))
    squared = np.sum((points[:, None] - centroids) ** 2, axis=2)
    gaps = np.linalg.norm(centroids[:, None] - centroids, axis=2)[labels]
    own = np.take_along_axis(squared, labels[:, None], axis=1)
    with np.errstate(invalid="ignore"):
        expected = np.where(gaps > 0, (squared - own) / (2 * gaps), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert (found < 0).any()


@settings(max_examples=40, deadline=None)
@given(**{name: drawn for name, drawn in mixtures.items() if name != "nearest"})
def test_the_smallest_signed_radius_of_the_prediction_is_the_certified_one(
    seed, classes, clusters, dim, variance
):
    points, centroids = draw(seed, classes, clusters, dim)
    predicted = predict(points, centroids, variance, clusters)
    radii = np.array(signed_class_radii(points, centroids, variance, clusters, predicted))
    radii[np.arange(len(points)), predicted] = np.inf
    expected = [radius_by_the_formula(point, centroids, variance, clusters) for point in points]
    np.testing.assert_allclose(np.maximum(radii.min(axis=1), 0), expected, rtol=1e-6, atol=1e-9)


def test_signed_radii_have_gradients_even_where_centroids_coincide():
    points = tf.constant([[1.0, 0.5], [0.0, 0.0]], tf.float64)
    centroids = tf.constant([[0.0, 0.0], [0.0, 0.0], [4.0, 0.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([points, centroids])
        radii = signed_class_radii(points, centroids, 1.0, 1, [0, 1])[:, 2]
    gradients = tape.gradient(radii, [points, centroids])
    # The distance from (x, y) to the bisector x = 2.
    np.testing.assert_allclose(radii, [1.0, 2.0])
    np.testing.assert_allclose(gradients[0], [[-1.0, 0.0], [-1.0, 0.0]])
    assert np.isfinite(gradients[1]).all()
