"""The head's closed form against linear programming, corners and dense sampling."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import logsumexp

from clustr_tf.certify.linf.boxes import Box
from clustr_tf.certify.linf.head import (
    log_score_margins,
    nearest_cluster_margins,
    soft_score_margins,
    worst_differences,
)

CLASSES, VARIANCE = 3, 0.7


def draw(seed, clusters_per_class, dim=3, batch=2):
    rng = np.random.default_rng(seed)
    centroids = rng.normal(size=(CLASSES * clusters_per_class, dim))
    lower = rng.normal(size=(batch, dim))
    upper = lower + rng.exponential(0.3, size=(batch, dim))
    return lower, upper, centroids, rng.integers(0, CLASSES, batch)


def found_differences(lower, upper, centroids, labels, clusters_per_class, roundoff=0.0):
    box = Box(tf.constant(lower), tf.constant(upper))
    return worst_differences(box, centroids, tf.constant(labels), clusters_per_class, roundoff)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.sampled_from([1, 2]))
def test_worst_differences_are_those_of_linear_programming(seed, clusters_per_class):
    lower, upper, centroids, labels = draw(seed, clusters_per_class)
    found = found_differences(lower, upper, centroids, labels, clusters_per_class).numpy()
    for row, label in enumerate(labels):
        for own in range(clusters_per_class):
            mine = centroids[label * clusters_per_class + own]
            for other, theirs in enumerate(centroids):
                program = linprog(
                    2 * (mine - theirs), bounds=list(zip(lower[row], upper[row], strict=True))
                )
                expected = program.fun + theirs @ theirs - mine @ mine
                np.testing.assert_allclose(found[row, own, other], expected, atol=1e-9)


def test_rounded_differences_are_a_little_smaller():
    lower, upper, centroids, labels = draw(0, 2)
    exact = found_differences(lower, upper, centroids, labels, 2).numpy()
    sound = found_differences(lower, upper, centroids, labels, 2, 2.0**-53).numpy()
    assert np.all(sound < exact)
    np.testing.assert_allclose(sound, exact, atol=1e-12)


def points_inside(lower, upper, seed):
    """All corners and some points between, `[points, dim]`."""
    corners = np.array(list(product(*zip(lower, upper, strict=True))))
    rng = np.random.default_rng(seed)
    return np.concatenate([corners, rng.uniform(lower, upper, (200, len(lower)))])


def log_scores(points, centroids, clusters_per_class):
    exponents = -((points[:, None] - centroids[None]) ** 2).sum(axis=2) / (2 * VARIANCE)
    return logsumexp(exponents.reshape(len(points), CLASSES, clusters_per_class), axis=2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.sampled_from([1, 2, 3]))
def test_margins_are_never_above_those_of_any_point(seed, clusters_per_class):
    lower, upper, centroids, labels = draw(seed, clusters_per_class)
    differences = found_differences(lower, upper, centroids, labels, clusters_per_class)
    soft = log_score_margins(differences, VARIANCE, clusters_per_class).numpy()
    hard = nearest_cluster_margins(differences, tf.constant(labels), clusters_per_class).numpy()
    for row, label in enumerate(labels):
        points = points_inside(lower[row], upper[row], seed)
        scores = log_scores(points, centroids, clusters_per_class)
        margins = scores[:, [label]] - scores
        others = np.arange(CLASSES) != label
        least = margins.min(axis=0)
        assert np.all(soft[row, others] <= least[others] + 1e-9)
        if clusters_per_class == 1:  # linear: attained in a corner
            np.testing.assert_allclose(soft[row, others], least[others], atol=1e-9)
        distances = ((points[:, None] - centroids[None]) ** 2).sum(axis=2)
        own = np.arange(len(centroids)) // clusters_per_class == label
        gap = distances[:, ~own].min(axis=1) - distances[:, own].min(axis=1)
        assert hard[row] <= gap.min() + 1e-9


def test_every_competitor_may_have_another_own_cluster():
    """On a line, own clusters at -1 and 1, competitors at -4 and 4, z in [-1, 1].

    Worst cases: 4 against own 1 at z = 1: 9 - 0 = 9; against own -1: 9 - 4 = 5; likewise -4. The
    nearest own cluster alone would be 1 or -1 by chance, and prove 5 only: the answer is 9.
    """
    centroids = np.array([[-1.0], [1.0], [-4.0], [4.0]])
    differences = found_differences(np.array([[-1.0]]), np.array([[1.0]]), centroids, [0], 2)
    np.testing.assert_allclose(differences[0, :, 2:], [[9.0, 5.0], [5.0, 9.0]])
    margin = nearest_cluster_margins(differences, tf.constant([0]), 2)
    np.testing.assert_allclose(margin, [9.0])


def test_margins_of_the_l_nearest_by_hand():
    """The same line, 2 sigma^2 = 1: for own cluster 1 alone -log(e^-5 + e^-9), for -1 the same.

    With all clusters LSE over the own ones is inside: -log(2 / (e^9 + e^5)).
    """
    centroids = np.array([[-1.0], [1.0], [-4.0], [4.0]])
    differences = found_differences(np.array([[-1.0]]), np.array([[1.0]]), centroids, [0], 2)
    label = tf.constant([0])
    single = soft_score_margins(differences, label, 0.5, 2, nearest=2)
    np.testing.assert_allclose(single, [-np.log(np.exp(-5) + np.exp(-9))])
    together = np.log((np.exp(9) + np.exp(5)) / 2)
    for nearest in (None, 4):
        found = soft_score_margins(differences, label, 0.5, 2, nearest=nearest)
        np.testing.assert_allclose(found, [together])


def test_refuses_centroids_of_another_dimension():
    with pytest.raises(ValueError, match=r"embeddings must be \[batch, 2\].* Received"):
        found_differences(np.zeros((1, 3)), np.ones((1, 3)), np.zeros((4, 2)), [0], 2)
