"""Boxes: worked by hand, against random points and float64 twins, and against attacks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from clustr_tf.attacks import APGD, PGD, evaluate_robustness
from clustr_tf.backbones import build_backbone
from clustr_tf.certify.linf.boxes import LAYER_BOXES, Box, layer_box
from clustr_tf.certify.linf.interval import (
    certified_linf,
    embed_with_box,
    embedding_box,
    has_interval_bounds,
    image_box,
    interval_radius,
)
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead, Saturation, UnitBall
from clustr_tf.layers.distances import squared_distances

SHAPE = (6, 6, 2)


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
    x = layers.LeakyReLU(0.4)(layers.Rescaling(0.7, -0.1)(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="gelu")(x)
    x = layers.Cropping2D(1)(layers.ZeroPadding2D(1)(x))
    x = nested(layers.Conv2D(4, 3, padding="same", activation="relu")(x))
    x = layers.Dropout(0.5)(layers.MaxPooling2D(2, 1, padding="same")(x))
    x = layers.AveragePooling2D(2, 2, padding="same")(x)
    x = layers.Activation("relu")(layers.Reshape((-1,))(x))
    x = layers.GlobalAveragePooling2D()(layers.Reshape((2, 2, -1))(layers.Dense(8)(x)))
    network = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    rng = np.random.default_rng(0)
    for variable in network.variables:
        if "seed" not in variable.path:
            values = rng.normal(size=variable.shape)
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.path else values)
    return network


@pytest.fixture(scope="module")
def network():
    return every_layer()


def two_neurons():
    """Pixels -> y = (relu(x1 - 2 x2), relu(-x1 + x2 + 0.5)) -> z = (y1 + y2, y1 - 3 y2)."""
    pixels = keras.Input((1, 2, 1))
    first, second = layers.Dense(2, activation="relu"), layers.Dense(2, use_bias=False)
    network = keras.Model(pixels, second(first(layers.Flatten()(pixels))))
    first.kernel.assign([[1.0, -1.0], [-2.0, 1.0]])
    first.bias.assign([0.0, 0.5])
    second.kernel.assign([[1.0, 1.0], [1.0, -3.0]])
    return network


def test_two_neurons_by_hand():
    """Pixels x in [0.4, 0.8] x [0, 0.2]: the second pixel's box is cut off at 0.

    x1 - 2 x2 in [0, 0.8]; -x1 + x2 + 0.5 in [-0.3, 0.3], after ReLU [0, 0.3];
    y1 + y2 in [0, 1.1], y1 - 3 y2 in [-0.9, 0.8].
    """
    pixels = image_box(np.array([[0.6, 0.0]]).reshape(1, 1, 2, 1), 0.2, 2.0**-53)
    np.testing.assert_allclose(np.ravel(pixels.lower), [0.4, 0.0])
    np.testing.assert_allclose(np.ravel(pixels.upper), [0.8, 0.2])
    box = embedding_box(two_neurons(), pixels)
    # Enlarged by float32 rounding, and no further.
    np.testing.assert_allclose(box.lower, [[0.0, -0.9]], atol=1e-5)
    np.testing.assert_allclose(box.upper, [[1.1, 0.8]], atol=1e-5)
    assert np.all(box.lower < [[0.0, -0.9]])
    assert np.all(box.upper > [[1.1, 0.8]])


def test_boxes_of_pixels_stay_in_0_to_1():
    """Each image has its own eps; the ends are enlarged by no more than a few float64 roundings."""
    images = np.array([0.05, 0.5, 0.95] * 2).reshape(2, 1, 3, 1)
    pixels = image_box(images, np.array([0.1, 0.2]), 2.0**-53)
    np.testing.assert_allclose(np.ravel(pixels.lower), [0, 0.4, 0.85, 0, 0.3, 0.75], atol=1e-15)
    np.testing.assert_allclose(np.ravel(pixels.upper), [0.15, 0.6, 1, 0.25, 0.7, 1], atol=1e-15)


def test_what_saturates_has_no_width():
    """Pixels 0.2, 0.5 and 0.9 moved by 0.1, seen as clip(5 x - 2, 0, 1): nothing, 0 to 1, all."""
    inputs = keras.Input((1, 3, 1))
    contrast = layers.Conv2D(1, 1)
    network = keras.Model(inputs, layers.Flatten()(Saturation()(contrast(inputs))))
    contrast.set_weights([np.full((1, 1, 1, 1), 5.0), np.array([-2.0])])
    pixels = image_box(np.array([0.2, 0.5, 0.9]).reshape(1, 1, 3, 1), 0.1, 2.0**-53)
    box = embedding_box(network, pixels)
    np.testing.assert_allclose(box.lower, [[0.0, 0.0, 1.0]], atol=1e-5)
    np.testing.assert_allclose(box.upper, [[0.0, 1.0, 1.0]], atol=1e-5)


def test_the_box_of_the_unit_ball_by_hand():
    """[2, 3] x [-2, 6]: norms from |(2, 0)| = 2 to |(3, 6)| = sqrt(45); inside nothing changes.

    2 / sqrt(45) <= y1 <= 3 / 2 and -2 / 2 <= y2 <= 6 / 2.
    """
    lower, upper = np.array([[2.0, -2.0], [0.1, -0.3]]), np.array([[3.0, 6.0], [0.2, 0.3]])
    box = layer_box(UnitBall(), [Box(lower, upper)], 0.0)
    np.testing.assert_allclose(box.lower, [[2 / 45**0.5, -1.0], [0.1, -0.3]], rtol=1e-12)
    np.testing.assert_allclose(box.upper, [[1.5, 3.0], [0.2, 0.3]], rtol=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.1, 2.0]))
def test_the_box_of_the_unit_ball_contains_float32_outputs(seed, radius):
    rng = np.random.default_rng(seed)
    centre = 2 * rng.normal(size=6)
    moves = rng.uniform(-1, 1, (40, 6))
    moves[20:] = np.sign(moves[20:])
    points = (centre + radius * moves).astype("float32")
    # Of the points as they were rounded.
    around = Box(*(end(points.astype("float64"), axis=0)[None] for end in (np.min, np.max)))
    box = layer_box(UnitBall(), [around], 2.0**-24)
    outputs = UnitBall()(points).numpy()
    assert np.all(outputs >= box.lower.numpy())
    assert np.all(outputs <= box.upper.numpy())


def test_the_certificate_of_two_neurons_by_hand():
    """Centroids (0, 0) and (2, 0): class 0 as long as z1 < 1; at x1 = 0.6 + e, x2 = 0 (or e).

    The box has upper z1 = relu(x1) + relu(-x1 + x2 + 0.5) <= (0.6 + e) + (-0.1 + 2 e) for
    0.05 <= e: it stays below 1 while 0.5 + 3 e < 1, e < 1/6.
    """
    head = ClusteringHead(2, 1)
    head.set_clusters([[0.0, 0.0], [2.0, 0.0]], variance=0.5)
    image = np.array([[0.6, 0.0]], "float32").reshape(1, 1, 2, 1)
    eps = np.array([0.1666, 0.1667])
    found = certified_linf(two_neurons(), head, np.concatenate([image, image]), eps)
    np.testing.assert_array_equal(found.class_id, [0, 0])
    np.testing.assert_array_equal(found.certified, [True, False])
    np.testing.assert_array_equal(found.nearest_cluster_certified, [True, False])
    for nearest_cluster in (False, True):
        class_id, radius = interval_radius(
            two_neurons(), head, image, nearest_cluster=nearest_cluster
        )
        np.testing.assert_array_equal(class_id, [0])
        assert 0.9994 / 6 <= float(radius[0]) < 1 / 6


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 1e-6, 0.01, 0.1, 0.5]))
def test_boxes_contain_the_float32_outputs_of_points_inside(network, seed, eps):
    rng = np.random.default_rng(seed)
    image = rng.uniform(size=SHAPE).astype("float32")
    box = embedding_box(network, image_box(image[None].astype("float64"), eps, 2.0**-53))
    moves = rng.uniform(-1, 1, (40, *SHAPE))
    moves[20:] = np.sign(moves[20:])  # corners, where the extremes are
    inside = np.clip(image + eps * moves, 0, 1)
    points = inside.astype("float32")
    # Rounding to float32 must not leave the ball.
    points = np.where(
        points.astype("float64") > inside, np.nextafter(points, np.float32(-1)), points
    )
    points = np.where(np.abs(points - image.astype("float64")) <= eps, points, image)
    outputs = network(points).numpy()
    assert np.all(outputs >= box.lower.numpy())
    assert np.all(outputs <= box.upper.numpy())


def test_boxes_of_points_are_as_small_as_rounding(network):
    """Not sound by being useless: at eps 0 the box is some 1e-5 of the values it sums up."""
    images = np.random.default_rng(1).uniform(size=(5, *SHAPE))
    box = embedding_box(network, image_box(images, 0.0, 2.0**-53))
    width = box.upper.numpy() - box.lower.numpy()
    assert np.all(width > 0)
    assert width.max() < 3e-3 * np.abs(box.upper.numpy()).max()


def test_what_is_proved_shrinks_as_eps_grows(network):
    images = np.random.default_rng(2).uniform(size=(4, *SHAPE))
    small = embedding_box(network, image_box(images, 0.05, 2.0**-53))
    large = embedding_box(network, image_box(images, 0.1, 2.0**-53))
    assert np.all(large.lower.numpy() < small.lower.numpy())
    assert np.all(large.upper.numpy() > small.upper.numpy())


def test_training_boxes_take_the_statistics_of_the_clean_batch():
    """Batch normalisation, gain -2: (x - mean) / sqrt(var + 0.001) of the batch (0.2, 0.6).

    mean 0.4, var 0.04; eps 0.1 becomes 0.2 / sqrt(0.041). The moving mean goes from 0 to half of
    the batch's: it was moved once.
    """
    pixels = keras.Input((1, 1, 1))
    norm = layers.BatchNormalization(momentum=0.5, epsilon=0.001)
    network = keras.Model(pixels, layers.Flatten()(norm(pixels)))
    norm.gamma.assign([-2.0])
    images = np.array([0.2, 0.6], "float32").reshape(2, 1, 1, 1)
    embeddings, box = embed_with_box(network, images, image_box(images, 0.1))
    deviation = np.sqrt(0.041)
    np.testing.assert_allclose(np.ravel(embeddings), [0.4 / deviation, -0.4 / deviation], rtol=1e-5)
    np.testing.assert_allclose(np.ravel(box.lower), [0.2 / deviation, -0.6 / deviation], rtol=1e-5)
    np.testing.assert_allclose(np.ravel(box.upper), [0.6 / deviation, -0.2 / deviation], rtol=1e-5)
    np.testing.assert_allclose(norm.moving_mean, [0.2], rtol=1e-6)


def test_training_boxes_hold_the_embeddings_and_have_gradients(network):
    images = np.random.default_rng(3).uniform(size=(6, *SHAPE)).astype("float32")
    with tf.GradientTape() as tape:
        embeddings, box = embed_with_box(without_dropout(), images, image_box(images, 0.05))
        width = tf.reduce_mean(box.upper - box.lower)
    assert np.all(embeddings.numpy() >= box.lower.numpy())
    assert np.all(embeddings.numpy() <= box.upper.numpy())
    gradients = tape.gradient(width, tape.watched_variables())
    assert sum(gradient is not None for gradient in gradients) >= 5


def without_dropout():
    return build_backbone("small_cnn", SHAPE, width=2)


@pytest.fixture(scope="module")
def classifier():
    """A small_cnn with clusters at the embeddings of random images, so that margins are wide."""
    keras.utils.set_random_seed(0)
    model = Classifier(
        build_backbone("small_cnn", (8, 8, 1), width=4), ClusteringHead(3, 2), [0.5], [0.5]
    )
    prototypes = np.random.default_rng(4).integers(0, 2, (6, 8, 8, 1)).astype("float32")
    model.head.set_clusters(model.embed(prototypes), variance=1.0)
    return model


@pytest.mark.parametrize("nearest_cluster", [False, True])
def test_no_attack_inside_the_interval_radius_breaks_an_image(classifier, nearest_cluster):
    """Each radius is attacked on the classifier that it speaks of: with K = 2 they differ."""
    prototypes = np.random.default_rng(4).integers(0, 2, (6, 8, 8, 1)).astype("float32")
    noise = np.random.default_rng(5).uniform(size=(4, *prototypes.shape))
    images = np.concatenate(0.9 * prototypes + 0.1 * noise).astype("float32")
    stored = np.round(255 * images).astype("uint8")
    pixels = stored.astype("float32") / 255
    class_id, radius = interval_radius(
        classifier.embedder,
        classifier.head,
        pixels,
        nearest_cluster=nearest_cluster,
    )

    def nearest_cluster_scores(pixels):
        distances = squared_distances(classifier.embed(pixels), classifier.head.centroids.value)
        return -tf.reduce_min(tf.reshape(distances, (-1, 3, 2)), axis=2)

    attacked = nearest_cluster_scores if nearest_cluster else classifier
    labels, radius = class_id.numpy(), radius.numpy()
    assert np.median(radius) > 0.001, np.sort(radius)
    attack = APGD(attacked, (8, 8, 1), "linf", "margin", steps=20)  # compiled once for all radii
    for index in np.argsort(radius)[[8, 12, 16, 23]]:
        one = slice(index, index + 1)
        adversarial = attack(pixels[one], labels[one], eps=radius[index])
        assert np.argmax(attacked(adversarial)) == labels[index]
    broken = np.argmax(attacked(attack(pixels, labels, eps=0.5)), axis=1) != labels
    assert broken.mean() > 0.5  # it is an attack that can


def test_the_interval_radius_is_exact_where_boxes_are():
    """Embedding z = x1 - x2, clusters of class 0 at -1 and 0, of class 1 at 1 and 2: z < 1/2 wins.

    Both pixels move by e: z = 26/255 + 2 e reaches 1/2 at e = 0.199. PGD fails just below, not
    above.
    """
    pixels = keras.Input((1, 2, 1))
    dense = layers.Dense(1, use_bias=False)
    backbone = keras.Model(pixels, dense(layers.Flatten()(pixels)))
    dense.kernel.assign([[1.0], [-1.0]])
    model = Classifier(backbone, ClusteringHead(2, 2, nearest=1), [0.0], [1.0])
    model.head.set_clusters([[-1.0], [0.0], [1.0], [2.0]], variance=0.5)
    stored = np.array([153, 127], "uint8").reshape(1, 1, 2, 1)
    _, radius = interval_radius(
        model.embedder, model.head, stored.astype("float32") / 255, nearest_cluster=True
    )
    exact = (0.5 - (153 - 127) / 255) / 2
    assert 0.9994 * exact <= float(radius[0]) < exact
    for factor, robust in [(0.999, 1.0), (1.001, 0.0)]:
        eps = factor * exact
        config = PGD(eps=eps, step_size=eps, steps=5)
        result = evaluate_robustness(model, stored, np.array([0]), config)
        assert result.robust_accuracy == robust


def test_only_the_l_nearest_prove_no_more_than_a_single_cluster_does(classifier):
    """With L = 1 the soft scores' class is that of the nearest cluster."""
    images = np.random.default_rng(6).uniform(size=(8, 8, 8, 1)).astype("float32")
    head = ClusteringHead(3, 2, nearest=1)
    head.set_clusters(classifier.head.centroids, classifier.head.variance)
    found = certified_linf(classifier.embedder, head, images, 1e-4)
    assert np.any(found.nearest_cluster_certified)
    assert np.all(found.nearest_cluster_certified.numpy() >= found.certified.numpy())


@pytest.mark.parametrize("roundoff", [0.0, 2.0**-24])
@pytest.mark.parametrize(
    "layer",
    [
        layers.Activation("gelu"),
        layers.Activation("silu"),
        layers.Activation("relu6"),
        layers.LeakyReLU(0.3),
        layers.LeakyReLU(2.5),
        layers.ReLU(negative_slope=0.1),
    ],
    ids=lambda layer: layer.name,
)
def test_the_box_of_an_activation_is_that_of_all_points_between(layer, roundoff):
    """On both sides of the minimum, around it, far away and without a width."""
    ends = np.array(
        [
            (-5, 3),
            (-3, -1),
            (-1, -0.875),
            (-0.5, 0.25),
            (0.125, 2),
            (-9, 9),
            (-0.765625, -0.75),
            (1, 1),
        ]
    )
    box = layer_box(layer, [Box(ends[:, :1], ends[:, 1:])], roundoff)
    points = np.linspace(ends[:, 0], ends[:, 1], 100_001)
    values = np.asarray(layer(points.astype("float32")), "float64")
    for found, expected in ((box.lower, values.min(axis=0)), (box.upper, values.max(axis=0))):
        # By the rounding of 9 to float32, and its error: 32 gamma.
        np.testing.assert_allclose(found[:, 0], expected, atol=9 * 48 * 2.0**-24)
    if roundoff:
        assert np.all(values >= box.lower[:, 0])
        assert np.all(values <= box.upper[:, 0])


def test_boxes_of_gelu_and_silu_have_their_minimum():
    """X Phi(x) is -0.1699712 at -0.7517915, x / (1 + exp(-x)) is -0.2784645 at -1.2784645."""
    for activation, minimum in (("gelu", -0.16997120748), ("silu", -0.27846454276)):
        box = layer_box(layers.Activation(activation), [Box(*np.array([[[-9.0]], [[-0.5]]]))], 0.0)
        np.testing.assert_allclose(box.lower, [[minimum]], atol=1e-11)


def test_boxes_of_a_depthwise_convolution_by_hand():
    """Channels times 2 and -3: [0.1, 0.3] and [0.5, 0.6] become [0.2, 0.6] and [-1.8, -1.5]."""
    layer = layers.DepthwiseConv2D(1, use_bias=False)
    layer.build((None, 1, 1, 2))
    layer.set_weights([np.reshape([2.0, -3.0], (1, 1, 2, 1))])
    ends = np.reshape([[0.1, 0.5], [0.3, 0.6]], (2, 1, 1, 1, 2))
    box = layer_box(layer, [Box(*ends)], 0.0)
    np.testing.assert_allclose(np.ravel(box.lower), [0.2, -1.8])
    np.testing.assert_allclose(np.ravel(box.upper), [0.6, -1.5])


def one_pixel(*body):
    pixels = keras.Input((1, 1, 1))
    x = layers.Flatten()(pixels)
    for part in body:
        x = part(x)
    return keras.Model(pixels, x)


def times(weight):
    constant = keras.initializers.Constant(weight)
    return layers.Dense(1, use_bias=False, kernel_initializer=constant)


def box_of(network, pixel, eps):
    images = np.reshape(pixel, (-1, 1, 1, 1))
    return embedding_box(network, image_box(images, eps, 2.0**-53))


@pytest.mark.parametrize("behind", [UnitBall, Saturation, layers.ReLU])
def test_an_image_that_may_leave_the_range_of_float32_has_no_box(behind):
    """1e20 times 1e20 x stays within 5e37 for x < 0.005; other images of the batch keep theirs."""
    network = one_pixel(times(1e20), times(1e20), behind(), times(1.0))
    box = box_of(network, [0.002, 0.9, 0.004], 0.001)
    small = behind is not UnitBall  # whose squares are beyond it all the same
    np.testing.assert_array_equal(box.is_finite, [small, False, small])
    assert np.all(box.lower.numpy()[1] == -np.inf)
    assert np.all(box.upper.numpy()[1] == np.inf)


def test_squares_beyond_the_range_of_float32_prove_nothing():
    """2.5e19 x: its square overflows for x > 0.737, and the unit ball makes 0 of what is 1."""
    network, head = one_pixel(times(2.5e19), UnitBall()), ClusteringHead(2, 1)
    head.set_clusters([[0.0], [1.0]], variance=1.0)
    images = np.reshape(np.array([0.1, 0.7], "float32"), (2, 1, 1, 1))
    np.testing.assert_array_equal(network(images + np.float32(0.08)), [[1], [0]])
    found = certified_linf(network, head, images, 0.02)
    np.testing.assert_array_equal(found.certified, [True, False])
    np.testing.assert_array_equal(found.nearest_cluster_certified, [True, False])


def test_boxes_hold_what_underflows():
    """X times 1e-19, 2e-19, 1e19 and 5e18 is x; TensorFlow makes 0 of 2e-38 x for x < 0.588."""
    network = one_pixel(*map(times, (1e-19, 2e-19, 1e19, 5e18)))
    box = box_of(network, 0.65, 0.1)
    for pixel in (0.55, 0.74):
        output = float(network(np.full((1, 1, 1, 1), pixel, "float32"))[0, 0])
        assert float(box.lower[0, 0]) <= output <= float(box.upper[0, 0])
    assert output > 0.7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("largest", [0.1, 0.3, 6.0, 1e-39])
def test_boxes_hold_the_constant_that_a_layer_computes_with(dtype, largest):
    """0.1 is 0.100000001 in float32, and Keras rounds it for float64 too."""
    layer = layers.ReLU(max_value=largest, dtype=dtype)
    box = layer_box(layer, [Box(*np.array([[[4.0]], [[5.0]]]))], 2.0**-24)
    output = np.asarray(layer(np.array([[4.5]], dtype)), "float64")
    assert np.all(box.lower <= output + 2.0**-126)
    assert np.all(output <= box.upper)


@pytest.mark.parametrize("epsilon", [0.0, 1e-39, 1e-33])
def test_batch_normalisation_without_variance_has_no_box(epsilon):
    """A divisor that float32 may flush to 0 makes NaN of the network."""
    norm = layers.BatchNormalization(epsilon=epsilon, moving_variance_initializer="zeros")
    assert not box_of(one_pixel(norm), 0.5, 0.1).is_finite[0]


def test_a_variance_that_is_flushed_to_zero_proves_nothing():
    network, head = one_pixel(times(1.0)), ClusteringHead(2, 1)
    head.set_clusters([[0.0], [1.0]], variance=1.0)
    head.variance.assign(1e-39)
    found = certified_linf(network, head, np.full((1, 1, 1, 1), 0.1, "float32"), 0.05)
    assert not found.certified[0]
    assert not found.nearest_cluster_certified[0]


def test_weights_that_are_not_finite_prove_nothing():
    network, head = two_neurons(), ClusteringHead(2, 1)
    head.set_clusters([[0.0, 0.0], [2.0, 0.0]], variance=0.5)
    images = np.full((1, 1, 2, 1), 0.3, "float32")
    assert bool(certified_linf(network, head, images, 0.01).certified[0])
    network.layers[2].bias.assign([np.nan, 0.0])
    found = certified_linf(network, head, images, 0.01)
    assert not bool(found.certified[0])
    assert not bool(found.nearest_cluster_certified[0])


class Doubling(layers.Dense):
    """Inherits from a known layer and computes something else."""

    def call(self, inputs):
        return 2 * super().call(inputs)


def test_a_layer_of_ones_own_is_a_line_of_the_table(monkeypatch):
    """[0.1, 0.3] doubled: [0.2, 0.6]."""
    pixels = keras.Input((1, 1, 1))
    dense = Doubling(1, kernel_initializer="ones")
    network = keras.Model(pixels, dense(layers.Flatten()(pixels)))
    assert not has_interval_bounds(network)
    monkeypatch.setitem(
        LAYER_BOXES, Doubling, lambda layer, inputs, _: inputs[0].ascended(lambda x: 2 * x)
    )
    assert has_interval_bounds(network)
    box = embedding_box(network, image_box(np.full((1, 1, 1, 1), 0.2), 0.1))
    np.testing.assert_allclose([box.lower, box.upper], [[[0.2]], [[0.6]]])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.UnitNormalization(name="culprit"), "a type with interval bounds"),
        (Doubling(2, name="culprit"), "a type with interval bounds"),
        (layers.Dense(2, activation="tanh", name="culprit"), "one of the activations linear, relu"),
        (layers.ReLU(threshold=0.1, name="culprit"), "threshold 0"),
        (layers.Dense(2, dtype="mixed_bfloat16", name="culprit"), "float32 or float64"),
    ],
    ids=["unknown", "subclass", "activation", "threshold", "bfloat16"],
)
def test_refuses_what_is_not_proved(layer, message):
    pixels = keras.Input((1, 1, 2))
    network = keras.Model(pixels, layer(layers.Flatten()(pixels)))
    head = ClusteringHead(2, 1)
    head.set_clusters([[0.0, 0.0], [2.0, 0.0]], variance=0.5)
    with pytest.raises(ValueError, match=rf"'culprit' .*{message}.* Received: "):
        certified_linf(network, head, np.zeros((1, 1, 1, 2), "float32"), 0.1)


def test_refuses_to_flatten_channels_that_come_first():
    """Keras moves them last before it flattens, which a plain reshape of the box would not."""
    pixels = keras.Input((2, 1, 2))
    culprit = layers.Flatten(data_format="channels_first", name="culprit")
    head = ClusteringHead(2, 1)
    head.set_clusters([[0.0] * 4, [2.0] * 4], variance=0.5)
    with pytest.raises(ValueError, match=r"'culprit' must have the channels last"):
        certified_linf(keras.Model(pixels, culprit(pixels)), head, np.zeros((1, 2, 1, 2)), 0.1)


@pytest.mark.parametrize(
    ("pixel", "eps", "certified"),
    [(0.0, 0.2, True), (-0.1, 0.2, False), (3.95, 0.2, False), (0.0, -0.5, False)],
)
def test_proves_nothing_of_other_pixels_and_radii(pixel, eps, certified):
    """The decision is at 4: 3.95 is 0.05 away from it, and no image."""
    pixels = keras.Input((1, 1, 1))
    network = keras.Model(pixels, layers.Flatten()(pixels))
    head = ClusteringHead(2, 1)
    head.set_clusters([[3.0], [5.0]], variance=0.5)
    found = certified_linf(network, head, np.full((1, 1, 1, 1), pixel), eps)
    assert found.certified.numpy().tolist() == [certified]
    assert found.nearest_cluster_certified.numpy().tolist() == [certified]


def test_refuses_other_heads():
    with pytest.raises(ValueError, match=r"head must be a ClusteringHead or .* Received: Dense"):
        certified_linf(two_neurons(), layers.Dense(2), np.zeros((1, 1, 2, 1)), 0.1)


def test_a_box_knows_centre_radius_and_magnitude():
    box = Box(tf.constant([-3.0, 1.0]), tf.constant([1.0, 2.0]))
    np.testing.assert_allclose(box.centre, [-1.0, 1.5])
    np.testing.assert_allclose(box.radius, [2.0, 0.5])
    np.testing.assert_allclose(box.magnitude, [3.0, 2.0])
