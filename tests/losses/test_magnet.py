"""The magnet loss against the official code's numbers, hand derivations and its invariances."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from clustr_tf.losses import MagnetLoss, magnet_loss

EARLY_CASES = [(case, alpha) for case in ("equal", "ragged", "far") for alpha in (1.0, 12.5, 30.0)]
CASES = [
    (case, alpha)
    for case in ("equal", "ragged", "close_to_other_class", "clip", "epsilon_cap")
    for alpha in (1.0, 12.5)
]


def _losses_and_gradient(embeddings, classes, clusters, **options):
    variable = tf.constant(embeddings, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        losses = magnet_loss(variable, classes, clusters, **options)
        total = tf.reduce_mean(losses)
    return losses.numpy(), tape.gradient(total, variable).numpy()


def _assert_close(actual, expected):
    """Within 1e-6 relative to each array's largest entry."""
    scale = max(np.abs(expected).max(), 1e-300)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * scale * 1e-3)


@pytest.mark.parametrize(("case", "alpha"), CASES)
def test_published_arithmetic_of_every_case(golden, case, alpha):
    read = lambda key: golden[f"a_magnet/{case}/{key}"]  # noqa: E731
    embeddings, classes, clusters = read("r"), read("classes"), read("assigned_clusters")
    losses, gradient = _losses_and_gradient(
        embeddings, classes, clusters, alpha=alpha, epsilon=1e-8
    )
    prefix = f"alpha={alpha}/f64"
    _assert_close(losses, read(f"{prefix}/losses"))
    _assert_close(losses.mean(), read(f"{prefix}/total_loss"))
    _assert_close(gradient, read(f"{prefix}/dloss_dr"))
    targets = np.stack([classes, clusters], axis=1)
    _assert_close(
        keras.ops.convert_to_numpy(MagnetLoss.variance_of(targets, embeddings)),
        read(f"{prefix}/variance"),
    )


@pytest.mark.parametrize(("case", "alpha"), EARLY_CASES)
def test_published_arithmetic_of_the_early_cases(golden, case, alpha):
    read = lambda key: golden[f"magnet/{case}/{key}"]  # noqa: E731
    losses, gradient = _losses_and_gradient(
        read("embeddings"), read("classes"), read("clusters"), alpha=alpha, epsilon=1e-8
    )
    _assert_close(losses, read(f"alpha={alpha}/per_example"))
    _assert_close(losses.mean(), read(f"alpha={alpha}/loss"))
    _assert_close(gradient, read(f"alpha={alpha}/gradient"))


@pytest.mark.parametrize("case", ["equal", "ragged", "close_to_other_class"])
def test_log_domain_agrees_where_the_published_epsilon_does_not_act(golden, case):
    """With alpha = 1 and clusters close by, num and den are far above 1e-8: both forms are one.

    The published loss differs from the exact one by about 1e-8 (1/num' + 1/den) where
    num' = num / den; examples for which that is below 1e-7 must agree to 1e-6.
    """
    read = lambda key: golden[f"a_magnet/{case}/{key}"]  # noqa: E731
    embeddings, classes, clusters = read("r"), read("classes"), read("assigned_clusters")
    own, denominator = _own_and_denominator(embeddings, classes, clusters)
    ratio = np.exp(-own - 1.0) / denominator
    unaffected = 1e-8 * (1 / ratio + 1 / denominator) < 1e-7
    assert unaffected.sum() >= 5
    losses, _ = _losses_and_gradient(embeddings, classes, clusters, alpha=1.0)
    np.testing.assert_allclose(
        losses[unaffected], read("alpha=1.0/f64/losses")[unaffected], atol=1e-6
    )


def _own_and_denominator(embeddings, classes, clusters):
    """Exponent to the own mean and the sum over other classes' clusters, by plain NumPy loops."""
    ids = np.unique(clusters)
    means = {j: embeddings[clusters == j].mean(axis=0) for j in ids}
    class_of = {j: classes[clusters == j][0] for j in ids}
    own = np.array([((z - means[j]) ** 2).sum() for z, j in zip(embeddings, clusters, strict=True)])
    variance = own.sum() / (len(own) - 1)
    others = [
        logsumexp(
            [-((z - means[j]) ** 2).sum() / (2 * variance) for j in ids if class_of[j] != label]
        )
        for z, label in zip(embeddings, classes, strict=True)
    ]
    return own / (2 * variance), np.exp(others)


def test_log_domain_has_a_gradient_where_the_published_one_dies(golden):
    """`epsilon_cap`: the first two examples lie on a cluster of another class.

    Published: their loss is held at -log(1e-8) = 18.42. In the log domain the loss is the exact
    alpha + own + log(denominator), by the plain NumPy loops above, and goes on growing.
    """
    read = lambda key: golden[f"a_magnet/epsilon_cap/{key}"]  # noqa: E731
    embeddings, classes, clusters = read("r"), read("classes"), read("assigned_clusters")
    published = read("alpha=12.5/f64/losses")
    own, denominator = _own_and_denominator(embeddings, classes, clusters)
    exact = np.maximum(12.5 + own + np.log(denominator), 0)
    losses, _ = _losses_and_gradient(embeddings, classes, clusters, alpha=12.5)
    np.testing.assert_allclose(losses, exact, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(np.flatnonzero(exact > -np.log(1e-8)), [0, 1])
    assert published.max() <= -np.log(1e-8)

    def gradient_norms_of_the_two(**options):
        points = tf.constant(embeddings)
        with tf.GradientTape() as tape:
            tape.watch(points)
            two = magnet_loss(points, classes, clusters, alpha=12.5, **options)[:2]
        return np.linalg.norm(tape.jacobian(two, points).numpy().reshape(2, -1), axis=1)

    ours, theirs = gradient_norms_of_the_two(), gradient_norms_of_the_two(epsilon=1e-8)
    assert (ours > 0.4).all()
    assert theirs[0] < 0.01 * ours[0]
    assert theirs[1] < 0.5 * ours[1]


def test_by_hand():
    """Two classes of two points on a line: {0, 2} and {10, 12}; alpha 30.

    Means 1 and 11; all own distances 1; s2 = 4 / 3, so own / (2 s2) = 3 / 8. The other mean is
    11, 9, 9, 11 away: 121 * 3/8 = 45.375 and 81 * 3/8 = 30.375. One other cluster: the logsumexp
    is minus that. Losses: relu(30 + 0.375 - 45.375) = 0 and 30 + 0.375 - 30.375 = 0.
    With alpha 31: 0, 1, 1, 0.
    """
    targets = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])
    embeddings = np.array([[0.0], [2.0], [10.0], [12.0]])
    loss = MagnetLoss(alpha=31.0, dtype="float64")
    np.testing.assert_allclose(loss.call(targets, embeddings), [0, 1, 1, 0], atol=1e-12)
    assert float(loss(targets, embeddings)) == pytest.approx(0.5)
    assert float(MagnetLoss.variance_of(targets, embeddings)) == pytest.approx(4 / 3)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 1e4]),
)
def test_invariant_to_scale_origin_and_order(seed, sizes, scale):
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    classes = clusters % 2
    embeddings = (
        rng.normal(size=(len(clusters), 3)) + 3 * rng.normal(size=(len(sizes), 3))[clusters]
    )
    if np.bincount(clusters).max() == 1:
        return  # variance 0: every cluster is one point
    reference = np.asarray(magnet_loss(embeddings, classes, clusters))
    moved = np.asarray(magnet_loss(scale * (embeddings + 5.0), classes, clusters))
    np.testing.assert_allclose(moved, reference, rtol=1e-6, atol=1e-6)
    order = rng.permutation(len(clusters))
    shuffled = np.asarray(magnet_loss(embeddings[order], classes[order], clusters[order]))
    np.testing.assert_allclose(shuffled, reference[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_collapsed_and_lonely_batches_stay_finite(dtype):
    """All points equal: distances 0, own term 0, three other examples = one cluster: loss alpha.

    One class only: there is nothing to be pushed from, loss 0.
    """
    same_point = tf.ones((6, 4), dtype)
    clusters = [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(magnet_loss(same_point, clusters, clusters, alpha=7.0), 7.0)
    one_class = np.zeros(6, int)
    embeddings = tf.constant(np.random.default_rng(0).normal(size=(6, 4)), dtype)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        losses = magnet_loss(embeddings, one_class, clusters)
    np.testing.assert_array_equal(losses, 0)
    assert np.isfinite(tape.gradient(losses, embeddings)).all()


def test_float32_matches_float64_for_tight_clusters():
    """Clusters 1e-3 wide around points of norm 10: the float32 losses keep four digits."""
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(4), 5)
    centres = np.array([10.0, 0, 0]) + 5e-3 * rng.normal(size=(4, 3))
    embeddings = (centres[clusters] + 1e-3 * rng.normal(size=(20, 3))).astype(np.float32)
    exact = np.asarray(magnet_loss(embeddings.astype(np.float64), clusters % 2, clusters))
    actual = np.asarray(magnet_loss(embeddings, clusters % 2, clusters))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, exact, rtol=1e-3, atol=1e-3)


def test_config_survives_serialisation():
    loss = MagnetLoss(alpha=3.0, epsilon=1e-8)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (again.alpha, again.epsilon) == (3.0, 1e-8)


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"alpha": float("nan")}, {"epsilon": -1e-8}])
def test_bad_arguments_are_refused(options):
    with pytest.raises(ValueError, match="Received"):
        MagnetLoss(**options)


@pytest.mark.parametrize(
    ("targets", "embeddings"), [((4,), (4, 2)), ((4, 3), (4, 2)), ((4, 2), (4,))]
)
def test_bad_shapes_are_refused(targets, embeddings):
    with pytest.raises(ValueError, match="Received: y_true of shape"):
        MagnetLoss().call(np.zeros(targets, int), np.zeros(embeddings))
