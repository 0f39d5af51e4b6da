"""What is not an image in [0, 1], or not a radius, is refused in words."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.serve.validation import checked_images, checked_radii

SHAPE = (2, 3, 1)
GOOD = np.linspace(0.0, 1.0, 12, dtype=np.float32).reshape(2, *SHAPE)


# In a graph without static shapes, as clients meet the checks: eager messages are others.
@tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
def check_images(images):
    return checked_images(images, SHAPE)


@tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
def check_radii(radii):
    return checked_radii("radius_l2", radii, tf.constant(GOOD))


def with_pixel(value):
    images = GOOD.copy()
    images[1, 0, 2, 0] = value
    return images


def test_good_images_pass_unchanged():
    np.testing.assert_array_equal(check_images(GOOD), GOOD)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GOOD[:, :, :2], r"\[2,2,2,1\] is not compatible with expected shape \[\?,2,3,1\]"),
        (GOOD[0], r"\[2,3,1\] is not compatible with expected shape \[\?,2,3,1\]"),
        (np.float32(0.5), r"\[\] is not compatible with expected shape \[\?,2,3,1\]"),
        (GOOD[:0], "images: the batch is empty; send at least one image"),
        (with_pixel(np.nan), "images: pixels must be finite; received NaN or infinity"),
        (with_pixel(np.inf), "images: pixels must be finite; received NaN or infinity"),
        (with_pixel(-0.25), r"images: pixels must be in \[0, 1\].* \[-0.25\] \[1\]"),
        (with_pixel(np.float32(255)), r"images: pixels must be in \[0, 1\].* \[0\] \[255\]"),
        (with_pixel(np.nextafter(np.float32(1), np.float32(2))), "images: pixels must be in"),
    ],
)
def test_refuses_what_is_no_image(images, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        check_images(images)


def test_good_radii_pass_unchanged():
    radii = np.array([0.0, 1.5], np.float32)
    np.testing.assert_array_equal(check_radii(radii), radii)


@pytest.mark.parametrize(
    ("radii", "message"),
    [
        ([0.1], r"radius_l2: one radius for each image.* \[1\] \[2\]"),
        ([], r"radius_l2: one radius for each image.* \[0\] \[2\]"),
        (0.1, r"\[\] is not compatible with expected shape \[\?\]"),
        ([[0.1, 0.2]], r"\[1,2\] is not compatible with expected shape \[\?\]"),
        ([0.1, -0.5], r"radius_l2: radii must be finite and at least 0; received.*0.1 -0.5"),
        ([np.nan, 0.1], "radius_l2: radii must be finite and at least 0"),
        ([0.1, np.inf], "radius_l2: radii must be finite and at least 0"),
    ],
)
def test_refuses_what_is_no_radius(radii, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        check_radii(np.array(radii, np.float32))


def test_the_check_comes_before_the_computation():
    """An empty batch fails inside the convolution with other words, were it to get there."""
    kernel = tf.ones((2, 2, 1, 1))

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32)])
    def convolve(images):
        return tf.nn.conv2d(checked_images(images, SHAPE), kernel, 1, "VALID")

    assert convolve(GOOD).shape == (2, 1, 2, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the batch is empty"):
        convolve(GOOD[:0])
