"""Folders or archives of images: train/CLASS/*.png and test/CLASS/*.png (or .jpg, .jpeg)."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from clustr_tf.data.dataset import Dataset
from clustr_tf.data.image_decoding import decode_image
from clustr_tf.data.image_files import ARCHIVES, SPLITS, fingerprint, read_files
from clustr_tf.data.image_store import keep
from clustr_tf.run.errors import InputError

# Of all decoded images together, in memory.
MAX_DECODED_BYTES = 2**33
SUFFIXES = (".png", ".jpg", ".jpeg")

# Of one split: class name -> file name -> row of the image, as read.
_Rows = dict[str, dict[str, int]]


def image_folder(
    data_dir: str | None = None,
    image_size: tuple[int, int] | None = None,
    in_memory: bool = True,
    cache_dir: str | None = None,
) -> Dataset:
    """Images of a folder or of an archive, which is read without unpacking it to the disk.

    Classes are the sorted folder names of train/; images are sorted by class, then by file name.
    The test images are shuffled after that, always alike: the first of them stand for all classes.

    Args:
        data_dir: a folder with train/CLASS/NAME and test/CLASS/NAME, or an archive (`ARCHIVES`)
            of such a folder or of its content. NAME ends with one of `SUFFIXES`.
        image_size: (height, width) to resize every image to; None: all must have one size.
        in_memory: False: images are decoded once, into a file of `cache_dir` that is checked by
            its hash when it is used again, and read from there when they are needed.
        cache_dir: folder of such files; None: `~/.cache/clustr_tf`.

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
    read = partial(_decode, source, image_size, MAX_DECODED_BYTES if in_memory else None)
    take, found = keep(
        read,
        in_memory,
        cache_dir,
        _stem(source),
        lambda: {"files": fingerprint(source), "image_size": image_size},
    )
    train, test = _splits(source, found)
    class_names = _check_classes(source, train, test)
    train_rows, train_labels = _in_order(train, class_names)
    test_rows, test_labels = _in_order(test, class_names)
    # Evaluations take the first test images: sorted, those would be of the first classes only.
    order = np.random.default_rng(0).permutation(len(test_labels))
    train_images = take(train_rows)
    sums = found["sums"][:, train_rows].sum(axis=1)
    mean, std = _pixel_statistics(source, sums, int(np.prod(train_images.shape[:3])))
    return Dataset(
        name=_stem(source),
        train_images=train_images,
        train_labels=train_labels,
        validation_images=train_images[:0],
        validation_labels=train_labels[:0],
        test_images=take(test_rows[order]),
        test_labels=test_labels[order],
        class_names=class_names,
        mean=mean,
        std=std,
    )


def _decode(
    source: Path,
    image_size: tuple[int, int] | None,
    most_bytes: int | None,
    append: Callable[[np.ndarray], None],
) -> dict[str, np.ndarray]:
    """Decodes every image of the splits.

    Returns:
        Paths of the images in the order of reading and of the folders, as text; "sums" int64
        `[2, N, C]`: of the pixels of each image, and of their squares.
    """
    images: list[str] = []
    folders: list[str] = []
    sums: list[np.ndarray] = []
    shape, decoded_bytes = None, 0
    for path, content in read_files(source):
        _, inner = _below_top(path, may_have_top=not source.is_dir())
        if not inner:
            continue
        if content is None and len(inner) <= 2:
            folders.append(str(path))
            continue
        name = f"{source}: {path}"
        if content is None or len(inner) != 3 or path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{name} has no place: {inner[0]}/ must have class folders with files that end "
                f"with {', '.join(SUFFIXES)}, and nothing else"
            )
        image = decode_image(content, name, image_size)
        shape = shape or image.shape
        if image.shape != shape:
            raise InputError(
                f"{name} must be like the images before it, {_describe(shape)}. Received: "
                f"{_describe(image.shape)}. config.dataset.image_size resizes; channels must agree"
            )
        decoded_bytes += image.nbytes
        if most_bytes is not None and decoded_bytes > most_bytes:
            raise InputError(
                f"{source} must decode to at most {most_bytes} bytes; "
                "config.dataset.image_size makes images smaller, and "
                "config.dataset.in_memory=False leaves them on disk"
            )
        append(image)
        images.append(str(path))
        sums.append(_sums(image))
    return {
        "images": _as_text(images),
        "folders": _as_text(folders),
        "sums": np.stack(sums, axis=1) if sums else np.zeros((2, 0, 0), np.int64),
    }


def _sums(image: np.ndarray) -> np.ndarray:
    pixels = image.reshape(-1, image.shape[-1])
    squares = np.einsum("pc,pc->c", pixels, pixels, dtype=np.int64)
    return np.stack([pixels.sum(axis=0, dtype=np.int64), squares])


def _as_text(paths: list[str]) -> np.ndarray:
    """Paths, which have no line breaks, as an array of few bytes."""
    return np.frombuffer("\n".join(paths).encode(), np.uint8)


def _splits(source: Path, found: dict[str, np.ndarray]) -> tuple[_Rows, _Rows]:
    images, folders = (found[name].tobytes().decode().split("\n") for name in ("images", "folders"))
    splits: dict[str, _Rows] = {}
    tops = set()
    for row, name in [*((None, name) for name in folders), *enumerate(images)]:
        if not name:
            continue
        top, inner = _below_top(PurePosixPath(name), may_have_top=not source.is_dir())
        tops.add(top)
        if len(tops) > 1:
            raise InputError(f"{source} must have one train/ and one test/. Received: {name} also")
        split = splits.setdefault(inner[0], {})
        if len(inner) > 1:
            files = split.setdefault(inner[1], {})
            if row is not None:
                if inner[2] in files:
                    raise InputError(f"{source}: {name} must be there once; it is there twice")
                files[inner[2]] = row
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


def _check_classes(source: Path, train: _Rows, test: _Rows) -> tuple[str, ...]:
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


def _in_order(split: _Rows, class_names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    rows = [row for _, files in sorted(split.items()) for _, row in sorted(files.items())]
    sizes = [len(split.get(class_name, {})) for class_name in class_names]
    return np.array(rows), np.repeat(np.arange(len(class_names), dtype=np.int64), sizes)


def _pixel_statistics(
    source: Path, sums: np.ndarray, pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel: exact whole numbers, rounded once."""
    totals, squares = sums.tolist()
    variances = [
        pixels * square - total**2 for total, square in zip(totals, squares, strict=True)
    ]  # times (255 * pixels)^2
    if min(variances) == 0:
        raise InputError(f"{source} must have more than one value in every channel of train/")
    unit = 255 * pixels
    return tuple(total / unit for total in totals), tuple(
        math.sqrt(variance) / unit for variance in variances
    )


def _stem(source: Path) -> str:
    name = source.resolve().name
    ending = max((end for end in ARCHIVES if name.lower().endswith(end)), key=len, default="")
    return name if source.is_dir() else name[: -len(ending)]


def _describe(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height}x{width} pixels with {channels} channel{'s' if channels > 1 else ''}"
