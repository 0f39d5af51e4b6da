"""Robust accuracy: what an attack leaves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.attacks.pgd import PGD, PGDConfig, checked_examples, restart_seed


@dataclass(frozen=True)
class RobustnessResult:
    """What the attack left, one entry an example.

    Attributes:
        clean_predictions: int64 `[N]`, predictions for the images as they are.
        correct: bool `[N]`, correctly classified.
        broken: name of the attack loss -> bool `[N]`, whether it broke the example. An example
            that an earlier loss broke is not attacked again.
    """

    clean_predictions: np.ndarray
    correct: np.ndarray
    broken: dict[str, np.ndarray]

    @property
    def robust(self) -> np.ndarray:
        """Which examples are correct and were broken by nothing, bool `[N]`."""
        return self.correct & ~np.any([*self.broken.values(), np.zeros_like(self.correct)], axis=0)

    @property
    def clean_accuracy(self) -> float:
        """Share of correctly classified examples."""
        return float(np.mean(self.correct))

    @property
    def robust_accuracy(self) -> float:
        """Share of examples that every restart of every loss failed to break."""
        return float(np.mean(self.robust))


class RobustnessEvaluator:
    """Attacks data sets with one configured attack, compiled once.

    Misclassified and already broken examples are not attacked again: batches are packed from the
    survivors. The result does not depend on the batch size beyond the rounding of the network.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        config: the attack; None only classifies.
        batch_size: images attacked at once.
        jit_compile: whether XLA compiles the attack. Then every batch has the full size, filled up
            with repeated images, as each size would be compiled anew.

    Raises:
        ValueError: if batch_size is below 1.

    Example:
        >>> evaluator = RobustnessEvaluator(model, (8, 8, 1), PGDConfig(0.1, 0.02, 20))
        >>> evaluator(images, labels).robust_accuracy
    """

    def __init__(
        self,
        log_scores: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, int, int],
        config: PGDConfig | None,
        batch_size: int = 250,
        jit_compile: bool = False,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
        self._config, self._batch_size, self._fill = config, batch_size, jit_compile
        self._log_scores = tf.function(
            log_scores,
            input_signature=[tf.TensorSpec([None, *image_shape], tf.float32)],
            jit_compile=jit_compile,
        )
        losses = config.losses if config else ()
        norm = config.norm if config else "linf"
        self._attacks = {
            loss: PGD(log_scores, image_shape, norm, loss, jit_compile) for loss in losses
        }

    def __call__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        seed: int = 0,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> RobustnessResult:
        """Attacks every correctly classified example until something breaks it.

        Args:
            images: float `[N, H, W, C]` in [0, 1].
            labels: int `[N]`.
            seed: of the random starts.
            on_batch: called after each attacked batch with its number of images and the number of
                examples that nothing has broken so far, such as a progress bar.

        Returns:
            Predictions and what was broken.

        Raises:
            ValueError: if images are not finite in [0, 1], their number differs from the labels',
                or the model gives NaN, which no prediction can be read from.
        """
        images, labels = checked_examples(images, labels)
        predictions = np.concatenate(
            [
                self._predictions(images[rows])[:count]
                for rows, count in self._batches(np.arange(len(labels)), len(labels))
            ]
        )
        correct = predictions == labels
        survivors = correct.copy()
        broken = {loss: np.zeros(len(labels), bool) for loss in self._attacks}
        restarts = self._config.restarts if self._config else 0
        for loss, attack in self._attacks.items():
            for restart in range(restarts):
                for rows, count in self._batches(np.flatnonzero(survivors), len(labels)):
                    found = self._attack(attack, images, labels, rows, restart_seed(seed, restart))
                    attacked = rows[:count]
                    wrong = (self._predictions(found) != labels[rows])[:count]
                    broken[loss][attacked] = wrong
                    survivors[attacked] = ~wrong
                    if on_batch is not None:
                        on_batch(count, int(survivors.sum()))
        return RobustnessResult(predictions, correct, broken)

    def _batches(self, indices: np.ndarray, total: int) -> list[tuple[np.ndarray, int]]:
        """Row numbers of each batch, and how many of them count."""
        size = min(self._batch_size, total)
        parts = [indices[i : i + size] for i in range(0, len(indices), size)]
        return [(np.resize(part, size) if self._fill else part, len(part)) for part in parts]

    def _predictions(self, batch: Any) -> np.ndarray:
        scores = self._log_scores(batch).numpy()
        if np.isnan(scores).any():
            # argmax takes the first NaN for the maximum: class 0 would count as robust.
            raise ValueError("log_scores must give numbers for images in [0, 1]. Received: NaN")
        return np.argmax(scores, axis=1)

    def _attack(
        self, attack: PGD, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, seed: int
    ) -> tf.Tensor:
        config = self._config
        assert config is not None  # an attack exists only with a config
        return attack(
            images[rows],
            labels[rows],
            attack.random_start(images[rows], config.eps, seed, rows),
            eps=config.eps,
            step_size=config.step_size,
            steps=config.steps,
        )


def evaluate_robustness(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: np.ndarray,
    labels: np.ndarray,
    config: PGDConfig | None,
    batch_size: int = 250,
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> RobustnessResult:
    """Attacks one data set; see `RobustnessEvaluator`, which compiles once for several.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: float `[N, H, W, C]` in [0, 1].
        labels: int `[N]`.
        config: the attack; None only classifies.
        batch_size: images attacked at once.
        seed: of the random starts.
        on_batch: see `RobustnessEvaluator.__call__`.

    Returns:
        Predictions and what was broken.

    Raises:
        ValueError: as `RobustnessEvaluator` and its call.

    Example:
        >>> evaluate_robustness(model, images, labels, PGDConfig(0.1, 0.02, 20)).robust_accuracy
    """
    images, labels = checked_examples(images, labels)
    evaluator = RobustnessEvaluator(log_scores, images.shape[1:], config, batch_size)
    return evaluator(images, labels, seed, on_batch)
