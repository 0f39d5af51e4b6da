"""One model's examples under attack: accuracies at a radius and the smallest radius that breaks."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clustr_tf.attacks import RobustnessEvaluator
from clustr_tf.evaluate.results import Outcome
from clustr_tf.run.files import write_arrays, write_json


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
        stamp, settings = folder / "settings.json", json.loads(json.dumps(settings))
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


OnBatch = Callable[[str, int, int, float], None]


class Examples:
    """Images that one evaluation attacks again and again.

    Args:
        evaluator: the compiled stages.
        images: uint8 or float `[N, H, W, C]`.
        labels: int64 `[N]`.
        seed: of all random draws.
        memory: of finished batches.
        on_batch: called after each batch with the attack, the images in the batch, how many
            examples of all still stand, and the work that it was: images times an attempt's cost.

    Example:
        >>> examples = Examples(evaluator, images, labels, seed=0, memory=memory)
        >>> examples.attacked("ensemble", ENSEMBLE, eps=8 / 255).any_broken
    """

    def __init__(
        self,
        evaluator: RobustnessEvaluator,
        images: np.ndarray,
        labels: np.ndarray,
        seed: int,
        memory: Memory,
        on_batch: OnBatch = lambda name, count, standing, work: None,
    ):
        self.evaluator, self.images, self.labels, self.seed = evaluator, images, labels, seed
        self._memory, self._on_batch = memory, on_batch
        # (stage, radius) -> which examples it was tried on, and which of them it broke
        self._found: dict[tuple[str, float], np.ndarray] = {}
        self.predictions = evaluator.predictions(images)
        self.correct = self.predictions == labels

    def attacked(
        self,
        name: str,
        stages: Sequence[str],
        eps: float,
        candidates: np.ndarray | None = None,
        count: int | None = None,
    ) -> Outcome:
        """Attacks with one stage after another what the stages before left.

        What a stage did to an example at a radius is known from then on and not done again: its
        result depends on nothing else.

        Args:
            name: of the whole, for progress and memory; with other candidates another name.
            stages: names of the evaluator's attacks.
            eps: radius in pixels.
            candidates: bool `[N]` or `[count]`, which examples; None for all that are classified
                correctly.
            count: only the first so many examples.

        Returns:
            The outcome for the first `count` examples.
        """
        standing = np.zeros_like(self.correct)
        standing[:count] = (self.correct if candidates is None else candidates)[:count]
        folder = f"{name}-{'+'.join(stages)}-{eps:.9g}-{len(standing[:count])}"
        begin, attacked, broken = self._memory.seconds, 0, {}

        def told(stage: str, images_in_batch: int, survivors: int) -> None:
            nonlocal attacked
            attacked += images_in_batch
            cost = self.evaluator.attacks[stage].cost
            self._on_batch(name, images_in_batch, survivors, images_in_batch * cost)

        for stage in stages:
            tried, found = self._found.setdefault((stage, eps), np.zeros((2, len(standing)), bool))
            fresh = standing & ~tried
            found |= self.evaluator.broken_by(
                stage,
                self.images,
                self.labels,
                fresh,
                eps,
                self.seed,
                memo=self._memory.of(folder),
                on_batch=partial(told, stage),
            )
            tried |= fresh
            broken[stage] = (standing & found)[:count]
            standing &= ~found
        return Outcome(broken, attacked, self._memory.seconds - begin)

    def smallest_eps(
        self,
        name: str,
        stages: Sequence[str],
        radii: Sequence[float],
    ) -> np.ndarray:
        """The smallest of some radii at which an attack breaks each example.

        An adversarial image in a ball lies in every larger ball too, so what a radius broke is
        not attacked at larger ones.

        Args:
            name: of the attack.
            stages: as in `attacked`.
            radii: in pixels.

        Returns:
            float32 `[N]`: 0 for misclassified examples, infinity for those that no radius broke.
        """
        smallest = np.where(self.correct, np.inf, 0.0).astype(np.float32)
        for eps in sorted(radii):
            standing = np.isinf(smallest)
            outcome = self.attacked(f"{name} curve", stages, eps, standing)
            smallest[standing & outcome.any_broken] = eps
        return smallest

    def adversarial(
        self, stage: str, rows: np.ndarray, eps: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a stage finds for a few examples.

        Args:
            stage: name of one of the evaluator's attacks.
            rows: int `[G]`, the examples.
            eps: radius in pixels.

        Returns:
            Images float32 `[G, H, W, C]` and their classes int64 `[G]`; of each example what the
            first attempt found that broke it, else what the last attempt found.
        """
        return self.evaluator.adversarial(
            stage, self.images[rows], self.labels[rows], rows, eps, self.seed
        )
