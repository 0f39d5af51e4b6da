"""Affine heads: closed forms by hand, against all corners, and attacked from the pixels."""

from itertools import product

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from clustr_tf.certify.affine import certify_affine, split_affine
from clustr_tf.certify.affine_head import AffineHead, affine_head
from clustr_tf.certify.l2.affine import affine_margin
from clustr_tf.certify.l2.lipschitz import lipschitz_bound
from clustr_tf.certify.linf.boxes import Box
from clustr_tf.certify.linf.head import affine_margins
from clustr_tf.certify.linf.interval import certified_linf, interval_radius
from clustr_tf.classifier import Classifier
from clustr_tf.layers import AOLConv2D, ClusteringHead

SHAPE = (2, 2, 1)


def test_the_margin_by_hand():
    """Logits 0, 2 z - 1 and z - 9 at z = 1: 0, 1, -8; 1 / 2 to the first, 9 / 1 to the last."""
    predicted, radius = affine_margin([[1.0], [-1.0]], [[0.0, 2.0, 1.0]], [0.0, -1.0, -9.0])
    np.testing.assert_array_equal(predicted, [1, 0])
    # At -1: 0, -3, -10; from there 1.5 and 10.
    np.testing.assert_allclose(radius, [0.5, 1.5], rtol=2e-6)
    assert np.all(radius < [0.5, 1.5])


def test_classes_of_the_same_weights_are_apart_by_their_biases():
    """No change of z moves their difference but for float32 rounding: 2 / (2 gamma_6 |w|)."""
    _, radius = affine_margin([[1.0, 2.0]], [[3.0, 3.0], [4.0, 4.0]], [0.0, 2.0])
    gamma = 6 * 2.0**-24
    expected = (2 - gamma * (10 * 5**0.5 + 2)) / (2 * 5 * gamma)
    np.testing.assert_allclose(radius, [expected], rtol=1e-5)
    _, radius = affine_margin([[1.0, 2.0]], np.zeros((2, 2)), [0.0, 2.0])
    assert radius[0] > 1e30


def test_ties_and_numbers_that_are_not_finite_prove_nothing():
    for embedding, bias in (([0.0], [0.0, 0.0]), ([np.nan], [0.0, 9.0]), ([0.0], [np.nan, 1.0])):
        assert affine_margin([embedding], [[1.0, 2.0]], bias)[1][0] == 0
    with pytest.raises(ValueError, match=r"at least two classes. Received: "):
        affine_margin([[1.0]], [[1.0]], [0.0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.sampled_from([1e-30, 1e-6, 1.0, 1e4, 1e30]))
def test_float32_logits_keep_their_class_inside_the_margin(seed, scale):
    """Towards every other class, at the radius; and it is no farther than the exact one."""
    rng = np.random.default_rng(seed)
    kernel, bias = (scale * rng.normal(size=size).astype("float32") for size in ((5, 4), (4,)))
    points = rng.normal(size=(6, 5)).astype("float32")
    predicted, radius = (np.asarray(x) for x in affine_margin(points, kernel, bias))
    wide, logits = kernel.astype("float64"), points.astype("float64") @ kernel + bias
    for row, (c, r) in enumerate(zip(predicted, radius, strict=True)):
        normals = (wide - wide[:, [c]])[:, np.arange(4) != c]
        lengths = np.linalg.norm(normals, axis=0)
        exact = np.min((logits[row, c] - logits[row, np.arange(4) != c]) / lengths)
        assert r <= exact
        assert r >= 0.999 * exact - 1e-5
        moved = (points[row] + 0.9999 * r * (normals / lengths).T).astype("float32")
        for arithmetic in ("float32", "float64"):
            found = moved.astype(arithmetic) @ kernel.astype(arithmetic) + bias
            assert r == 0 or np.all(np.argmax(found, axis=1) == c)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_the_worst_case_over_a_box_is_that_of_its_corners(seed):
    rng = np.random.default_rng(seed)
    kernel, bias, centre = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(2, 3))
    radius = rng.uniform(0, 1, (2, 3))
    labels = np.array([1, 3])
    box = Box(*(keras.ops.convert_to_tensor(x) for x in (centre - radius, centre + radius)))
    found = np.asarray(affine_margins(box, kernel, bias, labels))
    for row, label in enumerate(labels):
        corners = centre[row] + radius[row] * np.array(list(product([-1, 1], repeat=3)))
        logits = corners @ kernel + bias
        worst = (logits[:, [label]] - np.delete(logits, label, axis=1)).min()
        np.testing.assert_allclose(found[row], worst, rtol=1e-9, atol=1e-12)
    lowered = np.asarray(affine_margins(box, kernel, bias, labels, 2.0**-24))
    assert np.all(lowered < found)
    assert np.all(lowered > found - 1e-4)


def trunk():
    images = keras.Input(SHAPE)
    x = layers.Conv2D(3, 2, padding="same", activation="relu")(layers.ReLU()(images))
    return images, layers.Flatten()(x)


def nested_softmax():
    images, x = trunk()
    head = keras.Sequential([keras.Input((12,)), layers.Dense(4), layers.Softmax()])
    return keras.Model(images, head(x))


MODELS = {
    "sequential": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(4)]
    ),
    "softmax inside": lambda: keras.Model(
        (parts := trunk())[0], layers.Dense(4, activation="softmax")(parts[1])
    ),
    "softmax layer": nested_softmax,
    "softmax activation": lambda: keras.Model(
        (parts := trunk())[0], layers.Activation("softmax")(layers.Dense(4)(parts[1]))
    ),
    "no dense layer": lambda: keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(4, 2), layers.GlobalAveragePooling2D()]
    ),
    "baseline": lambda: Classifier(
        keras.Model(*trunk()), layers.Dense(4, bias_initializer="normal"), [0.4], [0.5]
    ),
    "1-Lipschitz": lambda: keras.Sequential(
        [keras.Input(SHAPE), AOLConv2D(4, 2), layers.Flatten(), layers.Dense(4)]
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    keras.utils.set_random_seed(3)
    return MODELS[request.param]()


def test_a_model_is_its_network_and_head(model):
    network, head = split_affine(model)
    images = np.random.default_rng(0).uniform(size=(5, *SHAPE)).astype("float32")
    logits = head.logits(network(images)).numpy()
    if head.least:
        logits = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(logits, model(images), rtol=1e-5, atol=1e-6)
    ends_in_softmax = np.allclose(np.sum(model(images), axis=1), 1)
    assert (head.least > 0) == ends_in_softmax


def test_no_attack_inside_the_radii_changes_the_class_of_the_model(model):
    """As it computes by itself, softmax included: random directions and gradient signs."""
    rng = np.random.default_rng(1)
    network, head = split_affine(model)
    images = rng.uniform(0.2, 0.8, (6, *SHAPE)).astype("float32")
    found = certify_affine(network, head, images, lipschitz_bound(network))
    class_id, linf = interval_radius(network, head, images)
    np.testing.assert_array_equal(class_id, found.class_id)
    np.testing.assert_array_equal(np.argmax(model(images), axis=1), class_id)
    l2 = found.certified_radius_l2.numpy().astype("float64")
    assert np.all(found.certified_radius_linf.numpy() <= l2 / 2)
    assert np.median(l2) > 1e-3
    assert np.median(linf) > 1e-3
    moves = rng.normal(size=(200, 6, *SHAPE))
    lengths = np.sqrt(np.sum(moves**2, axis=(2, 3, 4), keepdims=True))
    for radius, directions in ((l2, moves / lengths), (np.asarray(linf), np.sign(moves))):
        steps = (1 - 1e-6) * radius.reshape(1, 6, 1, 1, 1) * directions
        changed = np.clip(images + steps, 0, 1).astype("float32").reshape(-1, *SHAPE)
        classes = np.argmax(model(changed), axis=1).reshape(200, 6)
        assert np.all((classes == class_id.numpy()) | (radius == 0))


def one_pixel(kernel, activation):
    dense = layers.Dense(2, activation=activation)
    model = keras.Sequential([keras.Input((1, 1, 1)), layers.Flatten(), dense])
    dense.set_weights([np.array([kernel]), np.zeros(2)])
    return model


def test_an_affine_model_has_its_exact_radius():
    """Logits x and 0.4: from 0.7 it is 0.3 to the border, in l2 and in l-infinity."""
    model = one_pixel([1.0, 0.0], "linear")
    model.layers[-1].bias.assign([0.0, 0.4])
    network, head = split_affine(model)
    image = np.full((1, 1, 1, 1), 0.7, "float32")
    found = certify_affine(network, head, image, lipschitz_bound(network))
    _, linf = interval_radius(network, head, image)
    for radius in (found.certified_radius_l2, found.certified_radius_linf):
        assert 0.29997 < float(radius[0]) < 0.3
    assert 0.9994 * 0.3 < float(linf[0]) < 0.3


def test_ties_of_the_softmax_are_no_certificate():
    """0.001 and the next float32 number: other logits, the same probabilities; the first wins."""
    weight = np.float32(1e-3)
    model = one_pixel([weight, np.nextafter(weight, np.float32(1))], "softmax")
    image = np.full((1, 1, 1, 1), 0.7, "float32")
    assert np.argmax(model(image)) == 0
    network, head = split_affine(model)
    found = certify_affine(network, head, image, lipschitz_bound(network))
    assert (found.class_id[0], found.certified_radius_l2[0]) == (1, 0)
    assert not certified_linf(network, head, image, 1e-9).certified[0]


@pytest.mark.parametrize("distance", [1.0, 20.0, 200.0, 1e4])
def test_saturated_probabilities_are_certified_by_their_logits(distance):
    """Probabilities 1 and 0 say nothing; the logits are 0 and (x - 0.5) distance."""
    model = one_pixel([0.0, distance], "softmax")
    model.layers[-1].bias.assign([0.0, -0.5 * distance])
    network, head = split_affine(model)
    image = np.full((1, 1, 1, 1), 0.75, "float32")
    found = certify_affine(network, head, image, lipschitz_bound(network))
    assert 0.249 < float(found.certified_radius_l2[0]) < 0.25


def test_refuses_other_heads_in_one_line(classifier_with):
    images = keras.Input(SHAPE)
    for refused, message in (
        (classifier_with(layers.ReLU()), "must be a Dense layer"),
        (classifier_with(layers.ReLU(), layers.Dense(2, "tanh")), "must be a Dense layer"),
        (keras.Model(images, layers.Conv2D(2, 2)(images)), r"\[batch, classes\]"),
        (keras.Sequential([layers.Dense(2)]), "Sequential one of known"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            split_affine(refused)
        assert "\n" not in str(error.value)
    assert affine_head(ClusteringHead(2, 1)) is None
    dense = layers.Dense(2, dtype="mixed_bfloat16")
    dense.build((None, 3))
    with pytest.raises(ValueError, match="float32 or float64"):
        affine_head(dense)


def test_logits_are_those_of_the_head():
    head = AffineHead(np.array([[1.0, -1.0]]), np.array([0.0, 3.0]))
    np.testing.assert_array_equal(head.logits(np.array([[2.0]], "float32")), [[2.0, 1.0]])
