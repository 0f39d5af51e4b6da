"""search.json: which search a folder holds."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clustr_tf.claims import claimed
from clustr_tf.errors import InputError
from clustr_tf.files import write_json
from clustr_tf.sections import section_values
from clustr_tf.tuning.request import Request
from clustr_tf.workdir import Workdir


@contextmanager
def claimed_search(root: Path, request: Request) -> Iterator[None]:
    """The folder for this search alone; its settings are written, or are the very same.

    Args:
        root: the folder; it is made if missing.
        request: the search.

    Raises:
        InputError: if another process searches there, the folder holds another search or a
            training run, or cannot be made.
        RunError: if there is no room for the settings.
    """
    with claimed(root, "searching"):
        if _path(root).exists():
            check_same(root, request)
        elif Workdir(root).config.exists():
            raise InputError(f"{root} holds a training run: choose another --workdir")
        with Workdir(root).writing():
            write_json(_path(root), _stated(request))
        yield


def check_same(root: Path, request: Request) -> None:
    """Refuses a folder of another search; only the number of trials may differ.

    Args:
        root: the folder.
        request: the search.

    Raises:
        InputError: if the folder holds another search, or none.
    """
    if not _path(root).exists():
        raise InputError(f"{root} holds no search: a worker needs the --workdir of its chief")
    before = json.loads(_path(root).read_text(encoding="utf-8"))
    before["search"]["trials"] = request.settings.trials
    # As JSON: what was read has lists where the request has tuples.
    if before != json.loads(json.dumps(_stated(request))):
        raise InputError(
            f"{root} holds another search: choose another --workdir, or the same config to go on "
            "(the number of trials may differ)"
        )


def _path(root: Path) -> Path:
    return root / "search.json"


def _stated(request: Request) -> dict[str, Any]:
    return {
        "search": section_values(request.settings),
        "space": [section_values(field) for field in request.fields],
        "experiment": request.config,
    }
