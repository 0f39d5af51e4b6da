"""FAB's projections against scipy in float64, its distances against known boundaries."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linprog, minimize

from clustr_tf.attacks import FAB, TargetedFAB, closest_adversarial, fab
from clustr_tf.attacks.fab import changes_to_hyperplane

SHAPE = (2, 3, 1)
ORDERS = {"linf": np.inf, "l2": 2}


def test_changes_by_hand():
    """The first pixel meets the border after 0.1; the second makes up for it: 0.1 + 0.2 = 0.3."""
    arguments = tf.constant([[0.9, 0.5]]), tf.constant([[1.0, 1.0]]), tf.constant([0.3])
    for order in (np.inf, 2):
        np.testing.assert_allclose(
            changes_to_hyperplane(*arguments, order), [[0.1, 0.2]], rtol=1e-5
        )


def test_the_nearest_point_in_the_open():
    """Normal (3, 4), offset -1: -1/7 in each coordinate, or -normal / 25."""
    arguments = tf.constant([[0.5, 0.5]]), tf.constant([[3.0, 4.0]]), tf.constant([-1.0])
    linf = changes_to_hyperplane(*arguments, np.inf)
    np.testing.assert_allclose(linf, [[-1 / 7, -1 / 7]], rtol=1e-5)
    l2 = changes_to_hyperplane(*arguments, 2)
    np.testing.assert_allclose(l2, [[-3 / 25, -4 / 25]], rtol=1e-5)


def _smallest_change(point, normal, offset, norm):
    """The optimum of a general solver: (its norm, or the change itself in l2)."""
    borders = list(zip(-point, 1 - point, strict=True))
    if norm == "linf":
        n = len(point)
        identity, ones = np.eye(n), np.ones((n, 1))
        solved = linprog(
            np.r_[np.zeros(n), 1],
            A_ub=np.block([[identity, -ones], [-identity, -ones]]),
            b_ub=np.zeros(2 * n),
            A_eq=np.r_[normal, 0][None],
            b_eq=[offset],
            bounds=[*borders, (0, None)],
        )
        return solved.fun
    return minimize(
        lambda change: change @ change,
        np.zeros_like(point),
        jac=lambda change: 2 * change,
        bounds=borders,
        constraints={
            "type": "eq",
            "fun": lambda change: normal @ change - offset,
            "jac": lambda _: normal,
        },
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    ).x


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_changes_equal_a_general_solver(norm, scale):
    """Pixels on the border, zeros in the normal, unreachable hyperplanes; any scale."""
    rng = np.random.default_rng(1)
    points, normals = rng.uniform(0, 1, (60, 10)), rng.normal(size=(60, 10))
    points[rng.random(points.shape) < 0.2] = 0
    points[rng.random(points.shape) < 0.2] = 1
    normals[rng.random(normals.shape) < 0.2] = 0
    offsets = rng.normal(size=60) * np.abs(normals).sum(axis=1) * 0.3
    found = changes_to_hyperplane(
        tf.constant(points, tf.float32),
        tf.constant(scale * normals, tf.float32),
        tf.constant(scale * offsets, tf.float32),
        ORDERS[norm],
    ).numpy()
    unreachable = 0
    for point, normal, offset, change in zip(points, normals, offsets, found, strict=True):
        farthest = np.where(normal * offset > 0, 1 - point, -point) * (normal != 0)
        if abs(normal @ farthest) <= abs(offset):
            unreachable += 1
            np.testing.assert_allclose(change, farthest, atol=1e-6)
            continue
        assert normal @ change == pytest.approx(offset, abs=2e-6)
        expected = _smallest_change(point, normal, offset, norm)
        reached = np.abs(change).max() if norm == "linf" else change
        np.testing.assert_allclose(reached, expected, atol=2e-6)
    assert 0 < unreachable < 60


def _linear(weights, biases, scale=1.0):
    weights, biases = tf.constant(weights, tf.float32), tf.constant(biases, tf.float32)
    return lambda images: scale * (tf.reshape(images, [-1, 6]) @ weights + biases)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("targets", [9, None])
def test_distances_of_a_linear_model(norm, scale, targets):
    """In the middle of the box the boundary to class j is |z_j - z_y| / |w_j - w_y|_dual away.

    FAB steps 5 % beyond it, then comes back: never closer than the boundary, within 1 % of it.
    """
    rng = np.random.default_rng(2)
    weights, biases = rng.normal(size=(6, 4)), 0.1 * rng.normal(size=4)
    images = rng.uniform(0.45, 0.55, (20, *SHAPE))
    logits = images.reshape(20, 6) @ weights + biases
    labels, dual = logits.argmax(axis=1), {"linf": 1, "l2": 2}[norm]
    expected = np.array(
        [
            min(
                (z[y] - z[j]) / np.linalg.norm(weights[:, j] - weights[:, y], ord=dual)
                for j in range(4)
                if j != y
            )
            for z, y in zip(logits, labels, strict=True)
        ]
    )
    model = _linear(weights, biases, scale)
    found, distances = closest_adversarial(
        model, images, labels, norm=norm, steps=30, targets=targets
    )
    assert (distances.numpy() >= expected * (1 - 1e-4)).all()
    assert (distances.numpy() <= expected * 1.01 + 1e-6).all()
    change = (found - images.astype(np.float32)).numpy().reshape(20, 6)
    np.testing.assert_allclose(
        np.linalg.norm(change, ord=ORDERS[norm], axis=1), distances, rtol=1e-5
    )
    assert (np.argmax(model(found), axis=1) != labels).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targets", [1, None])
def test_an_adversarial_image_is_in_the_ball_or_there_is_none(norm, targets):
    """The boundary of one pixel is 0.1 away: an image at radius 0.11, the image itself at 0.09."""
    model = lambda x: tf.concat([0.5 - x[:, 0, 0], x[:, 0, 0] - 0.5], axis=1)  # noqa: E731
    image = np.full((1, 1, 1, 1), 0.4, np.float32)
    found = fab(model, image, [0], eps=0.11, norm=norm, targets=targets)
    assert 0.5 < float(found[0, 0, 0, 0]) <= 0.51 + 1e-6
    missed = fab(model, image, [0], eps=0.09, norm=norm, targets=targets, restarts=2)
    np.testing.assert_array_equal(missed, image)


def test_restarts_get_out_of_a_flat_place():
    """Flat within 0.01 of the image; the boundary is 0.06 away, a restart begins at 0.04."""

    def model(images):
        pixel = images[:, 0, 0]
        return tf.concat([0.5 + 0 * pixel, 10 * tf.nn.relu(tf.abs(pixel - 0.4) - 0.01)], axis=1)

    image = np.full((1, 1, 1, 1), 0.4, np.float32)
    once = fab(model, image, [0], eps=0.08, targets=None)
    np.testing.assert_array_equal(once, image)
    found = fab(model, image, [0], eps=0.08, targets=None, restarts=2)
    assert 0.06 < abs(float(found[0, 0, 0, 0]) - 0.4) <= 0.08


@pytest.mark.parametrize("build", [FAB, TargetedFAB])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("eps", "classes"), [(0.0, 2), (0.1, 30), (3.0, 2)])
def test_edges(build, norm, eps, classes):
    """Images at 0 and 1, radii of 0 and beyond the range, few and many classes, a batch of one."""
    weights = np.random.default_rng(3).normal(size=(6, classes))
    model = _linear(weights, np.zeros(classes))
    attack = build(model, SHAPE, norm, steps=5)
    images = np.random.default_rng(0).integers(0, 2, (3, *SHAPE)).astype(np.float32)
    labels = np.argmax(model(tf.constant(images)), axis=1)
    found = attack(images, labels, eps=eps, seed=7, restart=1).numpy()
    assert found.min() >= 0
    assert found.max() <= 1
    change = (found - images).reshape(3, -1)
    assert (np.linalg.norm(change, ord=ORDERS[norm], axis=1) <= eps * (1 + 1e-6)).all()
    moved = np.abs(change).max(axis=1) > 0
    np.testing.assert_array_equal(np.argmax(model(found), axis=1) != labels, moved)
    alone = attack(images[1:2], labels[1:2], eps=eps, seed=7, example_ids=[1], restart=1)
    np.testing.assert_allclose(alone[0], found[1], atol=1e-6)


def test_misclassified_images_are_at_distance_0():
    image = np.full((1, *SHAPE), 0.5, np.float32)
    model = _linear(np.ones((6, 2)) * [1, -1], [0.0, 0.0])
    found, distance = closest_adversarial(model, image, [1])
    np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(distance, [0])


@pytest.mark.parametrize("build", [FAB, TargetedFAB])
def test_no_gradient_is_no_adversarial_image(build):
    """Neither tf.round, which has none, nor a root's NaN at 0."""
    image = np.full((1, 1, 1, 1), 0.4, np.float32)
    for slope in (tf.round, lambda x: 0.4 * tf.sqrt(tf.nn.relu(x - 0.5)) + 0.4):
        model = lambda x, slope=slope: tf.concat([1 - slope(x[:, 0, 0]), slope(x[:, 0, 0])], 1)  # noqa: E731
        found, distance = build(model, (1, 1, 1), steps=5).closest(image, [0])
        np.testing.assert_array_equal(found, image)
        np.testing.assert_array_equal(distance, [np.inf])


def test_it_ends_once_every_example_has_an_image_in_its_ball():
    """A linear model takes one step: the start, the gradient and the check are three evaluations.

    One more ranks the targets.
    """
    evaluations = tf.Variable(0)

    def model(images):
        evaluations.assign_add(1)
        return _linear(np.ones((6, 2)) * [1, -1], [-3.0, 3.1])(images)

    TargetedFAB(model, SHAPE, steps=50)(np.full((2, *SHAPE), 0.5), [1, 1], eps=0.1)
    assert evaluations.numpy() == 4


@pytest.mark.parametrize(("values", "name"), [({"norm": "l1"}, "norm"), ({"steps": 0}, "steps")])
def test_bad_settings_are_refused(values, name):
    with pytest.raises(ValueError, match=f"^{name} must be .* Received"):
        FAB(_linear(np.ones((6, 2)), [0, 0]), SHAPE, **values)


@pytest.mark.parametrize("rank", [0, 2])
def test_only_other_classes_are_targets(rank):
    attack = TargetedFAB(_linear(np.ones((6, 2)), [0, 0]), SHAPE)
    with pytest.raises(ValueError, match=f"^target_rank must be 1 to 1. Received: {rank}"):
        attack(np.zeros((1, *SHAPE)), [0], eps=0.1, target_rank=rank)
