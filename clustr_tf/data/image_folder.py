"""Folders or archives of images: train/CLASS/... and test/CLASS/..., or CLASS/... alone."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from clustr_tf.data.dataset import Dataset
from clustr_tf.data.image_decoding import CHANNELS, RESIZES, decode_image
from clustr_tf.data.image_files import ARCHIVES, fingerprint, folder_paths, read_files
from clustr_tf.data.image_store import Take, keep
from clustr_tf.data.layout import Layout, check_classes, is_image
from clustr_tf.data.parts import (
    check_test_split,
    drawn_test_images,
    pixel_statistics,
    pixel_sums,
)
from clustr_tf.run.errors import InputError

# Of all decoded images together, in memory.
MAX_DECODED_BYTES = 2**33
_SHOWN = 20  # bad files in a message
_logger = logging.getLogger(__name__)


def image_folder(
    data_dir: str | None = None,
    image_size: tuple[int, int] | None = None,
    resize: str = "stretch",
    color_mode: str | None = None,
    on_bad_image: str = "refuse",
    test_split: float | None = None,
    test_seed: int = 0,
    in_memory: bool = True,
    cache_dir: str | None = None,
) -> Dataset:
    """Images of a folder or of an archive, which is read without unpacking it to the disk.

    Images lie in train/CLASS/, test/CLASS/ and, if you like, val/CLASS/, or in CLASS/ alone, and
    in any folders below. Classes are the sorted folder names of train/; images are sorted by class,
    then by path. The test images are shuffled after that, always alike: the first of them stand for
    all classes.

    Args:
        data_dir: a folder, or a tar or zip archive of it or of its content.
        image_size: (height, width) to resize every image to; None: all must have one size.
        resize: "stretch", or "crop" or "pad", which keep the aspect.
        color_mode: "grey" or "rgb"; None: grey if all images are, else RGB.
        on_bad_image: "refuse", or "skip": files that cannot be used are left out and listed.
        test_split: share of the training images, stratified, that become test images where there
            is no test/; None: 0.2.
        test_seed: decides which.
        in_memory: False: images are decoded once, into a file of `cache_dir` that is checked by
            its hash when it is used again, and read from there when they are needed.
        cache_dir: folder of such files; None: `~/.cache/clustr_tf`.

    Returns:
        The data set, named after the folder or archive, with the statistics of its training
        pixels.

    Raises:
        ValueError: if a field is out of its range.
        InputError: one line if something is missing, damaged, empty or not as described.

    Example:
        >>> image_folder("mnist.tar.xz").image_shape  # (28, 28, 1)
    """
    if data_dir is None:
        raise ValueError(
            f"data_dir must be the path of a folder or archive ({', '.join(ARCHIVES)}) with "
            "train/CLASS/ and test/CLASS/, or CLASS/. Received: None"
        )
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise ValueError(
            "image_size must be (height, width), each at least 1 pixel. "
            f"Received: {tuple(image_size)}"
        )
    for name, value, allowed in (
        ("resize", resize, [*RESIZES]),
        ("color_mode", color_mode, [None, *CHANNELS]),
        ("on_bad_image", on_bad_image, ["refuse", "skip"]),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}. Received: {value!r}")
    check_test_split(test_split, test_seed)
    source = Path(data_dir).expanduser()
    how: dict[str, Any] = {
        "image_size": image_size,
        "resize": resize,
        "color_mode": color_mode,
        "on_bad_image": on_bad_image,
    }
    kept = partial(
        keep,
        in_memory=in_memory,
        cache_dir=cache_dir,
        name=_stem(source),
        key=lambda: {"files": fingerprint(source), **how},
    )
    read = partial(_decode, source, **how, most_bytes=MAX_DECODED_BYTES if in_memory else None)
    try:
        take, found = kept(read)
    except _MixedColoursError:
        take, found = kept(partial(read, color_mode="rgb"))
    return _dataset(source, take, found, test_split, test_seed)


class _MixedColoursError(Exception):
    """Some images are grey and some are not."""


class _Split(NamedTuple):
    rows: np.ndarray  # of the images as read
    labels: np.ndarray


def _dataset(
    source: Path,
    take: Take,
    found: dict[str, np.ndarray],
    test_split: float | None,
    test_seed: int,
) -> Dataset:
    _tell_left_out(source, _lines(found["bad"]))
    class_names, splits = _splits(source, found)
    train, test = splits["train"], splits.get("test")
    if test is None:
        kept, drawn = drawn_test_images(
            str(source), train.labels, len(class_names), test_split, test_seed
        )
        test = _Split(train.rows[drawn], train.labels[drawn])
        train = _Split(train.rows[kept], train.labels[kept])
    elif test_split is not None:
        raise ValueError(f"test_split must be None where there is test/. Received: {test_split}")
    validation = splits.get("validation", _Split(train.rows[:0], train.labels[:0]))
    # Evaluations take the first test images: sorted, those would be of the first classes only.
    order = np.random.default_rng(0).permutation(len(test.labels))
    train_images = take(train.rows)
    sums = found["sums"][:, train.rows].sum(axis=1)
    mean, std = pixel_statistics(str(source), sums, int(np.prod(train_images.shape[:3])))
    return Dataset(
        name=_stem(source),
        train_images=train_images,
        train_labels=train.labels,
        validation_images=take(validation.rows) if len(validation.rows) else train_images[:0],
        validation_labels=validation.labels,
        test_images=take(test.rows[order]),
        test_labels=test.labels[order],
        class_names=class_names,
        mean=mean,
        std=std,
    )


def _decode(
    source: Path,
    append: Callable[[np.ndarray], Any],
    image_size: tuple[int, int] | None,
    resize: str,
    color_mode: str | None,
    on_bad_image: str,
    most_bytes: int | None,
) -> dict[str, np.ndarray]:
    """Decodes every image of the data.

    Returns:
        As text, "images": their paths in the order of reading; "folders": those of folders; "bad":
        what is wrong with the files that were left out. "sums" int64 `[2, N, C]`: see `pixel_sums`.
    """
    images: list[PurePosixPath] = []
    folders: dict[PurePosixPath, None] = {}
    bad: list[tuple[PurePosixPath, str]] = []
    sums: list[np.ndarray] = []
    shape, decoded_bytes = None, 0
    layout = None
    if source.is_dir():  # of an archive the folders are known when it has been read
        layout = _layout(source, (p for p in folder_paths(source) if (source / p).is_dir()))

    def wanted(path: PurePosixPath) -> bool:
        return is_image(path) and (layout is None or layout.place(path) is not None)

    for path, content in read_files(source, wanted):
        if content is None:
            folders[path] = None
            continue
        folders[path.parent] = None
        if not is_image(path):
            bad.append((path, f"{path} is no image"))
            continue
        if not wanted(path):
            continue
        try:
            image = decode_image(content, str(path), image_size, resize, color_mode)
        except InputError as error:
            bad.append((path, str(error)))
            continue
        shape = shape or image.shape
        if image.shape[:2] == shape[:2] and image.shape != shape:
            raise _MixedColoursError
        if image.shape != shape:
            size, first = (f"{one[0]}x{one[1]}" for one in (image.shape, shape))
            bad.append((path, f"{path} has {size} pixels, the first image {first}"))
            continue
        decoded_bytes += image.nbytes
        if most_bytes is not None and decoded_bytes > most_bytes:
            raise InputError(
                f"{source} must decode to at most {most_bytes} bytes; "
                "config.dataset.image_size makes images smaller, and "
                "config.dataset.in_memory=False leaves them on disk"
            )
        append(image)
        images.append(path)
        sums.append(pixel_sums(image))
    layout = layout or _layout(source, folders)
    told = [reason for path, reason in bad if layout.place(path) is not None]
    if told and on_bad_image == "refuse":
        raise InputError(_refusal(source, told))
    return {
        "images": _text(images),
        "folders": _text(folders),
        "bad": _text(told),
        "sums": np.stack(sums, axis=1) if sums else np.zeros((2, 0, 0), np.int64),
    }


def _refusal(source: Path, bad: list[str]) -> str:
    more = f" | and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    sizes = "config.dataset.image_size resizes images; " if " pixels, the first" in str(bad) else ""
    files = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    return (
        f"{source}: {files} cannot be used: {' | '.join(bad[:_SHOWN])}{more}. {sizes}"
        "config.dataset.on_bad_image=skip leaves them out"
    )


def _tell_left_out(source: Path, bad: list[str]) -> None:
    if bad:
        _logger.warning("%s: left out %d files:\n  %s", source, len(bad), "\n  ".join(bad))


def _layout(source: Path, folders: Any) -> Layout:
    try:
        return Layout(folders)
    except ValueError as error:
        raise InputError(f"{source} {error}") from error


def _text(lines: Any) -> np.ndarray:
    """Lines, which have no line breaks, as an array of few bytes."""
    return np.frombuffer("\n".join(map(str, lines)).encode(), np.uint8)


def _lines(text: np.ndarray) -> list[str]:
    return text.tobytes().decode().split("\n") if len(text) else []


def _splits(
    source: Path, found: dict[str, np.ndarray]
) -> tuple[tuple[str, ...], dict[str, _Split]]:
    """Class names, and of each split the rows and labels sorted by class and path."""
    layout = _layout(source, map(PurePosixPath, _lines(found["folders"])))
    members: dict[str, dict[str, dict[PurePosixPath, int]]] = {
        split: {name: {} for name in sorted(classes)} for split, classes in layout.classes.items()
    }
    for row, name in enumerate(_lines(found["images"])):
        place = layout.place(PurePosixPath(name))
        if place is None:
            continue
        if place.class_name is None:
            raise InputError(f"{source}: {name} has no place: images must lie in class folders")
        files = members[place.split][place.class_name]
        if place.rest in files:
            raise InputError(f"{source}: {name} must be there once; it is there twice")
        files[place.rest] = row
    if "train" not in members:
        raise InputError(f"{source} must have a folder train/ with a folder a class")
    for split, classes in members.items():
        if not classes:
            raise InputError(f"{source}: {split}/ must have an image or more")
        for name, files in classes.items():
            if not files:
                folder = f"{split}/{name}" if layout.has_splits else name
                raise InputError(f"{source}: {folder} must have an image or more")
    class_names = check_classes(str(source), {split: {*one} for split, one in members.items()})
    numbers = {name: number for number, name in enumerate(class_names)}
    splits = {}
    for split, classes in members.items():
        rows = [row for files in classes.values() for _, row in sorted(files.items())]
        labels = [numbers[name] for name, files in classes.items() for _ in files]
        splits[split] = _Split(np.array(rows), np.array(labels, np.int64))
    return class_names, splits


def _stem(source: Path) -> str:
    name = source.resolve().name
    ending = max((end for end in ARCHIVES if name.lower().endswith(end)), key=len, default="")
    return name if source.is_dir() else name[: -len(ending)]
