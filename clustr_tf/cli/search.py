"""The door of a search: `config.search` becomes a request, and what is drawn experiments."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clustr_tf.cli.config import read_experiment, without_foreign_fields
from clustr_tf.cli.entries import read_group
from clustr_tf.run.errors import InputError
from clustr_tf.tune.request import Request, SearchSettings
from clustr_tf.tune.space import read_space


def read_search(config: Mapping[str, Any], max_trials: int | None = None) -> Request:
    """Reads a config with a section `search`.

    Args:
        config: nested mappings: the fields of an experiment, and `search`.
        max_trials: replaces `search.trials`; None leaves it.

    Returns:
        The request, checked.

    Raises:
        InputError: one line naming the field, what was received and what is allowed.

    Example:
        >>> read_search(digits_search.get_config().to_dict()).settings.trials  # 20
    """
    values = dict(config)
    if not isinstance(values.get("search"), Mapping):
        raise InputError(
            "config.search is missing: a search needs a config such as configs/digits_search.py"
        )
    search = dict(values.pop("search"))
    fields = read_space(search.pop("space", None))
    settings = read_group(SearchSettings, search, "config.search")
    if max_trials is not None:
        settings = replace(settings, trials=max_trials)
    return Request(settings, fields, values, resolved)


def resolved(config: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json holds of an experiment some of whose fields were drawn.

    An entry that is given another name loses the fields that the new one does not have.

    Args:
        config: nested mappings.
        drawn: dotted name -> value.

    Returns:
        All fields, as nested mappings that JSON takes.

    Raises:
        InputError: if that is no experiment.

    Example:
        >>> resolved(config, {"method.name": "pgd_at"})["method"]["steps"]  # 7
    """
    values = without_foreign_fields(_with_values(config, drawn), drawn)
    return read_experiment(values).resolved().values


def _with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with other values, by dotted name."""
    copy = {
        key: _with_values(value, {}) if isinstance(value, Mapping) else value
        for key, value in config.items()
    }
    for name, value in values.items():
        key, _, rest = name.partition(".")
        inner = copy.get(key)
        copy[key] = (
            _with_values(inner if isinstance(inner, Mapping) else {}, {rest: value})
            if rest
            else value
        )
    return copy
