"""Pictures of the page, decoded again."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from clustr_tf.evaluation.report.pictures import data_uri, difference, thumbnail_sheet


def _decoded(uri):
    kind, encoded = uri.split(";base64,")
    assert kind in ("data:image/png", "data:image/webp")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_is_kept_exactly(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    np.testing.assert_array_equal(_decoded(data_uri(image)).reshape(image.shape), image)


def test_floats_become_grey_levels():
    """0 -> 0, 0.5 -> 127.5, which rounds to the even 128, 1 -> 255; beyond is cut off."""
    image = np.array([[[0.0], [0.5], [1.0], [1.5], [-1.0]]], np.float32)
    assert _decoded(data_uri(image)).ravel().tolist() == [0, 128, 255, 255, 0]


def test_a_photograph_is_compressed():
    noise = np.random.default_rng(0).random((200, 200, 3))
    assert data_uri(noise).startswith("data:image/webp")
    assert _decoded(data_uri(noise)).shape == (200, 200, 3)


def test_changes_share_one_scale():
    """The largest change, -0.2, becomes 0; half of it upwards is 0.75; none is grey."""
    clean = np.full((2, 1, 1, 1), 0.5)
    changed = clean + np.array([-0.2, 0.1]).reshape(2, 1, 1, 1)
    assert difference(clean, changed).ravel() == pytest.approx([0.0, 0.75])
    assert difference(clean, clean).ravel().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_a_thumbnail_lies_where_the_page_looks_for_it(count):
    images = np.zeros((count, 8, 6, 1), np.uint8) + np.arange(count, dtype=np.uint8).reshape(
        -1, 1, 1, 1
    )
    sheet = thumbnail_sheet(images)
    picture = _decoded(sheet.uri)
    assert picture.shape == (sheet.rows * 8, sheet.columns * 6)
    assert sheet.height == pytest.approx(8 / 6)
    for index in range(count):
        row, column = divmod(index, sheet.columns)
        tile = picture[row * 8 : row * 8 + 8, column * 6 : column * 6 + 6]
        assert np.all(tile == index)


def test_thumbnails_of_large_images_are_small():
    sheet = thumbnail_sheet(np.zeros((4, 64, 128, 3), np.uint8))
    assert _decoded(sheet.uri).shape == (2 * 16, 2 * 32, 3)
