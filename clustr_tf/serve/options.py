"""Names and types of the signatures, and what an exported model does with bad input."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clustr_tf.run.checks import check, check_one_of

_IMAGES = {"images": "float32"}
_PREDICTIONS = {
    "class_id": "int64",
    "probabilities": "float32",
    "certified_radius_l2": "float32",
    "certified_radius_linf": "float32",
}

INPUTS = {
    "serving_default": _IMAGES,
    "certify": {**_IMAGES, "radius_l2": "float32"},
    "certify_linf": {**_IMAGES, "radius_linf": "float32"},
    "embed": _IMAGES,
    "serving_bytes": {"image_bytes": "string"},
}
OUTPUTS = {
    "serving_default": _PREDICTIONS,
    "certify": {
        "class_id": "int64",
        "certified_radius_l2": "float32",
        "certified_radius_linf": "float32",
        "embedding_margin": "float32",
        "nearest_cluster": "int64",
        "runner_up_class_id": "int64",
        "is_certified": "bool",
    },
    "certify_linf": {
        "class_id": "int64",
        "certified_radius_linf": "float32",
        "is_certified": "bool",
    },
    "embed": {"embeddings": "float32", "nearest_cluster": "int64", "squared_distances": "float32"},
    "serving_bytes": _PREDICTIONS,
}
ON_INVALID = ("refuse", "flag")
RESIZE = ("exact", "bilinear")
LINF = ("bisection", "grid", "off")
MOST_IMAGE_BYTES = 2**30


@dataclass(frozen=True)
class ServingOptions:
    """Choices of an export; they become part of the graph.

    Args:
        on_invalid: "refuse": one bad row refuses its whole request with INVALID_ARGUMENT and words.
            "flag": a bad row answers -1 as its class and clusters and 0 everywhere else, and its
            neighbours their answers: for servers that batch the requests of several clients.
        resize: what happens to encoded images of another size: "exact" refuses them, "bilinear"
            resizes them (with antialiasing, as `tf.image.resize`), up to 2^22 pixels each.
            WARNING: certified radii are then about the resized image, not about the file's pixels.
        max_image_bytes: the longest encoded image that is decoded.
        linf: how the largest radius by interval bounds is sought, where the network has them.
            "bisection": 15 passes of the bounds through the network, the radii of `certify`;
            "grid": 4 passes, radii lower by up to a factor of sqrt(2), none below 0.0055;
            "off": no pass, the Lipschitz bound alone.

    Raises:
        ValueError: if one is not as above.

    Example:
        >>> ServingOptions(on_invalid="flag").resize  # "exact"
    """

    on_invalid: str = "refuse"
    resize: str = "exact"
    max_image_bytes: int = 2**20
    linf: str = "bisection"

    def __post_init__(self) -> None:
        check_one_of(self, ON_INVALID, "on_invalid")
        check_one_of(self, RESIZE, "resize")
        check_one_of(self, LINF, "linf")
        check(
            self,
            f"1 to {MOST_IMAGE_BYTES}",
            lambda size: 1 <= size <= MOST_IMAGE_BYTES,
            "max_image_bytes",
        )


DEFAULTS = ServingOptions()


def good_inputs(images: np.ndarray, image_bytes: Any) -> dict[str, dict[str, Any]]:
    """Inputs of each signature, all of the same images.

    Args:
        images: float32 `[batch, H, W, C]` in [0, 1].
        image_bytes: the same as PNG or JPEG, `[batch]`.

    Returns:
        Inputs by name, by signature; the radii asked for are 0.

    Example:
        >>> good_inputs(images, [png])["embed"]["images"] is images  # True
    """
    radii = np.zeros(len(images), np.float32)
    given = {
        "images": images,
        "image_bytes": image_bytes,
        **dict.fromkeys(("radius_l2", "radius_linf"), radii),
    }
    return {
        signature: {name: given[name] for name in inputs} for signature, inputs in INPUTS.items()
    }
