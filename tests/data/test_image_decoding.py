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


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_give_their_pixels_back(encode, format, options):
    decoded = decode_image(encode(NOISE, format=format, **options), "cat")
    np.testing.assert_array_equal(decoded, NOISE)


def test_of_an_animation_the_first_picture_is_taken():
    """Two frames of one colour each, which palettes hold exactly."""
    frames = [Image.new("RGB", (3, 2), colour) for colour in ((10, 20, 30), (200, 0, 0))]
    for format in ("GIF", "WEBP"):
        buffer = io.BytesIO()
        frames[0].save(buffer, format, save_all=True, append_images=frames[1:], lossless=True)
        np.testing.assert_array_equal(
            decode_image(buffer.getvalue(), ""), np.full((2, 3, 3), (10, 20, 30))
        )


def test_palettes_become_rgb_and_16_bits_8():
    palette = np.array([[0, 1], [1, 0]], np.uint8)
    image = Image.fromarray(palette)
    image.putpalette([1, 2, 3, 250, 251, 252])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    colours = np.array([[1, 2, 3], [250, 251, 252]])
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), ""), colours[palette])
    # The nearest of multiples of 257: 128 and 129 lie on both sides of the middle.
    values = [0, 128, 129, 257, 65406, 65407, 65535]
    row = b"\0" + b"".join(struct.pack(">H", value) for value in values)
    decoded = decode_image(_png(7, 1, 16, 0, row), "")
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 1, 254, 255, 255]
    rgb = _png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 257, 514, 65535))
    assert decode_image(rgb, "").tolist() == [[[1, 2, 255]]]
    buffer = io.BytesIO()
    Image.fromarray(np.array([values], np.uint16)).save(buffer, "TIFF")
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), ""), decoded)


@pytest.mark.parametrize(("mode", "colour_type"), [("LA", 4), ("RGBA", 6)])
def test_transparent_pixels_lie_on_white(mode, colour_type):
    """Value 100 with alpha 255, 0 and 51 (a fifth): 100, 255 and 20 + 204."""
    colours = len(mode) - 1
    row = b"\0" + b"".join(bytes([100] * colours + [alpha]) for alpha in (255, 0, 51))
    decoded = decode_image(_png(3, 1, 8, colour_type, row), "")
    np.testing.assert_array_equal(decoded, np.repeat([[[100], [255], [224]]], colours, axis=-1))


def test_a_transparent_colour_lies_on_white():
    extra = _chunk(b"tRNS", b"\0\1\0\2\0\3")
    content = _png(2, 1, 8, 2, b"\0\1\2\3\4\5\6", extra=extra)
    assert decode_image(content, "").tolist() == [[[255] * 3, [4, 5, 6]]]


def test_cmyk_becomes_rgb(encode):
    """No ink is white; as JPEG a level of rounding is left."""
    content = encode(np.full((8, 8, 3), 255, np.uint8), "CMYK", "JPEG")
    decoded = decode_image(content, "")
    assert decoded.shape == (8, 8, 3)
    assert decoded.min() >= 253


# EXIF 2.3, table 6: where row 0 and column 0 of what is stored are, when it is looked at.
UPRIGHT = {
    1: lambda row, column: (row, column),
    2: lambda row, column: (row, 1 - column),
    3: lambda row, column: (2 - row, 1 - column),
    4: lambda row, column: (2 - row, column),
    5: lambda row, column: (column, row),
    6: lambda row, column: (column, 2 - row),
    7: lambda row, column: (1 - column, 2 - row),
    8: lambda row, column: (1 - column, row),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_images_stand_upright(encode, format, orientation):
    """3 rows and 2 columns of blocks of 8x8 pixels of one value, which JPEG keeps to 2 levels."""
    blocks = np.array([[10, 60], [110, 160], [210, 250]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(
        encode(np.kron(blocks, np.ones((8, 8), np.uint8)), format=format, exif=exif), ""
    )
    for row, column in np.ndindex(3, 2):
        shown = UPRIGHT[orientation](row, column)
        found = decoded[8 * shown[0] + 4, 8 * shown[1] + 4, 0]
        assert abs(int(found) - blocks[row, column]) <= 2


def test_colour_modes_and_resizing():
    """Luma of ITU-R 601: 0.299 R + 0.587 G + 0.114 B."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), (200, 100, 50)).save(buffer, "PNG")
    content = buffer.getvalue()
    grey = decode_image(content, "", color_mode="grey")
    assert grey.shape == (20, 40, 1)
    np.testing.assert_allclose(grey, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, atol=1)
    for resize in ("stretch", "crop"):
        decoded = decode_image(content, "", (8, 8), resize)
        np.testing.assert_array_equal(decoded, np.full((8, 8, 3), (200, 100, 50)))
    padded = decode_image(content, "", (8, 8), "pad")
    np.testing.assert_array_equal(padded[2:6], np.full((4, 8, 3), (200, 100, 50)))
    assert not padded[[0, 1, 6, 7]].any()
    buffer = io.BytesIO()
    Image.new("L", (3, 2), 7).save(buffer, "PNG")
    np.testing.assert_array_equal(
        decode_image(buffer.getvalue(), "", color_mode="rgb"), np.full((2, 3, 3), 7)
    )


def _short(rows):
    """A PNG of 16x16 pixels that has fewer rows; all check sums are right."""
    return _png(16, 16, 8, 0, (b"\0" + bytes(range(16))) * rows)


@pytest.mark.parametrize(
    "content",
    [
        _short(10),
        _short(16)[:-12],  # without the end
        _png(
            1,
            1,
            8,
            0,
            b"\0\1\2",
            extra=_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0)),
        ),
        b"\x89PNG\r\n\x1a\n" + _chunk(b"teXt", b"IHDR" + b"\x08\0" * 20) + _short(16)[8:],
    ],
    ids=["rows", "end", "two headers", "late header"],
)
def test_a_png_that_is_not_whole_or_has_two_headers_is_refused(content):
    _refusal(content)


def test_a_jpeg_of_many_scans_is_refused(encode):
    """The marker of a scan, FF DA, is what is counted, whatever the scans hold."""
    content = encode(np.zeros((256, 256), np.uint8), format="JPEG")
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    assert "must take little work: 5002 scans" in _refusal(content[:-2] + scan * 5001 + b"\xff\xd9")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (10_000, 10_000), (4097, 4096)])
def test_a_header_that_claims_too_many_pixels_is_refused(width, height):
    """Below, within and above the bounds from which on Pillow itself warns or refuses."""
    content = _png(width, height, 8, 0, b"\0")
    assert f"at most {MAX_PIXELS} pixels" in _refusal(content)


def test_packed_text_of_a_png_does_not_unpack_without_bound():
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**24), 9))
    _refusal(_png(1, 1, 8, 0, b"\0\1", extra=text))
