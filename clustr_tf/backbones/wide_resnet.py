"""Wide residual networks, which most of RobustBench's entries are."""

import keras
from keras import layers

from clustr_tf.backbones.resnet import convolution, normalisation

_STEM = 16  # channels, whatever the width
_STAGES = 3


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
    if width < 1:
        raise ValueError(f"width must be at least 1. Received: {width}")
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth must be one of 10, 16, 22, 28, 34, ... Received: {depth}")
    inputs = keras.Input(input_shape, name="standardised_images")
    x = convolution(inputs, _STEM, stride=1, name="stem")
    for stage in range(_STAGES):
        for block in range((depth - 4) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _block(x, width * 2**stage, stride, name=f"stage{stage + 1}_block{block + 1}")
    x = _activation(x, name="last")
    embeddings = layers.GlobalAveragePooling2D(name="embeddings")(x)
    return keras.Model(inputs, embeddings, name=f"wide_resnet{depth}")


def _block(inputs: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    activated = _activation(inputs, name=f"{name}_1")
    x = convolution(activated, filters, stride, name=f"{name}_1")
    x = _activation(x, name=f"{name}_2")
    x = convolution(x, filters, stride=1, name=f"{name}_2")
    shortcut = inputs
    if inputs.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, stride, use_bias=False, name=f"{name}_shortcut")(
            activated
        )
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _activation(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(name=f"{name}_relu")(normalisation(x, name))
