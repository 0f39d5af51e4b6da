"""What robustness.npz must hold for a report, and the check of it."""

from collections.abc import Mapping

import numpy as np

from clustr_tf.errors import InputError

# A letter is a size that must be the same wherever it stands, a digit is itself.
PER_EXAMPLE = {"labels": "N", "clean_predictions": "N", "robust": "N"}
GALLERY = {
    "gallery_rows": "G",
    "gallery_images": "GHWC",
    "gallery_adversarial": "GHWC",
    "gallery_predictions": "G",
}
MAP = {
    "map_rows": "P",
    "map_points": "P2",
    "map_images": "PHWC",
    "map_centroids": "M2",
    "map_centroid_labels": "M",
    "map_explained": "2",
}
_ROWS = ("gallery_rows", "map_rows")
_CLASSES = ("labels", "clean_predictions", "gallery_predictions", "map_centroid_labels")


def check_arrays(arrays: Mapping[str, np.ndarray], examples: int, classes: int, place: str) -> None:
    """Checks that the arrays are complete and that every index means something.

    Args:
        arrays: those of robustness.npz that the report uses.
        examples: number of evaluated images.
        classes: number of classes.
        place: the file, for the message.

    Raises:
        InputError: at the first difference, in one line.

    Example:
        >>> check_arrays({"labels": labels}, 360, 10, "robustness.npz")  # clean_predictions missing
    """
    sizes = {"N": examples}
    for group in (PER_EXAMPLE, GALLERY, MAP):
        if group is PER_EXAMPLE or any(name in arrays for name in group):
            for name, shape in group.items():
                _check_shape(arrays, name, shape, sizes, place)
    for names, limit in ((_ROWS, examples), (_CLASSES, classes)):
        for name in names:
            if name in arrays and not _are_indices(arrays[name], limit):
                raise InputError(
                    f"{place}: {name!r} must hold integers in [0, {limit}); evaluate again"
                )


def _check_shape(
    arrays: Mapping[str, np.ndarray], name: str, shape: str, sizes: dict[str, int], place: str
) -> None:
    if name not in arrays:
        raise InputError(f"{place} has no array {name!r}; evaluate again to write it")
    found = arrays[name].shape
    fits = len(found) == len(shape) and all(
        size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
        for axis, size in zip(shape, found, strict=True)
    )
    if not fits:
        raise InputError(
            f"{place}: {name!r} of shape {found} does not fit the other arrays; evaluate again"
        )


def _are_indices(values: np.ndarray, limit: int) -> bool:
    return values.dtype.kind in "iu" and bool(np.all((values >= 0) & (values < limit)))
