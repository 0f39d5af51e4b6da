"""Bytes are decoded exactly or refused in words."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.data.image_decoding import decode_image
from clustr_tf.serve.decoding import decode_images
from clustr_tf.serve.options import DEFAULTS, ServingOptions

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
    return decode_images(image_bytes, GREY.shape, DEFAULTS)[0]


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def decode_rgb(image_bytes):
    return decode_images(image_bytes, RGB.shape, DEFAULTS)[0]


@pytest.mark.parametrize(("decode", "pixels"), [(decode_grey, GREY), (decode_rgb, RGB)])
def test_png_is_lossless(decode, pixels):
    """All 256 values give the float32 quotient that a client's NumPy gives."""
    decoded = decode([png(pixels), png(255 - pixels)])
    expected = np.stack([pixels, 255 - pixels]).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("subsampling", ["", "4:2:0"])
@pytest.mark.parametrize(("decode", "pixels"), [(decode_grey, GREY), (decode_rgb, RGB)])
def test_a_jpeg_is_the_picture_that_was_trained_on(decode, pixels, subsampling):
    chroma = subsampling == "4:2:0"
    encoded = tf.io.encode_jpeg(pixels, quality=95, chroma_downsampling=chroma).numpy()
    expected = decode_image(encoded, "trained").astype(np.float32) / np.float32(255)
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
    padded = encoded + bytes(2**20 - len(encoded))
    np.testing.assert_array_equal(decode_grey([padded]), decode_grey([encoded]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[{2**20 + 1}\]"):
        decode_grey([padded + b"\0"])
    generous = ServingOptions(max_image_bytes=2**20 + 1)
    decoded, valid = decode_images([padded + b"\0"], GREY.shape, generous)
    np.testing.assert_array_equal(decoded, decode_grey([encoded]))
    np.testing.assert_array_equal(valid, [True])


def test_refuses_an_empty_batch_and_a_scalar():
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes: the batch is empty"):
        decode_images(tf.constant([], tf.string), GREY.shape, DEFAULTS)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[\] is not compatible"):
        decode_images(tf.constant(png(GREY)), GREY.shape, DEFAULTS)


def test_refuses_channels_that_no_file_has():
    with pytest.raises(ValueError, match=r"1 \(grey\) or 3 \(RGB\) channels.*\(16, 16, 2\)"):
        decode_images([png(GREY)], (16, 16, 2), DEFAULTS)


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def decode_flagged(image_bytes):
    return decode_images(image_bytes, GREY.shape, ServingOptions(on_invalid="flag"))


@tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
def decode_resized(image_bytes):
    return decode_images(image_bytes, GREY.shape, ServingOptions(resize="bilinear"))[0]


def test_flags_bad_rows_and_decodes_their_neighbours():
    """Refused by the header, by the decoder, by nobody; what is flagged is black."""
    rows = [png(GREY), b"nothing", jpeg(GREY)[:-20], png(RGB), png(GREY), b""]
    images, valid = decode_flagged(rows)
    np.testing.assert_array_equal(valid, [True, False, False, False, True, False])
    expected = np.zeros((6, *GREY.shape), np.float32)
    expected[[0, 4]] = GREY.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(images, expected)


def test_nothing_is_flagged_in_an_empty_batch():
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes: the batch is empty"):
        decode_flagged(tf.constant([], tf.string))


def test_an_image_of_the_right_size_is_not_changed_by_resizing():
    np.testing.assert_array_equal(decode_resized([png(GREY)]), decode_grey([png(GREY)]))


def test_resizing_averages():
    """Constant rows stay what they are; white stays at most 1."""
    stripes = np.repeat(np.arange(0, 240, 5, dtype=np.uint8)[:, None, None], 48, axis=1)
    resized = decode_resized([png(stripes), jpeg(np.full((7, 90, 1), 255, np.uint8))]).numpy()
    assert resized.max() <= 1
    np.testing.assert_allclose(resized[1], 1, atol=1e-6)
    # The triangle of a third of the resolution over 48 rows: rows 3 i + 1 away from the border.
    expected = stripes[1::3, 0, 0].astype(np.float32) / 255
    inside = np.broadcast_to(expected[2:-2, None, None], (12, 16, 1))
    np.testing.assert_allclose(resized[0, 2:-2], inside, atol=1e-6)


def test_a_bomb_is_refused_where_images_are_resized():
    """The largest is 2048 x 2048."""
    for width, height in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (2049, 2048), (0, 16)):
        bomb = with_header(png(GREY), width=width, height=height)
        with pytest.raises(tf.errors.InvalidArgumentError, match="must have 1 to 4194304 pixels"):
            decode_resized([bomb])
