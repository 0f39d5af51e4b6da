"""Files that are either complete or not there, and folders for one process at a time."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from clustr_tf.run.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` that takes its place only if the block succeeds.

    Args:
        path: the file to write; its folder is made if missing.

    Yields:
        The path to write to; it keeps the suffix of `path`.

    Example:
        >>> with replacing(Path("model.keras")) as temporary:
        ...     model.save(temporary)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            # A machine that is taken away may otherwise keep the new name without the content.
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """Writes readable JSON; NaN and infinity are refused, as JSON has neither.

    Args:
        path: the file to write.
        values: what `json.dumps` takes.

    Raises:
        ValueError: if a number is NaN or infinite.

    Example:
        >>> write_json(Path("summary.json"), {"accuracy": 0.99})
    """
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz that can be read without pickle.

    Args:
        path: the file to write, ending in .npz.
        arrays: name -> array; none of objects.

    Raises:
        ValueError: if an array holds objects; the old file then stays.

    Example:
        >>> write_arrays(Path("certificates.npz"), {"radius_l2": radii})
    """
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


@contextmanager
def claimed(root: Path, doing: str, wait: bool = False) -> Iterator[None]:
    """The folder given as --workdir for this process alone, while the block runs.

    The lock is the operating system's: it ends with the process, however that ends. A thread that
    has claimed the folder may claim it again inside.

    Args:
        root: the folder; it is made if missing.
        doing: what processes do there, for the message: "training".
        wait: for the process that is there, instead of refusing.

    Raises:
        InputError: if another process is there, or the folder cannot be made.

    Example:
        >>> with claimed(Path("runs/a"), "training"):
        ...     train()
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock", is_singleton=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise InputError(f"--workdir={root} is in use: another process is {doing} there") from error
    except OSError as error:
        raise InputError(f"--workdir={root} cannot be written: {error}") from error
    try:
        yield
    finally:
        lock.release()
