"""Random changes to training images, inside the compiled training step."""

from collections.abc import Callable

import tensorflow as tf


def unchanged(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The images as they are."""
    del seed
    return images


def crop_and_flip(images: tf.Tensor, seed: tf.Tensor, padding: int = 4) -> tf.Tensor:
    """Zero padding, a random crop of the old size, a horizontal flip of every second image.

    Args:
        images: `[batch, H, W, C]` in [0, 1].
        seed: int32 `[2]`; the same seed gives the same result.
        padding: pixels of zero padding on every side.

    Returns:
        `[batch, H, W, C]`, each row cropped and flipped on its own.

    Example:
        >>> crop_and_flip(images, seed=tf.constant([0, 1]))

    Reference:
        The published CIFAR-10 augmentation (`RandomCrop(32, padding=4)`, `RandomHorizontalFlip`).
    """
    batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed))
    padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    offsets = tf.random.stateless_uniform(
        [batch, 2], crop_seed, maxval=2 * padding + 1, dtype=tf.int32
    )
    rows = offsets[:, :1] + tf.range(height)
    columns = offsets[:, 1:] + tf.range(width)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    cropped = tf.gather(cropped, columns, axis=2, batch_dims=1)
    flip = tf.random.stateless_uniform([batch, 1, 1, 1], flip_seed) < 0.5
    return tf.ensure_shape(tf.where(flip, cropped[:, :, ::-1], cropped), images.shape)


AUGMENTATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "none": unchanged,
    "crop_and_flip": crop_and_flip,
}
