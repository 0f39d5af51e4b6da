"""1-Lipschitz layers: exact singular values of their Jacobians, whatever the weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from clustr_tf.layers import (
    AOLConv2D,
    MaxMin,
    OrthogonalDense,
    ScaledAveragePooling2D,
    ScaledResidualConv2D,
    SLLConv2D,
    SpaceToDepth,
)
from clustr_tf.layers.lipschitz_weights import (
    absolute_correlations,
    aol_kernel,
    cayley,
    sll_diagonal,
)
from tests.layers.jacobian import singular_values

RNG = np.random.default_rng(0)
# What float32 arithmetic may add.
ROUNDING = 1e-6


def _extreme(kind, shape, seed=0):
    """Weights that a rescaling could stumble over."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    return {
        "random": values,
        "tiny": 1e-6 * values,
        "huge": 1e3 * values,
        "zero": np.zeros(shape),
        "constant": np.ones(shape),
        "rank one": np.multiply.outer(
            values.reshape(-1, shape[-1])[:, 0], values.ravel()[: shape[-1]]
        ).reshape(shape),
        "one entry": np.eye(1, values.size, 1).reshape(shape),
        "uneven": values * 10.0 ** rng.integers(-3, 4, size=shape),
    }[kind]


KINDS = ["random", "tiny", "huge", "zero", "constant", "rank one", "one entry", "uneven"]


def _set_kernel(layer, shape, kind):
    layer.build((None, *shape))
    layer.kernel.assign(_extreme(kind, tuple(layer.kernel.shape)))
    return layer


def _train(layer, shape, steps=15):
    """A few steps of Adam that stretch the output: against the bound, not towards it."""
    images = tf.constant(RNG.normal(size=(8, *shape)), tf.float32)
    optimizer = keras.optimizers.Adam(0.05)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(tf.square(layer(images) - 0.3))
        weights = layer.trainable_variables
        optimizer.apply(tape.gradient(loss, [weight.value for weight in weights]), weights)
    return layer


def _point(shape, seed=1):
    return np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("kernel", "strides", "padding", "channels", "filters"),
    [
        (3, 1, "same", 2, 3),
        (3, 1, "valid", 3, 2),
        (3, 2, "same", 2, 2),
        (2, 2, "valid", 2, 9),
        ((3, 2), (1, 2), "same", 1, 4),
        (5, 3, "valid", 1, 2),
        (1, 1, "same", 4, 4),
    ],
)
def test_aol_convolutions_have_no_singular_value_above_1(
    kind, kernel, strides, padding, channels, filters
):
    shape = (6, 7, channels)
    layer = _set_kernel(AOLConv2D(filters, kernel, strides, padding), shape, kind)
    values = singular_values(layer, _point(shape))
    assert values[0] <= 1 + ROUNDING
    assert values[0] == 0 if kind == "zero" else values[0] > 0.3


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    channels=st.integers(1, 3),
    filters=st.integers(1, 4),
)
def test_aol_convolutions_of_any_shape(seed, size, stride, padding, channels, filters):
    layer = AOLConv2D(filters, size, min(stride, size), padding)
    layer.build((None, 5, 4, channels))
    layer.kernel.assign(np.random.default_rng(seed).normal(size=layer.kernel.shape))
    point = _point((5, 4, channels), seed)
    assert singular_values(layer, point)[0] <= 1 + ROUNDING
    assert tuple(layer(point).shape) == layer.compute_output_shape(point.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("kernel", "channels", "inner"), [(3, 2, None), (1, 3, 5), (5, 1, 2)])
def test_sll_convolutions_have_no_singular_value_above_1(kind, kernel, channels, inner):
    shape = (4, 5, channels)
    layer = _set_kernel(SLLConv2D(kernel, inner), shape, kind)
    layer.logits.assign(np.linspace(-2, 2, layer.logits.shape[0]))
    layer.bias.assign(np.linspace(-0.5, 0.5, layer.bias.shape[0]))
    values = singular_values(layer, _point(shape))
    assert 0.3 < values[0] <= 1 + ROUNDING


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("features", "units"), [(6, 6), (9, 4), (4, 9), (1, 1)])
def test_orthogonal_matrices_have_all_singular_values_1(kind, features, units):
    layer = _set_kernel(OrthogonalDense(units), (features,), kind)
    values = singular_values(layer, _point((features,)))
    assert len(values) == min(features, units)
    np.testing.assert_allclose(values, 1, atol=ROUNDING)


@pytest.mark.parametrize("scale", [1, 10, 100, 1000])
def test_wide_orthogonal_matrices_stay_orthogonal(scale):
    """Where the transform is ill conditioned, float32 would miss 1 by up to 3e-5."""
    layer = OrthogonalDense(256)
    layer.build((None, 256))
    layer.kernel.assign(scale * RNG.normal(size=(256, 256)) / 16)
    matrix = np.asarray(layer(np.eye(256, dtype="float32")), "float64")
    np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False), 1, atol=ROUNDING)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (AOLConv2D(4, 3), (5, 5, 2)),
        (AOLConv2D(3, 3, 2), (6, 6, 2)),
        (SLLConv2D(3), (4, 4, 3)),
        (OrthogonalDense(5), (7,)),
    ],
    ids=["aol", "aol strided", "sll", "orthogonal"],
)
def test_training_against_the_bound_does_not_break_it(layer, shape):
    before = singular_values(layer, _point(shape))
    trained = singular_values(_train(layer, shape), _point(shape))
    assert trained[0] <= 1 + ROUNDING
    assert not np.allclose(before, trained) or isinstance(layer, OrthogonalDense)


@pytest.mark.parametrize(
    ("layer", "shape", "isometric"),
    [
        (MaxMin(), (4, 4, 6), True),
        (SpaceToDepth(2), (4, 6, 3), True),
        (ScaledAveragePooling2D(2), (4, 6, 3), False),
        # A fresh convolution loses no more than it must: all singular values are 1.
        (AOLConv2D(8, 3), (4, 4, 3), True),
        (AOLConv2D(8, 2, 2), (4, 4, 2), True),
        (AOLConv2D(3, 3), (4, 4, 8), True),
        (AOLConv2D(3, 2, 2), (4, 4, 2), True),
    ],
    ids=[
        "max-min",
        "space to depth",
        "pooling",
        "fresh to more channels",
        "fresh strided to as many",
        "fresh to fewer",
        "fresh strided to fewer",
    ],
)
def test_gains_of_exactly_1(layer, shape, isometric):
    values = singular_values(layer, _point(shape))
    np.testing.assert_allclose(values if isometric else values[0], 1, atol=ROUNDING)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_non_linear_layers_never_stretch_a_difference(seed, scale):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(1, 4, 4, 4)).astype(np.float32)
    second = (first + scale * rng.normal(size=first.shape)).astype(np.float32)
    layer = _set_kernel(SLLConv2D(3, 6), (4, 4, 4), "random")
    for function in (layer, MaxMin()):
        moved = np.linalg.norm(np.float64(function(first)) - np.float64(function(second)))
        assert moved <= np.linalg.norm(np.float64(first) - np.float64(second)) * (1 + 1e-5)


def test_max_min_by_hand():
    np.testing.assert_array_equal(MaxMin()(np.array([[1.0, 2.0, 3.0, 0.0]])), [[3, 2, 1, 0]])


def test_space_to_depth_is_tensorflows():
    images = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(SpaceToDepth(2)(images), tf.nn.space_to_depth(images, 2))


def test_scaled_average_pooling_is_twice_the_average():
    images = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
    expected = 2 * tf.nn.avg_pool2d(images, 2, 2, "VALID")
    np.testing.assert_allclose(ScaledAveragePooling2D(2)(images), expected, rtol=1e-5, atol=1e-6)


def test_cayley_by_hand():
    """A = [[0, a], [-a, 0]] gives the rotation by 2 atan(a), here by -90 degrees."""
    np.testing.assert_allclose(
        cayley(np.array([[0.0, 1.0], [0.0, 0.0]])), [[0, -1], [1, 0]], atol=1e-12
    )


def test_aol_by_hand():
    """One pixel wide: t = |w1|^2 + |w1.w2| and |w2|^2 + |w1.w2|."""
    kernel = np.array([[3.0, 4.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    expected = kernel / np.sqrt([25 + 3, 1 + 3]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(aol_kernel(kernel), expected)


def test_aol_by_hand_with_fewer_outputs():
    """One output: t = |3, 1|^2 = 10, not the inputs' 9 + 3 and 1 + 3."""
    kernel = np.array([[3.0], [1.0]]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(aol_kernel(kernel), kernel / np.sqrt(10))


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (2, 3, 5, 2), (1, 4, 2, 3), (5, 1, 3, 3)])
def test_absolute_correlations_by_shifting_the_padded_kernel(shape):
    """NumPy: the kernel in the middle of zeros, against itself moved by every shift."""
    height, width, channels, _ = shape
    kernel = RNG.normal(size=shape)
    padded = np.pad(kernel, [(height, height), (width, width), (0, 0), (0, 0)])
    expected = np.zeros((channels, channels))
    for down in range(1 - height, height):
        for right in range(1 - width, width):
            moved = np.roll(padded, (down, right), axis=(0, 1))
            expected += np.abs(np.einsum("hwio,hwjo->ij", padded, moved))
    np.testing.assert_allclose(absolute_correlations(kernel), expected, rtol=1e-12)


def test_the_diagonal_by_hand():
    """Taps 1 and 2: the autocorrelation 2, 5, 2 adds up to 9."""
    kernel = np.array([1.0, 2.0]).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(sll_diagonal(kernel, np.zeros(1)), [9.0])


def test_a_residual_with_the_factors_of_sll_is_sll():
    images = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)
    layer = _set_kernel(SLLConv2D(3, 4), (5, 4, 3), "random")
    plain = ScaledResidualConv2D(3, 4)
    plain.build(images.shape)
    plain.set_weights([layer.kernel.numpy(), layer.bias.numpy(), layer.factors().numpy()])
    np.testing.assert_allclose(plain(images), layer(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(AOLConv2D(4, 3, 2), (6, 6, 2)), (SLLConv2D(3), (4, 4, 3)), (OrthogonalDense(5), (7,))],
    ids=["aol", "sll", "orthogonal"],
)
def test_survives_saving_and_computes_its_weights_in_float32(layer, shape, tmp_path):
    images = RNG.normal(size=(3, *shape)).astype(np.float32)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
    config = {**layer.get_config(), "dtype": "mixed_bfloat16", "name": "mixed"}
    mixed = type(layer).from_config(config)
    mixed.build((None, *shape))
    mixed.set_weights(layer.get_weights())
    assert mixed(images).dtype == tf.bfloat16
    np.testing.assert_allclose(
        tf.cast(mixed(images), tf.float32), model(images), atol=0.05 * np.abs(images).max()
    )
    # Gradients reach the free weights through the float32 arithmetic.
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(tf.cast(mixed(images), tf.float32)))
    gradient = tape.gradient(loss, mixed.kernel.value)
    assert gradient.dtype == tf.float32
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(AOLConv2D(4, 1), (1, 1, 3)), (AOLConv2D(3, 1), (1, 1, 5)), (OrthogonalDense(5), (3,))],
    ids=["aol", "aol to fewer", "orthogonal"],
)
def test_half_precision_rounds_the_finished_weights_only(layer, shape):
    """Of one-hot inputs the outputs are the weights, which bfloat16 rounds once if at all."""
    ones = np.eye(shape[-1], dtype=np.float32).reshape(-1, *shape)
    _set_kernel(layer, shape, "random")
    mixed = type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})
    mixed.build((None, *shape))
    mixed.set_weights(layer.get_weights())
    np.testing.assert_array_equal(mixed(ones), tf.cast(layer(ones), tf.bfloat16))


def test_the_diagonal_is_not_rounded_to_half_precision():
    layer = _set_kernel(SLLConv2D(3, dtype="mixed_bfloat16"), (4, 4, 3), "random")
    kernel = layer.kernel.numpy().astype(np.float64)
    with tf.GradientTape() as tape:
        factors = layer.factors()
        loss = tf.reduce_sum(factors)
    np.testing.assert_allclose(factors, 2 / sll_diagonal(kernel, np.zeros(3)), rtol=1e-5)
    assert np.abs(tape.gradient(loss, layer.kernel.value)).max() > 0


def _network(shape):
    inputs = keras.Input(shape)
    hidden = SLLConv2D(3)(MaxMin()(AOLConv2D(4, 3, 2)(inputs)))
    hidden = keras.layers.Flatten()(ScaledAveragePooling2D(3)(hidden))
    return keras.Model(inputs, OrthogonalDense(3)(hidden))


def test_xla_computes_the_same():
    network = _network((6, 6, 2))
    images = RNG.normal(size=(8, 6, 6, 2)).astype(np.float32)
    compiled = tf.function(network, jit_compile=True)
    np.testing.assert_allclose(compiled(images), network(images), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: AOLConv2D(0, 3), "filters must be at least 1. Received: 0"),
        (lambda: AOLConv2D(1, 3, padding="full"), "padding must be 'same' or 'valid'. Received"),
        (lambda: AOLConv2D(1, 2, 3), "strides must be from 1 to the kernel's size"),
        (lambda: SLLConv2D(2), "kernel_size must be odd and positive. Received: 2"),
        (lambda: SLLConv2D(3, 0), "inner must be None or at least 1. Received: 0"),
        (lambda: OrthogonalDense(0), "units must be at least 1. Received: 0"),
        (lambda: SpaceToDepth(0), "size must be at least 1. Received: 0"),
        (lambda: SpaceToDepth(2).build((None, 5, 4, 1)), "SpaceToDepth needs images whose sides"),
        (lambda: MaxMin().build((None, 3)), "MaxMin needs an even number of channels. Received: 3"),
    ],
)
def test_refuses(build, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        build()
