"""The fused layer: worked by hand, against float64 NumPy and against Keras' own layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.layers import BatchNormalization

SHAPE = (5, 4, 3, 6)
EPSILON = 1e-5
# Unit roundoff of what comes out, times a few operations or the terms of a sum.
TOLERANCE = {
    "float32": 1e-5,
    "float64": 1e-14,
    "mixed_bfloat16": 2.0**-7,
    "mixed_float16": 2.0**-10,
}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(1.5, 2.0, shape)


def built(kind, shape=SHAPE, **options):
    """A layer whose weights are random numbers of float32 above 0."""
    layer = kind(**{"epsilon": EPSILON, "momentum": 0.9, **options})
    layer.build((None, *shape[1:]))
    random = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(random.uniform(0.5, 2, weight.shape).astype("float32"))
    return layer


def passed(layer, values, training, **options):
    """Outputs and the gradients of their weighted sum, in float64: inputs, then gamma and beta."""
    inputs = tf.constant(values, layer.compute_dtype)
    upstream = tf.constant(draw(*inputs.shape, seed=2), layer.compute_dtype)
    sources = [inputs, *(weight.value for weight in layer.trainable_variables)]

    @tf.function(autograph=False, **options)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            weighted = tf.reduce_sum(tf.cast(outputs * upstream, tf.float64))
        return outputs, *tape.gradient(weighted, sources)

    return [tf.cast(found, tf.float64).numpy() for found in run()]


def assert_close(found, expected, tolerance):
    """Within a tolerance of the largest number: sums of both signs may be near 0."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


def test_by_hand():
    """Mean and variance of (0.2, 0.6) are 0.4 and 0.04, not 0.08: divided by 2, not by 1.

    x - mean is -0.2 and 0.2; epsilon 0.05 makes the deviation 0.3. Momentum 0.5 moves the averages
    half way from 0 and 1.
    """
    layer = BatchNormalization(momentum=0.5, epsilon=0.05)
    images = tf.reshape([0.2, 0.6], (2, 1, 1, 1))
    np.testing.assert_allclose(np.ravel(layer(images, training=True)), [-2 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.2], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.52], rtol=1e-6)
    expected = (np.array([0.2, 0.6]) - 0.2) / np.sqrt(0.57)
    np.testing.assert_allclose(np.ravel(layer(images)), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("precision", TOLERANCE)
def test_training_is_that_of_the_formulas_in_float64(precision):
    """For the upstream gradient u and h = (x - mean) / deviation, channel by channel.

    The gradient of beta is sum(u), of gamma sum(u h), of the inputs
    gamma / deviation * (u - mean(u) - h mean(u h)).
    """
    layer = built(BatchNormalization, dtype=precision)
    gamma, beta, mean, variance = (np.asarray(weight, np.float64) for weight in layer.weights)
    # As numbers of the precision, so that only the layer's own rounding counts.
    x, u = (
        tf.cast(tf.constant(draw(*SHAPE, seed=seed), layer.compute_dtype), tf.float64).numpy()
        for seed in (0, 2)
    )
    axes, momentum = (0, 1, 2), layer.momentum
    deviation = np.sqrt(x.var(axes) + EPSILON)
    h = (x - x.mean(axes)) / deviation
    inputs = gamma / deviation * (u - u.mean(axes) - h * (u * h).mean(axes))
    expected = [gamma * h + beta, inputs, (u * h).sum(axes), u.sum(axes)]
    assert_close(passed(layer, x, training=True), expected, TOLERANCE[precision])
    moved = [mean, variance] + (1 - momentum) * (
        np.array([x.mean(axes), x.var(axes)]) - [mean, variance]
    )
    assert_close([layer.moving_mean, layer.moving_variance], moved, 1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("shape", [SHAPE, (7, 6)], ids=["maps", "vectors"])
def test_does_what_keras_does(shape, precision, training):
    ours, theirs = (
        built(kind, shape, dtype=precision)
        for kind in (BatchNormalization, keras.layers.BatchNormalization)
    )
    for step in range(3):
        values = draw(*shape, seed=10 + step)
        found, expected = (passed(layer, values, training) for layer in (ours, theirs))
        assert_close(found, expected, TOLERANCE[precision])
    assert_close(ours.get_weights(), theirs.get_weights(), 1e-6)
    moved = not np.allclose(ours.moving_mean, built(BatchNormalization, shape).moving_mean)
    assert moved == training


@pytest.mark.parametrize(
    "options",
    [
        {"scale": False},
        {"center": False},
        {"center": False, "scale": False},
        {"trainable": False},
        {"axis": 3},
        {"axis": 1},
        {"renorm": True},
        {"epsilon": 0.1, "momentum": 0.5},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_takes_the_options_of_keras(options, training):
    values = draw(*SHAPE)
    ours, theirs = (
        built(kind, **options) for kind in (BatchNormalization, keras.layers.BatchNormalization)
    )
    found, expected = (passed(layer, values, training) for layer in (ours, theirs))
    tolerance = 2.0**-7 if "dtype" in options else 1e-5
    assert_close(found, expected, tolerance)
    assert_close(ours.get_weights(), theirs.get_weights(), tolerance)


def test_leaves_masks_to_keras():
    """Of the values 1, 3 and 100 the last is masked: mean 2, variance 1."""
    layer = BatchNormalization(momentum=0.0, epsilon=0.0)
    values = tf.reshape([1.0, 3.0, 100.0], (1, 1, 3, 1))
    layer(values, training=True, mask=tf.constant([[[True, True, False]]]))
    np.testing.assert_allclose([layer.moving_mean[0], layer.moving_variance[0]], [2, 1], rtol=1e-6)


def test_a_single_value_has_variance_0():
    layer = BatchNormalization(momentum=0.25)
    np.testing.assert_array_equal(layer(tf.fill((1, 1, 1, 2), 8.0), training=True), 0)
    np.testing.assert_array_equal(layer.moving_mean, [6, 6])
    np.testing.assert_array_equal(layer.moving_variance, [0.25, 0.25])


def test_epsilon_is_not_raised():
    """Values of +-0.001, variance 1e-6: 0.001 / sqrt(1.1e-5); 1.001e-5 would be off by 4.5e-4."""
    layer = BatchNormalization(epsilon=1e-5)
    outputs = layer(tf.reshape([0.001, -0.001], (2, 1, 1, 1)), training=True)
    expected = 0.001 / np.sqrt(1.1e-5)
    np.testing.assert_allclose(np.ravel(outputs), [expected, -expected], rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_compiles_with_xla(training):
    layers = [built(BatchNormalization) for _ in range(2)]
    values = draw(*SHAPE)
    found = passed(layers[0], values, training, jit_compile=True)
    assert_close(found, passed(layers[1], values, training), 1e-6)
    assert_close(layers[0].get_weights(), layers[1].get_weights(), 1e-6)


def test_frozen_gradients_have_gradients():
    """Of y = 3 x / 2: the gradient of y^2 is 2 * 1.5^2 x = 4.5 x, and that of its sum 4.5."""
    layer = BatchNormalization(epsilon=0.0)
    layer.build((None, 1, 1, 1))
    layer.gamma.assign([3.0])
    layer.moving_variance.assign([4.0])
    x = tf.constant([1.0, -2.0], shape=(2, 1, 1, 1))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            squares = layer(x) ** 2
        first = inner.gradient(squares, x)
    np.testing.assert_allclose(np.ravel(first), [4.5, -9], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(outer.gradient(first, x)), [4.5, 4.5], rtol=1e-6)


def kernels(precision, training):
    """The operations of a graph with the gradient in the inputs that are of batch normalisation."""
    layer = built(BatchNormalization, dtype=precision)

    @tf.function(autograph=False)
    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
        return tape.gradient(outputs, inputs)

    spec = tf.TensorSpec((None, *SHAPE[1:]), layer.compute_dtype)
    operations = run.get_concrete_function(spec).graph.get_operations()
    return [operation.type for operation in operations if "BatchNorm" in operation.type]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_is_one_kernel_each_way(precision):
    """With frozen statistics the same: the gradient's own has no deterministic form on GPUs."""
    assert kernels(precision, training=True) == ["FusedBatchNormV3", "FusedBatchNormGradV3"]
    assert kernels(precision, training=False) == ["FusedBatchNormV3", "FusedBatchNormV3"]


def test_float64_has_no_kernel():
    assert kernels("float64", training=True) == kernels("float64", training=False) == []


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_nan_is_seen_behind_a_relu(precision, training):
    """Merged by oneDNN, the two would make it 0."""
    layer = BatchNormalization(dtype=precision)
    values = tf.fill((2, 3, 3, 16), tf.constant(np.nan, layer.compute_dtype))

    @tf.function(autograph=False)
    def run():
        return tf.nn.relu(layer(values, training=training))

    assert np.isnan(tf.cast(run(), tf.float32)).all()


def network(kind):
    inputs = keras.Input(SHAPE[1:])
    return keras.Model(inputs, kind(epsilon=EPSILON, name="norm")(inputs))


def test_travels_with_a_model(tmp_path):
    model = network(BatchNormalization)
    model(draw(*SHAPE), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("norm")) is BatchNormalization
    assert loaded.get_layer("norm").get_config() == model.get_layer("norm").get_config()
    np.testing.assert_array_equal(loaded(draw(*SHAPE)), model(draw(*SHAPE)))


def test_a_model_with_the_layer_of_keras_loads_and_lends_its_weights(tmp_path):
    theirs, ours = network(keras.layers.BatchNormalization), network(BatchNormalization)
    theirs(draw(*SHAPE), training=True)
    theirs.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("norm")) is keras.layers.BatchNormalization
    theirs.save_weights(tmp_path / "model.weights.h5")
    ours.load_weights(tmp_path / "model.weights.h5")
    assert_close([ours(draw(*SHAPE)).numpy()], [loaded(draw(*SHAPE)).numpy()], 1e-6)
