"""Entries of a config, `{"name": ..., own fields}`: read by the signature of what they name."""

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Set
from fractions import Fraction
from typing import Any

from clustr_tf.run.errors import InputError

_REQUIRED = inspect.Parameter.empty


def read_fields(
    target: Callable[..., Any], values: Mapping[str, Any], path: str, skip: Set[str] = frozenset()
) -> dict[str, Any]:
    """All arguments of a function or dataclass, checked one by one.

    Args:
        target: whose parameters with type hints are the fields: int, float, bool, str, tuples of
            those, `X | None`, or a dataclass, which takes a group of fields.
        values: what the config says of them; fields with a default may be left out.
        path: where they stand in the config, for messages, such as "config.training".
        skip: parameters that are no fields.

    Returns:
        A value for every parameter.

    Raises:
        InputError: one line that names the field, what was received and what is allowed.

    Example:
        >>> read_fields(PGD, {"eps": "8/255"}, "config.watch.attack")["eps"]  # 0.0313...
    """
    hints, parameters = _fields(target, skip)
    for name in values:
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            listed = ", ".join(parameters) or "none"
            raise InputError(f"{path} has no field {name!r}; its fields: {listed}.{hint}")
    found = {}
    for name, parameter in parameters.items():
        if name in values:
            found[name] = read_value(hints[name], values[name], f"{path}.{name}")
        elif parameter.default is _REQUIRED:
            raise InputError(f"{path}.{name} is missing; it must be {_describe(hints[name])}")
        else:
            found[name] = parameter.default
    return found


def build(target: Callable[..., Any], fields: Mapping[str, Any], path: str) -> Any:
    """Calls it with fields of `read_fields`; what it refuses is told in one line.

    Raises:
        InputError: with the path before the ValueError's own words.
    """
    try:
        return target(**fields)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}.{' '.join(str(error).split())}") from error


def read_group(target: Callable[..., Any], values: Any, path: str) -> Any:
    """What `target` makes of a group of fields; see `read_fields` and `build`."""
    if not isinstance(values, Mapping):
        raise InputError(f"{path} must be a group of fields. Received: {values!r}")
    return build(target, read_fields(target, values, path), path)


def read_name(values: Any, registry: Mapping[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    """The name of an entry, which the registry has, and its other values.

    Raises:
        InputError: if the entry is no group, or its name is missing or unknown.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise InputError(f"{path} must be a group of fields with a name. Received: {values!r}")
    others = dict(values)
    name = others.pop("name")
    if name not in registry:
        raise InputError(f"{path}.name must be one of {sorted(registry)}. Received: {name!r}")
    return name, others


def known_fields(target: Callable[..., Any]) -> Set[str]:
    """The names that `read_fields` takes."""
    return set(_fields(target, frozenset())[1])


def plain(value: Any) -> Any:
    """Fields ready for JSON: tuples become lists, dataclasses groups."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_value(hint: Any, value: Any, path: str) -> Any:
    """A value as its type hint asks for it.

    Raises:
        InputError: one line that names the path, what was received and what is allowed.
    """
    if dataclasses.is_dataclass(hint):
        return read_group(typing.cast(Callable[..., Any], hint), value, path)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        inner = [option for option in typing.get_args(hint) if option is not types.NoneType]
        hint = type(value) if type(value) in inner else inner[0]
        return None if value is None else read_value(hint, value, path)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, str) and item is str:
            value = (value,)
        if not isinstance(value, list | tuple):
            raise InputError(f"{path} must be {_describe(hint)}. Received: {value!r}")
        return tuple(read_value(item, one, path) for one in value)
    if hint is float and isinstance(value, str):
        try:
            return parse_fraction(value)
        except ValueError as error:
            raise InputError(f"{path} {error}") from error
    # bool is an int in Python, but True is no number of epochs; an int is a fine float.
    allowed = (int, float) if hint is float else hint
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{path} must be {_describe(hint)}. Received: {value!r}")
    return hint(value)


def parse_fraction(text: str | float) -> float:
    """Reads a number or a fraction.

    Args:
        text: such as "8/255", "0.1", 0.1.

    Returns:
        The float.

    Raises:
        ValueError: if it is neither, or not finite.

    Example:
        >>> parse_fraction("8/255")  # 0.03137...
    """
    try:
        return float(Fraction(str(text).replace(" ", "")))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"must be a number or a fraction such as 8/255; got {text!r}") from error


def _fields(
    target: Callable[..., Any], skip: Set[str]
) -> tuple[dict[str, Any], dict[str, inspect.Parameter]]:
    source = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    hints = typing.get_type_hints(source)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if name not in skip and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    return hints, parameters


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a list of {_describe(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if dataclasses.is_dataclass(hint):
        return "a group of fields"
    names = {int: "int", float: "float", bool: "bool", str: "str", types.NoneType: "None"}
    return names[hint]
