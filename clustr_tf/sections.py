"""From nested mappings (config files) to frozen dataclasses, checked field by field."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from clustr_tf.errors import InputError

Section = TypeVar("Section")


def read_section(section: type[Section], values: Mapping[str, Any], path: str) -> Section:
    """Builds a frozen dataclass from a mapping; nested dataclasses from nested mappings.

    Args:
        section: a dataclass whose fields are int, float, bool, str, `X | None`, tuples of those,
            or dataclasses.
        values: one entry a field; fields with a default may be left out.
        path: where the mapping stands in the config, for messages, such as "config.training".

    Returns:
        The dataclass, validated by its own `__post_init__`.

    Raises:
        InputError: one line that names the field, what was received and what is allowed.

    Example:
        >>> read_section(DatasetConfig, {"name": "digits"}, "config.dataset")
    """
    hints = typing.get_type_hints(section)
    fields = {field.name: field for field in dataclasses.fields(section)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise InputError(f"{path} has no field {name!r}; its fields: {', '.join(fields)}")
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _read_value(hints[name], values[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING:
            raise InputError(f"{path}.{name} is missing; it must be {_describe(hints[name])}")
    try:
        return section(**arguments)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}.{error}") from error


def check_type(section: type, name: str, value: Any, path: str) -> None:
    """Refuses a value whose type a field can never take; whether it is in range is not looked at.

    Args:
        section: a dataclass, as of `read_section`.
        name: of the field; dotted if it is one of a nested dataclass.
        value: what it might get.
        path: where the value stands, for the message.

    Raises:
        InputError: one line that names the path, what was received and what is allowed.

    Example:
        >>> check_type(Experiment, "backbone.width", 32, "config.search.space.backbone.width")
    """
    first, _, rest = name.partition(".")
    hint = typing.get_type_hints(section)[first]
    if rest:
        check_type(hint, rest, value, path)
    else:
        _read_value(hint, value, path)


def section_values(section: Any) -> dict[str, Any]:
    """The inverse of `read_section`, ready for JSON: tuples become lists.

    Args:
        section: a dataclass.

    Returns:
        Nested dictionaries.

    Example:
        >>> section_values(DatasetConfig(name="digits"))["name"]  # 'digits'
    """
    return dataclasses.asdict(section, dict_factory=lambda pairs: dict(_jsonable(pairs)))


def _jsonable(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(key, list(value) if isinstance(value, tuple) else value) for key, value in pairs]


def _read_value(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise InputError(f"{path} must be a group of fields. Received: {value!r}")
        return read_section(typing.cast(type, hint), value, path)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        inner = [option for option in typing.get_args(hint) if option is not types.NoneType]
        return None if value is None else _read_value(inner[0], value, path)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{path} must be {_describe(hint)}. Received: {value!r}")
        return tuple(_read_value(typing.get_args(hint)[0], item, path) for item in value)
    # bool is an int in Python, but True is no number of epochs; an int is a fine float.
    allowed = (int, float) if hint is float else hint
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{path} must be {_describe(hint)}. Received: {value!r}")
    return hint(value)


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a list of {_describe(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if dataclasses.is_dataclass(hint):
        return "a group of fields"
    names = {int: "int", float: "float", bool: "bool", str: "str", types.NoneType: "None"}
    return names[hint]
