"""Projected gradient descent with CleverHans' arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from clustr_tf.attacks.balls import finite, norm_order, projected, random_perturbations
from clustr_tf.attacks.losses import ATTACK_LOSSES, AttackLoss, attack_loss
from clustr_tf.data.pixels import checked_examples, to_pixels
from clustr_tf.run.checks import check_at_least, check_at_least_0, check_eps

_EXPONENT = 0x7F800000  # the bits of a float32 that hold its exponent
_NUMBER, _COUNT = tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32)


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent, to be run on any model.

    Raises:
        ValueError: if a number is out of range or a name unknown.

    Example:
        >>> evaluate_robustness(model, images, labels, PGD(eps=8 / 255)).robust_accuracy

    Reference:
        Madry et al., arXiv 1706.06083.
    """

    eps: float  # radius of the ball, in pixels
    step_size: float | None = None  # length of a step, in pixels; None: a quarter of eps
    steps: int = 20  # gradient steps of a restart
    restarts: int = 1  # random starts of each loss
    norm: str = "linf"  # linf, l2
    losses: tuple[str, ...] = ("ce", "margin")  # an example is robust if every loss fails

    def __post_init__(self) -> None:
        (check_eps if self.norm == "linf" else check_at_least_0)(self, "eps")
        if self.step_size is not None:
            check_at_least_0(self, "step_size")
        check_at_least(self, 1, "steps", "restarts")
        norm_order(self.norm)
        if not self.losses or set(self.losses) - set(ATTACK_LOSSES):
            raise ValueError(
                f"losses must be out of {sorted(ATTACK_LOSSES)}. Received: {self.losses}"
            )

    @property
    def step_length(self) -> float:
        """Length of a step in pixels."""
        return self.eps / 4 if self.step_size is None else self.step_size

    @property
    def step_ratio(self) -> float:
        """Length of a step in radii; a quarter where eps 0 has no ratio."""
        return self.step_length / self.eps if self.eps else 0.25

    def describe(self) -> str:
        """The attack in a few words, for tables."""
        return (
            f"{self.norm} eps {self.eps:.4g}, {self.steps} steps of {self.step_length:.4g}, "
            f"{self.restarts} start{'s' if self.restarts > 1 else ''}, {' + '.join(self.losses)}"
        )


class CompiledPGD:
    """PGD inside an eps-ball around images in [0, 1], compiled once for all radii and batches.

    The steps are CleverHans' (see `ascend`), but not its random start: that draws from one global
    state for a whole batch, so that an example's result would depend on its neighbours. It also
    refuses steps longer than eps, which the one-step attacks of the paper take. Each image's
    gradient is normalised before its step, so that no scale of the log-scores changes an l2 step.

    Only gradients with respect to the images are taken.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        norm: "linf" or "l2".
        loss: a key of `ATTACK_LOSSES`, or a callable `(labels, logits)` -> `[batch]`; with a
            callable the labels may be anything that it takes.
        jit_compile: whether XLA compiles the steps; each batch size is then compiled anew.

    Raises:
        ValueError: if norm or loss is unknown.

    Example:
        >>> attack = CompiledPGD(model, (32, 32, 3))
        >>> start = attack.random_start(images, eps=8 / 255, seed=0)
        >>> adversarial = attack(images, labels, start, eps=8 / 255, step_size=2 / 255, steps=20)

    Reference:
        Madry et al., arXiv 1706.06083; CleverHans 4.0.0.
    """

    def __init__(
        self,
        log_scores: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, int, int],
        norm: str = "linf",
        loss: str | AttackLoss = "ce",
        jit_compile: bool = False,
    ):
        self._norm, self.loss = norm_order(norm), attack_loss(loss)
        self._shape, self._jit_compile = tuple(image_shape), jit_compile
        # CleverHans compiles a gradient per model_fn object: it must be one and the same.
        self._log_scores = _with_unit_gradient(log_scores)
        self._images = tf.TensorSpec([None, *image_shape], tf.float32)
        self._compiled_start = tf.function(
            self._perturbed,
            input_signature=[self._images, _NUMBER, _COUNT, tf.TensorSpec([None], tf.int32)],
        )
        self._compiled_steps: dict[tuple[tf.TensorSpec, tf.TensorSpec], Any] = {}

    def random_start(
        self, images: Any, eps: float, seed: int = 0, example_ids: Any = None
    ) -> tf.Tensor:
        """Images moved to a uniformly random point of their eps-ball, clipped to [0, 1].

        Args:
            images: `[batch, H, W, C]` in [0, 1].
            eps: radius in pixels.
            seed: of the draws.
            example_ids: int `[batch]`, default 0, 1, ...: an example's draw depends on its id.

        Returns:
            float32 `[batch, H, W, C]`.
        """
        if example_ids is None:
            example_ids = np.arange(len(images))
        return self._compiled_start(
            tf.convert_to_tensor(images, tf.float32),
            tf.convert_to_tensor(eps, tf.float32),
            tf.convert_to_tensor(seed, tf.int32),
            tf.convert_to_tensor(example_ids, tf.int32),
        )

    def __call__(
        self, images: Any, labels: Any, start: Any, *, eps: float, step_size: Any, steps: int
    ) -> tf.Tensor:
        """Ascends the loss from `start`, staying in the eps-ball around `images` and in [0, 1].

        Args:
            images: `[batch, H, W, C]` in [0, 1], the centres of the balls.
            labels: int `[batch]`, the true classes.
            start: `[batch, H, W, C]`, such as `images` or `random_start(...)`.
            eps: radius in pixels.
            step_size: length of a step in pixels; it may exceed eps. For "linf" also `[C]`, one
                for each channel, as the published code has for steps of standardised length.
            steps: how many.

        Returns:
            float32 `[batch, H, W, C]`, the last iterate.
        """
        labels = tf.convert_to_tensor(labels)
        step_size = tf.convert_to_tensor(step_size, tf.float32)
        steps_for = self._steps_for(labels, step_size)
        arguments = [
            tf.convert_to_tensor(images, tf.float32),
            labels,
            tf.convert_to_tensor(start, tf.float32),
            tf.convert_to_tensor(eps, tf.float32),
            step_size,
            tf.convert_to_tensor(steps, tf.int32),
        ]
        if self._norm == 2 and tf.executing_eagerly():
            return _with_eager_arithmetic(steps_for.get_concrete_function(), arguments)
        return steps_for(*arguments)

    def _steps_for(self, labels: tf.Tensor, step_size: tf.Tensor) -> Any:
        """The compiled steps for such labels, classes or probabilities, in batches of any size."""
        kind = (
            tf.TensorSpec([None, *labels.shape[1:]], labels.dtype),
            tf.TensorSpec(step_size.shape, tf.float32),
        )
        if kind not in self._compiled_steps:
            self._compiled_steps[kind] = tf.function(
                self._ascend,
                input_signature=[self._images, kind[0], self._images, _NUMBER, kind[1], _COUNT],
            )
        return self._compiled_steps[kind]

    def _perturbed(
        self, images: tf.Tensor, eps: tf.Tensor, seed: tf.Tensor, example_ids: tf.Tensor
    ) -> tf.Tensor:
        perturbation = random_perturbations(example_ids, self._shape, eps, seed, self._norm)
        return projected(images, perturbation, eps, self._norm)

    def _ascend(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        start: tf.Tensor,
        eps: tf.Tensor,
        step_size: tf.Tensor,
        steps: tf.Tensor,
    ) -> tf.Tensor:
        return ascend(
            self._log_scores,
            self.loss,
            images,
            labels,
            start,
            eps=eps,
            step_size=step_size,
            steps=steps,
            norm=self._norm,
            jit_compile=self._jit_compile,
        )


def pgd(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: Any,
    labels: Any,
    *,
    eps: float,
    step_size: float | None = None,
    steps: int = 20,
    norm: str = "linf",
    loss: str | AttackLoss = "ce",
    restarts: int = 1,
    seed: int = 0,
    start: Any = None,
    example_ids: Any = None,
) -> tf.Tensor:
    """Adversarial images by PGD, the worst case over its restarts.

    Compiles the attack anew at every call; `CompiledPGD` compiles once, and so does
    `evaluate_robustness`.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: `[batch, H, W, C]` in [0, 1].
        labels: int `[batch]`.
        eps: radius in pixels.
        step_size: in pixels; None: a quarter of eps.
        steps: per restart, at least 1.
        norm: "linf" or "l2".
        loss: "ce", "margin" or a callable `(labels, logits)` -> `[batch]`.
        restarts: how many starts, at least 1.
        seed: of the random starts.
        start: `[batch, H, W, C]`, one given start instead of random ones; `images` for none.
        example_ids: int `[batch]`, default 0, 1, ...: an example's start depends on its id.

    Returns:
        float32 `[batch, H, W, C]`: of each example the first restart that breaks it, else the
        one with the highest loss.

    Raises:
        ValueError: if images are not finite in [0, 1], labels are not a class for each, a name is
            unknown or a number out of range, or a given start is to be restarted.

    Example:
        >>> pgd(model, images, labels, eps=8 / 255, step_size=2 / 255, steps=20, restarts=10)
    """
    checked = PGD(eps=eps, step_size=step_size, steps=steps, restarts=restarts, norm=norm)
    if start is not None and restarts > 1:
        raise ValueError(f"restarts must be 1 with a given start. Received: {restarts}")
    images, labels = checked_examples(images, labels, log_scores)
    images = to_pixels(images)
    attack = CompiledPGD(log_scores, images.shape[1:], norm, loss)
    result = tf.constant(images)
    highest, broken = tf.fill([len(images)], -np.inf), tf.zeros(len(images), tf.bool)
    for restart in range(restarts):
        begin = start
        if begin is None:
            begin = attack.random_start(images, eps, restart_seed(seed, restart), example_ids)
        found = attack(images, labels, begin, eps=eps, step_size=checked.step_length, steps=steps)
        logits = log_scores(found)
        losses = tf.cast(attack.loss(labels=labels, logits=logits), tf.float32)
        breaks = tf.argmax(logits, axis=1) != labels
        better = ~broken & (breaks | (losses > highest))
        result = tf.where(better[:, None, None, None], found, result)
        highest = tf.where(better, losses, highest)
        broken |= breaks
    return result


def restart_seed(seed: int, restart: int) -> int:
    """The seed of one restart's starts, int32; seeds below 2000 do not meet for 1000 restarts."""
    return (seed * 1_000_003 + restart) % (2**31)


def ascend(
    outputs: Callable[[tf.Tensor], tf.Tensor],
    loss: AttackLoss,
    images: tf.Tensor,
    labels: tf.Tensor,
    start: tf.Tensor,
    *,
    eps: tf.Tensor | float,
    step_size: tf.Tensor | float,
    steps: tf.Tensor | int,
    norm: float = np.inf,
    jit_compile: bool = False,
) -> tf.Tensor:
    """Ascends a loss from `start`, staying in the eps-ball around `images` and in [0, 1].

    Each step is CleverHans' `fast_gradient_method` and `projected`: number for number the body of
    its `projected_gradient_descent`. Only gradients with respect to the images are taken. To be
    called while a `tf.function` is traced. A tensor of `steps` makes one loop in the graph, an int
    is unrolled: inside a loop that XLA compiles for a CPU, convolutions take five times as long.

    Args:
        outputs: images -> whatever the loss takes as its `logits`; one and the same object for
            all calls of an attack, as CleverHans compiles a gradient for each.
        loss: `(labels, logits)` -> `[batch]`.
        images: float32 `[batch, H, W, C]` in [0, 1], the centres of the balls.
        labels: what the loss takes.
        start: `[batch, H, W, C]`.
        eps: radius in pixels.
        step_size: length of a step in pixels; it may exceed eps. For l-infinity also `[C]`.
        steps: how many.
        norm: a value of `NORMS`.
        jit_compile: whether XLA compiles each step, with the loop around it left to TensorFlow.

    Returns:
        float32 `[batch, H, W, C]`, the last iterate.

    Example:
        >>> ascend(model, cross_entropy, x, y, x, eps=8 / 255, step_size=2 / 255, steps=10)

    Reference:
        Madry et al., arXiv 1706.06083; CleverHans 4.0.0.
    """

    def step(adversarial: tf.Tensor) -> tf.Tensor:
        moved = fast_gradient_method(
            outputs, adversarial, step_size, norm, loss, clip_min=0.0, clip_max=1.0, y=labels
        )
        return projected(images, moved - images, eps, norm)

    if jit_compile:
        step = tf.function(step, jit_compile=True, autograph=False)
    if isinstance(steps, int):
        found = start
        for _ in range(steps):
            found = step(found)
        return found
    _, found = tf.while_loop(
        lambda done, _: done < steps,
        lambda done, adversarial: (done + 1, tf.ensure_shape(step(adversarial), images.shape)),
        (tf.constant(0), start),
    )
    return found


def _with_eager_arithmetic(compiled: Any, arguments: list[tf.Tensor]) -> tf.Tensor:
    """Calls a compiled function so that it rounds as eager operations, CleverHans' own, do.

    TensorFlow otherwise rewrites x / sqrt(y) as x * rsqrt(y). This switches the rewriting off for
    the one call; a call inside another function's trace is rewritten with that function.
    """
    config = config_pb2.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.arithmetic_optimization = rewriter_config_pb2.RewriterConfig.OFF
    (found,) = tf.raw_ops.StatefulPartitionedCall(
        args=[*arguments, *compiled.captured_inputs],
        Tout=[tf.float32],
        f=compiled,
        config_proto=config.SerializeToString(),
    )
    return tf.ensure_shape(found, compiled.output_shapes)


def _with_unit_gradient(log_scores: Callable[[tf.Tensor], tf.Tensor]) -> Callable[..., tf.Tensor]:
    """The same numbers, with a gradient that CleverHans steps along whatever its scale.

    CleverHans takes squares below 1e-12 for 1e-12, so that small gradients make short steps. Where
    the model has no gradient, as after rounding, it is 0, and so it is where it is NaN.
    """

    @tf.custom_gradient
    def entry(images: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.identity(images), lambda gradient: _scaled(finite(gradient))

    return lambda images: log_scores(entry(images)) + 0 * tf.reduce_sum(images)


def _scaled(gradient: tf.Tensor) -> tf.Tensor:
    """Each image's gradient divided by a power of two, so that its largest component is 1 to 2.

    Such a division is exact: directions are CleverHans' to the last bit.
    """
    largest = tf.reduce_max(tf.abs(gradient), axis=[1, 2, 3], keepdims=True)
    exponent = tf.bitwise.bitwise_and(tf.bitcast(largest, tf.int32), _EXPONENT)
    return tf.math.divide_no_nan(gradient, tf.bitcast(exponent, tf.float32))
