"""A small convolutional network for small images."""

import keras
from keras import layers


def small_cnn(input_shape: tuple[int, int, int], width: int = 32) -> keras.Model:
    """Three convolutions and average pooling: for images of about 8x8 to 32x32.

    The convolutions have `width`, `2 width` and `4 width` channels, the second halves the
    resolution, each is followed by batch normalisation and ReLU. The embedding is the average
    over 2x2 windows of the last map, flattened: it keeps a little of where things are.

    Args:
        input_shape: (height, width, channels), height and width at least 4.
        width: channels of the first convolution, at least 1.

    Returns:
        A functional model; 8x8 images give embeddings of dimension `16 * width`.

    Raises:
        ValueError: if an argument is outside the ranges above.

    Example:
        >>> small_cnn((8, 8, 1)).output_shape  # (None, 512)
    """
    check_small_cnn(input_shape, width)
    inputs = keras.Input(input_shape, name="standardised_images")
    return keras.Model(inputs, small_cnn_embeddings(inputs, width), name="small_cnn")


def check_small_cnn(input_shape: tuple[int, int, int], width: int) -> None:
    """Refuses what `small_cnn` does not take."""
    if min(input_shape[:2]) < 4:
        raise ValueError(f"small_cnn needs images of at least 4x4. Received: {input_shape}")
    if width < 1:
        raise ValueError(f"width must be at least 1. Received: {width}")


def small_cnn_embeddings(images: keras.KerasTensor, width: int) -> keras.KerasTensor:
    """The layers of `small_cnn`; `[batch, H, W, C]` -> `[batch, dim]`."""
    x = images
    for block, (filters, stride) in enumerate([(width, 1), (2 * width, 2), (4 * width, 1)], 1):
        x = layers.Conv2D(
            filters, 3, stride, padding="same", use_bias=False, name=f"convolution_{block}"
        )(x)
        x = layers.BatchNormalization(name=f"normalisation_{block}")(x)
        x = layers.ReLU(name=f"relu_{block}")(x)
    x = layers.AveragePooling2D(2, name="pooling")(x)
    return layers.Flatten(name="embeddings")(x)
