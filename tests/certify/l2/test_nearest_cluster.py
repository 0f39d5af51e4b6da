"""Radius of the nearest-cluster classifier: against projections computed on their own."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from clustr_tf.certify.l2.clusters import nearest_cluster_radius


def draw(seed, classes, clusters, dim, count=4):
    """Embeddings and centroids of one scale, so that many predictions are contested."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)), rng.normal(size=(classes * clusters, dim))


def predict(points, centroids, clusters):
    distances = np.linalg.norm(points[:, None] - centroids, axis=2)
    return np.argmin(distances, axis=1) // clusters


def project(point, centroids, own, competitor):
    """The point nearest to `point` that is no closer to any of `own` than to the competitor.

    The Lagrange dual of min |x|^2 / 2, N x >= g is min_{l >= 0} |N^T l|^2 / 2 - l.g. With e the
    last unit vector, min_{l >= 0} |[N^T; g^T] l - e| has the same direction of l (Lawson and
    Hanson's least distance programming): x = -r[:dim] / r[dim] of the residual r.
    """
    normals = centroids[competitor] - centroids[own]
    # |z' - mu_j|^2 <= |z' - mu_i|^2 in terms of x = z' - point.
    offsets = (
        np.sum((point - centroids[competitor]) ** 2) - np.sum((point - centroids[own]) ** 2, axis=1)
    ) / 2
    matrix = np.vstack([normals.T, offsets])
    target = np.append(np.zeros(len(point)), 1.0)
    residual = matrix @ nnls(matrix, target)[0] - target
    return point - residual[:-1] / residual[-1]


def projections(point, centroids, clusters):
    """The projection on every competitor's region, `[competitors, dim]`."""
    predicted = predict(point[None], centroids, clusters)[0]
    ids = np.arange(len(centroids))
    own = ids[ids // clusters == predicted]
    others = ids[ids // clusters != predicted]
    return np.array([project(point, centroids, own, other) for other in others])


mixtures = {
    "seed": st.integers(0, 10_000),
    "classes": st.integers(2, 4),
    "clusters": st.integers(1, 4),
    "dim": st.integers(1, 6),
}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(**mixtures)
def test_exact_is_the_distance_to_the_nearest_projection(seed, classes, clusters, dim):
    """Also in few dimensions, where the normals of a class are dependent."""
    points, centroids = draw(seed, classes, clusters, dim)
    predicted, radius = nearest_cluster_radius(points, centroids, clusters, "exact")
    expected = [
        np.linalg.norm(projections(point, centroids, clusters) - point, axis=1).min()
        for point in points
    ]
    np.testing.assert_array_equal(predicted, predict(points, centroids, clusters))
    np.testing.assert_allclose(radius, expected, rtol=1e-8)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(**mixtures)
def test_methods_are_ordered_and_one_for_single_clusters(seed, classes, clusters, dim):
    points, centroids = draw(seed, classes, clusters, dim)
    nearest, pairwise, exact = (
        nearest_cluster_radius(points, centroids, clusters, method)[1].numpy()
        for method in ("nearest", "pairwise", "exact")
    )
    assert np.all(nearest >= 0)
    assert np.all(nearest <= pairwise)
    assert np.all(pairwise <= exact)
    if clusters == 1:
        np.testing.assert_array_equal(nearest, exact)


@pytest.mark.parametrize("clusters", [2, 3, 4, 5])
def test_exact_needs_every_cluster_of_a_simplex(clusters):
    """At z = 0, own clusters (-1, v_k) with the corners v_k of a regular simplex, |v_k| = 1.

    The competitor (2, 0) has bisectors at (|mu_j|^2 - |mu_i|^2) / (2 |mu_i - mu_j|) = 2 / (2
    sqrt(10)) each: "pairwise". Its region is {(x, y): 3 x - v_k.y >= 1 for all k}; the v_k sum to
    0, so that 3 x >= 1 there and (1/3, 0) is the nearest point: "exact". No smaller set of
    half-spaces will do, as its v_k do not have 0 between them.
    """
    corners = np.eye(clusters) - 1 / clusters
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    own = np.column_stack([-np.ones(clusters), corners])
    competitors = np.zeros((clusters, clusters + 1))
    competitors[:, 0] = [2.0] + [9.0] * (clusters - 1)
    centroids = np.concatenate([own, competitors])
    point = np.zeros((1, clusters + 1))
    for method, expected in (("nearest", 0.1**0.5), ("pairwise", 0.1**0.5), ("exact", 1 / 3)):
        _, radius = nearest_cluster_radius(point, centroids, clusters, method)
        np.testing.assert_allclose(radius, [expected], rtol=1e-12)


def test_pairwise_counts_every_own_cluster():
    """On a line: z = 0, own clusters -1 and 3, competitor 2 of a class {2, 100}.

    z is nearest to -1, whose bisector with 2 lies at 0.5, at distance 0.5: no own cluster is
    crossed later, as 3 loses to 2 everywhere below 2.5. For own clusters -1 and 1, competitors 2
    and 100: the bisector with -1 is at 0.5, that with 1 at 1.5, which must both be crossed.
    """
    point = np.zeros((1, 1))
    first = np.array([[-1.0], [3.0], [2.0], [100.0]])
    second = np.array([[-1.0], [1.0], [2.0], [100.0]])
    for centroids, method, expected in (
        (first, "pairwise", 0.5),
        (second, "nearest", 0.5),
        (second, "pairwise", 1.5),
    ):
        _, radius = nearest_cluster_radius(point, centroids, 2, method)
        np.testing.assert_allclose(radius, [expected], rtol=1e-12)


def test_two_classes_with_one_cluster_each_give_the_theorem_of_the_paper():
    """Distance to the bisecting hyperplane: z = (1, 5), centroids (0, 0), (4, 0): 2 - 1 = 1."""
    for method in ("nearest", "pairwise", "exact"):
        predicted, radius = nearest_cluster_radius(
            np.array([[1.0, 5.0]]), np.array([[0.0, 0.0], [4.0, 0.0]]), 1, method, lipschitz=2.0
        )
        assert predicted.numpy() == [0]
        np.testing.assert_allclose(radius, [0.5], rtol=1e-12)


@pytest.mark.parametrize("method", ["nearest", "pairwise", "exact"])
@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_nothing_inside_the_radius_changes_the_class(method, clusters):
    """Random directions, and straight towards every competitor and its region."""
    points, centroids = draw(seed=5, classes=3, clusters=clusters, dim=4, count=8)
    predicted, radius = nearest_cluster_radius(points, centroids, clusters, method)
    rng = np.random.default_rng(6)
    assert np.all(radius.numpy() > 0)
    for point, own, within in zip(points, predicted.numpy(), radius.numpy(), strict=True):
        directions = np.concatenate(
            [
                rng.normal(size=(2000, 4)),
                centroids - point,
                projections(point, centroids, clusters) - point,
            ]
        )
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        changed = point + (1 - 1e-9) * within * directions
        assert np.all(predict(changed, centroids, clusters) == own)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(**mixtures)
def test_just_outside_the_exact_radius_the_class_changes(seed, classes, clusters, dim):
    points, centroids = draw(seed, classes, clusters, dim)
    predicted, radius = nearest_cluster_radius(points, centroids, clusters, "exact")
    for point, own, within in zip(points, predicted.numpy(), radius.numpy(), strict=True):
        regions = projections(point, centroids, clusters)
        steps = np.linalg.norm(regions - point, axis=1)
        competitor = np.flatnonzero(np.arange(len(centroids)) // clusters != own)[steps.argmin()]
        # A little further into the region: towards the competitor's centroid.
        nearest_region = regions[steps.argmin()]
        further = 1e-6 * (centroids[competitor] - nearest_region)
        outside = nearest_region + further
        assert np.linalg.norm(outside - point) <= within * (1 + 1e-6) + np.linalg.norm(further)
        assert predict(outside[None], centroids, clusters)[0] != own


def test_coinciding_centroids_of_two_classes_leave_no_radius():
    """Classes 0 and 1 share the centroid 0, also the nearest: nothing is proved, nothing is NaN."""
    centroids = np.array([[0.0, 0], [5, 0], [0, 0], [0, 5]])
    points = np.array([[0.0, 0.0], [0.1, -0.1]])
    for method in ("nearest", "pairwise", "exact"):
        predicted, radius = nearest_cluster_radius(points, centroids, 2, method)
        np.testing.assert_array_equal(predicted, [0, 0])
        np.testing.assert_array_equal(radius, [0, 0])


@pytest.mark.parametrize("method", ["nearest", "pairwise", "exact"])
def test_repeated_centroids_of_one_class_count_once(method):
    """Two and four copies of a centroid give parallel normals: the radius is that of one copy."""
    points, centroids = draw(seed=1, classes=3, clusters=1, dim=3)
    single = nearest_cluster_radius(points, centroids, 1, method)[1]
    repeated = nearest_cluster_radius(points, np.repeat(centroids, 4, axis=0), 4, method)[1]
    np.testing.assert_allclose(repeated, single, rtol=1e-9)


def squared_in_fractions(one, other):
    """The exact squared distance of two points of floats."""
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    return sum((Fraction(a) - Fraction(b)) ** 2 for a, b in pairs)


def near_a_bisector(far, seed):
    """Two centroids a few units apart, and a point so far away, 0.001 from their bisector.

    All are float32 numbers.
    """
    rng = np.random.default_rng(seed)
    centroids = rng.normal(size=(2, 16)).astype("float32").astype("float64")
    across = centroids[1] - centroids[0]
    across /= np.linalg.norm(across)
    point = far * rng.normal(size=16)
    point -= ((point - centroids.mean(axis=0)) @ across + 1e-3) * across
    return point.astype("float32").astype("float64"), centroids


@pytest.mark.parametrize("method", ["nearest", "pairwise", "exact"])
@pytest.mark.parametrize("far", [1e2, 1e4, 1e6, 1e8])
def test_far_from_the_centroids_rounding_makes_no_radius(method, far):
    """There the difference of the squared distances is less than their rounding.

    Compared without rounding: r <= d / (2 g) where 4 g^2 r^2 <= d^2 and d >= 0; up to the last
    digits of r, which the cast to float32 takes care of.
    """
    for seed in range(20):
        point, centroids = near_a_bisector(far, seed)
        # Two copies of each, so that "exact" has a set of two normals.
        twice = np.repeat(centroids, 2, axis=0)
        predicted, radius = nearest_cluster_radius(point[None], twice, 2, method)
        own = int(predicted[0])
        lower = Fraction(float(radius[0])) * (1 - Fraction(1, 2**40))
        other, same = (squared_in_fractions(point, centroids[c]) for c in (1 - own, own))
        squared_gap = squared_in_fractions(*centroids)
        assert lower == 0 or (other > same and 4 * squared_gap * lower**2 <= (other - same) ** 2)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_radius_scales_with_the_embeddings(scale, dtype):
    points, centroids = draw(seed=2, classes=3, clusters=3, dim=8)
    _, radius = nearest_cluster_radius(points.astype(dtype), centroids.astype(dtype), 3)
    _, scaled = nearest_cluster_radius(
        (points * scale).astype(dtype), (centroids * scale).astype(dtype), 3
    )
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(scaled, radius.numpy() * scale, rtol=tolerance)


def test_float32_agrees_with_float64_and_dtypes_mix():
    """A radius in float32 is below that in float64: its larger rounding is subtracted."""
    points, centroids = draw(seed=3, classes=4, clusters=3, dim=16)
    predicted, radius = nearest_cluster_radius(points, centroids, 3)
    single = nearest_cluster_radius(points.astype("float32"), centroids.astype("float32"), 3)
    mixed = nearest_cluster_radius(points, centroids.astype("float32"), 3)
    assert (predicted.dtype, radius.dtype) == (tf.int64, tf.float64)
    assert (single[0].dtype, single[1].dtype, mixed[1].dtype) == (
        tf.int64,
        tf.float32,
        tf.float64,
    )
    np.testing.assert_allclose(single[1], radius, atol=3e-4)
    assert np.all(single[1].numpy() < radius.numpy())


def test_traces_once_for_batches_of_any_size():
    _, centroids = draw(seed=4, classes=3, clusters=2, dim=5)
    traced = tf.function(
        lambda points: nearest_cluster_radius(points, centroids, 2),
        input_signature=[tf.TensorSpec((None, 5), tf.float64)],
    )
    for count in (1, 7):
        points, _ = draw(seed=count, classes=3, clusters=2, dim=5, count=count)
        for graph, eager in zip(
            traced(points), nearest_cluster_radius(points, centroids, 2), strict=True
        ):
            np.testing.assert_allclose(graph, eager, rtol=1e-12)


def test_exact_takes_many_clusters():
    """C * K = 200 and the most clusters a class may have: no memory or NaN trouble."""
    points, centroids = draw(seed=8, classes=25, clusters=8, dim=12, count=3)
    _, radius = nearest_cluster_radius(points, centroids, 8)
    expected = [
        np.linalg.norm(projections(point, centroids, 8) - point, axis=1).min() for point in points
    ]
    np.testing.assert_allclose(radius, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fastest"}, "method must be one of"),
        ({"clusters_per_class": 4}, "clusters_per_class must divide the 18 centroids"),
        ({"clusters_per_class": 18}, "into at least 2 classes"),
        ({"clusters_per_class": 0}, "clusters_per_class must"),
        ({"clusters_per_class": 9}, 'use "pairwise"'),
        ({"lipschitz": 0.0}, "lipschitz must be above 0"),
        ({"lipschitz": float("nan")}, "lipschitz must be above 0"),
        ({"embeddings": np.zeros((2, 3))}, "embeddings must be"),
        ({"centroids": np.zeros(2)}, "centroids must be"),
    ],
)
def test_refuses_in_one_clear_line(arguments, message):
    points, centroids = draw(seed=0, classes=2, clusters=9, dim=2)
    valid = {"embeddings": points, "centroids": centroids, "clusters_per_class": 3}
    with pytest.raises(ValueError, match=message) as error:
        nearest_cluster_radius(**{**valid, **arguments})
    assert "Received" in str(error.value)
