"""What an interrupted evaluation has finished, batch by batch."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clustr_tf.files import write_arrays, write_json


class Memory:
    """Results of batches on disk, so that the same evaluation goes on where it was interrupted.

    Args:
        folder: where they lie. What another evaluation left there is deleted.
        settings: everything that the results depend on, as JSON takes it.

    Attributes:
        seconds: that all results took which were asked for, in this session or before.

    Example:
        >>> memory = Memory(Path("runs/digits/evaluation"), {"eps": 0.1})
        >>> memory.of("ensemble")("apgd_ce-0-0", attack_the_batch)
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self._folder, self.seconds = folder, 0.0
        stamp = folder / "settings.json"
        if not stamp.exists() or json.loads(stamp.read_text(encoding="utf-8")) != settings:
            self.forget()
            write_json(stamp, settings)

    def of(self, name: str) -> Callable[[str, Callable[[], np.ndarray]], np.ndarray]:
        """The memo of one attack.

        Args:
            name: tells it from other attacks.

        Returns:
            (key of a batch, how to compute its result) -> the result.
        """
        return partial(self._recall, name)

    def forget(self) -> None:
        """Deletes everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _recall(self, name: str, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        path = self._folder / f"{name}-{key}.npz"
        if not path.exists():
            begin = time.perf_counter()
            result = compute()
            write_arrays(path, {"result": result, "seconds": np.array(time.perf_counter() - begin)})
        with np.load(path, allow_pickle=False) as arrays:
            self.seconds += float(arrays["seconds"])
            return np.asarray(arrays["result"])
