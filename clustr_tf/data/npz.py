"""A NumPy file of images and labels as a data set."""

import zipfile
from pathlib import Path

import numpy as np

from clustr_tf.data.dataset import Dataset
from clustr_tf.data.image_store import in_parts
from clustr_tf.data.parts import (
    check_test_split,
    drawn_test_images,
    pixel_statistics,
    pixel_sums,
)
from clustr_tf.run.errors import InputError, first_line


def npz(
    data_dir: str | None = None, test_split: float | None = None, test_seed: int = 0
) -> Dataset:
    """Images of one `.npz` file, as `numpy.savez` writes it.

    Its arrays: `images` uint8 `[N, H, W, C]` or, of grey images, `[N, H, W]`; `labels`, whole
    numbers `[N]` from 0; `class_names` `[classes]`, where there are names; `test_images` and
    `test_labels`, where the test images are chosen.

    Args:
        data_dir: the file.
        test_split: share of the images that become test images, stratified; None: 0.2 unless the
            file has test images.
        test_seed: decides which.

    Returns:
        The data set, named after the file, with the statistics of its training pixels.

    Raises:
        ValueError: if a field is out of its range.
        InputError: one line if the file is no such file.

    Example:
        >>> np.savez("mine.npz", images=images, labels=labels, class_names=["cat", "dog"])
        >>> npz("mine.npz").class_names  # ("cat", "dog")
    """
    if data_dir is None:
        raise ValueError("data_dir must be the path of a .npz file. Received: None")
    check_test_split(test_split, test_seed)
    source = Path(data_dir).expanduser()
    arrays = _read(source)
    images, labels = _checked(source, arrays, "")
    if "class_names" in arrays:
        class_names = tuple(str(name) for name in arrays["class_names"].ravel())
    else:
        class_names = tuple(str(label) for label in range(int(labels.max()) + 1))
    missing = sorted(set(range(len(class_names))) - set(labels.tolist()))
    if missing or labels.max() >= len(class_names) or len(set(class_names)) < len(class_names):
        raise InputError(
            f"{source}: class_names must be different names, one for each label, and every class "
            f"must have an image. Received: {len(class_names)} names, labels up to {labels.max()}"
            + (f", none of class {missing[0]}" if missing else "")
        )
    if "test_images" in arrays:
        if test_split is not None:
            raise ValueError(
                f"test_split must be None where the file has test_images. Received: {test_split}"
            )
        test_images, test_labels = _checked(source, arrays, "test_")
        if test_images.shape[1:] != images.shape[1:] or test_labels.max() >= len(class_names):
            raise InputError(
                f"{source}: test_images and test_labels must be like images and labels"
            )
    else:
        kept, drawn = drawn_test_images(
            str(source), labels, len(class_names), test_split, test_seed
        )
        drawn = np.random.default_rng(0).permutation(drawn)  # the first are of all classes
        test_images, test_labels = images[drawn], labels[drawn]
        images, labels = images[kept], labels[kept]
    sums = np.sum([pixel_sums(part) for part in in_parts(images)], axis=0)
    mean, std = pixel_statistics(str(source), sums, int(np.prod(images.shape[:3])))
    return Dataset(
        name=source.stem,
        train_images=images,
        train_labels=labels,
        validation_images=images[:0],
        validation_labels=labels[:0],
        test_images=test_images,
        test_labels=test_labels,
        class_names=class_names,
        mean=mean,
        std=std,
    )


def _read(source: Path) -> dict[str, np.ndarray]:
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise InputError(
            f"config.dataset.data_dir must be a .npz file of images and labels, without objects. "
            f"Received: {str(source)!r} ({first_line(error)})"
        ) from error


def _checked(
    source: Path, arrays: dict[str, np.ndarray], prefix: str
) -> tuple[np.ndarray, np.ndarray]:
    absent = [name for name in (f"{prefix}images", f"{prefix}labels") if name not in arrays]
    if absent:
        raise InputError(f"{source} must have an array {absent[0]!r}. Received: {sorted(arrays)}")
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise InputError(
            f"{source}: {prefix}images must be uint8 [N, H, W, C], 0 to 255. "
            f"Received: {images.dtype} {list(images.shape)}"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(
            f"{source}: {prefix}labels must be whole numbers [N] from 0, one an image. "
            f"Received: {labels.dtype} {list(labels.shape)}"
        )
    return images, labels.astype(np.int64)
