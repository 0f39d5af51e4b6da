"""A small convolutional network that sees pixels through a fixed, saturating contrast."""

import keras
from keras import layers
from keras.initializers import Constant

from clustr_tf.backbones.small_cnn import check_small_cnn, small_cnn_embeddings
from clustr_tf.layers import Saturation

_OFFSET = -0.7  # in deviations: of MNIST, what is below 0.35 is black, above 0.65 white


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
    check_small_cnn(input_shape, width)
    inputs = keras.Input(input_shape, name="standardised_images")
    contrast = layers.Dense(
        input_shape[-1],
        trainable=False,
        kernel_initializer="identity",
        bias_initializer=Constant(_OFFSET),
        name="contrast",
    )
    x = Saturation(name="saturation")(contrast(inputs))
    x = small_cnn_embeddings(x, width)
    x = layers.Dense(16 * width, use_bias=False, name="hidden")(x)
    x = layers.BatchNormalization(name="hidden_normalisation")(x)
    return keras.Model(inputs, layers.ReLU(name="hidden_relu")(x), name="saturating_cnn")
