"""The backbones by name."""

from collections.abc import Callable
from typing import Any

import keras

from clustr_tf.backbones.lipschitz import lipschitz_cnn, lipschitz_mlp, lipschitz_resnet
from clustr_tf.backbones.resnet import resnet18, wide_resnet28, wide_resnet34
from clustr_tf.backbones.small_cnn import saturating_cnn, small_cnn
from clustr_tf.layers import UnitBall

# A name in configs -> the function that builds the network from the images' shape; its other
# parameters are the config's fields.
BACKBONES: dict[str, Callable[..., keras.Model]] = {
    "lipschitz_cnn": lipschitz_cnn,
    "lipschitz_mlp": lipschitz_mlp,
    "lipschitz_resnet": lipschitz_resnet,
    "resnet18": resnet18,
    "saturating_cnn": saturating_cnn,
    "small_cnn": small_cnn,
    "wide_resnet28": wide_resnet28,
    "wide_resnet34": wide_resnet34,
}

# From this width on a training step takes less time in bfloat16 where the machine multiplies it
# faster: docs/results.md. Narrower ones lose, those not listed gain nothing or were not measured.
BFLOAT16_WIDTHS = {"resnet18": 16, "wide_resnet28": 16, "wide_resnet34": 16}


def build_backbone(
    name: str, input_shape: tuple[int, int, int], unit_ball: bool = False, **options: Any
) -> keras.Model:
    """Builds the named backbone with fresh weights.

    Args:
        name: a key of `BACKBONES`.
        input_shape: (height, width, channels) of the standardised images.
        unit_ball: whether `UnitBall` projects the embeddings, after everything else.
        **options: further arguments of that backbone, such as `width`.

    Returns:
        A functional `keras.Model`: images `[batch, H, W, C]` -> embeddings `[batch, dim]`.

    Raises:
        ValueError: if there is no such backbone or the input shape is not three positive sizes.

    Example:
        >>> build_backbone("resnet18", input_shape=(32, 32, 3)).output_shape  # (None, 512)
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {sorted(BACKBONES)}. Received: {name!r}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(
            f"input_shape must be (height, width, channels), each at least 1. "
            f"Received: {tuple(input_shape)}"
        )
    network = BACKBONES[name](tuple(input_shape), **options)
    if not unit_ball:
        return network
    projected = UnitBall(name="unit_ball")(network.output)
    return keras.Model(network.input, projected, name=network.name)
