"""The bound of whole networks: against Jacobians, and against float64 twins for the rounding."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from clustr_tf.backbones import build_backbone
from clustr_tf.certify.l2.layer_bounds import LAYER_BOUNDS, LayerBound
from clustr_tf.certify.l2.lipschitz import embed_with_norms, lipschitz_bound
from clustr_tf.layers import Saturation

SHAPE = (8, 8, 2)


def build_network(dtype="float32", seed=0):
    """Every kind of layer; a nested model with a residual sum. Random weights, positive variances.

    Mean and variance of the standardisation are float32 numbers in both dtypes.
    """

    def block(inputs):
        x = layers.ZeroPadding2D(1, dtype=dtype)(inputs)
        x = layers.Conv2D(6, 3, 2, dtype=dtype)(x)
        x = layers.BatchNormalization(dtype=dtype)(x)
        shortcut = layers.Conv2D(6, 1, 2, use_bias=False, dtype=dtype)(inputs)
        return layers.ReLU(dtype=dtype)(layers.Add(dtype=dtype)([x, shortcut]))

    variable_dtype = keras.DTypePolicy(dtype).variable_dtype
    inner = keras.Input((8, 8, 4), dtype=variable_dtype)
    nested = keras.Model(inner, block(inner))
    images = keras.Input(SHAPE, dtype=variable_dtype)
    x = layers.Normalization(mean=[0.5, 0.25], variance=[0.0625, 0.25], dtype=dtype)(images)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", dtype=dtype)(x)
    x = nested(x)
    x = layers.MaxPooling2D(2, 1, dtype=dtype)(x)
    x = layers.Dropout(0.5, dtype=dtype)(x)
    x = layers.AveragePooling2D(2, 1, dtype=dtype)(x)
    x = layers.Activation("relu", dtype=dtype)(layers.Flatten(dtype=dtype)(x))
    network = keras.Model(images, layers.Dense(5, dtype=dtype)(x))
    rng = np.random.default_rng(seed)
    for variable in network.variables:
        if "seed" not in variable.path:
            values = rng.normal(size=variable.shape).astype("float32")
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
    return network


def draw_images(count, seed):
    return np.random.default_rng(seed).uniform(size=(count, *SHAPE)).astype("float32")


def test_gain_bounds_jacobians_and_differences():
    network = build_network("float64")
    bound = lipschitz_bound(network)
    one, other = draw_images(30, seed=1), draw_images(30, seed=2)
    change = np.linalg.norm(network(one) - network(other), axis=1)
    assert np.all(change <= bound.gain * np.linalg.norm((one - other).reshape(30, -1), axis=1))
    points = tf.constant(one[:10], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(points)
        embeddings = network(points)
    jacobians = tape.batch_jacobian(embeddings, points).numpy().reshape(10, 5, -1)
    steepest = np.linalg.norm(jacobians, 2, axis=(1, 2)).max()
    assert steepest <= bound.gain
    # True products are loose; a bound of something else would be far off.
    assert bound.gain < 1000 * steepest


def test_gains_multiply_along_a_path_and_add_up_at_a_sum():
    """2 / min std, then x + 3 x, then the average of two: 2 * (1 + 3) / sqrt(2)."""
    images = keras.Input((1, 2, 1))
    x = layers.Normalization(mean=[0.0], variance=[0.25])(images)
    tripled = layers.Conv2D(1, 1, use_bias=False)(x)
    network = keras.Model(images, layers.GlobalAveragePooling2D()(layers.Add()([x, tripled])))
    network.layers[2].kernel.assign([[[[-3.0]]]])
    np.testing.assert_allclose(lipschitz_bound(network).gain, 8 / np.sqrt(2), rtol=1e-8)


def test_linear_chain_is_bounded_tightly():
    """Multiples of orthogonal matrices: 2 * 0.5 * 3 = 3, attained by every change."""
    rng = np.random.default_rng(3)
    images = keras.Input((1, 1, 4))
    x = layers.Flatten()(images)
    for factor in (2.0, 0.5, 3.0):
        dense = layers.Dense(4)
        x = dense(x)
        dense.kernel.assign(factor * np.linalg.qr(rng.normal(size=(4, 4)))[0])
    gain = lipschitz_bound(keras.Model(images, x)).gain
    np.testing.assert_allclose(gain, 3, rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("distance", [0.0, 0.01, 5.0])
def test_rounding_of_an_image_and_of_a_changed_one_is_bounded(seed, distance):
    """|float32 - float64| of both embeddings, with the norms of the first alone."""
    single, double = build_network(seed=seed), build_network("float64", seed=seed)
    bound = lipschitz_bound(single)
    images = draw_images(50, seed=4)
    directions = np.random.default_rng(5).normal(size=images.shape)
    lengths = np.linalg.norm(directions.reshape(50, -1), axis=1).reshape(-1, 1, 1, 1)
    changed = (images + distance * directions / lengths).astype("float32")
    # The float32 images are what was really computed on.
    radius = np.linalg.norm((changed.astype("float64") - images).reshape(50, -1), axis=1)

    def rounding_of(batch):
        exact = double(batch.astype("float64")).numpy()
        return np.linalg.norm(embed_with_norms(single, batch)[0] - exact, axis=1)

    errors = rounding_of(images) + rounding_of(changed)
    slack = bound.rounding(embed_with_norms(single, images)[1]).numpy()
    assert np.all(errors > 0)
    assert np.all(errors <= slack + bound.growth * radius)


def test_rounding_of_one_sum_by_hand():
    """A dense layer of n = 3 inputs, weights 1, bias 4: gamma_5 (|W|_2 |x| + |b|) for each image.

    |W|_2 = sqrt(3). For the changed image |x| may be larger by r: growth = gamma_5 sqrt(3).
    """
    images = keras.Input((1, 1, 3))
    flat = layers.Flatten()(images)
    dense = layers.Dense(1)
    network = keras.Model(images, dense(flat))
    dense.set_weights([np.ones((3, 1)), np.array([4.0])])
    gamma = 5 * 2.0**-24 / (1 - 5 * 2.0**-24)
    bound = lipschitz_bound(network)
    first = gamma * 3**0.5
    # The changed image's input is larger by its own rounding too, here none: it is an image.
    np.testing.assert_allclose(bound.slack, [2 * 4 * gamma, 2 * first], rtol=1e-8)
    np.testing.assert_allclose(bound.growth, first * 1, rtol=1e-8)
    _, norms = embed_with_norms(network, np.array([[[[3.0, 0, 4]]]], "float32"))
    np.testing.assert_allclose(norms, [[5.0]])
    np.testing.assert_allclose(bound.rounding(norms), [8 * gamma + 10 * first], rtol=1e-8)


def test_embeds_as_the_network_does():
    """Also inside tf.function; norms are those of the inputs of the layers that sum."""
    network = build_network()
    images = draw_images(4, seed=6)
    embeddings, norms = embed_with_norms(network, images)
    np.testing.assert_array_equal(embeddings, network(images))
    standardised = (images - [0.5, 0.25]) / [0.25, 0.5]
    for column, inputs in enumerate((images.astype("float64"), standardised)):
        expected = np.linalg.norm(inputs.reshape(4, -1), axis=1)
        np.testing.assert_allclose(norms[:, column], expected, rtol=1e-6)
    # Standardisation, three convolutions, average and dense; not normalisation and sum.
    assert norms.shape == (4, 6)
    traced = tf.function(lambda batch: embed_with_norms(network, batch))
    for graph, eager in zip(traced(images), (embeddings, norms), strict=True):
        np.testing.assert_allclose(graph, eager, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e15])
def test_norms_are_never_too_small(scale):
    """Maps of 300 channels: by at most a factor 1 + 302 * 2^-23; also where squares vanish."""
    images = keras.Input((4, 4, 300))
    network = keras.Model(images, layers.Conv2D(2, 1)(images))
    maps = scale * np.random.default_rng(10).normal(size=(50, 4, 4, 300))
    maps = maps.astype("float32")
    found = embed_with_norms(network, maps)[1][:, 0]
    exact = np.linalg.norm(maps.reshape(50, -1).astype("float64"), axis=1)
    assert np.all(found >= exact)
    # Squares below 1e-38 count as that much each.
    assert np.all(found <= np.maximum(exact * (1 + 302 * 2.0**-23), 1e-17))


def test_sequential_and_nested_models_are_walked_through():
    """2 x, then 3 times that, then half of it: a gain of 3."""
    parts = [layers.Dense(2, kernel_initializer=scaled(factor)) for factor in (2.0, 3.0, 0.5)]
    inner = keras.Sequential([parts[1], keras.Sequential([layers.ReLU(), parts[2]])])
    network = keras.Sequential([keras.Input((1, 1, 2)), layers.Flatten(), parts[0], inner])
    assert lipschitz_bound(network).gain == pytest.approx(3)
    images = np.random.default_rng(11).uniform(size=(3, 1, 1, 2)).astype("float32")
    np.testing.assert_array_equal(embed_with_norms(network, images)[0], network(images))


def scaled(factor):
    return lambda shape, dtype=None: factor * np.eye(*shape)


def test_calling_a_network_elsewhere_changes_nothing():
    network = build_network()
    bound = lipschitz_bound(network)
    images = keras.Input(SHAPE)
    outer = keras.Model(images, layers.ReLU()(network(images)))
    another = keras.Model(images, layers.ReLU()(network(images)))
    tf.function(network)(draw_images(2, seed=7))
    assert lipschitz_bound(network) == bound
    assert lipschitz_bound(outer) == bound
    assert lipschitz_bound(another) == bound


@pytest.mark.parametrize("name", ["small_cnn", "saturating_cnn", "resnet18", "wide_resnet28"])
@pytest.mark.parametrize("unit_ball", [False, True])
def test_backbones_have_a_bound(name, unit_ball):
    network = build_backbone(name, (16, 16, 3), unit_ball=unit_ball, width=4)
    bound = lipschitz_bound(network)
    one, other = np.random.default_rng(8).uniform(size=(2, 20, 16, 16, 3))
    change = np.linalg.norm(network(one) - network(other), axis=1)
    assert np.all(change <= bound.gain * np.linalg.norm((one - other).reshape(20, -1), axis=1))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16", "mixed_float16"])
def test_lower_precision_is_refused(dtype):
    """Whole networks as for serving, and a single layer inside one in float32."""
    with pytest.raises(ValueError, match=r"float32 or float64.*Received: b?float16"):
        lipschitz_bound(build_network(dtype))
    images = keras.Input((1, 1, 4))
    flat = layers.Dense(3)(layers.Flatten()(images))
    with pytest.raises(ValueError, match="'culprit' must compute in float32 or float64"):
        lipschitz_bound(keras.Model(images, layers.ReLU(dtype=dtype, name="culprit")(flat)))


def test_one_layer_in_float32_makes_all_rounding_that_of_float32():
    """Even a layer that computes nothing rounds where it narrows its input."""
    inputs = keras.Input((4,), dtype="float64")
    dense = layers.Dense(3, dtype="float64")
    wide = dense(inputs)
    slacks = []
    for dtype in ("float64", "float32"):
        outputs = layers.ReLU(dtype=dtype)(wide)
        slacks.append(max(lipschitz_bound(keras.Model(inputs, outputs)).slack))
    assert slacks[1] == pytest.approx(slacks[0] * 2**29, rel=1e-3)


def test_weights_rounded_to_float16_are_other_weights():
    """Computing in float32 they have a bound, their own: 3 + 2^-11 becomes 3, ties to even."""
    gains = []
    for kernel in (3 + 2.0**-11, np.float16(3 + 2.0**-11)):
        images = keras.Input((1, 1, 1))
        dense = layers.Dense(1)
        network = keras.Model(images, dense(layers.Flatten()(images)))
        dense.kernel.assign([[kernel]])
        gains.append(lipschitz_bound(network).gain)
    np.testing.assert_allclose(gains, [3 + 2.0**-11, 3], rtol=1e-8)


class Doubling(layers.Dense):
    """Inherits from a layer with a bound, and breaks it."""

    def call(self, inputs):
        return 2 * super().call(inputs)


def test_a_layer_of_ones_own_is_a_line_of_the_table(monkeypatch):
    """The identity, doubled."""
    images = keras.Input((1, 1, 1))
    dense = Doubling(1, kernel_initializer="ones")
    network = keras.Model(images, dense(layers.Flatten()(images)))
    with pytest.raises(ValueError, match="type with a proved Lipschitz bound"):
        lipschitz_bound(network)
    monkeypatch.setitem(LAYER_BOUNDS, Doubling, lambda layer, shape: LayerBound(gain=2.0))
    assert lipschitz_bound(network).gain == pytest.approx(2)


class Subclassed(keras.Model):
    """Nobody can look inside."""

    def call(self, inputs):
        return 2 * inputs


def shared(x):
    layer = layers.Dense(4, name="culprit")
    return layer(layer(x))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (layers.UnitNormalization(name="culprit"), "type with a proved Lipschitz bound"),
        (Doubling(4, name="culprit"), "type with a proved Lipschitz bound"),
        (layers.Dense(4, dtype="mixed_float16", name="culprit"), "float32 or float64"),
        (layers.Dense(4, dtype="mixed_bfloat16", name="culprit"), "float32 or float64"),
        (shared, "must be used once"),
        (
            lambda x: layers.Dropout(0.5, name="culprit")(x, training=True),
            "must not be called in training mode",
        ),
        (
            lambda x: layers.Add(name="culprit")([x, layers.Dense(1)(x)]),
            "must add tensors of one shape",
        ),
        (lambda x: keras.ops.sin(x), "type with a proved Lipschitz bound"),
        (
            Subclassed(name="culprit"),
            "must be a functional model, or a Sequential one",
        ),
    ],
    ids=[
        "unknown",
        "subclass",
        "float16",
        "bfloat16",
        "shared",
        "training",
        "broadcast",
        "operation",
        "subclassed",
    ],
)
def test_refuses_what_is_not_proved(body, message):
    images = keras.Input((1, 1, 4))
    network = keras.Model(images, body(layers.Flatten()(images)))
    with pytest.raises(ValueError, match=message) as error:
        lipschitz_bound(network)
    assert "culprit" in str(error.value) or "sin" in str(error.value)
    assert "Received" in str(error.value)


def test_refuses_constants_among_the_inputs_of_a_layer():
    """Who walks from layer to layer sees tensors of the network alone."""
    images = keras.Input((1, 1, 4))
    flat = layers.Flatten()(images)
    network = keras.Model(images, layers.Add(name="culprit")([flat, np.ones((1, 4), "float32")]))
    for walk in (lipschitz_bound, lambda net: embed_with_norms(net, np.zeros((1, 1, 1, 4)))):
        with pytest.raises(ValueError, match="'culprit' must be called on tensors of the network"):
            walk(network)


def test_refuses_networks_of_another_form():
    images = keras.Input((None, 4, 1))
    with pytest.raises(ValueError, match="fixed input shape"):
        lipschitz_bound(keras.Model(images, layers.GlobalAveragePooling2D()(images)))
    first, second = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(ValueError, match="one input and one output"):
        lipschitz_bound(keras.Model([first, second], layers.Add()([first, second])))


def chain(*weights):
    """One pixel, multiplied by one weight after the other."""
    images = keras.Input((1, 1, 1))
    x = layers.Flatten()(images)
    for number, weight in enumerate(weights):
        dense = layers.Dense(1, use_bias=False, name=f"dense{number}")
        x = dense(x)
        dense.kernel.assign([[weight]])
    return keras.Model(images, x)


@pytest.mark.parametrize("weights", [(1e30,) * 11, (1e20, 1e-20, 1e20, 1e20, 1e-38)])
def test_refuses_a_network_that_may_leave_the_range_of_float32(weights):
    """1e20 times 1e20 is beyond 3.4e38, whatever comes later."""
    culprit = "dense1" if weights[1] > 1 else "dense3"
    with pytest.raises(ValueError, match=f"'{culprit}' must stay within float32's range.*Received"):
        lipschitz_bound(chain(*weights))


def test_products_that_are_flushed_to_zero_are_in_the_slack():
    """X times 1e-19, 2e-19, 1e19 and 5e18 is x; TensorFlow makes 0 of 2e-38 x for x < 0.588.

    What a product may lose, 2^-126, becomes 5e37 times as much: 0.59 for each of two images.
    """
    network = chain(1e-19, 2e-19, 1e19, 5e18)
    bound = lipschitz_bound(network)
    bright, dark = (np.full((1, 1, 1, 1), value, "float32") for value in (0.65, 0.55))
    (embedding, norms), (changed, _) = (embed_with_norms(network, x) for x in (bright, dark))
    assert (
        abs(float(embedding[0, 0] - changed[0, 0])) <= 0.1 * bound.gain + bound.rounding(norms)[0]
    )
    assert bound.rounding(norms)[0] >= 2 * 5e37 * 2.0**-126


def test_norms_do_not_overflow_where_clips_keep_values_small():
    """1e30 times 1e30, with a clip to [0, 1] between them, is in range: 1e30."""
    images = keras.Input((1, 1, 1))
    first, second = (layers.Dense(1, use_bias=False) for _ in range(2))
    network = keras.Model(images, second(Saturation()(first(layers.Flatten()(images)))))
    network.set_weights([np.full((1, 1), 1e30)] * 2)
    assert lipschitz_bound(network).gain == pytest.approx(1e60)
