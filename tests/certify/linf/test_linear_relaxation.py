"""Linear relaxation: against CROWN written out in NumPy, random points, attacks and intervals."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from clustr_tf.attacks import APGD
from clustr_tf.backbones import build_backbone
from clustr_tf.certify.linf import linear_relaxation
from clustr_tf.certify.linf.interval import certified_linf, interval_bounds, interval_radius
from clustr_tf.certify.linf.linear_relaxation import linear_bounds, linear_bounds_l2
from clustr_tf.certify.linf.search import RadiusSearch
from clustr_tf.classifier import Classifier
from clustr_tf.layers import (
    BatchNormalization,
    ClusteringHead,
    Saturation,
    ScaledAveragePooling2D,
    SpaceToDepth,
    UnitBall,
)

SHAPE = (6, 6, 2)
SEARCH = RadiusSearch(octaves=6, halvings=9)  # 1/64 to 1, to 0.8 %


def dense_network(weights, biases, activation="relu"):
    """Pixels `[1, n, 1]` -> dense layers with an activation between them -> `[batch, m]`."""
    images = keras.Input((1, len(weights[0]), 1))
    x = layers.Flatten()(images)
    for weight, bias in zip(weights, biases, strict=True):
        dense = layers.Dense(len(bias), None if weight is weights[-1] else activation)
        x = dense(x)
        dense.set_weights([weight, bias])
    return keras.Model(images, x)


def random_layers(rng, widths, scale=1.0):
    """float32 weights and biases."""
    weights = [scale * rng.normal(size=sizes) for sizes in pairwise(widths)]
    biases = [scale * rng.normal(size=width) for width in widths[1:]]
    return [w.astype("float32") for w in weights], [b.astype("float32") for b in biases]


def least(rows, box):
    """The least values of rows.x over a box."""
    return np.maximum(rows, 0) @ np.asarray(box[0]) + np.minimum(rows, 0) @ np.asarray(box[1])


def crown(weights, biases, box, rows):
    """The least values of rows.z of one image by CROWN, written out for dense ReLU layers.

    Zhang et al., arXiv 1811.00866, with the adaptive lower slope, or by the box of any layer where
    that is better; pre-activations that intervals leave undecided are bounded in the same way.
    """
    relaxations, boxes, affine_boxes = [], [box], []

    def bound(rows, layer):
        """Of the pre-activations of a layer."""
        constant, found = np.zeros(len(rows)), []
        for below in range(layer, -1, -1):
            constant = constant + rows @ biases[below]
            rows = rows @ weights[below].T
            found.append(constant + least(rows, boxes[below]))
            if below > 0:
                lower_slope, upper_slope, offset = relaxations[below - 1]
                positive, negative = np.maximum(rows, 0), np.minimum(rows, 0)
                constant = constant + negative @ offset
                rows = positive * lower_slope + negative * upper_slope
                found.append(constant + least(rows, affine_boxes[below - 1]))
        return np.max(found, axis=0)

    for layer in range(len(weights) - 1):
        identity = np.eye(len(biases[layer]))
        forward = weights[layer].T
        low, high = (sign * least(sign * forward, boxes[layer]) + biases[layer] for sign in (1, -1))
        undecided = (low < 0) & (high > 0)
        low = np.where(undecided, bound(identity, layer), low)
        high = np.where(undecided, -bound(-identity, layer), high)
        active, dead = low >= 0, high <= 0
        width = np.where(active | dead, 1, high - low)
        upper_slope = np.where(active, 1, np.where(dead, 0, high / width))
        lower_slope = np.where(active, 1, np.where(dead, 0, high > -low))
        relaxations.append((lower_slope, upper_slope, np.where(active, 0, -upper_slope * low)))
        affine_boxes.append((low, high))
        boxes.append((np.maximum(low, 0), np.maximum(high, 0)))
    return bound(rows, len(weights) - 1)


def every_layer():
    """Every kind of layer, a nested model with a residual sum, random weights."""
    inner = keras.Input((6, 6, 4))
    x = layers.ZeroPadding2D(((1, 0), (0, 2)))(inner)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, 2)(x))
    shortcut = layers.Conv2D(6, 1, 2, use_bias=False)(layers.ZeroPadding2D(((0, 0), (0, 2)))(inner))
    shortcut = layers.MaxPooling2D((1, 2), (1, 1))(shortcut)
    nested = keras.Model(inner, layers.ReLU(max_value=3.0)(layers.Add()([x, shortcut])))
    images = keras.Input(SHAPE)
    x = layers.Normalization(mean=[0.5, 0.25], variance=[0.0625, 0.25])(images)
    x = nested(layers.Conv2D(4, 3, padding="same", activation="relu")(x))
    x = BatchNormalization()(layers.Dropout(0.5)(x))
    x = layers.MaxPooling2D(2, 1, padding="same")(x)
    x = layers.AveragePooling2D(2, 2, padding="same")(x)
    x = layers.Activation("linear")(layers.Activation("relu")(layers.Reshape((-1,))(x)))
    x = Saturation()(layers.Dense(8)(x))
    x = UnitBall()(layers.Dense(8)(x))
    x = layers.GlobalAveragePooling2D()(layers.Reshape((2, 2, -1))(layers.Dense(8)(x)))
    network = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    rng = np.random.default_rng(0)
    for variable in network.variables:
        if "seed" not in variable.path:
            values = rng.normal(size=variable.shape)
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
    return network


def compiled(network, bounds, rows):
    """(an image, eps) -> box and bounds of the rows, as one graph."""

    def found(images, eps):
        box, lower = bounds(network, images, eps)
        return box, lower(rows)

    shapes = [
        tf.TensorSpec((None, *network.input_shape[1:]), "float64"),
        tf.TensorSpec((), "float64"),
    ]
    return tf.function(found, shapes, autograph=False)


def points_inside(rng, image, eps, norm):
    """float32 images of the ball, corners of it among them."""
    moves = rng.uniform(-1, 1, (40, *image.shape))
    if norm == "linf":
        moves[20:] = np.sign(moves[20:])
    else:
        moves *= (1 - 1e-6) / np.sqrt(np.sum(moves**2, axis=(1, 2, 3), keepdims=True))
    points = np.clip(image + (1 - 1e-6) * eps * moves, 0, 1).astype("float32")
    distance = np.abs(points - image.astype("float64")).max(axis=(1, 2, 3))
    if norm == "l2":
        distance = np.sqrt(np.sum((points - image.astype("float64")) ** 2, axis=(1, 2, 3)))
    # Rounding to float32 must not leave the ball.
    return np.where((distance <= eps)[:, None, None, None], points, image)


@pytest.mark.parametrize("seed", range(4))
def test_is_crown_of_a_dense_network(seed):
    rng = np.random.default_rng(seed)
    weights, biases = random_layers(rng, [4, 7, 6, 3])
    image, eps, rows = rng.uniform(0.2, 0.8, 4), 0.1 * (1 + seed), rng.normal(size=(5, 3))
    box = np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1)
    expected = crown(weights, biases, box, rows)
    found = linear_bounds(dense_network(weights, biases), image.reshape(1, 1, 4, 1), eps)
    lower = found.lower(tf.constant(rows[None]))[0]
    np.testing.assert_allclose(lower, expected, atol=5e-4)
    assert np.all(lower < expected)  # enlarged by float32 rounding


def test_of_a_linear_network_nothing_is_lost():
    """Of x W1 W2 + b: the least over the box is that of one layer, attained in a corner."""
    rng = np.random.default_rng(7)
    weights, biases = random_layers(rng, [6, 9, 2])
    image, eps, rows = rng.uniform(0.3, 0.7, 6), 0.1, rng.normal(size=(3, 2))
    network = dense_network(weights, biases, activation=None)
    product = rows @ (weights[0].astype("float64") @ weights[1]).T
    centre = product @ image + rows @ (biases[0] @ weights[1].astype("float64") + biases[1])
    images = image.reshape(1, 1, 6, 1)
    for bounds, dual in [(linear_bounds, 1), (linear_bounds_l2, 2)]:
        lower = bounds(network, images, eps).lower(tf.constant(rows[None]))[0]
        exact = centre - eps * np.linalg.norm(product, dual, axis=1)
        np.testing.assert_allclose(lower, exact, atol=2e-5)
        assert np.all(lower < exact)
    box = interval_bounds(network, images, eps).box
    assert np.all(lower > least(rows, (box.lower[0], box.upper[0])) + 0.1)


def test_the_unit_ball_is_no_relaxation():
    """Of z = x / |x| with |x| in [2, sqrt(10)], z1 - z2 = (x1 - x2) / |x|: x1 - x2 is 1 at least.

    Of the ends of z's box alone, 2 / sqrt(10) and 1, z1 - z2 could be negative.
    """
    images = keras.Input((1, 2, 1))
    dense = layers.Dense(2)
    network = keras.Model(images, UnitBall()(dense(layers.Flatten()(images))))
    # Pixels [0, 1]^2 -> [2, 3] x [0, 1].
    dense.set_weights([np.eye(2), np.array([2.0, 0.0])])
    found = linear_bounds(network, np.full((1, 1, 2, 1), 0.5), 0.5)
    lower = found.lower(tf.constant([[[1.0, -1.0], [-1.0, 1.0]]], "float64"))[0]
    np.testing.assert_allclose(lower, [1 / 10**0.5, -3 / 2], rtol=1e-5)


@pytest.fixture(scope="module")
def network():
    return every_layer()


@pytest.fixture(scope="module")
def rows():
    """All directions of three entries, two random ones."""
    both = np.concatenate([np.eye(3), -np.eye(3), np.random.default_rng(8).normal(size=(2, 3))])
    return tf.constant(both[None])


@pytest.fixture(scope="module")
def graphs(network, rows):
    return {
        "linf": compiled(network, linear_bounds, rows),
        "l2": compiled(network, linear_bounds_l2, rows),
    }


def check_holds(network, image, eps, norm, box, lower, rows):
    """Boxes and bounds against float32 outputs of random points, and against intervals."""
    by_intervals = interval_bounds(network, image[None].astype("float64"), eps).box
    assert np.all(box.lower.numpy() >= by_intervals.lower.numpy())
    assert np.all(box.upper.numpy() <= by_intervals.upper.numpy())
    points = points_inside(np.random.default_rng(13), image, eps, norm)
    outputs = network(points).numpy().astype("float64")
    assert np.all(outputs >= box.lower.numpy())
    assert np.all(outputs <= box.upper.numpy())
    assert np.all(outputs @ rows.T >= lower.numpy())


@pytest.mark.parametrize(("norm", "bounds"), [("linf", linear_bounds), ("l2", linear_bounds_l2)])
def test_bounds_of_every_layer_hold(network, rows, norm, bounds):
    image = np.random.default_rng(14).uniform(size=SHAPE).astype("float32")
    found = bounds(network, image[None].astype("float64"), 0.1)
    check_holds(network, image, 0.1, norm, found.box, found.lower(rows), rows.numpy()[0])
    # At eps 0 all that is left is rounding.
    box = bounds(network, image[None].astype("float64"), 0.0).box
    assert 0 < np.max(box.upper - box.lower) < 1e-3 * np.abs(box.upper).max()


@pytest.mark.parametrize("activation", ["relu6", "leaky_relu", "gelu", "silu"])
def test_bounds_of_further_layers_and_activations_hold(rows, activation):
    rng = np.random.default_rng(15)
    images = keras.Input(SHAPE)
    x = layers.Rescaling(2.0, -1.0)(layers.Cropping2D(((1, 0), (0, 1)))(images))
    x = layers.DepthwiseConv2D(2, depth_multiplier=3, activation=activation)(x)
    x = SpaceToDepth(2)(x)
    x = layers.LeakyReLU(0.3)(layers.Conv2D(8, 1, activation=activation)(x))
    x = ScaledAveragePooling2D(2)(layers.Activation(activation)(layers.Conv2D(8, 1)(x)))
    network = keras.Model(images, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    for variable in network.variables:
        variable.assign(rng.normal(size=variable.shape))
    image = rng.uniform(size=SHAPE).astype("float32")
    found = linear_bounds(network, image[None].astype("float64"), 0.05)
    check_holds(network, image, 0.05, "linf", found.box, found.lower(rows), rows.numpy()[0])


def test_an_affine_head_takes_differences_of_logits():
    """Logits of the affine network itself: exact up to rounding, better than intervals."""
    rng = np.random.default_rng(27)
    weights, biases = random_layers(rng, [6, 9, 4, 3])
    network = dense_network(weights[:2], biases[:2], activation=None)
    head = layers.Dense(3)
    head.build((None, 4))
    head.set_weights([weights[2], biases[2]])
    image = rng.uniform(0.3, 0.7, 6).astype("float32")
    product = (weights[0].astype("float64") @ weights[1] @ weights[2]).T
    logits = ((image @ weights[0] + biases[0]) @ weights[1] + biases[1]) @ weights[2] + biases[2]
    own = np.argmax(logits)
    others = [k for k in range(3) if k != own]
    exact = min((logits[own] - logits[k]) / np.abs(product[own] - product[k]).sum() for k in others)
    images = image.reshape(1, 1, 6, 1)
    _, by_intervals = interval_radius(network, head, images, SEARCH)
    class_id, radius = interval_radius(network, head, images, SEARCH, bounds=linear_bounds)
    assert int(class_id[0]) == own
    assert float(radius[0]) > 1.2 * float(by_intervals[0])
    assert 0.99 * exact < float(radius[0]) < exact


@pytest.mark.slow
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.sampled_from([0.0, 1e-6, 0.01, 0.1, 0.5]),
    st.sampled_from(["linf", "l2"]),
)
def test_bounds_of_every_layer_hold_of_any_image(network, rows, graphs, seed, eps, norm):
    image = np.random.default_rng(seed).uniform(size=SHAPE).astype("float32")
    box, lower = graphs[norm](image[None].astype("float64"), eps)
    check_holds(network, image, eps, norm, box, lower, rows.numpy()[0])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.sampled_from([1e-6, 1e-2, 1.0, 30.0, 1e6]),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from(["linf", "l2"]),
)
def test_bounds_of_weights_of_any_scale_hold(seed, scale, eps, norm):
    rng = np.random.default_rng(seed)
    network = dense_network(*random_layers(rng, [5, 8, 8, 2], scale))
    image = rng.uniform(size=(1, 5, 1)).astype("float32")
    bounds = linear_bounds if norm == "linf" else linear_bounds_l2
    found = bounds(network, image[None].astype("float64"), eps)
    directions = rng.normal(size=(4, 2))
    lower = found.lower(tf.constant(directions[None]))[0]
    outputs = network(points_inside(rng, image, eps, norm)).numpy().astype("float64")
    assert np.all(np.isfinite(lower))
    assert np.all(outputs >= found.box.lower.numpy())
    assert np.all(outputs <= found.box.upper.numpy())
    assert np.all(outputs @ directions.T >= lower.numpy())


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(2, 2, "valid"), (3, 2, "same"), (2, 3, "valid"), (3, 1, "same")]),
)
def test_bounds_behind_max_pooling_hold(seed, pooling):
    rng = np.random.default_rng(seed)
    images = keras.Input((5, 6, 1))
    x = layers.MaxPooling2D(*pooling)(layers.Conv2D(2, 2)(images))
    network = keras.Model(images, layers.Dense(2)(layers.Flatten()(x)))
    for variable in network.variables:
        variable.assign(rng.normal(size=variable.shape))
    image = rng.uniform(size=(5, 6, 1)).astype("float32")
    wide, directions = image[None].astype("float64"), rng.normal(size=(4, 2))
    found = linear_bounds(network, wide, 0.05)
    lower = found.lower(tf.constant(directions[None]))[0].numpy()
    outputs = network(points_inside(rng, image, 0.05, "linf")).numpy().astype("float64")
    assert np.all(outputs @ directions.T >= lower)
    box = interval_bounds(network, wide, 0.05).box
    by_intervals = least(directions, (box.lower[0], box.upper[0]))
    assert np.all(lower >= by_intervals - 1e-6)
    assert np.any(lower > by_intervals + 1e-3)


@pytest.mark.parametrize("shared", [0, 2**24])
def test_few_coefficients_at_once_give_the_same_bounds(shared, monkeypatch):
    rng = np.random.default_rng(9)
    network = dense_network(*random_layers(rng, [5, 8, 8, 2]))
    images, rows = rng.uniform(size=(3, 1, 5, 1)), tf.constant(rng.normal(size=(3, 4, 2)))
    found = linear_bounds(network, images, 0.1)
    monkeypatch.setattr(linear_relaxation, "_SLICE", 50)  # two rows of the largest tensor
    monkeypatch.setattr(linear_relaxation, "_SHARED", shared)
    by_parts = linear_bounds(network, images, 0.1)
    np.testing.assert_allclose(by_parts.box, found.box, rtol=1e-9)
    np.testing.assert_allclose(by_parts.lower(rows), found.lower(rows), rtol=1e-9)


@pytest.fixture(scope="module")
def classifier():
    """A small_cnn in the unit ball with clusters at the embeddings of random images."""
    keras.utils.set_random_seed(0)
    backbone = build_backbone("small_cnn", (8, 8, 1), width=2)
    projected = keras.Model(backbone.inputs, UnitBall()(backbone.outputs[0]))
    model = Classifier(projected, ClusteringHead(3, 2), [0.5], [0.5])
    prototypes = np.random.default_rng(4).integers(0, 2, (6, 8, 8, 1)).astype("float32")
    model.head.set_clusters(model.embed(prototypes), variance=0.01)
    return model


@pytest.mark.parametrize("norm", ["linf", pytest.param("l2", marks=pytest.mark.slow)])
def test_no_attack_inside_the_linear_radius_breaks_an_image(classifier, norm):
    prototypes = np.random.default_rng(4).integers(0, 2, (6, 8, 8, 1)).astype("float32")
    noise = np.random.default_rng(5).uniform(size=prototypes.shape)
    pixels = (0.9 * prototypes + 0.1 * noise).astype("float32")
    bounds, largest = {"linf": (linear_bounds, 0.25), "l2": (linear_bounds_l2, 1.0)}[norm]
    parts = classifier.embedder, classifier.head
    found = tf.function(
        lambda images, eps: certified_linf(*parts, images, eps, bounds).certified, autograph=False
    )
    labels, by_intervals = interval_radius(*parts, pixels, SEARCH)
    radius = np.zeros(len(pixels))
    for step in largest / 2.0 ** np.arange(1, 7):
        radius = np.where(found(pixels, tf.constant(radius + step)), radius + step, radius)
    assert np.all(radius >= by_intervals)
    assert np.median(radius) > 1.5 * np.median(by_intervals), (radius, by_intervals)
    attack = APGD(classifier, (8, 8, 1), norm, "margin", steps=20)
    for index in range(len(pixels)):
        one = slice(index, index + 1)
        adversarial = attack(pixels[one], labels.numpy()[one], eps=radius[index])
        assert np.argmax(classifier(adversarial)) == labels[index]
    broken = np.argmax(classifier(attack(pixels, labels.numpy(), eps=5 * largest)), axis=1)
    assert np.mean(broken != labels) > 0.5  # it is an attack that can


def test_the_radius_by_linear_bounds_is_exact_where_they_are():
    """Of z = (x1 - x2) + (x1 + x2) by two layers, clusters at 0 and 2: class 0 while z < 1.

    At x1 = 0.3 that is 0.6 + 2 e < 1. Intervals of the first layer forget that x2 cancels: they
    have 0.6 + 4 e < 1.
    """
    weights = [np.array([[1.0, 1.0], [-1.0, 1.0]]), np.array([[1.0], [1.0]])]
    network = dense_network(weights, [np.zeros(2), np.zeros(1)], None)
    head = ClusteringHead(2, 1)
    head.set_clusters([[0.0], [2.0]], variance=0.5)
    image = np.array([0.3, 0.5], "float32").reshape(1, 1, 2, 1)
    _, by_intervals = interval_radius(network, head, image)
    class_id, radius = interval_radius(network, head, image, bounds=linear_bounds)
    assert int(class_id[0]) == 0
    assert 0.9994 * 0.1 < float(by_intervals[0]) < 0.1
    assert 0.9994 * 0.2 < float(radius[0]) < 0.2


def test_weights_that_are_not_finite_prove_nothing():
    weights, biases = random_layers(np.random.default_rng(11), [2, 3, 1])
    head = ClusteringHead(2, 1)
    head.set_clusters([[0.0], [200.0]], variance=0.5)
    images = np.full((1, 1, 2, 1), 0.3, "float32")
    network = dense_network(weights, biases)
    assert bool(certified_linf(network, head, images, 0.01, linear_bounds).certified[0])
    for value in (np.nan, np.inf):
        network.layers[2].bias.assign([value, 0.0, 0.0])
        found = certified_linf(network, head, images, 0.01, linear_bounds)
        assert not bool(found.certified[0])
        assert not bool(found.nearest_cluster_certified[0])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.UnitNormalization(name="culprit"), "a type with interval bounds"),
        (layers.Dense(2, activation="tanh", name="culprit"), "one of the activations"),
        (layers.Dense(2, dtype="mixed_bfloat16", name="culprit"), "float32 or float64"),
    ],
    ids=["unknown", "activation", "bfloat16"],
)
def test_refuses_what_is_not_proved(layer, message):
    images = keras.Input((1, 1, 2))
    network = keras.Model(images, layer(layers.Flatten()(images)))
    with pytest.raises(ValueError, match=rf"'culprit' .*{message}.* Received: "):
        linear_bounds(network, np.zeros((1, 1, 1, 2)), 0.1)


def test_refuses_tensors_that_are_too_large(monkeypatch):
    monkeypatch.setattr(linear_relaxation, "_MOST_ENTRIES", 2)
    weights, biases = random_layers(np.random.default_rng(12), [2, 3, 1])
    with pytest.raises(ValueError, match=r"at most 2 outputs .* Received: shape \(3,\)"):
        linear_bounds(dense_network(weights, biases), np.zeros((1, 1, 2, 1)), 0.1)
