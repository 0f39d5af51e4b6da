"""Signs that a robustness figure is an attack's failure and not the model's merit."""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from clustr_tf.attacks import Attack
from clustr_tf.attacks.losses import margin
from clustr_tf.data.pixels import to_pixels
from clustr_tf.evaluate.attacking import Examples
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.evaluate.results import Diagnostic
from clustr_tf.evaluate.suite import ATTACKS, LogScores, Target

_LOSSES = ("ce", "margin", "dlr")
_SCALES = (0.01, 100.0)
# The others' losses are free of scale: DLR is a ratio, and Square compares margins.
_SCALED = "apgd_ce"
_STEPS, _MANY_STEPS, _NOISE_DRAWS = 20, 100, 10
_NO_GRADIENT = 1e-12
_WHOLE_RANGE = 0.5  # an l-infinity ball of this radius around any image holds the grey one


def diagnostic_stages(target: Target) -> dict[str, Attack]:
    """The stages that only the diagnostics need, by their names."""
    stages = {_steps(target.plan, loss): target.pgd_attack(loss, _STEPS) for loss in _LOSSES}
    stages["100 steps"] = target.pgd_attack("margin", _MANY_STEPS)
    stages["noise"] = target.pgd_attack("margin", 0, _NOISE_DRAWS)
    for scale in _SCALES:
        scaled = replace(target, search=_times(target.searched, scale))
        stages[f"{_SCALED} x {scale:g}"] = ATTACKS[_SCALED](scaled).stages[_SCALED]
    return stages


def _steps(plan: EvaluationPlan, loss: str) -> str:
    """The stage of PGD with 20 steps: the suite's own where that is one and the same."""
    attack = plan.attack
    is_own = loss in attack.losses and (attack.steps, attack.restarts) == (_STEPS, 1)
    return f"pgd_{loss}" if is_own else f"{_STEPS} steps {loss}"


def diagnose(target: Target, examples: Examples) -> list[Diagnostic]:
    """Runs every diagnostic on the first few examples.

    What the attacks of the evaluation have tried on an example is not tried again.

    Args:
        target: what is attacked; its plan has the radius and how many examples.
        examples: with the stages of `build_stages` and `diagnostic_stages`.

    Returns:
        The diagnostics.

    Reference:
        Athalye et al., arXiv 1802.00420; Carlini et al., arXiv 1902.06705.
    """
    plan = target.plan
    count = min(plan.diagnostic_examples, len(examples.labels))
    eps, correct = plan.attack.eps, examples.correct[:count]

    def broken(*stages: str, at: float = eps) -> np.ndarray:
        return examples.attacked("diagnostics", stages, at, count=count).any_broken

    by_loss = {loss: broken(_steps(plan, loss)) for loss in _LOSSES}
    by_margin = by_loss["margin"]
    by_pgd = by_margin | by_loss["ce"]
    by_square = examples.attacked(
        "diagnostics", ("square",), eps, correct & ~by_pgd, count
    ).any_broken
    by_many, by_noise = broken("100 steps"), broken("noise")
    whole_range = _whole_range(plan, examples.images.shape[1:])
    by_gradients = broken(_SCALED, "apgd_t")
    scaled = [broken(f"{_SCALED} x {scale:g}", "apgd_t") for scale in _SCALES]
    shares = [float(np.mean(found)) for found in by_loss.values()]
    found = [
        Diagnostic(
            "zero gradients",
            _share_without_gradient(target, examples, count),
            0.05,
            "share of examples on whose margin loss the image has no gradient",
        ),
        Diagnostic(
            "square beats PGD",
            float(np.mean(by_square)),
            0.02,
            "share of examples that Square, without gradients, breaks and PGD does not",
        ),
        Diagnostic(
            "large eps",
            float(np.mean(correct & ~broken(_steps(plan, "margin"), at=whole_range))),
            0.05,
            f"accuracy that PGD leaves at eps {whole_range:.3g}, where any image can become grey",
        ),
        Diagnostic(
            "more steps",
            float(np.mean(by_many)) - float(np.mean(by_margin)),
            0.03,
            f"accuracy that PGD with {_MANY_STEPS} steps takes beyond {_STEPS} steps",
        ),
        Diagnostic(
            "random noise",
            float(np.sum(by_noise)) / max(float(np.sum(by_pgd)), 1.0),
            0.5,
            f"examples that {_NOISE_DRAWS} random points of the ball break, for one that PGD does",
        ),
        Diagnostic(
            "scale",
            max(abs(float(np.mean(other)) - float(np.mean(by_gradients))) for other in scaled),
            0.01,
            "change of APGD's accuracy when the log-scores are multiplied by 0.01 or 100",
        ),
        Diagnostic(
            "losses disagree",
            max(shares) - min(shares),
            0.05,
            "difference between PGD's accuracies on cross-entropy, margin and DLR",
        ),
        Diagnostic(
            "silent success",
            _silent_successes(target, examples, count),
            0.01,
            "share of examples that an iterate of PGD breaks and the last one does not",
        ),
    ]
    if target.clustered:
        by_paper, by_any = broken("pgd_paper"), by_pgd | by_gradients | by_square
        found.append(
            Diagnostic(
                "masking gap",
                float(np.mean(by_any)) - float(np.mean(by_paper)),
                0.02,
                "accuracy under the paper's protocol minus accuracy under PGD, APGD and Square",
            )
        )
    return found


def _times(log_scores: LogScores, scale: float) -> LogScores:
    return lambda images: scale * log_scores(images)


def _whole_range(plan: EvaluationPlan, image_shape: tuple[int, ...]) -> float:
    linf = plan.attack.norm == "linf"
    return _WHOLE_RANGE * (1.0 if linf else float(np.sqrt(np.prod(image_shape))))


def _batches(examples: Examples, plan: EvaluationPlan, count: int) -> list[np.ndarray]:
    rows = np.flatnonzero(examples.correct[:count])
    return [rows[i : i + plan.batch_size] for i in range(0, len(rows), plan.batch_size)]


def _share_without_gradient(target: Target, examples: Examples, count: int) -> float:
    """Of the correctly classified examples."""

    @tf.function(reduce_retracing=True, autograph=False)
    def lengths(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = margin(labels, target.log_scores(images))
        gradient = tape.gradient(loss, images, unconnected_gradients="zero")
        return tf.norm(tf.reshape(gradient, [tf.shape(images)[0], -1]), axis=1)

    found = [
        lengths(tf.constant(to_pixels(examples.images[rows])), tf.constant(examples.labels[rows]))
        for rows in _batches(examples, target.plan, count)
    ]
    return float(np.mean(np.concatenate(found) < _NO_GRADIENT)) if found else 0.0


def _silent_successes(target: Target, examples: Examples, count: int) -> float:
    """PGD step by step: broken on the way, but not at the end."""
    attack, silent = target.plan.attack, 0
    pgd = target.pgd("margin")
    for rows in _batches(examples, target.plan, count):
        images, labels = to_pixels(examples.images[rows]), examples.labels[rows]
        found = pgd.random_start(images, attack.eps, examples.seed, rows)
        ever = np.zeros(len(rows), bool)
        for _ in range(_STEPS):
            found = pgd(
                images,
                labels,
                found,
                eps=attack.eps,
                step_size=attack.step_ratio * attack.eps,
                steps=1,
            )
            wrong = examples.evaluator.predictions(found.numpy()) != labels
            ever |= wrong
        silent += int(np.sum(ever & ~wrong))
    return silent / count
