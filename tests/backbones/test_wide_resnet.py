"""Wide residual networks against published sizes and a float64 computation by hand."""

import numpy as np
import pytest

from clustr_tf.backbones import build_backbone
from clustr_tf.backbones.resnet import wide_resnet


@pytest.mark.parametrize(
    ("name", "published"), [("wide_resnet28", 36_479_194), ("wide_resnet34", 46_160_474)]
)
def test_has_the_published_number_of_parameters(name, published):
    """WRN-28-10 and WRN-34-10 for CIFAR-10, with the 640x10 linear layer and its 10 biases."""
    model = build_backbone(name, (32, 32, 3), width=160)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable + 640 * 10 + 10 == published
    assert model.output_shape == (None, 640)


def test_is_the_pre_activation_network_of_the_paper():
    """Two blocks a stage: with and without a new number of channels, with and without stride."""
    model = wide_resnet((9, 8, 3), width=3, depth=16)
    draws = np.random.default_rng(0)
    for weight in model.weights:
        low = 0.5 if weight.name in ("gamma", "moving_variance") else -0.5
        weight.assign(draws.uniform(low, low + 1, weight.shape))
    images = draws.normal(size=(4, 9, 8, 3))
    expected = _embeddings(model, images)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model(images), expected, rtol=1e-4, atol=1e-4)


def _embeddings(model, images):
    def activated(x, name):
        gamma, beta, mean, variance = model.get_layer(f"{name}_normalisation").get_weights()
        return np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)

    def convolved(x, name, stride):
        (kernel,) = model.get_layer(name).get_weights()
        border = kernel.shape[0] // 2
        padded = np.pad(x, [(0, 0), (border, border), (border, border), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))
        strided = windows[:, ::stride, ::stride]
        return np.einsum("nhwcij,ijco->nhwo", strided, kernel.astype(np.float64))

    x = convolved(images, "stem_convolution", 1)
    for stage in (1, 2, 3):
        for block in (1, 2):
            name, first = f"stage{stage}_block{block}", block == 1
            stride = 2 if first and stage > 1 else 1
            active = activated(x, f"{name}_1")
            residual = convolved(active, f"{name}_1_convolution", stride)
            residual = activated(residual, f"{name}_2")
            residual = convolved(residual, f"{name}_2_convolution", 1)
            x = residual + (convolved(active, f"{name}_shortcut", stride) if first else x)
    return activated(x, "last").mean(axis=(1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (3, 32, 3)}, r"at least 4x4\. Received: \(3, 32, 3\)"),
        ({"width": 0}, r"width must be at least 1\. Received: 0"),
        ({"depth": 27}, r"depth must be one of 10, 16, .* Received: 27"),
        ({"depth": 4}, r"depth must be one of 10, 16, .* Received: 4"),
    ],
)
def test_other_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        wide_resnet(**{"input_shape": (32, 32, 3), **options})
