"""The best trial as a config file."""

import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from clustr_tf.experiment import Experiment


def config_source(experiment: Experiment, title: str) -> str:
    """Python source that `python -m clustr_tf.train --config` takes as it is.

    Args:
        experiment: whose settings it gets.
        title: first line of its docstring, one sentence.

    Returns:
        The source, complete: it imports no other config.

    Example:
        >>> Path("best_config.py").write_text(config_source(experiment, "The best of 20."))
    """
    lines = [
        f'"""{title}"""',
        "",
        "import ml_collections",
        "from ml_collections.config_dict import placeholder",
        "",
        "",
        "def get_config() -> ml_collections.ConfigDict:",
        '    """The settings; every field can be overridden as --config.section.field=value."""',
        "    return ml_collections.ConfigDict(",
        "        {",
        *_fields(experiment, " " * 12),
        "        }",
        "    )",
    ]
    return "\n".join(lines) + "\n"


def _fields(section: Any, indent: str) -> Iterator[str]:
    hints = typing.get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield f'{indent}"{field.name}": {{'
            yield from _fields(value, indent + "    ")
            yield f"{indent}}},"
        else:
            yield f'{indent}"{field.name}": {_literal(value, hints[field.name])},'


def _literal(value: Any, hint: Any) -> str:
    if value is None:
        return f"placeholder({_kind(hint)})"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _kind(hint: Any) -> str:
    """The type that a field without a value takes, for overrides."""
    kind = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return (typing.get_origin(kind) or kind).__name__
