"""Random networks with weights from 1e-38 to 1e38: float32 against what is proved of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from clustr_tf.certify.l2.lipschitz import embed_with_norms, lipschitz_bound
from clustr_tf.certify.linf.interval import embedding_box, image_box
from clustr_tf.layers import (
    BatchNormalization,
    MaxMin,
    Saturation,
    ScaledAveragePooling2D,
    ScaledResidualConv2D,
    SpaceToDepth,
    UnitBall,
)

SHAPE = (4, 4, 2)
LARGEST = float(np.finfo("float32").max)

ACTIVATIONS = ["linear", "relu", "relu6", "leaky_relu", "gelu", "silu"]
# Of feature maps of at least 2 x 2 with an even number of channels, to such maps.
KINDS = [
    lambda rng: layers.Conv2D(4, 3, padding="same", activation=rng.choice(ACTIVATIONS)),
    lambda rng: layers.DepthwiseConv2D(2, depth_multiplier=2, activation=rng.choice(ACTIVATIONS)),
    lambda rng: layers.Conv2D(2, 2, padding="same", use_bias=False),
    lambda rng: layers.Dense(4, activation=rng.choice(ACTIVATIONS)),
    lambda rng: layers.BatchNormalization(epsilon=rng.choice([1e-3, 1e-7, 0.0, 3e-29])),
    lambda rng: BatchNormalization(epsilon=rng.choice([1e-3, 1e-7, 0.0, 3e-29])),
    lambda rng: layers.Normalization(mean=power(rng), variance=power(rng)),
    lambda rng: layers.ReLU(max_value=rng.choice([None, 0.1, 6.0, power(rng)])),
    lambda rng: layers.Activation(rng.choice(ACTIVATIONS)),
    lambda rng: layers.LeakyReLU(rng.choice([0.3, 1.7, power(rng)])),
    lambda rng: layers.Rescaling(power(rng), rng.choice([0.0, -0.3, power(rng)])),
    lambda rng: layers.Cropping2D(((1, 0), (0, 1))),
    lambda rng: layers.Dropout(0.5),
    lambda rng: layers.ZeroPadding2D(1),
    lambda rng: layers.MaxPooling2D(2, 1, padding="same"),
    lambda rng: layers.AveragePooling2D(2, 1, padding=rng.choice(["same", "valid"])),
    lambda rng: Saturation(),
    lambda rng: UnitBall(),
    lambda rng: MaxMin(),
    lambda rng: SpaceToDepth(1),
    lambda rng: ScaledAveragePooling2D(1),
    lambda rng: ScaledResidualConv2D(3, 3),
]
POOLED = [layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D]


def power(rng):
    """Positive, from 1e-38 to 1e38."""
    return float(10 ** rng.uniform(-38, 38))


def random_network(rng):
    """Some layers, now and then a sum, and a dense layer; half of the scales make up for others."""
    images = keras.Input(SHAPE)
    x = images
    for _ in range(rng.integers(1, 5)):
        if min(x.shape[1:3]) < 3:
            break
        kind = KINDS[rng.integers(len(KINDS))](rng)
        x = layers.Add()([x, keras.layers.Activation("relu")(x)]) if rng.random() < 0.1 else x
        x = kind(x)
    pooled = rng.choice(
        [layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D],
        p=[0.6, 0.2, 0.2],
    )()
    network = keras.Model(images, layers.Dense(3)(pooled(x)))
    cumulative = 0.0
    for layer in network.layers:
        if not layer.weights or isinstance(layer, layers.Normalization):
            continue
        balanced = rng.random() < 0.6
        exponent = np.clip(-cumulative if balanced else rng.uniform(-38, 38), -38, 37)
        cumulative += exponent
        for variable in layer.weights:
            if "seed" in variable.path:
                continue
            values = rng.normal(size=variable.shape)
            if "variance" in variable.path or "factors" in variable.path:
                values = np.abs(values) * 10 ** rng.uniform(-38, 37) * (rng.random() < 0.7)
            elif "kernel" in variable.path or "gamma" in variable.path:
                values *= 10.0**exponent
            else:
                values *= 10 ** rng.uniform(-40, np.clip(cumulative, -39, 37)) * rng.integers(2)
            variable.assign(np.clip(values, -LARGEST, LARGEST))
    return network


def inside(rng, image, eps):
    """float32 images within eps of each pixel: sampled ones, corners, and the image itself."""
    moves = rng.uniform(-1, 1, (24, *SHAPE))
    moves[8:16] = np.sign(moves[8:16])
    moves[16:] *= rng.random((8, *SHAPE)) < 0.2
    points = np.clip(image + eps * moves, 0, 1).astype("float32")
    # Rounding to float32 must not leave the ball.
    points = np.where(np.abs(points - image.astype("float64")) <= eps, points, image)
    return np.concatenate([points, image[None]])


def check(seed):
    """Whether anything was proved, in l-infinity and in l2."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    image = rng.uniform(size=SHAPE).astype("float32")
    image *= rng.choice([0.0, 1.0, 1e-39], p=[0.1, 0.8, 0.1], size=SHAPE).astype("float32")
    eps = float(rng.choice([1e-6, 0.01, 0.2, 1.0]))
    points = inside(rng, image, eps)
    in_graph = tf.function(network)(points).numpy()
    outputs = np.stack([network(points).numpy(), in_graph]).astype("float64")
    describe = [(layer.name, [w.numpy() for w in layer.weights]) for layer in network.layers]

    box = embedding_box(network, image_box(image[None].astype("float64"), eps, 2.0**-53))
    boxed = bool(box.is_finite[0])
    if boxed:
        assert np.all(np.isfinite(outputs)), (seed, describe)
        assert np.all(outputs >= box.lower.numpy()), (seed, describe)
        assert np.all(outputs <= box.upper.numpy()), (seed, describe)
    try:
        bound = lipschitz_bound(network)
    except ValueError as error:
        assert "float32's range" in str(error) or "finite" in str(error)
        return boxed, False
    norms = embed_with_norms(network, points[-1:])[1].numpy()
    slack = float(bound.rounding(norms)[0])
    lengths = np.linalg.norm((points - image.astype("float64")).reshape(len(points), -1), axis=1)
    assert np.all(np.isfinite(outputs)), (seed, describe)
    if np.isfinite(slack):
        reach = (bound.gain + bound.growth) * lengths + slack
        moved = np.linalg.norm(outputs - outputs[:, -1:], axis=2)
        assert np.all(moved <= reach), (seed, describe, moved - reach)
    return boxed, np.isfinite(slack)


def check_many(seeds):
    proved = np.array([check(seed) for seed in seeds])
    # It is about something: both proofs speak of a good part of these networks.
    assert np.all(proved.mean(axis=0) > 0.2), proved.mean(axis=0)


def test_random_networks_keep_what_is_proved_of_them():
    check_many(range(12))


@pytest.mark.slow
def test_many_random_networks_keep_what_is_proved_of_them():
    check_many(range(1000, 1400))
