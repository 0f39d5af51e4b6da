"""What to search, checked before anything is drawn."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clustr_tf.run.checks import check_at_least, check_one_of
from clustr_tf.run.errors import InputError
from clustr_tf.train.callbacks.record import split_name
from clustr_tf.tune.space import PATH, Choices, Field

# What a trial is judged by, always on the held-out training images: name in the request, column
# of metrics.csv.
MEASURES = {
    name: split_name(name)
    for name in (
        "val_accuracy",
        "val_pgd_accuracy",
        "val_certified_accuracy",
        "val_certified_linf_accuracy",
    )
}
_RADII = {
    "val_certified_accuracy": "certified_radius",
    "val_certified_linf_accuracy": "certified_linf",
}
_ALGORITHMS = ("random", "bayesian", "hyperband")
_TERM = re.compile(r"(?:(?P<weight>[0-9.eE+-]+)\*)?(?P<measure>\w+)")

# (config, what is drawn of it by dotted name) -> all its fields, or InputError
Resolve = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Args:
        algorithm: "random", "bayesian" or "hyperband".
        objective: a key of `MEASURES`, or a trade-off such as
            "0.5*val_accuracy + 0.5*val_pgd_accuracy".
        trials: at most so many; Hyperband may end before.
        seed: of what is drawn, at least 0; training has its own.
        factor: of Hyperband, at least 2: one trial in so many is trained so many times as long.

    Raises:
        ValueError: if a number is out of range or a name unknown.

    Example:
        >>> SearchSettings("bayesian", "val_pgd_accuracy", trials=20)
    """

    algorithm: str
    objective: str
    trials: int
    seed: int = 0
    factor: int = 3

    def __post_init__(self) -> None:
        check_one_of(self, _ALGORITHMS, "algorithm")
        for name, least in (("trials", 1), ("seed", 0), ("factor", 2)):
            check_at_least(self, least, name)
        parse_objective(self.objective)


def parse_objective(text: str) -> dict[str, float]:
    """The weight of every measure; the objective is their sum, and more of it is better.

    Args:
        text: one measure, or terms `weight*measure` joined by "+".

    Returns:
        Weights above 0 by measure.

    Raises:
        ValueError: if a measure is unknown or named twice, or a weight is no number above 0.

    Example:
        >>> parse_objective("val_accuracy + 2*val_pgd_accuracy")
        {'val_accuracy': 1.0, 'val_pgd_accuracy': 2.0}
    """
    weights: dict[str, float] = {}
    for term in re.split(r"(?<![eE*])\+", re.sub(r"\s", "", text)):
        match = _TERM.fullmatch(term)
        measure = match["measure"] if match else ""
        weight = _number((match and match["weight"]) or "1")
        if measure not in MEASURES or measure in weights or weight is None:
            raise ValueError(
                f"objective must be one of {list(MEASURES)}, or a sum of some of them with weights "
                f"above 0 such as 0.5*val_accuracy + 0.5*val_pgd_accuracy. Received: {text!r}"
            )
        weights[measure] = weight
    return weights


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def score(weights: Mapping[str, float], row: Mapping[str, float]) -> float:
    """The objective of a trained model.

    Args:
        weights: of `parse_objective`.
        row: of metrics.csv, of the epoch that became the model.

    Returns:
        The weighted sum.

    Example:
        >>> score({"val_accuracy": 2.0}, {"validation/accuracy": 0.5})  # 1.0
    """
    return sum(weight * row[MEASURES[measure]] for measure, weight in weights.items())


@dataclass(frozen=True)
class Request:
    """What to search; a mistake is told before anything is drawn.

    Every choice and both ends of every range are tried on the config, together with every choice
    of what they depend on: the field in their `when`, and the names of the entries they are in.

    Args:
        settings: how.
        fields: over what.
        config: where every trial begins, as nested mappings; what is drawn replaces its values.
        resolve: makes of the config and of what is drawn all fields of an experiment.

    Raises:
        InputError: one line naming the field, what was received and what is allowed; above all if
            the objective is not measured on held-out images.

    Example:
        >>> Request(settings, read_space(space), config, clustr_tf.cli.search.resolved)
    """

    settings: SearchSettings
    fields: tuple[Field, ...]
    config: Mapping[str, Any]
    resolve: Resolve

    def __post_init__(self) -> None:
        training, algorithm = self.base["training"], self.settings.algorithm
        self._check_measured()
        if training["strategy"] == "multi_worker":
            raise InputError(
                "config.training.strategy must be default or mirrored in a search, whose workers "
                "take whole trials. Received: 'multi_worker'"
            )
        if algorithm == "hyperband" and "training.epochs" in (field.name for field in self.fields):
            raise InputError(
                f"{PATH}.training.epochs must be left out with config.search.algorithm=hyperband, "
                "which gives each trial its epochs itself"
            )
        for field in self.fields:
            for drawn in self._examples(field):
                try:
                    self.resolved(drawn)
                except InputError as error:
                    others = [f"{name}={value!r}" for name, value in drawn.items()][:-1]
                    told = f" (with {', '.join(others)})" if others else ""
                    raise InputError(f"{PATH}.{field.name}: {error}{told}") from error

    @cached_property
    def base(self) -> dict[str, Any]:
        """All fields of the config, when nothing is drawn."""
        return self.resolved({})

    def resolved(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """All fields of a trial.

        Args:
            drawn: values by dotted name.

        Raises:
            InputError: if they are no experiment.
        """
        return self.resolve(self.config, drawn)

    def _check_measured(self) -> None:
        if not self.base["dataset"]["validation_examples"]:
            raise InputError(
                "config.dataset.validation_examples must be above 0 in a search: trials are judged "
                "on held-out training images, never on test images. Received: 0"
            )
        for measure in parse_objective(self.settings.objective):
            radius = _RADII.get(measure)
            if radius and self.base["watch"][radius] is None:
                raise InputError(
                    f"config.watch.{radius} must be a radius with {measure} in "
                    "config.search.objective. Received: None"
                )

    def _examples(self, field: Field) -> Iterator[dict[str, Any]]:
        """What a field may be, last, after what it depends on."""
        above = [
            other
            for other in self.fields
            if isinstance(other, Choices) and other is not field and _depends(field, other)
        ]
        names = [other.name for other in above]
        for chosen in itertools.product(*(other.values for other in above)):
            given = dict(zip(names, chosen, strict=True))
            if field.when is None or given[field.when.name] in field.when.values:
                yield from ({**given, field.name: value} for value in field.examples)


def _depends(field: Field, other: Field) -> bool:
    entry, _, last = other.name.rpartition(".")
    names_its_entry = last == "name" and field.name.startswith(f"{entry}.")
    return names_its_entry or (field.when is not None and field.when.name == other.name)
