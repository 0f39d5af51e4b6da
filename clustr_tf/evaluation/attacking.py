"""One model's examples under attack: accuracies at a radius and the smallest radius that breaks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clustr_tf.attacks import RobustnessEvaluator
from clustr_tf.evaluation.memory import Memory

OnBatch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome:
    """What an attack did, one entry an example.

    Attributes:
        broken: stage -> bool `[N]`; a stage attacks what the ones before it left.
        attacked: images that were attacked, counted once for each attempt.
        seconds: that it took, sessions before an interruption included.
    """

    broken: dict[str, np.ndarray]
    attacked: int
    seconds: float

    @property
    def any_broken(self) -> np.ndarray:
        """Which examples a stage broke, bool `[N]`."""
        return np.any(list(self.broken.values()), axis=0)


class Examples:
    """Images that one evaluation attacks again and again.

    Args:
        evaluator: the compiled stages.
        images: uint8 or float `[N, H, W, C]`.
        labels: int64 `[N]`.
        seed: of all random draws.
        memory: of finished batches.
        on_batch: called after each batch with the attack, the images in the batch and how many
            examples of all still stand.

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
        on_batch: OnBatch = lambda name, count, standing: None,
    ):
        self.evaluator, self.images, self.labels, self.seed = evaluator, images, labels, seed
        self._memory, self._on_batch = memory, on_batch
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

        Args:
            name: of the whole, for progress and memory; with other candidates another name.
            stages: names of the evaluator's attacks.
            eps: radius in pixels.
            candidates: bool `[N]`, which examples; None for all that are classified correctly.
            count: only the first so many examples.

        Returns:
            The outcome for the first `count` examples.
        """
        images, labels = self.images[:count], self.labels[:count]
        standing = (self.correct if candidates is None else candidates)[:count].copy()
        begin, attacked, broken = self._memory.seconds, 0, {}

        def told(images_in_batch: int, survivors: int) -> None:
            nonlocal attacked
            attacked += images_in_batch
            self._on_batch(name, images_in_batch, survivors)

        for stage in stages:
            broken[stage] = self.evaluator.broken_by(
                stage,
                images,
                labels,
                standing,
                eps,
                self.seed,
                memo=self._memory.of(f"{name}-{'+'.join(stages)}-{eps:.9g}-{len(labels)}"),
                on_batch=told,
            )
            standing &= ~broken[stage]
        return Outcome(broken, attacked, self._memory.seconds - begin)

    def smallest_eps(self, name: str, stages: Sequence[str], radii: Sequence[float]) -> np.ndarray:
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
            outcome = self.attacked(f"{name} curve", stages, eps, np.isinf(smallest))
            smallest[outcome.any_broken] = eps
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
