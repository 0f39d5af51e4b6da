"""Folders or archives of images: train/CLASS/*.png and test/CLASS/*.png (or .jpg, .jpeg)."""

from pathlib import Path, PurePosixPath

import numpy as np

from clustr_tf.data.dataset import Dataset
from clustr_tf.data.image_decoding import decode_image
from clustr_tf.data.image_files import ARCHIVES, SPLITS, read_files
from clustr_tf.run.errors import InputError

# Of all decoded images together.
MAX_DECODED_BYTES = 2**33
SUFFIXES = (".png", ".jpg", ".jpeg")
_BATCH = 1000

# Of one split: class name -> file name -> image.
_Images = dict[str, dict[str, np.ndarray]]


def image_folder(data_dir: str | None = None, image_size: tuple[int, int] | None = None) -> Dataset:
    """Images of a folder or of an archive, which is read without unpacking it to the disk.

    Classes are the sorted folder names of train/; images are sorted by class, then by file name.
    The test images are shuffled after that, always alike: the first of them stand for all classes.

    Args:
        data_dir: a folder with train/CLASS/NAME and test/CLASS/NAME, or an archive (`ARCHIVES`)
            of such a folder or of its content. NAME ends with one of `SUFFIXES`.
        image_size: (height, width) to resize every image to; None: all must have one size.

    Returns:
        The data set, named after the folder or archive, with the statistics of its training
        pixels.

    Raises:
        ValueError: if there is no path, or the size is not two positive numbers.
        InputError: one line if something is missing, damaged, empty or not as described.

    Example:
        >>> image_folder("mnist.tar.xz").image_shape  # (28, 28, 1)
    """
    if data_dir is None:
        raise ValueError(
            f"data_dir must be the path of a folder or archive ({', '.join(ARCHIVES)}) with "
            "train/CLASS/ and test/CLASS/. Received: None"
        )
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise ValueError(
            "image_size must be (height, width), each at least 1 pixel. "
            f"Received: {tuple(image_size)}"
        )
    source = Path(data_dir).expanduser()
    train, test = _decode_splits(source, image_size)
    class_names = _check_classes(source, train, test)
    train_images, train_labels = _in_order(train, class_names)
    test_images, test_labels = _in_order(test, class_names)
    # Evaluations take the first test images: sorted, those would be of the first classes only.
    order = np.random.default_rng(0).permutation(len(test_labels))
    mean, std = _pixel_statistics(source, train_images)
    return Dataset(
        name=_stem(source),
        train_images=train_images,
        train_labels=train_labels,
        validation_images=train_images[:0],
        validation_labels=train_labels[:0],
        test_images=test_images[order],
        test_labels=test_labels[order],
        class_names=class_names,
        mean=mean,
        std=std,
    )


def _decode_splits(source: Path, image_size: tuple[int, int] | None) -> tuple[_Images, _Images]:
    splits: dict[str, _Images] = {}
    tops = set()
    shape, decoded_bytes = None, 0
    for path, content in read_files(source):
        top, inner = _below_top(path, may_have_top=not source.is_dir())
        if not inner:
            continue
        tops.add(top)
        if len(tops) > 1:
            raise InputError(f"{source} must have one train/ and one test/. Received: {path} also")
        split = splits.setdefault(inner[0], {})
        if content is None and len(inner) <= 2:
            if len(inner) == 2:
                split.setdefault(inner[1], {})
            continue
        name = f"{source}: {path}"
        if content is None or len(inner) != 3 or path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{name} has no place: {inner[0]}/ must have class folders with files that end "
                f"with {', '.join(SUFFIXES)}, and nothing else"
            )
        _, class_name, file_name = inner
        images = split.setdefault(class_name, {})
        if file_name in images:
            raise InputError(f"{name} must be there once; it is there twice")
        image = decode_image(content, name, image_size)
        shape = shape or image.shape
        if image.shape != shape:
            raise InputError(
                f"{name} must be like the images before it, {_describe(shape)}. Received: "
                f"{_describe(image.shape)}. config.dataset.image_size resizes; channels must agree"
            )
        decoded_bytes += image.nbytes
        if decoded_bytes > MAX_DECODED_BYTES:
            raise InputError(
                f"{source} must decode to at most {MAX_DECODED_BYTES} bytes; "
                "config.dataset.image_size makes images smaller"
            )
        images[file_name] = image
    for split_name in SPLITS:
        if split_name not in splits:
            raise InputError(f"{source} must have a folder {split_name}/ with a folder a class")
    return splits["train"], splits["test"]


def _below_top(path: PurePosixPath, may_have_top: bool) -> tuple[str, tuple[str, ...]]:
    """The top folder ("" for none) and the parts from train or test on; none if not below them."""
    parts = path.parts
    if parts[:1] and parts[0] in SPLITS:
        return "", parts
    if may_have_top and len(parts) > 1 and parts[1] in SPLITS:
        return parts[0], parts[1:]
    return "", ()


def _check_classes(source: Path, train: _Images, test: _Images) -> tuple[str, ...]:
    class_names = tuple(sorted(train))
    if len(class_names) < 2:
        raise InputError(f"{source} must have two classes or more. Received: {list(class_names)}")
    for split_name, split in (("train", train), ("test", test)):
        for class_name in sorted(split):
            if not split[class_name]:
                raise InputError(f"{source}: {split_name}/{class_name} must have an image or more")
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise InputError(f"{source}: test/{unknown[0]} must also be a class of train/")
    if not test:
        raise InputError(f"{source}: test/ must have an image or more")
    return class_names


def _in_order(split: _Images, class_names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    images = [image for _, files in sorted(split.items()) for _, image in sorted(files.items())]
    sizes = [len(split.get(class_name, {})) for class_name in class_names]
    return np.stack(images), np.repeat(np.arange(len(class_names), dtype=np.int64), sizes)


def _pixel_statistics(
    source: Path, images: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel, in float64 from the counts of the 256 values."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), _BATCH):
        for channel in range(channels):
            pixels = images[start : start + _BATCH, ..., channel]
            counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    means = shares @ values
    variances = (shares * (values - means[:, None]) ** 2).sum(axis=1)
    if (counts > 0).sum(axis=1).min() < 2:
        raise InputError(f"{source} must have more than one value in every channel of train/")
    return tuple(means.tolist()), tuple(np.sqrt(variances).tolist())


def _stem(source: Path) -> str:
    name = source.resolve().name
    ending = max((end for end in ARCHIVES if name.lower().endswith(end)), key=len, default="")
    return name if source.is_dir() else name[: -len(ending)]


def _describe(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height}x{width} pixels with {channels} channel{'s' if channels > 1 else ''}"
