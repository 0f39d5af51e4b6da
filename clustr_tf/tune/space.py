"""Which fields of a config a search draws, and from what."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner

from clustr_tf.run.errors import InputError

PATH = "config.search.space"
_KEYS = {"low", "high", "choices"}  # of a field; a group has none of them


@dataclass(frozen=True)
class Condition:
    """A field is drawn only where another one that is drawn has one of these values."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; whole ones if both are.

    Attributes:
        name: the dotted name of the field, such as "optimizer.learning_rate".
        low: the least.
        high: the greatest.
        sampling: "linear" or "log".
        when: None for always.
    """

    name: str
    low: float
    high: float
    sampling: str = "linear"
    when: Condition | None = None

    def declare(self, space: keras_tuner.HyperParameters, **condition: Any) -> None:
        """Adds the field to what Keras-tuner draws."""
        draw = space.Int if self._is_whole else space.Float
        draw(self.name, self.low, self.high, sampling=self.sampling, **condition)

    def value(self, drawn: Any) -> Any:
        """What the config gets for what Keras-tuner drew."""
        return drawn

    @property
    def examples(self) -> tuple[Any, ...]:
        """The least and the most, of the type that is drawn."""
        kind = int if self._is_whole else float
        return (kind(self.low), kind(self.high))

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choices:
    """One of some values, of whatever type the field has.

    Attributes:
        name: the dotted name of the field.
        values: at least one.
        when: None for always.
    """

    name: str
    values: tuple[Any, ...]
    when: Condition | None = None

    def declare(self, space: keras_tuner.HyperParameters, **condition: Any) -> None:
        """Adds the field to what Keras-tuner draws."""
        space.Choice(self.name, [self.drawn(value) for value in self.values], **condition)

    def drawn(self, value: Any) -> Any:
        """What Keras-tuner draws for what the config gets."""
        return json.dumps(value) if self._as_text else value

    def value(self, drawn: Any) -> Any:
        """What the config gets for what Keras-tuner drew."""
        return json.loads(drawn) if self._as_text else drawn

    @property
    def examples(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    @property
    def _as_text(self) -> bool:
        """Keras-tuner chooses among values of one of four types, and not None or lists."""
        kinds = {type(value) for value in self.values}
        return len(kinds) > 1 or not kinds <= {int, float, str, bool}


Field = Range | Choices


def read_space(values: Any) -> tuple[Field, ...]:
    """Reads `config.search.space`, which is nested as the config is.

    A field is {"low", "high"} with an optional "sampling" (linear, log), or {"choices"}; either
    may have "when": {"field", "values"}, which names a field that has choices. Whether the config
    can have such fields, `Request` finds out.

    Args:
        values: the nested mappings.

    Returns:
        The fields, those that others depend on first.

    Raises:
        InputError: one line that names the field, what was received and what is allowed.

    Example:
        >>> read_space({"optimizer": {"learning_rate": {"low": 1e-4, "high": 1e-2}}})
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{PATH} must be a group of fields. Received: {values!r}")
    fields = sorted(_read(values, ""), key=lambda field: field.when is not None)
    if not fields:
        raise InputError(f"{PATH} must have at least one field. Received: none")
    parents = _parents(fields)
    for field in fields:
        if field.when is not None:
            parent = parents.get(field.when.name)
            allowed = parent.values if parent else ()
            if not all(value in allowed for value in field.when.values):
                raise InputError(
                    f"{PATH}.{field.name}.when must name a field with choices in the space, "
                    f"itself without when, and some of them. Received: {field.when.name!r}, "
                    f"{field.when.values}"
                )
    return tuple(fields)


def _read(values: Mapping[str, Any], prefix: str) -> Iterator[Field]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            raise InputError(
                f"{PATH}.{name} must be a group: low and high, or choices. Received: {value!r}"
            )
        if _KEYS.isdisjoint(value):
            yield from _read(value, f"{name}.")
        else:
            yield _read_field(name, value)


def _read_field(name: str, value: Mapping[str, Any]) -> Field:
    keys, when = set(value) - {"when"}, None
    if "when" in value:
        condition = value["when"]
        if not isinstance(condition, Mapping) or set(condition) != {"field", "values"}:
            raise InputError(
                f"{PATH}.{name}.when must have field and values. Received: {condition!r}"
            )
        if not isinstance(condition["values"], list | tuple) or not condition["values"]:
            raise InputError(
                f"{PATH}.{name}.when.values must be a list of at least one value. "
                f"Received: {condition['values']!r}"
            )
        when = Condition(condition["field"], tuple(_plain(condition["values"])))
    if keys == {"choices"}:
        choices = value["choices"]
        if not isinstance(choices, list | tuple) or not choices:
            raise InputError(
                f"{PATH}.{name}.choices must be a list of at least one value. Received: {choices!r}"
            )
        return Choices(name, tuple(_plain(choices)), when)
    if {"low", "high"} <= keys <= {"low", "high", "sampling"}:
        return _read_range(name, value, when)
    raise InputError(
        f"{PATH}.{name} must have low and high (and sampling), or choices. "
        f"Received: {sorted(value)}"
    )


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON, in which the search keeps what was drawn."""
    return json.loads(json.dumps(value))


def _read_range(name: str, value: Mapping[str, Any], when: Condition | None) -> Range:
    low, high, sampling = value["low"], value["high"], value.get("sampling", "linear")
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not -math.inf < low < high < math.inf:
        raise InputError(
            f"{PATH}.{name} must have numbers low < high. Received: {low!r} and {high!r}"
        )
    if sampling not in ("linear", "log") or (sampling == "log" and low <= 0):
        raise InputError(
            f"{PATH}.{name}.sampling must be linear, or log with low above 0. "
            f"Received: {sampling!r} with low {low!r}"
        )
    return Range(name, low, high, sampling, when)


def hyperparameters(fields: tuple[Field, ...]) -> keras_tuner.HyperParameters:
    """The fields as Keras-tuner knows them.

    Args:
        fields: of `read_space`.

    Returns:
        The space.
    """
    space, parents = keras_tuner.HyperParameters(), _parents(fields)
    for field in fields:
        condition: dict[str, Any] = {}
        if field.when is not None:
            drawn = [parents[field.when.name].drawn(value) for value in field.when.values]
            condition = {"parent_name": field.when.name, "parent_values": drawn}
        field.declare(space, **condition)
    return space


def _parents(fields: Sequence[Field]) -> dict[str, Choices]:
    """The fields that others may depend on."""
    return {
        field.name: field for field in fields if isinstance(field, Choices) and field.when is None
    }


def drawn_values(fields: tuple[Field, ...], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's values of the fields that are drawn, by dotted name.

    Args:
        fields: of `read_space`.
        drawn: Keras-tuner's values; it may have others of its own.

    Returns:
        Only the fields that the trial has.
    """
    return {field.name: field.value(drawn[field.name]) for field in fields if field.name in drawn}
