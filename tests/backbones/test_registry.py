"""Building backbones by name."""

import numpy as np
import pytest

from clustr_tf.backbones import BACKBONES, BackboneConfig, build_backbone


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("input_shape", [(8, 8, 1), (32, 32, 3), (9, 12, 2)])
def test_embeddings_are_finite_vectors(name, input_shape):
    model = build_backbone(name, input_shape, width=2)
    images = np.random.default_rng(0).normal(size=(3, *input_shape)).astype(np.float32)
    embeddings = np.asarray(model(images))
    assert embeddings.shape == (3, model.output_shape[-1])
    assert np.isfinite(embeddings).all()
    assert embeddings.std() > 0


def test_small_cnn_by_its_docstring():
    """8x8 -> stride 2 -> 4x4 -> 2x2 windows -> 2x2 of 4*width channels = 16 * width."""
    assert build_backbone("small_cnn", (8, 8, 1), width=32).output_shape == (None, 512)


def test_saturating_cnn_sees_neither_below_0_7_nor_above_1_7():
    model = build_backbone("saturating_cnn", (8, 8, 1), width=2)
    images = np.random.default_rng(0).choice([0.7, 1.7], (3, 8, 8, 1)).astype(np.float32)
    beyond = np.where(images > 1, 7.0, -5.0).astype(np.float32)
    np.testing.assert_array_equal(model(images), model(beyond))
    within = np.where(images > 1, 1.6, 0.8).astype(np.float32)
    assert np.abs(np.asarray(model(within)) - np.asarray(model(images))).max() > 1e-3


def test_training_leaves_the_contrast_alone():
    contrast = build_backbone("saturating_cnn", (8, 8, 3), width=2).get_layer("contrast")
    assert contrast.trainable_variables == []
    np.testing.assert_array_equal(contrast.kernel, np.eye(3))


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_embeddings_can_be_projected_onto_the_unit_ball(name):
    """With the weights of the other network, each embedding over the larger of its norm and 1."""
    free = build_backbone(name, (8, 8, 1), width=2)
    projected = build_backbone(name, (8, 8, 1), unit_ball=True, width=2)
    free.set_weights([2 * weight for weight in free.get_weights()])  # embeddings outside the ball
    projected.set_weights(free.get_weights())
    images = 8 * np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype(np.float32)
    embeddings = np.asarray(free(images))
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert norms.max() > 1
    np.testing.assert_allclose(projected(images), embeddings / np.maximum(norms, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "input_shape", "options"),
    [
        ("resnet50", (32, 32, 3), {}),
        ("resnet18", (32, 32), {}),
        ("resnet18", (0, 32, 3), {}),
        ("resnet18", (4, 32, 3), {}),
        ("resnet18", (32, 32, 3), {"width": 0}),
        ("small_cnn", (3, 8, 1), {}),
        ("small_cnn", (8, 8, 1), {"width": 0}),
        ("saturating_cnn", (3, 8, 1), {}),
        ("saturating_cnn", (8, 8, 1), {"width": 0}),
    ],
)
def test_bad_arguments_are_refused(name, input_shape, options):
    with pytest.raises(ValueError, match="Received"):
        build_backbone(name, input_shape, **options)


@pytest.mark.parametrize("values", [("vgg", 4), ("small_cnn", 0)])
def test_bad_config_is_refused(values):
    with pytest.raises(ValueError, match="Received"):
        BackboneConfig(*values)
