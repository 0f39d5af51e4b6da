"""Gains of single layers against the singular values of their whole matrices."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

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
)
def test_average_pooling_gain_is_an_upper_bound(size, pool, stride):
    layer = layers.AveragePooling2D(pool, stride, dtype="float64")
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


@pytest.mark.parametrize(
    "layer",
    [
        layers.ReLU(),
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
        (layers.DepthwiseConv2D(3), "type with a proved Lipschitz bound"),
        (layers.Conv2D(4, 3, dilation_rate=2), "dilation 1 and one group"),
        (layers.Conv2D(4, 3, groups=2), "dilation 1 and one group"),
        (layers.Conv2D(4, 3, activation="gelu"), "activation 'linear' or 'relu'"),
        (layers.Dense(4, activation="softmax"), "activation 'linear' or 'relu'"),
        (layers.Activation("elu"), "activation 'linear' or 'relu'"),
        (layers.ReLU(negative_slope=2.0), "slope and threshold 0"),
        (layers.ReLU(threshold=1.0), "slope and threshold 0"),
        (layers.BatchNormalization(axis=1), "must normalise the last axis"),
        (layers.AveragePooling2D(3, 1, padding="same"), 'must have padding="valid"'),
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

    with pytest.raises(ValueError, match="activation 'linear' or 'relu'"):
        layer_bound(layers.Activation(relu), (None, 2))


def test_refuses_weights_that_are_not_finite():
    layer = build(layers.Dense(2, name="broken"), (3,))
    layer.bias.assign([0.0, np.nan])
    with pytest.raises(ValueError, match=r"'broken' must have finite weights.*'bias'"):
        layer_bound(layer, (None, 3))
