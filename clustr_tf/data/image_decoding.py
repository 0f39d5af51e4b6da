"""PNG and JPEG files as arrays of bytes; whatever else is refused in one line."""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from clustr_tf.run.errors import InputError

# Of one image, checked in its header before anything is decoded.
MAX_PIXELS = 2**24
_PNG_BIT_DEPTH = 24  # offset of that byte in a PNG file
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    TypeError,
    struct.error,
    zlib.error,
)


def decode_image(
    content: bytes, name: str, image_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Decodes a PNG or JPEG file, recognised by its content, as stored (no EXIF rotation).

    Args:
        content: the file.
        name: what messages call it.
        image_size: (height, width) to resize to, bilinear with antialiasing; None for no resizing.

    Returns:
        uint8 `[height, width, channels]`; 1 channel for grey images, 3 for RGB.

    Raises:
        InputError: one line naming the file if it is damaged, no PNG or JPEG, neither 8-bit grey
            nor 8-bit RGB, transparent, or has more than `MAX_PIXELS` pixels.

    Example:
        >>> decode_image(Path("cat.png").read_bytes(), "cat.png").shape  # (32, 32, 3)
    """
    image = _load(content, name)
    if image_size is not None:
        height, width = image_size
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    array = np.array(image, np.uint8)
    return array[..., None] if array.ndim == 2 else array


def _load(content: bytes, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which nobody reads, and of a bound above ours.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
            _check_header(image, content, name)
            image.load()
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(name) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} must be a PNG or JPEG file; its content is neither") from error
    except _DAMAGE as error:
        raise InputError(f"{name} must be a whole PNG or JPEG file; it is damaged") from error
    return image


def _check_header(image: Image.Image, content: bytes, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels(name)
    mode = image.mode
    # In silence Pillow would scale other depths to 8 bits and drop the transparent colour.
    if image.format == "PNG" and content[_PNG_BIT_DEPTH] != 8:
        mode += f" with bit depth {content[_PNG_BIT_DEPTH]}"
    elif "transparency" in image.info:
        mode += " with transparency"
    if mode not in ("L", "RGB"):
        raise InputError(
            f"{name} must be an 8-bit grey (L) or RGB image. Received: mode {mode}; convert it"
        )


def _too_many_pixels(name: str) -> InputError:
    return InputError(f"{name} must have at most {MAX_PIXELS} pixels; its header claims more")
