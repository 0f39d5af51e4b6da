"""Robust accuracy: what an attack leaves."""

from collections.abc import Callable
from dataclasses import dataclass

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


def evaluate_robustness(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: np.ndarray,
    labels: np.ndarray,
    config: PGDConfig | None,
    batch_size: int = 250,
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> RobustnessResult:
    """Attacks every correctly classified example until something breaks it.

    Misclassified and already broken examples are not attacked again: batches are packed from the
    survivors. The result does not depend on the batch size beyond the rounding of the network.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: float `[N, H, W, C]` in [0, 1].
        labels: int `[N]`.
        config: the attack; None only classifies.
        batch_size: images attacked at once.
        seed: of the random starts.
        on_batch: called after each attacked batch with its number of images and the number of
            examples that nothing has broken so far, such as a progress bar.

    Returns:
        Predictions and what was broken.

    Raises:
        ValueError: if images are not finite in [0, 1], their number differs from the labels',
            batch_size is below 1, or the model gives NaN, which no prediction can be read from.

    Example:
        >>> evaluate_robustness(model, images, labels, PGDConfig(0.1, 0.02, 20)).robust_accuracy
    """
    images, labels = checked_examples(images, labels)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
    compiled = tf.function(
        log_scores, input_signature=[tf.TensorSpec([None, *images.shape[1:]], tf.float32)]
    )

    def predict(batch: np.ndarray) -> np.ndarray:
        scores = compiled(batch).numpy()
        if np.isnan(scores).any():
            # argmax takes the first NaN for the maximum: class 0 would count as robust.
            raise ValueError("log_scores must give numbers for images in [0, 1]. Received: NaN")
        return np.argmax(scores, axis=1)

    def batches(indices: np.ndarray) -> list[np.ndarray]:
        return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]

    everything = np.arange(len(labels))
    predictions = np.concatenate([predict(images[batch]) for batch in batches(everything)])
    correct = predictions == labels
    survivors = correct.copy()
    broken: dict[str, np.ndarray] = {}
    if config is None:
        return RobustnessResult(predictions, correct, broken)
    for loss in config.losses:
        broken[loss] = np.zeros(len(labels), bool)
        attack = PGD(log_scores, images.shape[1:], config.norm, loss)
        for restart in range(config.restarts):
            for batch in batches(np.flatnonzero(survivors)):
                start = attack.random_start(
                    images[batch], config.eps, restart_seed(seed, restart), batch
                )
                adversarial = attack(
                    images[batch],
                    labels[batch],
                    start,
                    eps=config.eps,
                    step_size=config.step_size,
                    steps=config.steps,
                )
                broken[loss][batch] = predict(adversarial.numpy()) != labels[batch]
                survivors[batch] = ~broken[loss][batch]
                if on_batch is not None:
                    on_batch(len(batch), int(survivors.sum()))
    return RobustnessResult(predictions, correct, broken)
