"""Distances, in differences and expanded, with their gradients, against float64 formulas."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.layers import distances
from clustr_tf.layers.distances import squared_distances

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("many", [2**18, 20])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-12)])
def test_distances_and_gradients(monkeypatch, many, dtype, tolerance):
    """With weights g the gradients of g |z - mu|^2 are 2 g (z - mu), summed, and its negative.

    7 centroids of dimension 3 are 21 numbers, more than 20.
    """
    monkeypatch.setattr(distances, "_MANY", many)
    points = RNG.normal(size=(4, 3)).astype(dtype)
    centroids = RNG.normal(size=(7, 3)).astype(dtype)
    weights = RNG.normal(size=(4, 7)).astype(dtype)
    z, mu = tf.constant(points), tf.constant(centroids)
    with tf.GradientTape() as tape:
        tape.watch((z, mu))
        found = squared_distances(z, mu)
        loss = tf.reduce_sum(weights * found)
    for_points, for_centroids = tape.gradient(loss, (z, mu))
    differences = points[:, None].astype(np.float64) - centroids[None].astype(np.float64)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, (differences**2).sum(axis=2), rtol=tolerance)
    expected = 2 * weights[:, :, None] * differences
    np.testing.assert_allclose(for_points, expected.sum(axis=1), atol=20 * tolerance)
    np.testing.assert_allclose(for_centroids, -expected.sum(axis=0), atol=20 * tolerance)


@pytest.mark.parametrize(("dtype", "expands"), [("float32", True), ("float64", False)])
def test_only_many_float32_centroids_are_expanded(monkeypatch, dtype, expands):
    calls = []
    expanded = distances._expanded
    monkeypatch.setattr(distances, "_expanded", lambda *wide: calls.append(wide) or expanded(*wide))
    for clusters in (512, 513):
        squared_distances(np.zeros((1, 512), dtype), np.zeros((clusters, 512), dtype))
    assert len(calls) == expands


@pytest.mark.parametrize(("many", "tolerance"), [(2**18, 0), (4, 1e-3)])
def test_near_a_centroid_far_from_the_origin(monkeypatch, many, tolerance):
    """Offsets of 2^-10 at 2^10: differences are exact; float64 loses 2^21 2^-53 of 2^-19.

    Expanded in float32 nothing would be left: 2^21 has steps of 2^-2 there.
    """
    monkeypatch.setattr(distances, "_MANY", many)
    centroids = np.full((3, 2), 1024, np.float32)
    found = squared_distances(centroids[:1] + np.float32(2**-10), centroids)
    np.testing.assert_allclose(found, np.full((1, 3), 2.0**-19), rtol=tolerance)
