"""Image files for the tests of folders and archives."""

import io

import numpy as np
import pytest
from PIL import Image


def _encode(pixels, mode=None, format="PNG", **options):
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode():
    """A function: pixels (uint8 `[H, W]` or `[H, W, 3]`) to the bytes of an image file."""
    return _encode


@pytest.fixture(scope="session")
def image_files():
    """A valid data set by path: grey images of 3x2 pixels whose values tell split, class, number.

    In train/ class a has two images and class b three, in test/ each has one.
    """
    files = {}
    for split, sizes in {"train": {"a": 2, "b": 3}, "test": {"a": 1, "b": 1}}.items():
        for name, size in sizes.items():
            for number in range(size):
                value = 100 * (split == "test") + 50 * (name == "b") + number
                files[f"{split}/{name}/{number}.png"] = _encode(np.full((3, 2), value, np.uint8))
    return files
