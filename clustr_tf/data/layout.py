"""Which split and class each file of a data set belongs to, by its path alone."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from clustr_tf.run.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# Folder name in lower case -> split.
SPLITS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "validation", "valid": "validation", "validation": "validation"},
}


class Place(NamedTuple):
    """Where a file belongs.

    Attributes:
        split: "train", "validation" or "test"; "train" where there are no such folders.
        class_name: None for a file that lies in no class folder.
        rest: the path below the class folder.
    """

    split: str
    class_name: str | None
    rest: PurePosixPath


class Layout:
    """Finds `SPLIT/CLASS/...`, or `CLASS/...`, at the top or in the one folder at the top.

    Args:
        folders: all folders.

    Raises:
        ValueError: if there are several places with splits.

    Example:
        >>> layout = Layout([PurePosixPath("mine/train/cat")])
        >>> layout.place(PurePosixPath("mine/train/cat/1.png"))  # ("train", "cat", "1.png")
    """

    def __init__(self, folders: Iterable[PurePosixPath]):
        every = {
            folder.parts[:end] for folder in folders for end in range(1, len(folder.parts) + 1)
        }
        self._top: tuple[str, ...] = ()
        names = _below(every, self._top)
        while len(names) == 1 and not _splits(names) and _below(every, (*self._top, *names)):
            self._top = (*self._top, *names)
            names = _below(every, self._top)
        self.has_splits = bool(_splits(names))
        # Folders of classes, which may have none: split -> names.
        self.classes: dict[str, set[str]] = {}
        for name in sorted(names):
            inner = _below(every, (*self._top, name))
            if not self.has_splits:
                self.classes.setdefault("train", set()).add(name)
            elif name.lower() in SPLITS:
                split = SPLITS[name.lower()]
                if split in self.classes:
                    raise ValueError(
                        f"must have one folder of {split} images. Received: {name} also"
                    )
                self.classes[split] = inner
                continue
            if _splits(inner):
                also = f"{name}/{min(_splits(inner))}"
                raise ValueError(f"must have one train/ and one test/. Received: {also} also")

    def place(self, path: PurePosixPath) -> Place | None:
        """The place of a file; None for one that does not belong to the data."""
        if path.parts[: len(self._top)] != self._top:
            return None
        parts, split = path.parts[len(self._top) :], "train"
        if self.has_splits:
            if len(parts) < 2 or parts[0].lower() not in SPLITS:
                return None
            split, parts = SPLITS[parts[0].lower()], parts[1:]
        elif len(parts) == 1 and path.suffix.lower() not in SUFFIXES:
            return None  # a README beside the classes
        return Place(split, parts[0] if len(parts) > 1 else None, PurePosixPath(*parts[1:]))


def _below(folders: set[tuple[str, ...]], top: tuple[str, ...]) -> set[str]:
    depth = len(top)
    return {one[depth] for one in folders if len(one) == depth + 1 and one[:depth] == top}


def _splits(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.lower() in SPLITS]


def is_image(path: PurePosixPath) -> bool:
    """Whether a file is called an image."""
    return path.suffix.lower() in SUFFIXES


def check_classes(source: str, classes: dict[str, set[str]]) -> tuple[str, ...]:
    """The class names, sorted as text.

    Args:
        source: what messages call the data.
        classes: split -> names of the classes that have images.

    Raises:
        InputError: if there are fewer than two, or a split has one that train/ lacks.
    """
    names = tuple(sorted(classes["train"]))
    if len(names) < 2:
        raise InputError(f"{source} must have two classes or more. Received: {list(names)}")
    for split in ("validation", "test"):
        unknown = sorted(classes.get(split, set()) - classes["train"])
        if unknown:
            raise InputError(f"{source}: {split}/{unknown[0]} must also be a class of train/")
    return names
