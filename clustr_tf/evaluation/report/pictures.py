"""Pictures inside the page: `data:` URIs of single images and of a sheet of thumbnails."""

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

_THUMBNAIL = 32  # longest side on a sheet
_LOSSLESS_SIDE = 64  # larger pictures are photographs, for which PNG is several times larger
_QUALITY = 85


@dataclass(frozen=True)
class Sheet:
    """Thumbnails side by side in one picture; the page shows one of them by moving it.

    Attributes:
        uri: the picture.
        columns: thumbnails in a row.
        rows: rows of thumbnails.
        height: of a thumbnail for a width of 1.
    """

    uri: str
    columns: int
    rows: int
    height: float


def data_uri(image: np.ndarray) -> str:
    """An image as a `data:` URI: PNG, or WebP where it is large.

    Args:
        image: uint8 or float `[H, W, C]`; floats in [0, 1].

    Returns:
        The URI.

    Example:
        >>> data_uri(np.zeros((8, 8, 1)))  # "data:image/png;base64,iVBORw0..."
    """
    return _encoded(_picture(image), lossless=max(image.shape[:2]) <= _LOSSLESS_SIDE)


def difference(clean: np.ndarray, adversarial: np.ndarray) -> np.ndarray:
    """The change of images, grey where there is none and scaled to the whole range.

    Args:
        clean: `[N, H, W, C]` in [0, 1].
        adversarial: of the same shape.

    Returns:
        `[N, H, W, C]` in [0, 1]; one scale for all images, so that they can be compared.

    Example:
        >>> difference(clean, clean)  # 0.5 everywhere
    """
    change = adversarial - clean
    largest = np.max(np.abs(change), initial=0.0)
    return 0.5 + change / (2 * largest) if largest else np.full_like(change, 0.5)


def thumbnail_sheet(images: np.ndarray) -> Sheet:
    """Thumbnails of images in one picture.

    Args:
        images: uint8 `[N, H, W, C]`, N at least 1.

    Returns:
        The sheet; image i is at row i // columns, column i % columns.

    Example:
        >>> thumbnail_sheet(images).columns  # 23 for 500 images
    """
    height, width = images.shape[1:3]
    shrink = min(1.0, _THUMBNAIL / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new(_picture(images[0]).mode, (columns * size[0], rows * size[1]))
    for index, image in enumerate(images):
        place = (index % columns * size[0], index // columns * size[1])
        sheet.paste(_picture(image).resize(size, Image.Resampling.BOX), place)
    # Lossy blocks of 16 pixels would bleed from one small grey thumbnail into the next.
    uri = _encoded(sheet, lossless=sheet.mode == "L")
    return Sheet(uri, columns, rows, height / width)


def _picture(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return Image.fromarray(image[..., :3] if image.shape[-1] >= 3 else image[..., 0])


def _encoded(picture: Image.Image, lossless: bool) -> str:
    buffer = io.BytesIO()
    kind = "png" if lossless else "webp"
    if lossless:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "WEBP", quality=_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
