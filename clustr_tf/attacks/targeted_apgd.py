"""Auto-PGD towards one other class at a time."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from clustr_tf.attacks.apgd import APGD
from clustr_tf.attacks.losses import targeted_dlr


class TargetedAPGD(APGD):
    """Auto-PGD on the targeted DLR loss: towards one other class at a time.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        norm: "linf" or "l2".
        steps: gradient steps, at least 1.

    Raises:
        ValueError: as `APGD`.

    Example:
        >>> attack = TargetedAPGD(model, (32, 32, 3))
        >>> adversarial = attack(images, labels, eps=8 / 255, target_rank=1)

    Reference:
        Croce and Hein, arXiv 2003.01690, equation 6.
    """

    def __init__(
        self,
        log_scores: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, int, int],
        norm: str = "linf",
        steps: int = 100,
    ):
        super().__init__(log_scores, image_shape, norm, "margin", steps)

    def __call__(
        self,
        images: Any,
        labels: Any,
        *,
        eps: Any,
        seed: Any = 0,
        example_ids: Any = None,
        target_rank: Any = 1,
    ) -> tf.Tensor:
        """Attacks towards the class that is `target_rank`-th best of the others at the image.

        Args:
            images: as in `APGD`.
            labels: int `[batch]`.
            eps: radius in pixels.
            seed: of the random starts.
            example_ids: as in `APGD`.
            target_rank: 1 to classes - 1.

        Returns:
            As `APGD`.

        Raises:
            ValueError: if target_rank, where it is an int, is not the rank of another class.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int64)
        logits = self._log_scores(images)
        others = logits.shape[1] - 1
        if isinstance(target_rank, int) and not 1 <= target_rank <= others:
            raise ValueError(f"target_rank must be 1 to {others}. Received: {target_rank}")
        own = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=bool)
        without_own = tf.where(own, logits.dtype.min, logits)
        ranked = tf.argsort(without_own, axis=1, direction="DESCENDING", stable=True)
        targets = tf.cast(tf.gather(ranked, target_rank - 1, axis=1), tf.int64)
        return self._run(images, labels, targets, eps, seed, example_ids)

    def _losses(self, labels: tf.Tensor, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return targeted_dlr(labels, targets, logits)
