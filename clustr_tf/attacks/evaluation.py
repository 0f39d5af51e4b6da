"""Robust accuracy: what attacks leave."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.attacks.attack import Attack, Find, pgd_attacks
from clustr_tf.attacks.examples import as_pixels, checked_examples
from clustr_tf.attacks.pgd import restart_seed
from clustr_tf.attacks.pgd_config import PGDConfig
from clustr_tf.attacks.result import RobustnessResult
from clustr_tf.attacks.sharing import SharedWork

Memo = Callable[[str, Callable[[], np.ndarray]], np.ndarray]


def compute(key: str, value: Callable[[], np.ndarray]) -> np.ndarray:
    """The memo that remembers nothing."""
    del key
    return value()


class RobustnessEvaluator:
    """Attacks data sets with given attacks, each compiled once for all radii and batches.

    Misclassified and already broken examples are not attacked again: batches are packed from the
    survivors. The result does not depend on the batch size beyond the rounding of the network.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        attacks: name -> attack, in the order in which they are tried.
        batch_size: images attacked at once, by all replicas together.
        jit_compile: whether XLA compiles the predictions. Then every batch has the full size,
            filled up with repeated images, as each size would be compiled anew.
        strategy: whose replicas share the work; the model must have been made in its scope. None
            for this device alone. Only one machine's replicas: "multi_worker" is for training.

    Raises:
        ValueError: if batch_size is below the number of replicas.

    Example:
        >>> attacks = pgd_attacks(model, (8, 8, 1), PGDConfig(0.1, 0.02, 20))
        >>> evaluator = RobustnessEvaluator(model, (8, 8, 1), attacks)
        >>> evaluator(images, labels, eps=0.1).robust_accuracy
    """

    def __init__(
        self,
        log_scores: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, int, int],
        attacks: Mapping[str, Attack],
        batch_size: int = 250,
        jit_compile: bool = False,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.log_scores, self.attacks = log_scores, dict(attacks)
        self._work = SharedWork(batch_size, jit_compile, strategy)
        pixels = tf.TensorSpec([None, *image_shape], tf.float32)
        rows, scalar = tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32)
        arguments = [pixels, rows, rows, tf.TensorSpec([], tf.float32), scalar, scalar]
        self._classify = tf.function(
            lambda images: _classes(log_scores(images)),
            input_signature=[pixels],
            jit_compile=jit_compile,
            autograph=False,
        )
        self._compiled_predictions = self._work.compiled(self._classify, [pixels])
        self._compiled_attacks = {
            name: self._work.compiled(partial(self._attacked, attack.find), arguments)
            for name, attack in self.attacks.items()
        }

    def __call__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        eps: float,
        seed: int = 0,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> RobustnessResult:
        """Attacks every correctly classified example until something breaks it.

        Args:
            images: float `[N, H, W, C]` in [0, 1], or uint8 that stand for multiples of 1/255.
            labels: int `[N]`.
            eps: radius in pixels.
            seed: of all random draws.
            on_batch: called after each attacked batch with its number of images and the number of
                examples that nothing has broken so far, such as a progress bar.

        Returns:
            Predictions and what was broken.

        Raises:
            ValueError: if images are not finite in [0, 1], their number differs from the labels',
                or the model gives NaN, which no prediction can be read from.
        """
        images, labels = checked_examples(images, labels)
        predictions = self.predictions(images)
        correct = predictions == labels
        survivors, broken = correct.copy(), {}
        for name in self.attacks:
            broken[name] = self.broken_by(
                name, images, labels, survivors, eps, seed, on_batch=on_batch
            )
            survivors &= ~broken[name]
        return RobustnessResult(predictions, correct, broken)

    def predictions(self, images: np.ndarray) -> np.ndarray:
        """Classes of images.

        Args:
            images: as in `__call__`, checked.

        Returns:
            int64 `[N]`.

        Raises:
            ValueError: if the model gives NaN.
        """
        return np.concatenate(
            [
                self._classes_of(self._compiled_predictions, [as_pixels(images[rows])])[:count]
                for rows, count in self._work.batches(np.arange(len(images)), len(images))
            ]
        )

    def broken_by(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray,
        candidates: np.ndarray,
        eps: float,
        seed: int = 0,
        memo: Memo = compute,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Which examples one attack breaks.

        Args:
            name: of the attack.
            images: as in `__call__`, checked.
            labels: int64 `[N]`.
            candidates: bool `[N]`, which are attacked.
            eps: radius in pixels.
            seed: of all random draws.
            memo: (key, how to compute) -> what each batch gave; one that keeps values on disk
                makes the attack resumable.
            on_batch: see `__call__`.

        Returns:
            bool `[N]`.

        Raises:
            ValueError: if the model gives NaN.
        """
        survivors = candidates.copy()
        for attempt in range(self.attacks[name].attempts):
            packed = self._work.batches(np.flatnonzero(survivors), len(labels))
            for number, (rows, count) in enumerate(packed):
                attacked = partial(self._predictions_after, name, images, labels, rows, eps, seed)
                predictions = memo(f"{name}-{attempt}-{number}", partial(attacked, attempt))
                survivors[rows[:count]] = (predictions == labels[rows])[:count]
                if on_batch is not None:
                    on_batch(count, int(survivors.sum()))
        return candidates & ~survivors

    def adversarial(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray,
        example_ids: np.ndarray,
        eps: float,
        seed: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What one attack finds for a few examples, all in one batch.

        Args:
            name: of the attack.
            images: as in `__call__`, checked.
            labels: int64 `[N]`.
            example_ids: int `[N]`, the rows that the examples have in the whole data set.
            eps: radius in pixels.
            seed: of all random draws.

        Returns:
            Images float32 `[N, H, W, C]` and their classes int64 `[N]`; of each example what the
            first attempt found that broke it, else what the last attempt found.

        Raises:
            ValueError: if the model gives NaN.
        """
        find = tf.function(self.attacks[name].find, autograph=False)
        pixels = tf.constant(as_pixels(images))
        found, broken = pixels.numpy(), np.zeros(len(labels), bool)
        for attempt in range(self.attacks[name].attempts):
            scalars = [tf.constant(eps, tf.float32), tf.constant(restart_seed(seed, attempt))]
            ids = tf.constant(example_ids, tf.int32)
            moved = find(pixels, tf.constant(labels), *scalars, tf.constant(attempt), ids).numpy()
            found = np.where(broken[:, None, None, None], found, moved)
            broken |= self.predictions(moved) != labels
            if broken.all():
                break
        return found, self.predictions(found)

    def _predictions_after(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        eps: float,
        seed: int,
        attempt: int,
    ) -> np.ndarray:
        scalars = [tf.constant(eps, tf.float32), tf.constant(restart_seed(seed, attempt))]
        return self._classes_of(
            self._compiled_attacks[name],
            [as_pixels(images[rows]), labels[rows], rows],
            [*scalars, tf.constant(attempt)],
        )

    def _classes_of(
        self, function: Any, arrays: list[np.ndarray], scalars: list[tf.Tensor] | None = None
    ) -> np.ndarray:
        predictions = self._work(function, arrays, scalars or [])
        if (predictions < 0).any():
            # argmax takes the first NaN for the maximum: class 0 would count as robust.
            raise ValueError("log_scores must give numbers for images in [0, 1]. Received: NaN")
        return predictions

    def _attacked(
        self,
        find: Find,
        images: tf.Tensor,
        labels: tf.Tensor,
        example_ids: tf.Tensor,
        eps: tf.Tensor,
        seed: tf.Tensor,
        attempt: tf.Tensor,
    ) -> tf.Tensor:
        """Predictions for what the attack finds."""
        ids = tf.cast(example_ids, tf.int32)
        return self._classify(find(images, labels, eps, seed, attempt, ids))


def _classes(scores: tf.Tensor) -> tf.Tensor:
    """The class of each row; -1 where a score is NaN."""
    unknown = tf.reduce_any(tf.math.is_nan(scores), axis=1)
    return tf.where(unknown, tf.constant(-1, tf.int64), tf.argmax(scores, axis=1))


def evaluate_robustness(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: np.ndarray,
    labels: np.ndarray,
    config: PGDConfig | None,
    batch_size: int = 250,
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> RobustnessResult:
    """Attacks one data set with PGD; see `RobustnessEvaluator`, which compiles once for several.

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
    attacks = pgd_attacks(log_scores, images.shape[1:], config) if config else {}
    evaluator = RobustnessEvaluator(log_scores, images.shape[1:], attacks, batch_size)
    return evaluator(images, labels, config.eps if config else 0.0, seed, on_batch)
