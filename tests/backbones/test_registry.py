"""Building backbones by name."""

import inspect
import typing

import keras
import numpy as np
import pytest

from clustr_tf.backbones import BACKBONES, LIPSCHITZ_LAYERS, build_backbone, is_lipschitz


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


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_options_say_their_types_and_have_defaults(name):
    """What a config may set of each: everything but the images' shape, which comes first."""
    shape, *options = inspect.signature(BACKBONES[name]).parameters.values()
    hints = typing.get_type_hints(BACKBONES[name])
    assert (shape.name, hints[shape.name]) == ("input_shape", tuple[int, int, int])
    assert "width" in [option.name for option in options]
    for option in options:
        assert hints[option.name] is int
        assert isinstance(option.default, int)


def my_network(input_shape, width: int = 3):
    """A backbone as a plug-in has it."""
    inputs = keras.Input(input_shape)
    outputs = keras.layers.Dense(width)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, outputs, name="my_network")


def test_a_backbone_of_ones_own_is_one_function_and_one_line(monkeypatch):
    monkeypatch.setitem(BACKBONES, "mine", my_network)
    assert build_backbone("mine", (8, 8, 1)).output_shape == (None, 3)
    network = build_backbone("mine", (4, 4, 1), unit_ball=True, width=5)
    assert network.output_shape == (None, 5)
    assert network.layers[-1].name == "unit_ball"


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("unit_ball", [False, True])
def test_what_is_1_lipschitz_by_construction_is_known(name, unit_ball):
    network = build_backbone(name, (8, 8, 1), unit_ball=unit_ball, width=2)
    assert is_lipschitz(network) == name.startswith("lipschitz_")


def test_one_other_layer_or_sum_is_not_1_lipschitz():
    network = build_backbone("lipschitz_mlp", (8, 8, 1), width=2)
    assert is_lipschitz(keras.Sequential([network]))
    inputs = keras.Input((8, 8, 1))
    assert not is_lipschitz(keras.Model(inputs, 2 * network(inputs)))

    class Doubled(keras.Model):
        def call(self, images):
            return 2 * images

    assert not is_lipschitz(Doubled())
    with_pooling = keras.Sequential([keras.layers.MaxPooling2D(2), network])
    assert not is_lipschitz(with_pooling)
    # That its windows do not overlap is enough: a further type of layer is one line.
    LIPSCHITZ_LAYERS.add(keras.layers.MaxPooling2D)
    try:
        assert is_lipschitz(with_pooling)
    finally:
        LIPSCHITZ_LAYERS.remove(keras.layers.MaxPooling2D)
