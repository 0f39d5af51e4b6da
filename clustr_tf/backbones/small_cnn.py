"""Small convolutional networks for small images."""

import keras
from keras import layers
from keras.initializers import Constant

from clustr_tf.backbones.checks import check_positive
from clustr_tf.layers import BatchNormalization, Saturation

_OFFSET = -0.7  # in deviations: of MNIST, what is below 0.35 is black, above 0.65 white


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
    _check(input_shape, width)
    inputs = keras.Input(input_shape, name="standardised_images")
    return keras.Model(inputs, _embeddings(inputs, width), name="small_cnn")


def saturating_cnn(input_shape: tuple[int, int, int], width: int = 32) -> keras.Model:
    """`small_cnn` and a hidden layer on clip(x - 0.7, 0, 1): for nearly binary images.

    x is in standard deviations. The hidden layer of `16 width` units, with batch normalisation
    and ReLU, sees the whole image: strokes that an attacker thins out are judged by the rest.

    Whatever an attacker adds to a pixel that stays beyond either end is gone after the first
    layer, for the network and for its interval bounds alike. Robust networks for MNIST are known
    to learn such thresholds in their first convolution (Madry et al.); here they need not find
    them. The contrast is fixed: a learned one follows the gradients that `Saturation` passes for
    attacks, those of pixels that are saturated too, and batch normalisation would move it with the
    attacked batch. Images with many shades lose them: use `small_cnn`.

    Args:
        input_shape: (height, width, channels), height and width at least 4.
        width: channels of the first convolution, at least 1.

    Returns:
        A functional model; embeddings of dimension `16 * width`.

    Raises:
        ValueError: if an argument is outside the ranges above.

    Example:
        >>> saturating_cnn((28, 28, 1)).output_shape  # (None, 512)

    Reference:
        Madry et al., arXiv 1706.06083, appendix C: what robust networks for MNIST learn.
    """
    _check(input_shape, width)
    inputs = keras.Input(input_shape, name="standardised_images")
    contrast = layers.Dense(
        input_shape[-1],
        trainable=False,
        kernel_initializer="identity",
        bias_initializer=Constant(_OFFSET),
        name="contrast",
    )
    x = Saturation(name="saturation")(contrast(inputs))
    x = _embeddings(x, width)
    x = layers.Dense(16 * width, use_bias=False, name="hidden")(x)
    x = BatchNormalization(name="hidden_normalisation")(x)
    return keras.Model(inputs, layers.ReLU(name="hidden_relu")(x), name="saturating_cnn")


def _check(input_shape: tuple[int, int, int], width: int) -> None:
    """Refuses what `small_cnn` does not take."""
    if min(input_shape[:2]) < 4:
        raise ValueError(f"small_cnn needs images of at least 4x4. Received: {input_shape}")
    check_positive(width=width)


def _embeddings(images: keras.KerasTensor, width: int) -> keras.KerasTensor:
    """The layers of `small_cnn`; `[batch, H, W, C]` -> `[batch, dim]`."""
    x = images
    for block, (filters, stride) in enumerate([(width, 1), (2 * width, 2), (4 * width, 1)], 1):
        x = layers.Conv2D(
            filters, 3, stride, padding="same", use_bias=False, name=f"convolution_{block}"
        )(x)
        x = BatchNormalization(name=f"normalisation_{block}")(x)
        x = layers.ReLU(name=f"relu_{block}")(x)
    x = layers.AveragePooling2D(2, name="pooling")(x)
    return layers.Flatten(name="embeddings")(x)
