"""Config mappings become frozen dataclasses or one clear line."""

from dataclasses import dataclass

import pytest

from clustr_tf.cli.entries import plain, read_group, read_name
from clustr_tf.run.errors import InputError


@dataclass(frozen=True)
class Inner:
    rate: float
    name: str = "adam"

    def __post_init__(self):
        if self.rate <= 0:
            raise ValueError(f"rate must be above 0. Received: {self.rate}")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    epochs: int
    milestones: tuple[int, ...] = ()
    nearest: int | None = None
    compiled: bool = False


GOOD = {"inner": {"rate": 1}, "epochs": 3, "milestones": [1, 2], "nearest": 4}


def test_reads_nested_sections_and_defaults():
    outer = read_group(Outer, GOOD, "config")
    assert outer == Outer(Inner(1.0, "adam"), 3, (1, 2), 4, False)
    assert isinstance(outer.inner.rate, float)


def test_values_are_read_back():
    outer = read_group(Outer, GOOD, "config")
    values = plain(outer)
    assert values["milestones"] == [1, 2]
    assert values["inner"] == {"rate": 1.0, "name": "adam"}
    assert read_group(Outer, values, "config") == outer


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"epoch": 3}, "config has no field 'epoch'; its fields: inner, epochs, milestones"),
        ({"epoch": 3}, "Did you mean 'epochs'?"),
        ({"inner": {"rate": "8//255"}}, "config.inner.rate must be a number or a fraction"),
        ({"epochs": 3.5}, "config.epochs must be int. Received: 3.5"),
        ({"epochs": True}, "config.epochs must be int. Received: True"),
        ({"epochs": "3"}, "config.epochs must be int. Received: '3'"),
        ({"nearest": 1.5}, "config.nearest must be int. Received: 1.5"),
        ({"milestones": 3}, "config.milestones must be a list of int. Received: 3"),
        ({"milestones": [1, "x"]}, "config.milestones must be int. Received: 'x'"),
        ({"compiled": 1}, "config.compiled must be bool. Received: 1"),
        ({"inner": 3}, "config.inner must be a group of fields. Received: 3"),
        ({"inner": {"rate": 0}}, "config.inner.rate must be above 0. Received: 0.0"),
        ({"inner": {}}, "config.inner.rate is missing; it must be float"),
        ({"inner": {"rate": None}}, "config.inner.rate must be float. Received: None"),
    ],
)
def test_mistakes_are_one_line(change, line):
    with pytest.raises(InputError) as raised:
        read_group(Outer, {**GOOD, **change}, "config")
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_numbers_may_be_fractions_and_one_name_a_list():
    assert read_group(Inner, {"rate": "8/255"}, "config").rate == 8 / 255

    def target(names: tuple[str, ...] = ()):
        return names

    assert read_group(target, {"names": "one"}, "config") == ("one",)
    assert read_group(target, {"names": ["one", "two"]}, "config") == ("one", "two")


def test_functions_have_fields_too():
    """Their parameters; what they refuse is told with the path."""

    def square(side: int, colour: str = "red"):
        if side < 1:
            raise ValueError(f"side must be at least 1. Received: {side}")
        return side, colour

    assert read_group(square, {"side": 2}, "config.shape") == (2, "red")
    with pytest.raises(InputError, match=r"^config\.shape\.side must be at least 1. Received: 0$"):
        read_group(square, {"side": 0}, "config.shape")


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"name": "three"}, "config.x.name must be one of ['one', 'two']. Received: 'three'"),
        ({"rate": 1}, "config.x must be a group of fields with a name"),
        ("one", "config.x must be a group of fields with a name. Received: 'one'"),
    ],
)
def test_names_are_those_of_the_registry(entry, line):
    with pytest.raises(InputError) as raised:
        read_name(entry, {"one": 1, "two": 2}, "config.x")
    assert str(raised.value).startswith(line)
    assert read_name({"name": "one", "a": 1}, {"one": 1}, "config.x") == ("one", {"a": 1})
