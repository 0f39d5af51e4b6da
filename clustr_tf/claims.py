"""A folder for one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from clustr_tf.errors import InputError


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
