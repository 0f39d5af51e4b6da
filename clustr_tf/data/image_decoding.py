"""Image files as arrays of bytes; what cannot be one picture for everybody is refused in one line.

PNG and JPEG are decoded by TensorFlow, with what `serving_bytes` decodes by: a picture is the same
in training, in proofs and when served. Pillow decodes the formats that are never served.
"""

import io
import warnings
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from clustr_tf.run.errors import InputError

# Of one image, checked in its header before anything is decoded.
MAX_PIXELS = 2**24
# Pixels times scans of a JPEG: a progressive one has about ten, a hostile one thousands.
MAX_WORK = 16 * MAX_PIXELS
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
CHANNELS = {"grey": 1, "rgb": 3}  # config.dataset.color_mode
# Here and in clustr_tf.serve.decoding; TensorFlow's usual one is off by up to 35/255.
JPEG_METHOD = "INTEGER_ACCURATE"
_NAMES = "a PNG, JPEG, WebP, GIF, BMP or TIFF file"
_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4
# What the eight orientations do to the stored rows and columns.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}
# Pillow's modes -> those that have a meaning in 8 bits.
_MODES = {
    **{"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"},
    **{"PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"},
}
# (H, W) of the wanted size, the image -> resized.
RESIZES: dict[str, Callable[[Image.Image, tuple[int, int]], Image.Image]] = {
    "stretch": lambda image, size: image.resize(size, Image.Resampling.BILINEAR),
    "crop": lambda image, size: ImageOps.fit(image, size, Image.Resampling.BILINEAR),
    "pad": lambda image, size: ImageOps.pad(image, size, Image.Resampling.BILINEAR),
}


def decode_image(
    content: bytes,
    name: str,
    image_size: tuple[int, int] | None = None,
    resize: str = "stretch",
    color_mode: str | None = None,
) -> np.ndarray:
    """Decodes an image file, recognised by its content, upright as its EXIF orientation says.

    Of 16 bits the nearest value in 8 is taken, palettes and CMYK become RGB, transparent pixels are
    laid on white, and of an animation the first picture is taken.

    Args:
        content: the file.
        name: what messages call it.
        image_size: (height, width) to resize to, bilinear with antialiasing; None for no resizing.
        resize: a key of `RESIZES`: to "stretch", or to keep the aspect: "crop" what is too much in
            the middle, or "pad" with black.
        color_mode: a key of `CHANNELS`, or None: as the file is. Grey is ITU-R 601 luma.

    Returns:
        uint8 `[height, width, channels]`; 1 channel for grey images, 3 for others.

    Raises:
        InputError: one line naming the file if it is damaged, of another format, has more than
            `MAX_PIXELS` pixels, or would take more work than `MAX_WORK`.

    Example:
        >>> decode_image(Path("cat.png").read_bytes(), "cat.png").shape  # (32, 32, 3)
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which nobody reads, and of a bound above ours.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise _too_many_pixels(name)
            pixels = _pixels(image, content, name)
            orientation = image.getexif().get(_ORIENTATION, 1)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(name) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} must be {_NAMES}; its content is none") from error
    except Exception as error:  # decoders answer damage with any error there is
        raise InputError(f"{name} must be a whole image file; it is damaged") from error
    upright = _UPRIGHT.get(orientation, np.asarray)(pixels)
    return _fitted(_opaque(_in_8_bits(upright)), image_size, resize, color_mode)


def _pixels(image: Image.Image, content: bytes, name: str) -> np.ndarray:
    """uint8 or uint16 `[H, W, 1 to 4]` as stored; an even number of channels has alpha."""
    if image.format == "PNG":
        return _png_pixels(content)
    if image.format == "JPEG" and image.mode in ("L", "RGB"):
        scans = content.count(b"\xff\xda")
        if image.width * image.height * scans > MAX_WORK:
            raise InputError(
                f"{name} must take little work: {scans} scans of {image.width}x{image.height} "
                f"pixels are more than {MAX_WORK} in all"
            )
        # As clustr_tf.serve.decoding does.
        channels = len(image.getbands())
        return tf.io.decode_jpeg(content, channels, dct_method=JPEG_METHOD).numpy()
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode not in _MODES:
        raise InputError(f"{name} must have 8 or 16 bits a channel. Received: mode {image.mode}")
    mode = _MODES[image.mode]
    if mode in ("L", "RGB") and "transparency" in image.info:
        mode = "RGBA"
    pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _png_pixels(content: bytes) -> np.ndarray:
    """Palettes as RGB, and a transparent colour as alpha.

    Raises:
        ValueError: if the header is not the first chunk, where everybody else looks for it.
    """
    if content[12:16] != b"IHDR":
        raise ValueError("the first chunk is not IHDR")
    depth, colour_type = content[24], content[25]
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}[colour_type]
    if colour_type in (0, 2, 3) and _has_transparent_colour(content):
        channels += 1
    dtype = tf.uint16 if depth == 16 else tf.uint8
    if channels == 2:  # the decoder has no name for grey with alpha
        return tf.io.decode_png(content, channels=4, dtype=dtype).numpy()[..., ::3]
    return tf.io.decode_png(content, channels=channels, dtype=dtype).numpy()


def _has_transparent_colour(content: bytes) -> bool:
    """Whether a tRNS chunk stands before the pixels; PNG, third edition, section 5."""
    start = 8
    while start + 8 <= len(content):
        kind = content[start + 4 : start + 8]
        if kind in (b"tRNS", b"IDAT"):
            return kind == b"tRNS"
        start += 12 + int.from_bytes(content[start : start + 4])
    return False


def _in_8_bits(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)  # the nearest; 65535 / 255


def _opaque(image: np.ndarray) -> np.ndarray:
    """Laid on white, where there is alpha."""
    if image.shape[-1] in (1, 3):
        return image
    colours, alpha = image[..., :-1].astype(np.uint32), image[..., -1:].astype(np.uint32)
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _fitted(
    pixels: np.ndarray, image_size: tuple[int, int] | None, resize: str, color_mode: str | None
) -> np.ndarray:
    if color_mode == "rgb" and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    becomes_grey = color_mode == "grey" and pixels.shape[-1] == 3
    if image_size is not None or becomes_grey:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        if becomes_grey:
            image = image.convert("L")
        if image_size is not None:
            image = RESIZES[resize](image, image_size[::-1])
        pixels = np.asarray(image)
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))


def _too_many_pixels(name: str) -> InputError:
    return InputError(f"{name} must have at most {MAX_PIXELS} pixels; its header claims more")
