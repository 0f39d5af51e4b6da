"""Gains of single layers against the singular values of their whole matrices."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from scipy.special import erf

from clustr_tf.certify.l2.layer_bounds import layer_bound
from clustr_tf.layers import Saturation, ScaledResidualConv2D, UnitBall
from tests.layers.jacobian import singular_values


def build(layer, shape, seed=0):
    """Builds a float64 layer and gives it random weights; variances positive."""
    layer.build((None, *shape))
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        values = rng.normal(size=variable.shape)
        variable.assign(np.abs(values) + 0.1 if "variance" in variable.name else values)
    return layer


def respond(layer, images):
    return keras.ops.convert_to_numpy(layer(images)).reshape(len(images), -1)


def matrix_of(layer, shape):
    """The linear part of an affine layer, `[inputs, outputs]`: its responses to basis images."""
    size = int(np.prod(shape))
    basis = np.eye(size).reshape(size, *shape)
    return respond(layer, basis) - respond(layer, np.zeros((1, *shape)))


def check_affine(layer, shape):
    """Gain, absolute gain and offset are upper bounds; returns gain / norm of the matrix."""
    bound = layer_bound(layer, (None, *shape))
    matrix = matrix_of(layer, shape)
    norm = np.linalg.norm(matrix, 2)
    assert norm <= bound.gain * (1 + 1e-12)
    assert np.linalg.norm(np.abs(matrix), 2) <= bound.absolute_gain * (1 + 1e-12)
    assert np.linalg.norm(respond(layer, np.zeros((1, *shape)))) <= bound.offset * (1 + 1e-12)
    assert np.count_nonzero(matrix, axis=0).max() <= bound.terms
    return bound.gain / norm


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_convolution_gain_is_an_upper_bound(size, kernel, stride, padding, channels, bias, seed):
    """For every padding, stride, kernel and size, even and odd, square or not."""
    if padding == "valid":
        kernel = tuple(min(pair) for pair in zip(kernel, size, strict=True))
    inputs, outputs = channels
    layer = layers.Conv2D(outputs, kernel, stride, padding=padding, use_bias=bias, dtype="float64")
    shape = (*size, inputs)
    check_affine(build(layer, shape, seed), shape)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolution_gain_is_not_loose(stride, padding):
    """On 10x10 images the border hardly matters: at most 10 % above the exact norm."""
    layer = build(layers.Conv2D(4, 3, stride, padding=padding, dtype="float64"), (10, 10, 3))
    assert check_affine(layer, (10, 10, 3)) < 1.1


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_convolution_gain_is_exact(stride):
    """A 1x1 convolution applies one matrix everywhere."""
    layer = build(layers.Conv2D(5, 1, stride, dtype="float64"), (4, 5, 3))
    np.testing.assert_allclose(check_affine(layer, (4, 5, 3)), 1, rtol=2e-9)


def test_convolution_by_hand():
    """The kernel (1, 1) along rows: transfer function 1 + exp(i w), 2 at w = 0; with stride 2
    its windows do not overlap and each has norm sqrt(2).
    """  # noqa: D205
    for stride, expected in ((1, 2.0), (2, 2.0**0.5)):
        layer = layers.Conv2D(1, (1, 2), (1, stride), use_bias=False, dtype="float64")
        layer.build((None, 1, 8, 1))
        layer.kernel.assign(np.ones((1, 2, 1, 1)))
        bound = layer_bound(layer, (None, 1, 8, 1))
        np.testing.assert_allclose([bound.gain, bound.absolute_gain], expected, rtol=2e-9)


@pytest.mark.parametrize("shape", [(6,), (3, 2, 4)])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_dense_gain_is_exact(shape, activation):
    """Also where a dense layer acts on every position: its bias then counts once for each."""
    layer = build(layers.Dense(5, activation="linear", dtype="float64"), shape)
    np.testing.assert_allclose(check_affine(layer, shape), 1, rtol=2e-9)
    bound = layer_bound(layer, (None, *shape))
    layer.activation = keras.activations.get(activation)
    assert layer_bound(layer, (None, *shape)) == bound
    positions = np.prod(shape[:-1])
    expected = np.sqrt(positions) * np.linalg.norm(layer.bias)
    np.testing.assert_allclose(bound.offset, expected, rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    size=st.tuples(st.integers(4, 8), st.integers(4, 8)),
    pool=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["same", "valid"]),
)
def test_average_pooling_gain_is_an_upper_bound(size, pool, stride, padding):
    layer = layers.AveragePooling2D(pool, stride, padding=padding, dtype="float64")
    check_affine(layer, (*size, 2))


def test_average_pooling_gain_is_not_loose():
    """Overlapping windows on 12x12 images: at most 10 % above the exact norm."""
    layer = layers.AveragePooling2D(3, 1, dtype="float64")
    assert check_affine(layer, (12, 12, 1)) < 1.1


def test_pooling_without_overlap_is_exact():
    """Each output averages n values that no other has: 1 / sqrt(n)."""
    for layer in (
        layers.AveragePooling2D(2, dtype="float64"),
        layers.GlobalAveragePooling2D(dtype="float64"),
    ):
        np.testing.assert_allclose(check_affine(layer, (4, 4, 3)), 1, rtol=1e-9)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    size=st.tuples(st.integers(4, 8), st.integers(4, 8)),
    pool=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    seed=st.integers(0, 1000),
)
def test_max_pooling_gain_is_an_upper_bound(size, pool, stride, padding, seed):
    """For random images, and for single pixels: each is the maximum of all of its windows."""
    layer = layers.MaxPooling2D(pool, stride, padding=padding, dtype="float64")
    shape = (*size, 1)
    gain = layer_bound(layer, (None, *shape)).gain
    one, other = np.random.default_rng(seed).normal(size=(2, 20, *shape))
    changes = np.linalg.norm(respond(layer, one) - respond(layer, other), axis=1)
    assert np.all(changes <= gain * np.linalg.norm((one - other).reshape(20, -1), axis=1))
    largest = np.linalg.norm(matrix_of(layer, shape), axis=1).max()
    assert largest <= gain * (1 + 1e-12)
    if padding == "valid" and min(size) >= 2 * max(pool) + stride:
        np.testing.assert_allclose(largest, gain, rtol=1e-12)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_batch_normalisation_gain_is_exact(scale, center):
    layer = layers.BatchNormalization(scale=scale, center=center, dtype="float64")
    ratio = check_affine(build(layer, (3, 2, 4)), (3, 2, 4))
    np.testing.assert_allclose(ratio, 1, rtol=1e-9)


def test_standardisation_gain_is_one_over_the_smallest_deviation():
    layer = layers.Normalization(mean=[0.5, 0.3], variance=[0.25, 0.04], dtype="float64")
    layer.build((None, 3, 3, 2))
    np.testing.assert_allclose(layer_bound(layer, (None, 3, 3, 2)).gain, 5, rtol=1e-6)
    assert check_affine(layer, (3, 3, 2)) >= 1


def test_average_pooling_of_borders_by_hand():
    """Windows of 2 on 3 pixels, "same": halves, halves, and the last pixel alone.

    The last pixel's column is 1/2 + 1: norm^2 <= 3/2; without padding 1/2 + 1/2 = 1 in the middle.
    """
    for padding, expected in (("same", 1.5**0.5), ("valid", 1.0)):
        layer = layers.AveragePooling2D((1, 2), (1, 1), padding=padding, dtype="float64")
        gain = layer_bound(layer, (None, 1, 3, 1)).gain
        np.testing.assert_allclose(gain, expected, rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    size=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid"]),
    multiplier=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_depthwise_convolution_gain_is_an_upper_bound(
    size, kernel, stride, padding, multiplier, seed
):
    layer = layers.DepthwiseConv2D(
        kernel, stride, padding, depth_multiplier=multiplier, dtype="float64"
    )
    shape = (*size, 3)
    check_affine(build(layer, shape, seed), shape)


def test_depthwise_convolution_gain_is_not_loose():
    layer = build(layers.DepthwiseConv2D(3, padding="same", dtype="float64"), (10, 10, 3))
    assert check_affine(layer, (10, 10, 3)) < 1.1


def test_rescaling_gain_is_exact():
    for scale, offset in ((1 / 127.5, -1.0), ([2.0, -3.0], [0.0, 1.0])):
        layer = layers.Rescaling(scale, offset, dtype="float64")
        np.testing.assert_allclose(check_affine(layer, (3, 2, 2)), 1, rtol=1e-12)


SMOOTH = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
STEEP = float(np.float32(1.7))
# Layer, function, Lipschitz constant.
ACTIVATIONS = [
    (layers.Activation("gelu"), SMOOTH["gelu"], 1.129),
    (layers.Activation("silu"), SMOOTH["silu"], 1.0999),
    (layers.Activation("relu6"), lambda x: np.clip(x, 0, 6), 1.0),
    (layers.Activation("leaky_relu"), lambda x: np.where(x > 0, x, np.float32(0.2) * x), 1.0),
    (layers.LeakyReLU(0.3), lambda x: np.where(x > 0, x, np.float32(0.3) * x), 1.0),
    (
        layers.LeakyReLU(1.7),
        lambda x: np.where(x > 0, x, np.float32(1.7) * x),
        float(np.float32(1.7)),
    ),
    (layers.ReLU(negative_slope=0.1), lambda x: np.where(x > 0, x, np.float32(0.1) * x), 1.0),
]


@pytest.mark.parametrize(("layer", "function", "gain"), ACTIVATIONS)
def test_the_gain_of_an_activation_is_its_steepest_slope(layer, function, gain):
    bound = layer_bound(layer, (None, 4))
    assert (bound.gain, bound.offset) == (gain, 0)
    points = np.linspace(-8, 8, 160_001)
    slopes = np.abs(np.diff(function(points)) / np.diff(points))
    assert slopes.max() <= gain * (1 + 1e-9)
    assert slopes.max() >= gain - 2e-4


@pytest.mark.parametrize(("layer", "function", "gain"), ACTIVATIONS)
def test_an_activation_rounds_as_little_as_its_bound_says(layer, function, gain):
    """float32, by itself and compiled, against float64: everywhere from 1e-37 to 1e37."""
    rng = np.random.default_rng(0)
    points = 10 ** rng.uniform(-37, 37, 100_000) * rng.choice([-1, 1], 100_000)
    points = np.concatenate([points, np.linspace(-30, 30, 300_001)]).astype("float32")
    with np.errstate(over="ignore"):
        exact = function(points.astype("float64"))
    terms = layer_bound(layer, (None, 4)).terms
    allowed = terms * 2.0**-24 * gain * np.abs(points.astype("float64")) + 2.0**-124
    for compute in (layer, tf.function(layer), tf.function(layer, jit_compile=True)):
        errors = np.abs(np.asarray(compute(points), "float64") - exact)
        assert np.all(errors <= allowed)


@pytest.mark.parametrize("activation", ["gelu", "silu", "leaky_relu", "relu6"])
@pytest.mark.parametrize(
    "kind", [layers.Dense, lambda n, **kw: layers.Conv2D(n, 2, **kw)], ids=["dense", "convolution"]
)
def test_a_layer_with_an_activation_is_the_layer_and_the_activation(kind, activation):
    shape = (3, 3, 2)
    layer = build(kind(4, activation=activation, dtype="float64"), shape)
    bound = layer_bound(layer, (None, *shape))
    one, other = np.random.default_rng(1).normal(size=(2, 200, *shape))
    changes = np.linalg.norm(respond(layer, one) - respond(layer, other), axis=1)
    assert np.all(changes <= bound.gain * np.linalg.norm((one - other).reshape(200, -1), axis=1))
    layer.activation = keras.activations.linear
    linear, alone = (
        layer_bound(one, (None, *shape)) for one in (layer, layers.Activation(activation))
    )
    assert bound.gain == pytest.approx(linear.gain * alone.gain)
    assert bound.terms == linear.terms + alone.terms


@pytest.mark.parametrize(
    "layer",
    [
        layers.ReLU(),
        layers.Cropping2D((1, 0)),
        layers.GlobalMaxPooling2D(),
        layers.ReLU(max_value=6.0),
        Saturation(),
        layers.Activation("relu"),
        layers.Activation("linear"),
        layers.Flatten(),
        layers.Reshape((8, 2)),
        layers.Dropout(0.5),
        layers.ZeroPadding2D(2),
    ],
    ids=lambda layer: layer.name,
)
def test_exact_layers_change_no_distance_and_round_nothing(layer):
    one, other = np.random.default_rng(0).normal(size=(2, 20, 4, 2, 2)).astype("float32")
    bound = layer_bound(layer, one.shape)
    assert (bound.gain, bound.terms, bound.offset) == (1, 0, 0)
    before = np.linalg.norm((one - other).reshape(20, -1), axis=1)
    after = np.linalg.norm(respond(layer, one) - respond(layer, other), axis=1)
    assert np.all(after <= before * (1 + 1e-6))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(size=st.integers(1, 200), log_scale=st.integers(-3, 3), seed=st.integers(0, 1000))
def test_the_unit_ball_rounds_as_little_as_its_bound_says(size, log_scale, seed):
    """float32 against float64, for vectors far inside, around and far outside the ball."""
    bound = layer_bound(UnitBall(), (None, size))
    assert (bound.gain, bound.absolute_gain, bound.offset) == (1, 1, 0)
    vectors = np.random.default_rng(seed).normal(size=(20, size)) * 10.0**log_scale
    vectors = vectors.astype("float32")
    norms = np.linalg.norm(vectors.astype("float64"), axis=1, keepdims=True)
    exact = vectors / np.maximum(norms, 1)
    rounding = np.linalg.norm(respond(UnitBall(), vectors) - exact, axis=1)
    assert np.all(rounding <= bound.terms * 2.0**-24 * norms[:, 0])


def test_too_large_factors_are_bounded_all_the_same():
    """One pixel, W = w, factor f: slopes 1 and 1 - f w^2; here 1 - 3 = -2."""
    layer = ScaledResidualConv2D(1, 1, dtype="float64")
    layer.build((None, 1, 1, 1))
    layer.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.array([3.0])])
    assert layer_bound(layer, (None, 1, 1, 1)).gain == pytest.approx(2.0, abs=1e-6)
    assert singular_values(layer, np.ones((1, 1, 1, 1)))[0] == pytest.approx(2.0)


def test_negative_factors_have_no_bound():
    layer = ScaledResidualConv2D(1, 1, dtype="float64")
    layer.build((None, 1, 1, 1))
    layer.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.array([-1.0])])
    with pytest.raises(ValueError, match=r"factors of at least 0. Received: -1"):
        layer_bound(layer, (None, 1, 1, 1))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.LayerNormalization(), "type with a proved Lipschitz bound"),
        (layers.DepthwiseConv2D(3, dilation_rate=2), "dilation 1 and one group"),
        (layers.Conv2D(4, 3, dilation_rate=2), "dilation 1 and one group"),
        (layers.Conv2D(4, 3, groups=2), "dilation 1 and one group"),
        (layers.Conv2D(4, 3, activation="tanh"), "one of the activations linear, relu"),
        (layers.Dense(4, activation="softmax"), "one of the activations linear, relu"),
        (layers.Activation("elu"), "one of the activations linear, relu"),
        (layers.Activation(partial(keras.activations.gelu, approximate=True)), "activations"),
        (layers.ReLU(6.0, negative_slope=2.0), "threshold 0"),
        (layers.ReLU(threshold=1.0), "threshold 0"),
        (layers.LeakyReLU(np.nan), "finite constants"),
        (layers.BatchNormalization(axis=1), "must normalise the last axis"),
        (layers.Normalization(mean=0.0, variance=1.0, invert=True), "must standardise"),
        (layers.MaxPooling2D(data_format="channels_first"), "must have the channels last"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_refuses_what_has_no_proved_bound(layer, message):
    layer.build((None, 6, 6, 4))
    with pytest.raises(ValueError, match=message) as error:
        layer_bound(layer, (None, 6, 6, 4))
    assert repr(layer.name) in str(error.value)
    assert "Received" in str(error.value)


def test_refuses_an_activation_of_a_known_name():
    """A function called "relu" need not be the rectifier."""

    def relu(x):
        return 5 * x

    with pytest.raises(ValueError, match="one of the activations linear, relu"):
        layer_bound(layers.Activation(relu), (None, 2))


def test_refuses_weights_that_are_not_finite():
    layer = build(layers.Dense(2, name="broken"), (3,))
    layer.bias.assign([0.0, np.nan])
    with pytest.raises(ValueError, match=r"'broken' must have finite weights.*'bias'"):
        layer_bound(layer, (None, 3))
