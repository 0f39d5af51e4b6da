"""What a server of an exported model is sent by the conformance checks."""

from collections.abc import Iterator

import numpy as np

from export.reference_model import Model
from export.transport import Arrays

Request = tuple[str, str, Arrays]


def good_inputs(model: Model, batch: int) -> dict[str, Arrays]:
    """Inputs of each signature, of the same images."""
    images = model.images(batch)
    return {
        "serving_default": {"images": images},
        "certify": {"images": images, "radius_l2": np.zeros(batch, np.float32)},
        "embed": {"images": images},
        "serving_bytes": {"image_bytes": model.encoded(images)},
    }


def bad_batches(model: Model, typed: bool) -> Iterator[Request]:
    """What no export answers: name, signature, inputs.

    Args:
        model: whose images are damaged.
        typed: whether numbers travel with their type, as over gRPC.
    """
    images = model.images(2)
    yield "an empty batch", "serving_default", {"images": images[:0]}
    yield "images of another height", "serving_default", {"images": images[:, 1:]}
    yield "an image without a batch", "embed", {"images": images[0]}
    yield "another number of radii", "certify", {"images": images, "radius_l2": np.zeros(3, "f4")}
    yield "an empty batch", "serving_bytes", {"image_bytes": np.array([], object)}
    yield "another input's name", "serving_default", {"pictures": images}
    yield "pixels that are true or false", "serving_default", {"images": images > 0.5}
    if typed:
        yield "float64", "serving_default", {"images": images.astype(np.float64)}


def bad_rows(model: Model, max_image_bytes: int) -> Iterator[Request]:
    """The second row of two is bad: name, signature, inputs."""
    values = {"a pixel above 1": 1.5, "a pixel below 0": -0.5, "NaN": np.nan, "infinity": np.inf}
    for name, value in values.items():
        images = model.images(2)
        images[1, 0, 0, 0] = value
        yield name, "serving_default", {"images": images}
        yield name, "embed", {"images": images}
        yield name, "certify", {"images": images, "radius_l2": np.zeros(2, np.float32)}
    images = model.images(2)
    for name, value in {"a radius below 0": -1, "a radius of NaN": np.nan}.items():
        yield name, "certify", {"images": images, "radius_l2": np.array([0, value], np.float32)}
    png = model.encoded(images)
    broken = {
        "random bytes": b"no image",
        "half a PNG": png[1][: len(png[1]) // 2],
        # Decoders do not read what follows an image.
        f"a PNG of {max_image_bytes + 1} bytes": png[1].ljust(max_image_bytes + 1, b"\0"),
    }
    for name, content in broken.items():
        encoded = png.copy()
        encoded[1] = content
        yield name, "serving_bytes", {"image_bytes": encoded}
