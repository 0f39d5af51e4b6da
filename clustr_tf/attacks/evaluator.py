"""Robust accuracy: what attacks leave."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.attacks.attack import Attack, Find, pgd_attacks
from clustr_tf.attacks.pgd import PGD, restart_seed
from clustr_tf.data.pixels import checked_examples, to_pixels


@dataclass(frozen=True)
class RobustnessResult:
    """What the attacks left, one entry an example.

    Attributes:
        clean_predictions: int64 `[N]`, predictions for the images as they are.
        correct: bool `[N]`, correctly classified.
        broken: name of the attack -> bool `[N]`, whether it broke the example. An example that an
            earlier attack broke is not attacked again.
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
        """Share of examples that every attempt of every attack failed to break."""
        return float(np.mean(self.robust))


Memo = Callable[[str, Callable[[], np.ndarray]], np.ndarray]


def compute(key: str, value: Callable[[], np.ndarray]) -> np.ndarray:
    """The memo that remembers nothing."""
    del key
    return value()


class SharedWork:
    """Gives every replica its share of a batch.

    Args:
        batch_size: rows at once, of all replicas together.
        fill: whether every batch has the full size, filled up with repeated rows; with several
            replicas it always has.
        strategy: whose replicas share the work; None for this device alone.

    Raises:
        ValueError: if batch_size is below the number of replicas.

    Example:
        >>> work = SharedWork(250, fill=False, strategy=None)
        >>> work.batches(np.arange(360), 360)  # [(rows 0 to 249, 250), (rows 250 to 359, 110)]
    """

    def __init__(self, batch_size: int, fill: bool, strategy: tf.distribute.Strategy | None):
        self._strategy = strategy or tf.distribute.get_strategy()
        self._replicas = self._strategy.num_replicas_in_sync
        if batch_size < self._replicas:
            raise ValueError(
                f"batch_size must be at least {self._replicas}. Received: {batch_size}"
            )
        self._batch_size = batch_size
        self._fill = fill or self._replicas > 1

    def batches(self, indices: np.ndarray, total: int) -> list[tuple[np.ndarray, int]]:
        """Row numbers of each batch, and how many of them count.

        Args:
            indices: int `[n]`, the rows.
            total: of the data set, which is no larger than a batch if that is small.

        Returns:
            One entry a batch.
        """
        size = min(self._batch_size, total)
        parts = [indices[i : i + size] for i in range(0, len(indices), size)]
        full = -(-size // self._replicas) * self._replicas
        return [(np.resize(part, full) if self._fill else part, len(part)) for part in parts]

    def compiled(self, function: Callable[..., tf.Tensor], signature: list[Any]) -> Any:
        """A function of one replica's rows, compiled to be called with `self`.

        Args:
            function: tensors -> `[batch]`.
            signature: of its tensors.

        Returns:
            What `__call__` takes.
        """
        if self._replicas == 1:
            return tf.function(function, input_signature=signature, autograph=False)
        # Values of several replicas have no signature; but all batches are then equally large.
        return tf.function(
            lambda *values: self._strategy.run(lambda *local: function(*local), args=values),
            reduce_retracing=True,
            autograph=False,
        )

    def __call__(
        self, function: Any, arrays: list[np.ndarray], scalars: list[tf.Tensor]
    ) -> np.ndarray:
        """Runs a compiled function on a batch.

        Args:
            function: of `compiled`.
            arrays: with the batch's rows, shared out.
            scalars: the same for all.

        Returns:
            `[batch]`.
        """
        shares = [np.split(array, self._replicas) for array in arrays]
        values = [self._per_replica(share) for share in shares]
        found = function(*values, *scalars)
        local = self._strategy.experimental_local_results(found)
        return np.concatenate([part.numpy() for part in local])

    def _per_replica(self, shares: list[np.ndarray]) -> Any:
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(shares[context.replica_id_in_sync_group])
        )


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
        >>> attacks = pgd_attacks(model, (8, 8, 1), PGD(eps=0.1))
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
        images: Any,  # arrays, or `StoredImages`
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
            ValueError: if images are not finite in [0, 1], labels are not a class for each, or
                the model gives NaN, which no prediction can be read from.
        """
        images, labels = checked_examples(images, labels, self.log_scores)
        predictions = self.predictions(images)
        correct = predictions == labels
        broken = self.broken_in_turn(
            self.attacks, images, labels, correct, eps, seed, on_batch=on_batch
        )
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
                self._classes_of(self._compiled_predictions, [to_pixels(images[rows])])[:count]
                for rows, count in self._work.batches(np.arange(len(images)), len(images))
            ]
        )

    def broken_in_turn(
        self,
        names: Iterable[str],
        images: np.ndarray,
        labels: np.ndarray,
        candidates: np.ndarray,
        eps: float,
        seed: int = 0,
        memo: Memo = compute,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> dict[str, np.ndarray]:
        """Attacks with one attack after another what the attacks before left.

        Args:
            names: of the attacks, in their order.
            images: as in `__call__`, checked.
            labels: int64 `[N]`.
            candidates: bool `[N]`, which are attacked.
            eps: radius in pixels.
            seed: of all random draws.
            memo: see `broken_by`.
            on_batch: see `__call__`.

        Returns:
            What each broke, bool `[N]`, by its name.

        Raises:
            ValueError: if the model gives NaN.
        """
        standing, broken = candidates.copy(), {}
        for name in names:
            broken[name] = self.broken_by(name, images, labels, standing, eps, seed, memo, on_batch)
            standing &= ~broken[name]
        return broken

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
        pixels = tf.constant(to_pixels(images))
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
            [to_pixels(images[rows]), labels[rows], rows],
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


def evaluate_robustness(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: np.ndarray,
    labels: np.ndarray,
    attack: PGD | None,
    batch_size: int = 250,
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> RobustnessResult:
    """Attacks one data set with PGD; see `RobustnessEvaluator`, which compiles once for several.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: float `[N, H, W, C]` in [0, 1].
        labels: int `[N]`.
        attack: what is run; None only classifies.
        batch_size: images attacked at once.
        seed: of the random starts.
        on_batch: see `RobustnessEvaluator.__call__`.

    Returns:
        Predictions and what was broken.

    Raises:
        ValueError: as `RobustnessEvaluator` and its call.

    Example:
        >>> evaluate_robustness(model, images, labels, PGD(eps=0.1)).robust_accuracy
    """
    shape = np.shape(images)[1:]
    attacks = pgd_attacks(log_scores, shape, attack) if attack else {}
    evaluator = RobustnessEvaluator(log_scores, shape, attacks, batch_size)
    return evaluator(images, labels, attack.eps if attack else 0.0, seed, on_batch)


def _classes(scores: tf.Tensor) -> tf.Tensor:
    """The class of each row; -1 where a score is NaN."""
    unknown = tf.reduce_any(tf.math.is_nan(scores), axis=1)
    return tf.where(unknown, tf.constant(-1, tf.int64), tf.argmax(scores, axis=1))
