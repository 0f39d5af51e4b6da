"""Bytes are decoded exactly or refused in words."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from export.decoding import MAX_ENCODED_BYTES, decode_images

# Every 8-bit value occurs: 0..255 in 16 rows of 16.
GREY = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
RGB = np.concatenate([GREY, GREY[::-1], GREY.transpose(1, 0, 2)], axis=-1)


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def jpeg(pixels):
    return tf.io.encode_jpeg(pixels).numpy()


def with_header(encoded, width=16, height=16, depth=8, colour=0):
    """A PNG whose header (with a valid checksum) claims something else."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return encoded[:12] + header + struct.pack(">I", zlib.crc32(header)) + encoded[33:]


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def decode_grey(image_bytes):
    return decode_images(image_bytes, GREY.shape)


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def decode_rgb(image_bytes):
    return decode_images(image_bytes, RGB.shape)


@pytest.mark.parametrize(("decode", "pixels"), [(decode_grey, GREY), (decode_rgb, RGB)])
def test_png_is_lossless(decode, pixels):
    """All 256 values give the float32 quotient that a client's NumPy gives."""
    decoded = decode([png(pixels), png(255 - pixels)])
    expected = np.stack([pixels, 255 - pixels]).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize(("decode", "pixels"), [(decode_grey, GREY), (decode_rgb, RGB)])
def test_jpeg_is_what_the_decoder_says(decode, pixels):
    encoded = jpeg(pixels)
    expected = tf.io.decode_jpeg(encoded).numpy().astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(decode([encoded])[0], expected)


def test_png_and_jpeg_mix_in_a_batch():
    batch = decode_grey([png(GREY), jpeg(GREY), png(GREY)]).numpy()
    np.testing.assert_array_equal(batch[0], batch[2])
    np.testing.assert_allclose(batch[1], batch[0], atol=0.05)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "is neither a PNG nor a JPEG"),
        (b"\x89PNG", "is neither a PNG nor a JPEG"),
        (b"GIF89a\x10\x00\x10\x00\x00\x00\x00;", "is neither a PNG nor a JPEG"),
        (png(GREY)[:8], "header is cut off"),
        (png(GREY)[:20], "header is cut off"),
        (png(GREY)[:8] + bytes(40), "header is broken"),
        (png(GREY)[:-20], "Invalid PNG"),
        (jpeg(GREY)[:100], "Invalid JPEG"),
        (jpeg(GREY)[:-20], "Invalid JPEG"),
        (png(GREY[:8]), r"16 pixels wide and 16 high; received.*\[16 8\]"),
        (jpeg(GREY[:, :8]), r"16 pixels wide and 16 high; received.*\[8 16\]"),
        (png(GREY.astype(np.uint16)), r"must be 8-bit grey .*\[16 0\]"),
        (png(RGB), r"must be 8-bit grey .*\[8 2\]"),
        (png(np.repeat(GREY, 2, axis=-1)), r"must be 8-bit grey .*without alpha.*\[8 4\]"),
        (with_header(png(GREY), colour=3), r"without alpha or palette.*\[8 3\]"),
        (with_header(png(GREY), depth=1), r"must be 8-bit grey .*\[1 0\]"),
        (jpeg(RGB), r"JPEG must be grey, with 1 channel.*\[3\]"),
    ],
)
def test_refuses_for_a_grey_model(encoded, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_grey([encoded])


def test_the_message_names_the_position():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[image_bytes\[2\]:\]"):
        decode_grey([png(GREY), jpeg(GREY), b"nothing", png(GREY)])


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (png(GREY), r"must be 8-bit RGB .*\[8 0\]"),
        (png(np.concatenate([RGB, GREY], axis=-1)), r"must be 8-bit RGB .*\[8 6\]"),
        (jpeg(GREY), r"JPEG must be RGB, with 3 channel.*\[1\]"),
    ],
)
def test_refuses_for_an_rgb_model(encoded, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_rgb([encoded])


@pytest.mark.parametrize("encode", [png, jpeg])
def test_refuses_every_cut(encode):
    encoded = encode(GREY)
    for length in range(len(encoded)):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_grey([encoded[:length]])


def test_a_bomb_is_refused_by_its_header():
    """60000 x 60000 pixels would take 3.6 GB; the decoder would complain of missing data."""
    bomb = with_header(png(GREY), width=60_000, height=60_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"received.*\[60000 60000\]"):
        decode_grey([bomb])


def test_the_limit_on_bytes_is_sharp():
    """A PNG may be followed by bytes that no decoder reads."""
    encoded = png(GREY)
    padded = encoded + bytes(MAX_ENCODED_BYTES - len(encoded))
    np.testing.assert_array_equal(decode_grey([padded]), decode_grey([encoded]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[{MAX_ENCODED_BYTES + 1}\]"):
        decode_grey([padded + b"\0"])


def test_refuses_an_empty_batch_and_a_scalar():
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes: the batch is empty"):
        decode_images(tf.constant([], tf.string), GREY.shape)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[\] is not compatible"):
        decode_images(tf.constant(png(GREY)), GREY.shape)


def test_refuses_channels_that_no_file_has():
    with pytest.raises(ValueError, match=r"1 \(grey\) or 3 \(RGB\) channels.*\(16, 16, 2\)"):
        decode_images([png(GREY)], (16, 16, 2))
