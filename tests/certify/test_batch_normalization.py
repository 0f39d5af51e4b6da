"""Our batch normalisation is proved as that of Keras, whose weights and function it has."""

import keras
import numpy as np
import pytest

from clustr_tf.backbones import build_backbone
from clustr_tf.certify.graph import plain_network
from clustr_tf.certify.l2.lipschitz import embed_with_norms, lipschitz_bound
from clustr_tf.certify.linf.interval import (
    embed_with_box,
    embedding_box,
    has_interval_bounds,
    image_box,
)
from clustr_tf.layers import BatchNormalization

SHAPE = (8, 8, 2)


def of_keras(layer):
    kind = type(layer)
    if kind is BatchNormalization:
        kind = keras.layers.BatchNormalization
    return kind.from_config(layer.get_config())


@pytest.fixture(scope="module", params=["small_cnn", "saturating_cnn", "resnet18", "wide_resnet28"])
def networks(request):
    """A backbone with random weights, and the same with the layer of Keras."""
    ours = build_backbone(request.param, SHAPE, width=2)
    random = np.random.default_rng(0)
    for layer in ours.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert type(layer) is BatchNormalization
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    theirs = keras.models.clone_model(ours, clone_function=of_keras)
    theirs.set_weights(ours.get_weights())
    assert BatchNormalization not in {type(layer) for layer in theirs.layers}
    return ours, theirs


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(size=(4, *SHAPE)).astype("float32")


def test_lipschitz_bounds_are_those_of_keras(networks, images):
    ours, theirs = networks
    assert lipschitz_bound(ours) == lipschitz_bound(theirs)
    for found, expected in zip(*(embed_with_norms(each, images) for each in networks), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_boxes_are_those_of_keras(networks, images):
    box = image_box(images.astype("float64"), 0.01, 2.0**-53)
    found, expected = (embedding_box(each, box) for each in networks)
    np.testing.assert_array_equal(found.lower, expected.lower)
    np.testing.assert_array_equal(found.upper, expected.upper)
    assert has_interval_bounds(networks[0])


def test_embeddings_lie_in_their_boxes(networks, images):
    network, _ = networks
    box = embedding_box(network, image_box(images.astype("float64"), 0.0, 2.0**-53))
    embeddings = np.asarray(network(images), np.float64)
    assert np.all((box.lower <= embeddings) & (embeddings <= box.upper))


def test_training_boxes_are_those_of_keras(networks, images):
    (found, box), (expected, expected_box) = (
        embed_with_box(each, images, image_box(images, 0.01)) for each in networks
    )
    scale = np.abs(expected_box).max()
    for one, other in [(found, expected), *zip(box, expected_box, strict=True)]:
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * scale)


def test_the_plain_network_is_the_same_function_in_float64(networks, images):
    network, _ = networks
    plain = plain_network(network)
    assert plain.output.dtype == "float64"
    np.testing.assert_allclose(plain(images), network(images), rtol=1e-4, atol=1e-5)
