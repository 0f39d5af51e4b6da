"""Auto-PGD: projected gradient ascent that chooses its own step lengths."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from clustr_tf.attacks.balls import boundary_perturbations, direction, finite, norm_order, projected
from clustr_tf.attacks.losses import AttackLoss, attack_loss, ranked_class, targeted_dlr
from clustr_tf.data.pixels import checked_examples, to_pixels

_ENOUGH_INCREASES = 0.75  # rho
_MOMENTUM = 0.75  # alpha


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which the step length is reconsidered.

    The first interval is 22 % of all steps, each further one 3 % shorter, none below 6 %, all
    rounded down as in the official code.

    Args:
        steps: of the attack, at least 1.

    Returns:
        Numbers of finished steps, ascending.

    Example:
        >>> checkpoints(100)[:4]  # (22, 41, 57, 70)

    Reference:
        Croce and Hein, arXiv 2003.01690, section 3.2; `autopgd_base.py` of AutoAttack.
    """
    interval, shorter = max(22 * steps // 100, 1), max(3 * steps // 100, 1)
    shortest = max(6 * steps // 100, 1)
    found, at = [], interval
    while at <= steps:
        found.append(at)
        interval = max(interval - shorter, shortest)
        at += interval
    return tuple(found)


class State(NamedTuple):
    """Of every example: where it is, what was best, and what decides the step length."""

    images: tf.Tensor  # the iterate
    before: tf.Tensor  # the one before it
    gradient: tf.Tensor  # at the iterate
    loss: tf.Tensor  # of the newest iterate that was evaluated
    best: tf.Tensor
    best_gradient: tf.Tensor
    best_loss: tf.Tensor
    broken: tf.Tensor  # whether an iterate was misclassified
    adversarial: tf.Tensor  # the first that was
    step: tf.Tensor  # length
    increases: tf.Tensor  # of the loss since the last checkpoint
    checked_loss: tf.Tensor  # best loss at the last checkpoint
    was_halved: tf.Tensor  # whether the last checkpoint halved the step


def noted(state: State, losses: tf.Tensor, gradient: tf.Tensor, wrong: tf.Tensor) -> State:
    """What the newest iterate changes in the records."""
    better = losses > state.best_loss
    return state._replace(
        gradient=gradient,
        loss=losses,
        best=_where(better, state.images, state.best),
        best_gradient=_where(better, gradient, state.best_gradient),
        best_loss=tf.where(better, losses, state.best_loss),
        adversarial=_where(wrong & ~state.broken, state.images, state.adversarial),
        broken=state.broken | wrong,
        increases=state.increases + tf.cast(losses > state.loss, tf.float32),
    )


def reconsidered(state: State, interval: tf.Tensor) -> State:
    """At a checkpoint: halves the step and goes back to the best point where that is due."""
    at_checkpoint = interval > 0
    few_increases = state.increases <= _ENOUGH_INCREASES * interval
    stuck = ~state.was_halved & (state.checked_loss >= state.best_loss)
    halved = at_checkpoint & (few_increases | stuck)
    return state._replace(
        step=tf.where(halved, state.step / 2, state.step),
        images=_where(halved, state.best, state.images),
        gradient=_where(halved, state.best_gradient, state.gradient),
        increases=tf.where(at_checkpoint, tf.zeros_like(state.increases), state.increases),
        checked_loss=tf.where(at_checkpoint, state.best_loss, state.checked_loss),
        was_halved=tf.where(at_checkpoint, halved, state.was_halved),
    )


def _like_images(values: tf.Tensor) -> tf.Tensor:
    """`[batch]` -> `[batch, 1, 1, 1]`."""
    return values[:, None, None, None]


def _where(condition: tf.Tensor, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """`images` where the condition `[batch]` is true, else `others`."""
    return tf.where(_like_images(condition), images, others)


class APGD:
    """Auto-PGD inside an eps-ball around images in [0, 1], compiled once for all radii and batches.

    Starts on the boundary of the ball with steps of twice the radius and a momentum of 0.75. At
    each checkpoint the step of an example is halved, and the search goes back to its best point,
    if the loss rose in no more than three quarters of the steps since the last checkpoint, or if
    neither step nor best loss have changed. Only gradients with respect to the images are taken.
    It ends early once every example of the batch is broken.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        norm: "linf" or "l2".
        loss: a key of `ATTACK_LOSSES`, or a callable `(labels, logits)` -> `[batch]`.
        steps: gradient steps, at least 1.
        draws: evaluations of the model that loss and gradient are the mean of, at least 1: more
            than one for models that draw random numbers (expectation over transformation, Athalye
            et al., arXiv 1802.00420). An example is broken if the last of them is wrong.

    Raises:
        ValueError: if norm or loss is unknown, or steps or draws is below 1.

    Example:
        >>> attack = APGD(model, (32, 32, 3), norm="linf", loss="ce", steps=100)
        >>> adversarial = attack(images, labels, eps=8 / 255, seed=0)

    Reference:
        Croce and Hein, arXiv 2003.01690, algorithm 1; `autopgd_base.py` of AutoAttack. Different
        on purpose: the first step's loss is compared with the start's, not with 0.
    """

    def __init__(
        self,
        log_scores: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, int, int],
        norm: str = "linf",
        loss: str | AttackLoss = "ce",
        steps: int = 100,
        draws: int = 1,
    ):
        if steps < 1 or draws < 1:
            raise ValueError(f"steps and draws must be at least 1. Received: {steps} and {draws}")
        self._log_scores, self._draws = log_scores, draws
        self._norm, self._loss = norm_order(norm), attack_loss(loss)
        self._shape, self.steps = tuple(image_shape), steps
        checked = checkpoints(steps)
        intervals = np.diff([0, *checked])
        # By number of finished steps: the length of the interval that ends there, else 0.
        self._interval_at = np.zeros(steps + 1, np.float32)
        self._interval_at[list(checked)] = intervals
        self._compiled = tf.function(
            self._find,
            input_signature=[
                tf.TensorSpec([None, *image_shape], tf.float32),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ],
            autograph=False,
        )

    def __call__(
        self, images: Any, labels: Any, *, eps: Any, seed: Any = 0, example_ids: Any = None
    ) -> tf.Tensor:
        """Attacks.

        Args:
            images: `[batch, H, W, C]` in [0, 1], the centres of the balls.
            labels: int `[batch]`, the true classes.
            eps: radius in pixels.
            seed: of the random starts.
            example_ids: int `[batch]`, default 0, 1, ...: an example's start depends on its id.

        Returns:
            float32 `[batch, H, W, C]` in the ball and in [0, 1]: the first iterate that broke the
            example, else the one with the highest loss.
        """
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int64)
        return self._run(images, labels, labels, eps, seed, example_ids)

    def _run(
        self, images: Any, labels: tf.Tensor, targets: tf.Tensor, eps: Any, seed: Any, ids: Any
    ) -> tf.Tensor:
        images = tf.convert_to_tensor(images, tf.float32)
        if ids is None:
            ids = tf.range(tf.shape(images)[0])
        return self._compiled(
            images,
            labels,
            targets,
            tf.convert_to_tensor(eps, tf.float32),
            tf.convert_to_tensor(seed, tf.int32),
            tf.cast(tf.convert_to_tensor(ids), tf.int32),
        )

    def _losses(self, labels: tf.Tensor, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """What is ascended; `targets` are for attacks that have some."""
        del targets
        return self._loss(labels=labels, logits=logits)

    def _evaluate(
        self, images: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Loss and gradient, means over the draws, and whether misclassified."""
        if self._draws == 1:
            return self._evaluate_once(images, labels, targets)

        def draw(
            done: tf.Tensor, losses: tf.Tensor, gradient: tf.Tensor, _: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            new_losses, new_gradient, wrong = self._evaluate_once(images, labels, targets)
            return done + 1, losses + new_losses, gradient + new_gradient, wrong

        zeros = tf.zeros_like(labels, tf.float32)
        _, losses, gradient, wrong = tf.while_loop(
            lambda done, *_: done < self._draws,
            draw,
            (tf.constant(0), zeros, tf.zeros_like(images), tf.zeros_like(labels, tf.bool)),
        )
        return losses / self._draws, gradient / self._draws, wrong

    def _evaluate_once(
        self, images: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = self._log_scores(images)
            losses = self._losses(labels, targets, logits)
        gradient = tape.gradient(losses, images, unconnected_gradients="zero")
        wrong = tf.argmax(logits, axis=1) != labels
        return tf.cast(losses, tf.float32), finite(gradient), wrong

    def _find(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        targets: tf.Tensor,
        eps: tf.Tensor,
        seed: tf.Tensor,
        example_ids: tf.Tensor,
    ) -> tf.Tensor:
        perturbation = boundary_perturbations(example_ids, self._shape, eps, seed, self._norm)
        start = tf.clip_by_value(images + perturbation, 0.0, 1.0)
        losses, gradient, wrong = self._evaluate(start, labels, targets)
        state = State(
            images=start,
            before=start,
            gradient=gradient,
            loss=losses,
            best=start,
            best_gradient=gradient,
            best_loss=losses,
            broken=wrong,
            adversarial=start,
            step=tf.fill(tf.shape(losses), 2 * eps),
            increases=tf.zeros_like(losses),
            checked_loss=losses,
            was_halved=tf.ones_like(wrong),
        )
        interval_at = tf.constant(self._interval_at)

        def body(done: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, ...]:
            momentum = tf.where(done > 0, _MOMENTUM, 1.0)
            moved = self._moved(State(*parts), images, eps, momentum)
            evaluated = self._evaluate(moved.images, labels, targets)
            following = reconsidered(noted(moved, *evaluated), interval_at[done + 1])
            return done + 1, *(
                tf.ensure_shape(new, old.shape) for new, old in zip(following, parts, strict=True)
            )

        def unfinished(done: tf.Tensor, *parts: tf.Tensor) -> tf.Tensor:
            return (done < self.steps) & ~tf.reduce_all(State(*parts).broken)

        _, *parts = tf.while_loop(unfinished, body, (tf.constant(0), *state))
        final = State(*parts)
        return _where(final.broken, final.adversarial, final.best)

    def _moved(
        self, state: State, centres: tf.Tensor, eps: tf.Tensor, momentum: tf.Tensor
    ) -> State:
        """One step with momentum."""
        step = _like_images(state.step) * direction(state.gradient, self._norm)
        ahead = projected(centres, state.images + step - centres, eps, self._norm)
        change = momentum * (ahead - state.images) + (1 - momentum) * (state.images - state.before)
        moved = projected(centres, state.images + change - centres, eps, self._norm)
        return state._replace(images=moved, before=state.images)


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
        targets = ranked_class(labels, self._log_scores(images), target_rank)
        return self._run(images, labels, targets, eps, seed, example_ids)

    def _losses(self, labels: tf.Tensor, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return targeted_dlr(labels, targets, logits)


def apgd(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: Any,
    labels: Any,
    *,
    eps: float,
    norm: str = "linf",
    loss: str | AttackLoss = "ce",
    steps: int = 100,
    seed: int = 0,
    example_ids: Any = None,
) -> tf.Tensor:
    """Adversarial images by Auto-PGD; compiles anew at every call, `APGD` compiles once.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: `[batch, H, W, C]` in [0, 1].
        labels: int `[batch]`.
        eps: radius in pixels.
        norm: "linf" or "l2".
        loss: as in `APGD`.
        steps: gradient steps.
        seed: of the random starts.
        example_ids: as in `APGD`.

    Returns:
        float32 `[batch, H, W, C]`.

    Raises:
        ValueError: if images are not finite in [0, 1], labels are not a class for each, or as
            `APGD`.

    Example:
        >>> apgd(model, images, labels, eps=8 / 255)
    """
    images, labels = checked_examples(images, labels, log_scores)
    attack = APGD(log_scores, images.shape[1:], norm, loss, steps)
    return attack(to_pixels(images), labels, eps=eps, seed=seed, example_ids=example_ids)
