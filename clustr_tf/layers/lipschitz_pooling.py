"""1-Lipschitz down-sampling and pooling."""

from typing import Any

import keras
from keras import ops


class _Windows(keras.layers.Layer):
    """A layer that works on windows of size x size pixels without overlap.

    Args:
        size: at least 1; height and width of the images must be multiples of it.
        **kwargs: as in `keras.layers.Layer`.

    Raises:
        ValueError: if it is not, or they are not.
    """

    def __init__(self, size: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        if size < 1:
            raise ValueError(f"size must be at least 1. Received: {size}")
        self.size = size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if any(length is None or length % self.size for length in input_shape[1:3]):
            raise ValueError(
                f"{type(self).__name__} needs images whose sides are multiples of {self.size}. "
                f"Received: {tuple(input_shape)}"
            )
        super().build(input_shape)

    def _windows(self, images: Any) -> Any:
        """`[batch, H, W, channels]` -> `[batch, H/size, W/size, size * size, channels]`."""
        size, (height, width, channels) = self.size, images.shape[1:]
        split = (-1, height // size, size, width // size, size, channels)
        windows = ops.transpose(ops.reshape(images, split), (0, 1, 3, 2, 4, 5))
        return ops.reshape(windows, (-1, height // size, width // size, size * size, channels))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("clustr_tf")
class SpaceToDepth(_Windows):
    """Windows of pixels become channels: an isometric down-sampling that loses nothing.

    Args:
        size: of the windows; height and width must be multiples of it.
        **kwargs: as in `keras.layers.Layer`.

    Input shape: `[batch, H, W, channels]`. Output shape:
    `[batch, H/size, W/size, size * size * channels]`.

    Raises:
        ValueError: if the sizes are not as above.

    Example:
        >>> SpaceToDepth(2)(images).shape  # (batch, 16, 16, 12) from (batch, 32, 32, 3)
    """

    def call(self, images: Any) -> Any:
        windows = self._windows(images)
        return ops.reshape(windows, (-1, *self.compute_output_shape(images.shape)[1:]))

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        batch, height, width, channels = input_shape
        return (batch, height // self.size, width // self.size, self.size**2 * channels)


@keras.saving.register_keras_serializable("clustr_tf")
class ScaledAveragePooling2D(_Windows):
    """Sums of windows divided by the windows' side: gain exactly 1, where an average has 1/size.

    Args:
        size: of the windows; height and width must be multiples of it.
        **kwargs: as in `keras.layers.Layer`.

    Input shape: `[batch, H, W, channels]`. Output shape: `[batch, H/size, W/size, channels]`.

    Raises:
        ValueError: if the sizes are not as above.

    Example:
        >>> ScaledAveragePooling2D(2)(images).shape  # (batch, 16, 16, 3) from (batch, 32, 32, 3)
    """

    def call(self, images: Any) -> Any:
        return ops.sum(self._windows(images), axis=3) / self.size

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        batch, height, width, channels = input_shape
        return (batch, height // self.size, width // self.size, channels)
