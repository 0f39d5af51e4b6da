"""PNG and JPEG bytes to pixels, inside the graph.

Everything that a decoder would silently convert or be drowned by (size, channels, alpha, palette,
16 bits) is read from the header and refused before a pixel is decoded.
"""

import tensorflow as tf

from clustr_tf.data.image_decoding import JPEG_METHOD
from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.validation import checked, checked_batch

# Of an image that is going to be resized, lest a small file fills the memory: 12 MiB of RGB.
_MOST_PIXELS = 2**22
# Of small images; those that are resized are decoded one after the other, lest they add up.
_PARALLEL_ROWS = 10

# First bytes of a PNG: W3C Portable Network Graphics (third edition), sections 5.2 and 11.2.1.
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 33
_PNG_BIT_DEPTH = 8
_PNG_COLOUR_TYPES = {1: 0, 3: 2}  # channels -> grey, RGB
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_COLOURS = {1: "grey", 3: "RGB"}

Shape = tuple[int, int, int]


def decode_images(
    image_bytes: tf.Tensor, image_shape: Shape, options: ServingOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes images that have the expected channels and, unless resized, the expected size.

    Args:
        image_bytes: string `[batch]`, each an 8-bit grey or RGB PNG, or a JPEG.
        image_shape: (H, W, C), C = 1 for grey or 3 for RGB.
        options: what is refused, flagged or resized.

    Returns:
        float32 `[batch, H, W, C]` in [0, 1], the 8-bit values divided by 255 (and resized); and
        which rows are images, bool `[batch]`. Rows that are none are black; there are such only
        where they are flagged.

    Raises:
        ValueError: if C is neither 1 nor 3.
        tf.errors.InvalidArgumentError: at run time, unless flagged, if any entry is something else;
            the message names its position in the batch. Bytes that are broken behind the header
            are refused in the decoder's words.

    Example:
        >>> png = tf.io.encode_png(pixels)
        >>> decode_images([png], pixels.shape, ServingOptions())  # pixels[None] / 255, [True]
    """
    if image_shape[-1] not in _COLOURS:
        raise ValueError(
            "image_shape must have 1 (grey) or 3 (RGB) channels for PNG and JPEG. "
            f"Received: {image_shape}"
        )
    image_bytes = checked_batch("image_bytes", image_bytes, ())
    names = tf.strings.join(
        ["image_bytes[", tf.as_string(tf.range(tf.shape(image_bytes)[0])), "]:"]
    )

    def decoded(name: tf.Tensor, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _decode(name, encoded, image_shape, options), tf.constant(True)

    def decoded_or_black(name: tf.Tensor, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Only a data set survives the failure of one of its operations.
        image = tf.data.Dataset.from_tensors((name, encoded)).map(decoded).ignore_errors()
        black = tf.data.Dataset.from_tensors((tf.zeros(image_shape), False))
        return image.concatenate(black).take(1).get_single_element()

    decode = decoded_or_black if options.on_invalid == "flag" else decoded
    return tf.map_fn(
        lambda row: decode(*row),
        (names, image_bytes),
        fn_output_signature=(
            tf.TensorSpec(image_shape, tf.float32),
            tf.TensorSpec((), tf.bool),
        ),
        parallel_iterations=_PARALLEL_ROWS if options.resize == "exact" else 1,
    )


def _decode(
    name: tf.Tensor, encoded: tf.Tensor, image_shape: Shape, options: ServingOptions
) -> tf.Tensor:
    size = tf.strings.length(encoded)
    encoded = checked(
        encoded,
        size <= options.max_image_bytes,
        name,
        f"at most {options.max_image_bytes} bytes are taken; received",
        size,
    )
    is_png = _part(encoded, 0, len(_PNG_SIGNATURE)) == _PNG_SIGNATURE
    is_jpeg = _part(encoded, 0, len(_JPEG_SIGNATURE)) == _JPEG_SIGNATURE
    encoded = checked(encoded, is_png | is_jpeg, name, "is neither a PNG nor a JPEG file")
    resized = options.resize != "exact"
    values = tf.cond(
        is_png,
        lambda: _decode_png(name, encoded, image_shape, resized),
        lambda: _decode_jpeg(name, encoded, image_shape, resized),
    )
    if resized:
        # As 8-bit numbers, lest there are four or eight bytes for each.
        values = tf.image.resize(values, image_shape[:2], options.resize, antialias=True)
    # Not `to_pixels`: graph optimisation turns its division into a product with the reciprocal,
    # off by a rounding for some values; from float64 the nearest float32 results.
    pixels = tf.cast(tf.cast(values, tf.float64) / 255, tf.float32)
    if resized:
        # Weights that add up to 1 only up to a rounding may give a little more than white.
        pixels = tf.minimum(pixels, 1)
    return tf.ensure_shape(pixels, image_shape)


def _decode_png(
    name: tf.Tensor, encoded: tf.Tensor, image_shape: Shape, resized: bool
) -> tf.Tensor:
    height, width, channels = image_shape
    is_complete = tf.strings.length(encoded) >= _PNG_HEADER_BYTES
    encoded = checked(encoded, is_complete, name, "the PNG's header is cut off")
    has_header = _part(encoded, 12, 4) == b"IHDR"
    encoded = checked(encoded, has_header, name, "the PNG's header is broken")
    size = tf.io.decode_raw(_part(encoded, 16, 8), tf.int32, little_endian=False)
    encoded = _checked_size(name, encoded, size, width, height, resized)
    pixel_format = tf.io.decode_raw(_part(encoded, 24, 2), tf.uint8)
    encoded = checked(
        encoded,
        tf.reduce_all(pixel_format == [_PNG_BIT_DEPTH, _PNG_COLOUR_TYPES[channels]]),
        name,
        f"the PNG must be 8-bit {_COLOURS[channels]} (bit depth {_PNG_BIT_DEPTH}, colour type "
        f"{_PNG_COLOUR_TYPES[channels]}), without alpha or palette; received bit depth and "
        "colour type",
        pixel_format,
    )
    return tf.io.decode_png(encoded, channels=channels)


def _decode_jpeg(
    name: tf.Tensor, encoded: tf.Tensor, image_shape: Shape, resized: bool
) -> tf.Tensor:
    height, width, channels = image_shape
    shape = tf.io.extract_jpeg_shape(encoded)
    encoded = _checked_size(name, encoded, shape[1::-1], width, height, resized)
    encoded = checked(
        encoded,
        shape[2] == channels,
        name,
        f"the JPEG must be {_COLOURS[channels]}, with {channels} channel(s); received channels",
        shape[2],
    )
    return tf.io.decode_jpeg(encoded, channels=channels, dct_method=JPEG_METHOD)


def _checked_size(
    name: tf.Tensor,
    encoded: tf.Tensor,
    size: tf.Tensor,
    width: int,
    height: int,
    resized: bool,
) -> tf.Tensor:
    if resized:
        pixels = tf.reduce_prod(tf.cast(size, tf.int64))
        fits = tf.reduce_all(size > 0) & (pixels <= _MOST_PIXELS)
        wanted = f"the image must have 1 to {_MOST_PIXELS} pixels"
    else:
        fits = tf.reduce_all(size == [width, height])
        wanted = f"the image must be {width} pixels wide and {height} high"
    return checked(encoded, fits, name, f"{wanted}; received width and height", size)


def _part(encoded: tf.Tensor, start: int, length: int) -> tf.Tensor:
    return tf.strings.substr(encoded, start, length)
