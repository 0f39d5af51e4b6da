"""A small convolutional network that sees pixels through a learned, saturating contrast."""

import keras
from keras import layers
from keras.initializers import Constant

from clustr_tf.backbones.small_cnn import check_small_cnn, small_cnn_embeddings
from clustr_tf.layers import Saturation

_OFFSET = -0.7  # in deviations: MNIST's black and white, moved by 0.3, begin near either end


def saturating_cnn(input_shape: tuple[int, int, int], width: int = 32) -> keras.Model:
    """`small_cnn` on clip(a x + b, 0, 1), a and b learned per channel: for nearly binary images.

    Whatever an attacker adds to a pixel that stays beyond either end is gone after the first
    layer, for the network and for its interval bounds alike. Robust networks for MNIST are known
    to learn such thresholds in their first convolution (Madry et al.); here they need not find
    them. Images with many shades lose them: use `small_cnn`.

    Args:
        input_shape: (height, width, channels), height and width at least 4.
        width: channels of the first convolution, at least 1.

    Returns:
        A functional model; 8x8 images give embeddings of dimension `16 * width`.

    Raises:
        ValueError: if an argument is outside the ranges above.

    Example:
        >>> saturating_cnn((28, 28, 1)).output_shape  # (None, 6272)

    Reference:
        Madry et al., arXiv 1706.06083, appendix C: what robust networks for MNIST learn.
    """
    check_small_cnn(input_shape, width)
    inputs = keras.Input(input_shape, name="standardised_images")
    x = layers.BatchNormalization(beta_initializer=Constant(_OFFSET), name="contrast")(inputs)
    x = Saturation(name="saturation")(x)
    return keras.Model(inputs, small_cnn_embeddings(x, width), name="saturating_cnn")
