"""Residual networks: the CIFAR ResNet-18 of the paper, and wide ones."""

import keras
from keras import layers

from clustr_tf.backbones.checks import check_positive
from clustr_tf.layers import BatchNormalization

# PyTorch's batch normalisation: epsilon 1e-5, running averages move by 0.1.
_NORMALISATION = {"epsilon": 1e-5, "momentum": 0.9}
_BLOCKS_PER_STAGE = (2, 2, 2, 2)  # of ResNet-18
_WIDE_STEM = 16  # channels, whatever the width
_WIDE_STAGES = 3


def resnet18(input_shape: tuple[int, int, int], width: int = 64) -> keras.Model:
    """ResNet-18 for CIFAR: a 3x3 stem without pooling, four stages of two basic blocks.

    With the default width it is layer for layer the network of the published ClusTR code without
    its 10-way linear layer (11,173,962 trainable parameters with it, 11,168,832 without). Padding
    is symmetric, as in PyTorch: for stride 2 "same" padding would shift every window by a pixel.

    Args:
        input_shape: (height, width, channels), height and width at least 8.
        width: channels of the first stage; 64 is the published network, smaller ones are thin.

    Returns:
        A functional model, images `[batch, H, W, C]` -> embeddings `[batch, 8 * width]`.

    Raises:
        ValueError: if an argument is outside the ranges above.

    Example:
        >>> resnet18((32, 32, 3)).output_shape  # (None, 512)

    Reference:
        He et al., arXiv 1512.03385; `models/resnet.py` of the official ClusTR code.
    """
    if min(input_shape[:2]) < 8:
        raise ValueError(f"resnet18 needs images of at least 8x8. Received: {input_shape}")
    check_positive(width=width)
    inputs = keras.Input(input_shape, name="standardised_images")
    x = _normalised_convolution(inputs, width, stride=1, name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, blocks in enumerate(_BLOCKS_PER_STAGE):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _basic_block(x, width * 2**stage, stride, name=f"stage{stage + 1}_block{block + 1}")
    embeddings = layers.GlobalAveragePooling2D(name="embeddings")(x)
    return keras.Model(inputs, embeddings, name="resnet18")


def wide_resnet(
    input_shape: tuple[int, int, int], width: int = 160, depth: int = 28
) -> keras.Model:
    """WRN for CIFAR: a 3x3 stem, three stages of basic blocks with pre-activation.

    Batch normalisation and ReLU come before each convolution. Where a block changes the number of
    channels its shortcut is a 1x1 convolution of the activated input. Padding is symmetric, as in
    PyTorch. The default is WRN-28-10: 36,479,194 trainable parameters with a 10-way linear layer,
    36,472,784 without.

    Args:
        input_shape: (height, width, channels), height and width at least 4.
        width: channels of the first stage: 160 is a widening factor of 10; at least 1.
        depth: convolutions in all, the stem and three shortcuts among them: 6n + 4 for n blocks a
            stage: 10, 16, 22, 28, 34, ...

    Returns:
        A functional model, images `[batch, H, W, C]` -> embeddings `[batch, 4 * width]`.

    Raises:
        ValueError: if an argument is outside the ranges above.

    Example:
        >>> wide_resnet((32, 32, 3)).output_shape  # (None, 640)

    Reference:
        Zagoruyko and Komodakis, arXiv 1605.07146, table 1 and section 2 (basic blocks, no dropout).
    """
    if min(input_shape[:2]) < 4:
        raise ValueError(f"wide_resnet needs images of at least 4x4. Received: {input_shape}")
    check_positive(width=width)
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth must be one of 10, 16, 22, 28, 34, ... Received: {depth}")
    inputs = keras.Input(input_shape, name="standardised_images")
    x = _convolution(inputs, _WIDE_STEM, stride=1, name="stem")
    for stage in range(_WIDE_STAGES):
        for block in range((depth - 4) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _block(x, width * 2**stage, stride, name=f"stage{stage + 1}_block{block + 1}")
    x = _activation(x, name="last")
    embeddings = layers.GlobalAveragePooling2D(name="embeddings")(x)
    return keras.Model(inputs, embeddings, name=f"wide_resnet{depth}")


def wide_resnet28(input_shape: tuple[int, int, int], width: int = 160) -> keras.Model:
    """`wide_resnet` of depth 28: WRN-28-10 with the default width."""
    return wide_resnet(input_shape, width, depth=28)


def wide_resnet34(input_shape: tuple[int, int, int], width: int = 160) -> keras.Model:
    """`wide_resnet` of depth 34: WRN-34-10 with the default width."""
    return wide_resnet(input_shape, width, depth=34)


def _basic_block(
    inputs: keras.KerasTensor, filters: int, stride: int, name: str
) -> keras.KerasTensor:
    x = _normalised_convolution(inputs, filters, stride, name=f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = _normalised_convolution(x, filters, stride=1, name=f"{name}_2")
    shortcut = inputs
    if stride != 1 or inputs.shape[-1] != filters:
        shortcut = _normalised_convolution(
            inputs, filters, stride, kernel_size=1, name=f"{name}_shortcut"
        )
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def _normalised_convolution(
    x: keras.KerasTensor, filters: int, stride: int, name: str, kernel_size: int = 3
) -> keras.KerasTensor:
    return _normalisation(_convolution(x, filters, stride, name, kernel_size), name)


def _convolution(
    x: keras.KerasTensor, filters: int, stride: int, name: str, kernel_size: int = 3
) -> keras.KerasTensor:
    """Convolution without bias, symmetric zero padding; the layers' names begin with `name`."""
    if kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_padding")(x)
    name = f"{name}_convolution"
    return layers.Conv2D(filters, kernel_size, stride, use_bias=False, name=name)(x)


def _normalisation(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation as in PyTorch; the layer's name begins with `name`."""
    return BatchNormalization(name=f"{name}_normalisation", **_NORMALISATION)(x)


def _block(inputs: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    activated = _activation(inputs, name=f"{name}_1")
    x = _convolution(activated, filters, stride, name=f"{name}_1")
    x = _activation(x, name=f"{name}_2")
    x = _convolution(x, filters, stride=1, name=f"{name}_2")
    shortcut = inputs
    if inputs.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, stride, use_bias=False, name=f"{name}_shortcut")(
            activated
        )
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _activation(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(name=f"{name}_relu")(_normalisation(x, name))
