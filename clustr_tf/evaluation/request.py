"""What an evaluation was asked for, checked against the model it is about."""

import dataclasses
from pathlib import Path

from clustr_tf.classifier import Classifier
from clustr_tf.errors import InputError
from clustr_tf.evaluation.settings import EvaluationConfig
from clustr_tf.evaluation.suite import ATTACKS, PAPER_EPS

# The attacks of each --protocol.
PROTOCOLS = {"adaptive": ("clean", "pgd", "pgd_paper", "ensemble"), "paper": ("clean", "pgd_paper")}


@dataclasses.dataclass(frozen=True)
class Request:
    """What to evaluate; None stands for the protocol's or the run's own value.

    Attributes:
        attacks: names out of "clean" and `ATTACKS`.
        protocol: a key of `PROTOCOLS`; "paper" is the published one, which overstates robustness.
        eps: radius in pixels; the step of pgd keeps its ratio to it.
        norm: "linf" or "l2".
        examples: the first so many test images.
        source: workdir of the model behind `transfer`.
        strategy: "default" or "mirrored": who shares the work.
    """

    attacks: tuple[str, ...] | None = None
    protocol: str = "adaptive"
    eps: float | None = None
    norm: str | None = None
    examples: int | None = None
    source: Path | None = None
    strategy: str = "default"


def attack_names(
    request: Request, clustered: bool, source: Classifier | None, classifier: Classifier
) -> tuple[str, ...]:
    """The attacks to make, in the order of the suite.

    Args:
        request: what was asked for.
        clustered: whether the model has a clustering head.
        source: the model behind `transfer`, if there is one.
        classifier: the model.

    Returns:
        Names, the protocol's where none were asked for.

    Raises:
        InputError: if a name is unknown or does not fit the model or the source.
    """
    allowed = ("clean", *ATTACKS)
    names = request.attacks
    if names is None:
        names = PROTOCOLS[request.protocol] + (("transfer",) if source else ())
        names = tuple(name for name in names if clustered or name != "pgd_paper")
    unknown = sorted(set(names) - set(allowed))
    if unknown or not names:
        raise InputError(f"--attacks must be out of {', '.join(allowed)}. Received: {names}")
    if not clustered and ("pgd_paper" in names or request.protocol == "paper"):
        raise InputError(
            "pgd_paper attacks the scores of clusters, which a model with a dense head lacks. "
            f"Received: --attacks={','.join(names)}"
        )
    if ("transfer" in names) != (source is not None):
        raise InputError(
            "--attacks=transfer and --source=DIR, the workdir of the model that is attacked, "
            "belong together"
        )
    if source is not None and source.image_shape != classifier.image_shape:
        raise InputError(
            f"--source must hold a model for images of shape {classifier.image_shape}. "
            f"Received: {source.image_shape}"
        )
    return tuple(name for name in allowed if name in names)


def overridden(config: EvaluationConfig, request: Request) -> EvaluationConfig:
    """The run's settings of an evaluation, with what was asked for in their place.

    Args:
        config: of the run.
        request: what was asked for.

    Returns:
        The settings.

    Raises:
        InputError: if a value is not allowed.
    """
    attack, eps = config.attack, request.eps
    if eps is None and request.protocol == "paper":
        eps = PAPER_EPS
    if eps is None and request.norm not in (None, attack.norm):
        raise InputError(
            f"--norm={request.norm} needs --eps=RADIUS: the run's own eps {attack.eps:g} is a "
            f"radius in {attack.norm}"
        )
    try:
        if request.norm is not None:
            attack = dataclasses.replace(attack, norm=request.norm)
        if eps is not None:
            step_size = attack.step_ratio * eps
            attack = dataclasses.replace(attack, eps=eps, step_size=step_size)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    examples = request.examples or config.examples
    return dataclasses.replace(config, attack=attack, examples=examples)
