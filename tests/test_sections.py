"""Config mappings become frozen dataclasses or one clear line."""

from dataclasses import dataclass

import pytest

from clustr_tf.errors import InputError
from clustr_tf.sections import read_section, section_values


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
    outer = read_section(Outer, GOOD, "config")
    assert outer == Outer(Inner(1.0, "adam"), 3, (1, 2), 4, False)
    assert isinstance(outer.inner.rate, float)


def test_values_are_read_back():
    outer = read_section(Outer, GOOD, "config")
    values = section_values(outer)
    assert values["milestones"] == [1, 2]
    assert values["inner"] == {"rate": 1.0, "name": "adam"}
    assert read_section(Outer, values, "config") == outer


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"epoch": 3}, "config has no field 'epoch'; its fields: inner, epochs, milestones"),
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
        read_section(Outer, {**GOOD, **change}, "config")
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
