"""Decoded images: in memory, or on disk, written once and read at random."""

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from clustr_tf.run.errors import InputError
from clustr_tf.run.files import replacing, write_arrays

_PART_BYTES = 2**25  # what is read at once where all images pass by
_logger = logging.getLogger(__name__)


class StoredImages:
    """Images in a file, read as an array is: `images[indices]` gives those in memory, no others.

    The pages of the file that the operating system keeps are not the process's own memory.

    Args:
        file: uint8 `[N, H, W, C]`, memory-mapped.
        rows: int `[M]`, which images of the file, in which order.

    Example:
        >>> images = StoredImages(np.load("images.npy", mmap_mode="r"), np.arange(1000))
        >>> images[[5, 7]].shape  # (2, H, W, C)
    """

    def __init__(self, file: np.ndarray, rows: np.ndarray):
        self._file, self._rows = file, rows
        self.shape = (len(rows), *file.shape[1:])
        self.dtype, self.ndim = file.dtype, file.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._file[self._rows[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them in memory."""
        del copy
        return np.asarray(self._file[self._rows], dtype)

    def subset(self, rows: Any) -> "StoredImages":
        """Some of the images, still on disk.

        Args:
            rows: indices, or a slice.
        """
        return StoredImages(self._file, self._rows[rows])


Images = np.ndarray | StoredImages
# Which rows, in which order -> these images.
Take = Callable[[np.ndarray], Images]
# (what takes each image) -> arrays that tell of the images, one entry each or as it likes.
Read = Callable[[Callable[[np.ndarray], Any]], dict[str, np.ndarray]]


def subset(images: Images, rows: Any) -> Images:
    """Some of the images, where they were: those on disk stay there.

    Args:
        images: `[N, H, W, C]`.
        rows: indices, or a slice.
    """
    return images.subset(rows) if isinstance(images, StoredImages) else images[rows]


def in_parts(images: Images) -> Iterator[np.ndarray]:
    """The images one part after another, each in memory."""
    step = max(_PART_BYTES // max(int(np.prod(images.shape[1:])), 1), 1)
    for start in range(0, len(images), step):
        yield images[start : start + step]


def keep(
    read: Read,
    in_memory: bool,
    cache_dir: str | None,
    name: str,
    key: Callable[[], Mapping[str, Any]],
) -> tuple[Take, dict[str, np.ndarray]]:
    """`kept_in_memory`, or `kept_on_disk` in `cache_dir`, by default `~/.cache/clustr_tf`."""
    if in_memory:
        return kept_in_memory(read)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(cache_dir or f"{home}/clustr_tf").expanduser()
    return kept_on_disk(read, folder, name, key())


def kept_in_memory(read: Read) -> tuple[Take, dict[str, np.ndarray]]:
    """Reads images into memory.

    Args:
        read: gives each image, uint8 `[H, W, C]`, all of one shape, to the function that it gets.

    Returns:
        What takes rows of the images, and what `read` returns.
    """
    images: list[np.ndarray] = []
    columns = read(images.append)
    return lambda rows: np.stack([images[row] for row in rows]), columns


def kept_on_disk(
    read: Read, folder: Path, name: str, key: Mapping[str, Any]
) -> tuple[Take, dict[str, np.ndarray]]:
    """Reads images into a file, unless one with the same key is there and intact.

    Two files come to the folder, complete or not at all: NAME-DIGEST.images with the bytes of the
    images, NAME-DIGEST.npz with their CRC-32 and what `read` returns. A second process waits for
    the first one's.

    Args:
        read: as in `kept_in_memory`.
        folder: of such files; it is made if missing.
        name: their beginning.
        key: whatever decides what `read` gives, as JSON takes it.

    Returns:
        What takes rows of the images, and what `read` returns.

    Raises:
        InputError: if the folder cannot be written, or has no room.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    file, index = (folder / f"{name}-{digest}.{ending}" for ending in ("images", "npz"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}-{digest}.lock"):
            found = _opened(file, index)
            if found is None:
                _write(read, file, index)
                found = _opened(file, index)
    except OSError as error:
        raise InputError(
            f"config.dataset.cache_dir={str(folder)!r} cannot be written "
            f"({error.strerror or error}): choose a folder with room for all decoded images"
        ) from error
    if found is None:
        raise InputError(f"{file} does not hold what has just been written: is the disk in order?")
    images, columns = found
    return partial(StoredImages, images), columns


def _write(read: Read, file: Path, index: Path) -> None:
    shape: tuple[int, ...] = ()
    count, checksum = 0, 0
    with replacing(file) as temporary, temporary.open("wb", buffering=_PART_BYTES) as output:

        def append(image: np.ndarray) -> None:
            nonlocal shape, count, checksum
            content = np.ascontiguousarray(image).data
            shape, count, checksum = image.shape, count + 1, zlib.crc32(content, checksum)
            output.write(content)

        columns = read(append)
    told = {"shape": np.array([count, *shape]), "checksum": np.array(checksum)}
    write_arrays(index, {**columns, **told})


def _opened(file: Path, index: Path) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
    """The images and columns of a finished file; None if there is none or it is damaged."""
    if not (file.exists() and index.exists()):
        return None
    try:
        with index.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            columns = dict(arrays)
        shape, checksum = tuple(columns.pop("shape").tolist()), int(columns.pop("checksum"))
        # As a plain array: its rows are plain arrays too.
        images = np.asarray(np.memmap(file, np.uint8, "r", shape=shape))
        found = 0
        for part in in_parts(images):
            found = zlib.crc32(part.data, found)
        if found == checksum and file.stat().st_size == images.nbytes:
            return images, columns
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _logger.debug("%s: %s", index, error)
    _logger.warning("%s is damaged: the images are decoded anew", file)
    return None
