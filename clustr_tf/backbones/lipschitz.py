"""Backbones that are 1-Lipschitz by construction."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from clustr_tf.backbones.checks import check_positive
from clustr_tf.layers import (
    AOLConv2D,
    MaxMin,
    OrthogonalDense,
    Saturation,
    ScaledAveragePooling2D,
    SLLConv2D,
    SpaceToDepth,
    UnitBall,
)

# Layers of one input that are 1-Lipschitz in l2 whatever their weights; a further one is added.
LIPSCHITZ_LAYERS: set[type] = {
    AOLConv2D,
    MaxMin,
    OrthogonalDense,
    SLLConv2D,
    Saturation,
    ScaledAveragePooling2D,
    SpaceToDepth,
    UnitBall,
    keras.layers.Flatten,
    keras.layers.InputLayer,
    keras.layers.Reshape,
}
_SMALLEST_MAP = 4
_MOST_STAGES = 3
_BLOCKS = 2


def lipschitz_mlp(
    input_shape: tuple[int, int, int],
    width: int = 512,
    dim: int = 128,
    depth: int = 3,
) -> keras.Model:
    """Orthogonal dense layers with max-min between them: for images of about 8x8 to 28x28.

    Args:
        input_shape: (height, width, channels).
        width: of the hidden layers, even.
        dim: of the embedding.
        depth: number of hidden layers.

    Returns:
        A functional model, images `[batch, H, W, C]` -> embeddings `[batch, dim]`, 1-Lipschitz.

    Raises:
        ValueError: if an argument is not positive or the width is odd.

    Example:
        >>> lipschitz_mlp((8, 8, 1), width=256).output_shape  # (None, 128)
    """
    check_positive(width=width, dim=dim, depth=depth)
    _check_even(width)
    inputs = keras.Input(input_shape, name="standardised_images")
    return keras.Model(inputs, _dense(inputs, [width] * depth, dim), name="lipschitz_mlp")


def lipschitz_cnn(
    input_shape: tuple[int, int, int], width: int = 16, dim: int = 256
) -> keras.Model:
    """Stages of AOL convolutions with max-min, space-to-depth between them, two dense layers.

    Every stage halves the resolution first, while it is even and at least 8, and has two 3x3
    convolutions; the channels become four times as many from stage to stage: nothing is lost
    before the dense layers. 27 million multiplications an image of 32x32x3 at the default width.

    Args:
        input_shape: (height, width, channels).
        width: channels of the first stage, even.
        dim: of the embedding.

    Returns:
        A functional model, images `[batch, H, W, C]` -> embeddings `[batch, dim]`, 1-Lipschitz.

    Raises:
        ValueError: if an argument is not positive or the width is odd.

    Example:
        >>> lipschitz_cnn((32, 32, 3)).output_shape  # (None, 256)
    """
    check_positive(width=width, dim=dim)
    _check_even(width)

    def block(x: Any, stage: int, name: str) -> Any:
        x = AOLConv2D(width * 4**stage, 3, name=f"convolution_{name}")(x)
        return MaxMin(name=f"max_min_{name}")(x)

    return _staged(input_shape, block, dim, "lipschitz_cnn")


def lipschitz_resnet(
    input_shape: tuple[int, int, int], width: int = 48, dim: int = 256
) -> keras.Model:
    """Stages of SLL residual blocks, space-to-depth between them, two dense layers.

    Every stage halves the resolution first, while it is even and at least 8, and has two residual
    blocks, whose inner channels double from stage to stage. The space-to-depths make all the
    channels there are: nothing is lost before the dense layers. 39 million multiplications an
    image of 32x32x3 at the default width.

    Args:
        input_shape: (height, width, channels).
        width: inner channels of the first stage's blocks.
        dim: of the embedding.

    Returns:
        A functional model, images `[batch, H, W, C]` -> embeddings `[batch, dim]`, 1-Lipschitz.

    Raises:
        ValueError: if an argument is not positive.

    Example:
        >>> lipschitz_resnet((32, 32, 3)).output_shape  # (None, 256)
    """
    check_positive(width=width, dim=dim)

    def block(x: Any, stage: int, name: str) -> Any:
        return SLLConv2D(3, width * 2**stage, name=f"residual_{name}")(x)

    return _staged(input_shape, block, dim, "lipschitz_resnet")


def is_lipschitz(network: keras.Model) -> bool:
    """Whether a network is 1-Lipschitz by construction, so that training keeps it so.

    Its images are then to be centred, but not divided by a deviation.

    WARNING: says what its layers are for, proves nothing; `certified_classifier` and
    `lipschitz_bound` do.

    Args:
        network: functional or sequential; any other is not known to be.

    Returns:
        True if every layer is of a type in `LIPSCHITZ_LAYERS` (a subclass may compute something
        else), or a network of such layers.

    Example:
        >>> is_lipschitz(build_backbone("lipschitz_cnn", (32, 32, 3)))  # True
    """
    if isinstance(network, keras.Sequential):
        operations = network.layers
    else:
        # A functional network's layers and what is computed between them; no other tells.
        operations = getattr(network, "operations", [None])
    return all(
        is_lipschitz(operation)
        if isinstance(operation, keras.Model)
        else type(operation) in LIPSCHITZ_LAYERS
        for operation in operations
    )


def _staged(
    input_shape: tuple[int, int, int], block: Callable[[Any, int, str], Any], dim: int, name: str
) -> keras.Model:
    """Stages of two blocks, space-to-depth before those that halve the size, two dense layers.

    `block` is called with its input, the stage counted from 0, and what tells its layers apart.
    """
    inputs = keras.Input(input_shape, name="standardised_images")
    x = inputs
    for stage, halves in enumerate(_stages(input_shape)):
        if halves:
            x = SpaceToDepth(2, name=f"space_to_depth_{stage + 1}")(x)
        for number in range(_BLOCKS):
            x = block(x, stage, f"{stage + 1}_{number + 1}")
    return keras.Model(inputs, _dense(x, [2 * dim], dim), name=name)


def _stages(input_shape: Sequence[int]) -> list[bool]:
    """Of every stage, at most three, whether it halves the resolution first."""
    height, width = input_shape[:2]
    halvings = 0
    while halvings < _MOST_STAGES and min(height, width) >= 2 * _SMALLEST_MAP:
        if height % 2 or width % 2:
            break
        height, width, halvings = height // 2, width // 2, halvings + 1
    return [True] * halvings or [False]


def _dense(x: Any, hidden: Sequence[int], dim: int) -> Any:
    x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate(hidden, 1):
        x = OrthogonalDense(units, name=f"dense_{number}")(x)
        x = MaxMin(name=f"dense_max_min_{number}")(x)
    return OrthogonalDense(dim, name="embeddings")(x)


def _check_even(width: int) -> None:
    if width % 2:
        raise ValueError(f"width must be even. Received: {width}")
