"""A search as its config file states it, checked before anything is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from clustr_tf.errors import InputError
from clustr_tf.experiment import Experiment, read_experiment
from clustr_tf.sections import check_type, read_section, section_values
from clustr_tf.tuning.settings import SearchConfig, parse_objective
from clustr_tf.tuning.space import Field, read_space


@dataclass(frozen=True)
class Request:
    """What to search.

    Attributes:
        settings: how.
        fields: over what.
        experiment: where every trial begins; what is drawn replaces its values.
    """

    settings: SearchConfig
    fields: tuple[Field, ...]
    experiment: Experiment

    @property
    def config(self) -> dict[str, Any]:
        """The experiment as nested mappings."""
        return section_values(self.experiment)


def read_request(config: Mapping[str, Any], max_trials: int | None) -> Request:
    """Reads a resolved config file with a `search` section.

    Args:
        config: nested mappings: the fields of an experiment, and `search`.
        max_trials: replaces `search.trials`; None leaves it.

    Returns:
        The request.

    Raises:
        InputError: one line naming the field, what was received and what is allowed; above all if
            the objective is not measured on held-out images.
    """
    values = dict(config)
    if not isinstance(values.get("search"), Mapping):
        raise InputError(
            "config.search is missing: a search needs a config such as configs/digits_search.py"
        )
    search = dict(values.pop("search"))
    space = search.pop("space", None)
    settings = read_section(SearchConfig, search, "config.search")
    if max_trials is not None:
        settings = replace(settings, trials=max_trials)
    experiment = read_experiment(values)
    fields = read_space(space, section_values(experiment))
    for field in fields:
        for example in field.examples:
            check_type(Experiment, field.name, example, f"config.search.space.{field.name}")
    _check_measured(settings, experiment)
    if experiment.training.strategy == "multi_worker":
        raise InputError(
            "config.training.strategy must be default or mirrored in a search, whose workers take "
            "whole trials. Received: 'multi_worker'"
        )
    if settings.algorithm == "hyperband" and "training.epochs" in (field.name for field in fields):
        raise InputError(
            "config.search.space.training.epochs must be left out with "
            "config.search.algorithm=hyperband, which gives each trial its epochs itself"
        )
    return Request(settings, fields, experiment)


def _check_measured(settings: SearchConfig, experiment: Experiment) -> None:
    if not experiment.dataset.validation_examples:
        raise InputError(
            "config.dataset.validation_examples must be above 0 in a search: trials are judged on "
            "held-out training images, never on test images. Received: 0"
        )
    for measure, field in [
        ("val_certified_accuracy", "certified_radius"),
        ("val_certified_linf_accuracy", "certified_linf"),
    ]:
        sought = measure in parse_objective(settings.objective)
        if sought and getattr(experiment.watch, field) is None:
            raise InputError(
                f"config.watch.{field} must be a radius with {measure} in "
                "config.search.objective. Received: None"
            )
