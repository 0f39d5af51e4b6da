"""What an exported model does with input that is not as it should be."""

from dataclasses import dataclass

ON_INVALID = ("refuse", "flag")
RESIZE = ("exact", "bilinear")
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

    Raises:
        ValueError: if one is not as above.

    Example:
        >>> ServingOptions(on_invalid="flag").resize  # "exact"
    """

    on_invalid: str = "refuse"
    resize: str = "exact"
    max_image_bytes: int = 2**20

    def __post_init__(self) -> None:
        for name, allowed in (("on_invalid", ON_INVALID), ("resize", RESIZE)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {list(allowed)}. Received: {value!r}")
        if not 1 <= self.max_image_bytes <= MOST_IMAGE_BYTES:
            raise ValueError(
                f"max_image_bytes must be 1 to {MOST_IMAGE_BYTES}. Received: {self.max_image_bytes}"
            )


DEFAULTS = ServingOptions()
