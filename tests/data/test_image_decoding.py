"""Image files as arrays: exact pixels, and one line for whatever cannot be used."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clustr_tf.data.image_decoding import MAX_PIXELS, decode_image
from clustr_tf.run.errors import InputError

NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)


def _refusal(content):
    with pytest.raises(InputError) as raised:
        decode_image(content, "cat.png")
    assert str(raised.value).startswith("cat.png must ")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def _chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _png(width, height, bit_depth, colour_type, data, extra=b""):
    """A PNG by hand, from its specification: signature, header, data, end."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), extra, _chunk(b"IDAT", zlib.compress(data))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.integers(0, 99))
def test_a_png_gives_its_pixels_back(height, width, channels, seed):
    """Written by hand: colour type 0 is grey, 2 RGB, and every row starts with filter 0."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    decoded = decode_image(_png(width, height, 8, 0 if channels == 1 else 2, rows), "cat.png")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


def test_a_jpeg_is_close(encode):
    """A constant image has no frequencies to lose; a level of rounding is left."""
    decoded = decode_image(encode(np.full((8, 8, 3), (200, 100, 50), np.uint8), format="JPEG"), "")
    assert decoded.shape == (8, 8, 3)
    assert np.abs(decoded.astype(int) - (200, 100, 50)).max() <= 2
    assert decode_image(encode(NOISE[..., 0], format="JPEG"), "").shape == (9, 7, 1)


def test_resizing_averages():
    """Antialiased: a chequerboard of 0 and 200 becomes 100 everywhere but at its edges."""
    board = 200 * (np.indices((32, 48)).sum(axis=0) % 2).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(board).save(buffer, "PNG")
    decoded = decode_image(buffer.getvalue(), "cat.png", image_size=(4, 6))
    assert decoded.shape == (4, 6, 1)
    assert np.abs(decoded[1:-1, 1:-1].astype(int) - 100).max() <= 1


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.data())
def test_a_damaged_png_is_refused_or_unharmed(encode, data):
    content = bytearray(encode(NOISE))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_image(bytes(content), "cat.png")
    except InputError:
        return
    np.testing.assert_array_equal(decoded, NOISE)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.data())
def test_a_damaged_jpeg_is_refused_or_an_image(encode, data):
    """JPEG has no check sums: what the decoder cannot notice gives other pixels."""
    content = bytearray(encode(NOISE, format="JPEG"))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_image(bytes(content), "cat.png")
    except InputError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_refused(encode, format, share):
    content = encode(NOISE, format=format)
    _refusal(content[: int(share * len(content))])


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "WEBP"])
def test_only_png_and_jpeg_whatever_the_file_is_called(encode, format):
    assert "a PNG or JPEG file; its content is neither" in _refusal(encode(NOISE, format=format))


@pytest.mark.parametrize(
    ("mode", "format"),
    [("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("CMYK", "JPEG")],
)
def test_other_modes_are_refused_by_name(encode, mode, format):
    assert f"Received: mode {mode}" in _refusal(encode(NOISE, mode, format))


@pytest.mark.parametrize(("colour_type", "depth"), [(0, 1), (0, 2), (0, 4), (0, 16), (2, 16)])
def test_other_bit_depths_are_refused(colour_type, depth):
    content = _png(1, 1, depth, colour_type, b"\0" + bytes(6))
    assert f"with bit depth {depth}; convert it" in _refusal(content)


def test_a_transparent_colour_is_refused():
    content = _png(1, 1, 8, 2, b"\0\1\2\3", extra=_chunk(b"tRNS", b"\0\1\0\2\0\3"))
    assert "mode RGB with transparency" in _refusal(content)


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (10_000, 10_000), (4097, 4096)])
def test_a_header_that_claims_too_many_pixels_is_refused(width, height):
    """Below, within and above the bounds from which on Pillow itself warns or refuses."""
    content = _png(width, height, 8, 0, b"\0")
    assert f"at most {MAX_PIXELS} pixels" in _refusal(content)


def test_packed_text_of_a_png_does_not_unpack_without_bound():
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**24), 9))
    _refusal(_png(1, 1, 8, 0, b"\0\1", extra=text))
