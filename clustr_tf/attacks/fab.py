"""FAB: the closest adversarial image, by steps onto linearised decision boundaries."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from clustr_tf.attacks.balls import boundary_perturbations, finite, norm_order
from clustr_tf.attacks.losses import ranked_class
from clustr_tf.attacks.pgd import restart_seed
from clustr_tf.data.pixels import checked_examples, to_pixels

_MOST_PULL = 0.1  # alpha_max: share of the step that starts from the original image
_OVERSHOOT = 1.05  # eta
_BACKWARD = 0.9  # beta
_SMALLEST_STEP = 1e-8
TARGETS = 9  # of the targeted version, as in AutoAttack


def changes_to_hyperplane(
    points: tf.Tensor, normals: tf.Tensor, offsets: tf.Tensor, norm: float
) -> tf.Tensor:
    """The smallest changes that bring points onto hyperplanes and leave them in [0, 1].

    A coordinate moves at a rate, 1 in l-infinity and the normal's component in l2, until it meets
    the border of the box. So the offset that is covered is concave and piecewise linear in the
    distance, and Newton's method from 0 finds the distance in finitely many steps.

    Args:
        points: `[batch, n]` in [0, 1].
        normals: `[batch, n]`, of any scale; where all are 0 nothing changes.
        offsets: `[batch]`, what normal times change has to be.
        norm: `np.inf` or 2, in which the change is the smallest.

    Returns:
        `[batch, n]`; where the box does not reach the hyperplane, as far as it goes.

    Example:
        >>> changes_to_hyperplane(tf.constant([[0.9, 0.5]]), tf.constant([[1.0, 1.0]]),
        ...                       tf.constant([0.3]), np.inf)  # [[0.1, 0.2]]

    Reference:
        Croce and Hein, arXiv 1907.02044, section 3.1.
    """
    largest = tf.reduce_max(tf.abs(normals), axis=1, keepdims=True)
    slopes = tf.math.divide_no_nan(tf.abs(normals), largest)
    wanted = tf.math.divide_no_nan(tf.abs(offsets[:, None]), largest)
    signs = tf.sign(normals) * tf.sign(offsets[:, None])
    room = tf.where(signs > 0, 1 - points, points)
    rates = tf.ones_like(slopes) if norm == np.inf else slopes
    limits = tf.math.divide_no_nan(room, rates)

    def newton(
        distance: tf.Tensor, at_border: tf.Tensor, _: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        covered = tf.reduce_sum(tf.where(at_border, slopes * room, 0.0), axis=1, keepdims=True)
        slope = tf.reduce_sum(tf.where(at_border, 0.0, slopes * rates), axis=1, keepdims=True)
        further = tf.maximum(distance, tf.math.divide_no_nan(wanted - covered, slope))
        arrived = limits <= further
        return further, arrived, tf.reduce_any(arrived != at_border)

    start = tf.zeros_like(wanted)
    distance, at_border, _ = tf.while_loop(
        lambda distance, at_border, grew: grew, newton, (start, limits <= start, tf.constant(True))
    )
    return signs * tf.where(at_border, room, distance * rates)


class State(NamedTuple):
    """Of every example, as a vector: where it is, and the closest adversarial point so far."""

    point: tf.Tensor
    closest: tf.Tensor
    distance: tf.Tensor  # of the closest; infinite without one


class FAB:
    """Fast adaptive boundary attack: the smallest perturbation that changes the class.

    Each step moves onto the closest linearised decision boundary, slightly beyond it and pulled
    towards the original image; an adversarial point is noted and drawn back towards the image. No
    radius and no step length are chosen, and no scale of the logits changes the result. It needs
    the gradient of every class; `TargetedFAB` needs one. Compiled once for all radii and batches.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        norm: "linf" or "l2", in which perturbations are measured.
        steps: at least 1.

    Raises:
        ValueError: if the norm is unknown or steps is below 1.

    Example:
        >>> attack = FAB(model, (32, 32, 3), norm="l2")
        >>> adversarial = attack(images, labels, eps=0.5)
        >>> adversarial, distances = attack.closest(images, labels)

    Reference:
        Croce and Hein, arXiv 1907.02044, algorithm 1; `fab_base.py` of AutoAttack, which leaves out
        the final search.
    """

    def __init__(
        self,
        log_scores: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, int, int],
        norm: str = "linf",
        steps: int = 100,
    ):
        if steps < 1:
            raise ValueError(f"steps must be at least 1. Received: {steps}")
        self._log_scores, self._shape = log_scores, tuple(image_shape)
        self._norm, self.steps = norm_order(norm), steps
        number = tf.TensorSpec([], tf.float32)
        self._compiled = tf.function(
            self._find,
            input_signature=[
                tf.TensorSpec([None, *image_shape], tf.float32),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([None], tf.int64),
                number,
                number,
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ],
            autograph=False,
        )

    def __call__(
        self,
        images: Any,
        labels: Any,
        *,
        eps: Any,
        seed: Any = 0,
        example_ids: Any = None,
        restart: Any = 0,
    ) -> tf.Tensor:
        """Looks for adversarial images in a ball, and ends once each example has one.

        Args:
            images: `[batch, H, W, C]` in [0, 1], the centres of the balls.
            labels: int `[batch]`, the true classes.
            eps: radius in pixels.
            seed: of the random starts.
            example_ids: int `[batch]`, default 0, 1, ...: an example's start depends on its id.
            restart: 0 starts at the image, any other at a random point at half the radius.

        Returns:
            float32 `[batch, H, W, C]` in the ball and in [0, 1]: an adversarial image, else the
            image itself.
        """
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int64)
        return self._within(images, labels, labels, eps, seed, example_ids, restart)

    def closest(self, images: Any, labels: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """The closest adversarial image that all steps find, however far it is.

        Args:
            images: `[batch, H, W, C]` in [0, 1].
            labels: int `[batch]`, the true classes.

        Returns:
            float32 `[batch, H, W, C]` in [0, 1], and float32 `[batch]` the distance in the norm:
            0 for misclassified images, infinity where none was found; there the image is as it was.
        """
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int64)
        return self._run(images, labels, labels)

    def _within(
        self,
        images: Any,
        labels: tf.Tensor,
        targets: tf.Tensor,
        eps: Any,
        seed: Any,
        ids: Any,
        restart: Any,
    ) -> tf.Tensor:
        eps = tf.convert_to_tensor(eps, tf.float32)
        start = tf.where(tf.convert_to_tensor(restart) > 0, eps / 2, 0.0)
        found, distances = self._run(images, labels, targets, eps, start, seed, ids)
        images = tf.convert_to_tensor(images, tf.float32)
        return tf.where((distances <= eps)[:, None, None, None], found, images)

    def _run(
        self,
        images: Any,
        labels: tf.Tensor,
        targets: tf.Tensor,
        enough: Any = 0.0,
        start: Any = 0.0,
        seed: Any = 0,
        ids: Any = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.convert_to_tensor(images, tf.float32)
        found: tuple[tf.Tensor, tf.Tensor] = self._compiled(
            images,
            labels,
            targets,
            tf.convert_to_tensor(enough, tf.float32),
            tf.convert_to_tensor(start, tf.float32),
            tf.convert_to_tensor(seed, tf.int32),
            tf.range(tf.shape(images)[0]) if ids is None else tf.cast(ids, tf.int32),
        )
        return found

    def _images(self, points: tf.Tensor) -> tf.Tensor:
        return tf.reshape(points, [-1, *self._shape])

    def _length(self, changes: tf.Tensor) -> tf.Tensor:
        """`[batch, n]` -> `[batch]`."""
        return tf.norm(changes, ord=self._norm, axis=1)

    def _boundary(
        self, points: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The logit of another class minus the label's, `[batch]`, and its gradient `[batch, n]`.

        Of all classes the one whose linearised boundary is the closest.
        """
        del targets
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = self._log_scores(self._images(points))
            own = tf.gather(logits, labels, axis=1, batch_dims=1)
            differences = tf.cast(logits - own[:, None], tf.float32)
        slopes = finite(
            tape.batch_jacobian(
                differences,
                points,
                unconnected_gradients="zero",
                experimental_use_pfor=False,
            )
        )
        dual = 1 if self._norm == np.inf else 2
        # In units of the largest component, as squares of small numbers vanish.
        unit = tf.reduce_max(tf.abs(slopes), axis=[1, 2])[:, None]
        lengths = tf.norm(tf.math.divide_no_nan(slopes, unit[:, :, None]), ord=dual, axis=2)
        distances = tf.math.divide_no_nan(tf.math.divide_no_nan(-differences, unit), lengths)
        reachable = (lengths > 0) & (tf.one_hot(labels, logits.shape[1]) == 0)
        nearest = tf.argmin(tf.where(reachable, tf.abs(distances), np.inf), axis=1)
        return (
            tf.gather(differences, nearest, axis=1, batch_dims=1),
            tf.gather(slopes, nearest, axis=1, batch_dims=1),
        )

    def _wrong(self, points: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return tf.argmax(self._log_scores(self._images(points)), axis=1) != labels

    def _find(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        targets: tf.Tensor,
        enough: tf.Tensor,
        start: tf.Tensor,
        seed: tf.Tensor,
        example_ids: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Ends early once all distances are at most `enough`."""
        centres = tf.reshape(images, [-1, int(np.prod(self._shape))])
        moved = boundary_perturbations(example_ids, self._shape, start, seed, self._norm)
        state = State(
            point=tf.clip_by_value(centres + tf.reshape(moved, tf.shape(centres)), 0.0, 1.0),
            closest=centres,
            distance=tf.where(self._wrong(centres, labels), 0.0, np.float32(np.inf)),
        )

        def body(done: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, ...]:
            following = self._moved(State(*parts), centres, labels, targets, enough)
            return done + 1, *(
                tf.ensure_shape(new, old.shape) for new, old in zip(following, parts, strict=True)
            )

        _, *parts = tf.while_loop(
            lambda done, *parts: (
                (done < self.steps) & tf.reduce_any(State(*parts).distance > enough)
            ),
            body,
            (tf.constant(0), *state),
        )
        final = State(*parts)
        return self._images(final.closest), final.distance

    def _moved(
        self,
        state: State,
        centres: tf.Tensor,
        labels: tf.Tensor,
        targets: tf.Tensor,
        enough: tf.Tensor,
    ) -> State:
        """One step of all examples; one that is close enough keeps what it has."""
        difference, slope = self._boundary(state.point, labels, targets)
        from_point = changes_to_hyperplane(state.point, slope, -difference, self._norm)
        beyond = tf.reduce_sum(slope * (centres - state.point), axis=1)
        from_centre = changes_to_hyperplane(centres, slope, -difference - beyond, self._norm)
        near = tf.maximum(self._length(from_point), _SMALLEST_STEP)
        far = tf.maximum(self._length(from_centre), _SMALLEST_STEP)
        pull = tf.minimum(near / (near + far), _MOST_PULL)[:, None]
        point = tf.clip_by_value(
            (1 - pull) * (state.point + _OVERSHOOT * from_point)
            + pull * (centres + _OVERSHOOT * from_centre),
            0.0,
            1.0,
        )
        wrong, distance = self._wrong(point, labels), self._length(point - centres)
        closer = wrong & (distance < state.distance) & (state.distance > enough)
        return State(
            point=tf.where(wrong[:, None], centres + _BACKWARD * (point - centres), point),
            closest=tf.where(closer[:, None], point, state.closest),
            distance=tf.where(closer, distance, state.distance),
        )


class TargetedFAB(FAB):
    """FAB towards one other class at a time: one gradient a step, however many classes.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        norm: "linf" or "l2".
        steps: towards each class, at least 1.

    Raises:
        ValueError: as `FAB`.

    Example:
        >>> attack = TargetedFAB(model, (32, 32, 3))
        >>> adversarial = attack(images, labels, eps=8 / 255, target_rank=1)

    Reference:
        As `FAB`; the targeted version is AutoAttack's, arXiv 2003.01690.
    """

    def __call__(
        self,
        images: Any,
        labels: Any,
        *,
        eps: Any,
        seed: Any = 0,
        example_ids: Any = None,
        restart: Any = 0,
        target_rank: Any = 1,
    ) -> tf.Tensor:
        """Attacks towards the class that is `target_rank`-th best of the others at the image.

        Args:
            images: as in `FAB`.
            labels: int `[batch]`.
            eps: radius in pixels.
            seed: of the random starts.
            example_ids: as in `FAB`.
            restart: as in `FAB`.
            target_rank: 1 to classes - 1.

        Returns:
            As `FAB`.

        Raises:
            ValueError: if target_rank, where it is an int, is not the rank of another class.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int64)
        targets = ranked_class(labels, self._log_scores(images), target_rank)
        return self._within(images, labels, targets, eps, seed, example_ids, restart)

    def closest(
        self, images: Any, labels: Any, targets: int = TARGETS
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The closest adversarial image that is found towards any of the best other classes.

        Args:
            images: as in `FAB`.
            labels: int `[batch]`.
            targets: how many other classes, at most as many as there are.

        Returns:
            As `FAB.closest`.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int64)
        logits = self._log_scores(images)
        closest, distance = images, tf.fill([len(images)], np.float32(np.inf))
        for rank in range(1, min(targets, logits.shape[1] - 1) + 1):
            found, distances = self._run(images, labels, ranked_class(labels, logits, rank))
            closest = tf.where((distances < distance)[:, None, None, None], found, closest)
            distance = tf.minimum(distances, distance)
        return closest, distance

    def _boundary(
        self, points: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = self._log_scores(self._images(points))
            own, other = (
                tf.gather(logits, classes, axis=1, batch_dims=1) for classes in (labels, targets)
            )
            difference = tf.cast(other - own, tf.float32)
        slope = tape.gradient(difference, points, unconnected_gradients="zero")
        return difference, finite(slope)


def fab(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: Any,
    labels: Any,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 100,
    restarts: int = 1,
    targets: int | None = TARGETS,
    seed: int = 0,
    example_ids: Any = None,
) -> tf.Tensor:
    """Adversarial images by FAB; compiles anew at every call, `TargetedFAB` and `FAB` compile once.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: `[batch, H, W, C]` in [0, 1].
        labels: int `[batch]`.
        eps: radius in pixels.
        norm: "linf" or "l2".
        steps: of each start, towards each class.
        restarts: starts; the first is the image, the others are random.
        targets: how many of the best other classes it goes towards, at most as many as there are;
            None for the untargeted version.
        seed: of the random starts.
        example_ids: as in `FAB`.

    Returns:
        float32 `[batch, H, W, C]`, each in its ball: an adversarial image, else the image itself.

    Raises:
        ValueError: if images are not finite in [0, 1], labels are not a class for each, or as
            `FAB`.

    Example:
        >>> fab(model, images, labels, eps=8 / 255)
    """
    images, labels = checked_examples(images, labels, log_scores)
    shape, images = images.shape[1:], tf.constant(to_pixels(images))
    attack: FAB = FAB(log_scores, shape, norm, steps)
    aims: list[dict[str, int]] = [{}]
    if targets is not None:
        attack = TargetedFAB(log_scores, shape, norm, steps)
        others = log_scores(images[:1]).shape[1] - 1
        aims = [{"target_rank": rank} for rank in range(1, min(targets, others) + 1)]
    result, broken = images, tf.argmax(log_scores(images), axis=1) != labels
    for aim in aims:
        for restart in range(restarts):
            start = {"seed": restart_seed(seed, restart), "restart": restart}
            found = attack(images, labels, eps=eps, example_ids=example_ids, **start, **aim)
            result = tf.where(broken[:, None, None, None], result, found)
            broken |= tf.argmax(log_scores(found), axis=1) != labels
    return result


def closest_adversarial(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: Any,
    labels: Any,
    *,
    norm: str = "linf",
    steps: int = 100,
    targets: int | None = TARGETS,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The smallest perturbation that FAB finds for each image: no radius is asked for.

    Its length is an upper bound of the distance to the decision boundary, as a certified radius is
    a lower one.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: `[batch, H, W, C]` in [0, 1].
        labels: int `[batch]`.
        norm: "linf" or "l2".
        steps: as in `fab`.
        targets: as in `fab`.

    Returns:
        As `FAB.closest`: adversarial images and their distances in pixels.

    Raises:
        ValueError: as `fab`.

    Example:
        >>> adversarial, distances = closest_adversarial(model, images, labels)
        >>> robust_accuracy_at = lambda eps: np.mean(distances > eps)
    """
    images, labels = checked_examples(images, labels, log_scores)
    shape, pixels = images.shape[1:], to_pixels(images)
    if targets is None:
        return FAB(log_scores, shape, norm, steps).closest(pixels, labels)
    return TargetedFAB(log_scores, shape, norm, steps).closest(pixels, labels, targets)
