"""The backbones by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from clustr_tf.backbones.lipschitz import lipschitz_cnn, lipschitz_mlp, lipschitz_resnet
from clustr_tf.backbones.resnet import resnet18
from clustr_tf.backbones.saturating_cnn import saturating_cnn
from clustr_tf.backbones.small_cnn import small_cnn
from clustr_tf.backbones.wide_resnet import wide_resnet
from clustr_tf.layers import UnitBall


@dataclass(frozen=True)
class Backbone:
    """An entry of the registry.

    Attributes:
        build: input shape and options -> functional model.
        is_lipschitz: 1-Lipschitz by construction: its images are centred, but not divided by a
            deviation.
    """

    build: Callable[..., keras.Model]
    is_lipschitz: bool = False


BACKBONES: dict[str, Backbone] = {
    "lipschitz_cnn": Backbone(lipschitz_cnn, is_lipschitz=True),
    "lipschitz_mlp": Backbone(lipschitz_mlp, is_lipschitz=True),
    "lipschitz_resnet": Backbone(lipschitz_resnet, is_lipschitz=True),
    "resnet18": Backbone(resnet18),
    "saturating_cnn": Backbone(saturating_cnn),
    "small_cnn": Backbone(small_cnn),
    "wide_resnet28": Backbone(partial(wide_resnet, depth=28)),
    "wide_resnet34": Backbone(partial(wide_resnet, depth=34)),
}
LIPSCHITZ_BACKBONES = frozenset(name for name, entry in BACKBONES.items() if entry.is_lipschitz)


@dataclass(frozen=True)
class BackboneConfig:
    """Which backbone, how wide, and where its embeddings lie.

    Raises:
        ValueError: if the name is not registered or the width is not positive.
    """

    name: str  # a key of BACKBONES
    width: int  # channels of the first stage
    unit_ball: bool = False  # whether embeddings are projected onto the unit ball

    def __post_init__(self) -> None:
        if self.name not in BACKBONES:
            raise ValueError(f"name must be one of {sorted(BACKBONES)}. Received: {self.name!r}")
        if self.width < 1:
            raise ValueError(f"width must be at least 1. Received: {self.width}")


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
    network = BACKBONES[name].build(tuple(input_shape), **options)
    if not unit_ball:
        return network
    projected = UnitBall(name="unit_ball")(network.output)
    return keras.Model(network.input, projected, name=network.name)
