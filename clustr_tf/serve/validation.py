"""Checks of what a client sent, inside the graph: refused with INVALID_ARGUMENT, or found out.

Each `checked_` function hands its value on, so that whatever computes with the value runs after the
check; each `valid_` function tells which rows are good, for answers that say so row by row.
"""

from collections.abc import Sequence

import tensorflow as tf

# Enough values of a shape or a header to read; the assertion's default of 3 hides dimensions.
_SUMMARIZE = 8


def checked(value: tf.Tensor, condition: tf.Tensor, *message: tf.Tensor | str) -> tf.Tensor:
    """A value once a condition has been found true at run time.

    Args:
        value: any tensor.
        condition: bool scalar.
        *message: strings and tensors that tell what is wrong; the first names the input.

    Returns:
        `value`; what uses it runs only after the check.

    Raises:
        tf.errors.InvalidArgumentError: at run time, if the condition is false.

    Example:
        >>> size = checked(size, size > 0, "size: must be above 0; received", size)
    """
    assertion = tf.debugging.Assert(condition, list(message), summarize=_SUMMARIZE)
    with tf.control_dependencies([assertion]):
        return tf.identity(value)


def checked_batch(name: str, batch: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """A batch whose rows have the given shape and which is not empty.

    The static shape of a signature is not enforced at run time, and an empty batch fails inside
    a convolution with words that no client understands.

    Args:
        name: name of the input, for the message.
        batch: `[batch, *shape]`.
        shape: what each row must be.

    Returns:
        `batch`.

    Raises:
        tf.errors.InvalidArgumentError: at run time, for another shape or no row at all.

    Example:
        >>> image_bytes = checked_batch("image_bytes", image_bytes, ())
    """
    batch = tf.ensure_shape(batch, (None, *shape))
    return checked(
        batch, tf.shape(batch)[0] > 0, f"{name}: the batch is empty; send at least one image"
    )


def checked_images(images: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """Images that are finite and in [0, 1].

    Args:
        images: float32 `[batch, H, W, C]`.
        image_shape: (H, W, C).

    Returns:
        `images`, unchanged.

    Raises:
        tf.errors.InvalidArgumentError: at run time, for another shape, no image, NaN, infinity
            or pixels out of range.

    Example:
        >>> embeddings = classifier.embed(checked_images(images, classifier.image_shape))
    """
    images = checked_batch("images", images, image_shape)
    images = checked(
        images,
        tf.reduce_all(tf.math.is_finite(images)),
        "images: pixels must be finite; received NaN or infinity",
    )
    smallest, largest = tf.reduce_min(images), tf.reduce_max(images)
    return checked(
        images,
        (smallest >= 0) & (largest <= 1),
        "images: pixels must be in [0, 1]; received smallest and largest",
        smallest,
        largest,
    )


def valid_images(
    images: tf.Tensor, image_shape: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Images of which the rows that are none have become black.

    Args:
        images: float32 `[batch, H, W, C]`.
        image_shape: (H, W, C).

    Returns:
        The images, and which rows are finite and in [0, 1], bool `[batch]`.

    Raises:
        tf.errors.InvalidArgumentError: at run time, for another shape or no image.

    Example:
        >>> images, valid = valid_images(images, classifier.image_shape)
    """
    images = checked_batch("images", images, image_shape)
    # NaN is neither.
    valid = tf.reduce_all((images >= 0) & (images <= 1), axis=(1, 2, 3))
    return tf.where(valid[:, None, None, None], images, 0), valid


def checked_radii(name: str, radii: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Radii that are finite, at least 0, and one for each image.

    Args:
        name: name of the input, for the message.
        radii: float32 `[batch]`, in pixels.
        images: `[batch, H, W, C]`.

    Returns:
        `radii`, unchanged.

    Raises:
        tf.errors.InvalidArgumentError: at run time, for another shape, NaN, infinity or a
            negative radius.

    Example:
        >>> radii = checked_radii("radius_l2", radii, images)
    """
    radii = counted_radii(name, radii, images)
    return checked(
        radii,
        tf.reduce_all(valid_radii(radii)),
        f"{name}: radii must be finite and at least 0; received",
        radii,
    )


def counted_radii(name: str, radii: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Radii of which there is one for each image; otherwise as `checked_radii`."""
    radii = tf.ensure_shape(radii, (None,))
    counts = tf.shape(radii)[0], tf.shape(images)[0]
    return checked(
        radii,
        tf.equal(*counts),
        f"{name}: one radius for each image; received this many radii and images",
        *counts,
    )


def valid_radii(radii: tf.Tensor) -> tf.Tensor:
    """Which radii are finite and at least 0, `[batch]` -> bool `[batch]`."""
    return tf.math.is_finite(radii) & (radii >= 0)
