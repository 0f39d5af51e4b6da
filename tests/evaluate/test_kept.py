"""Which evaluation stands at the top of a workdir; all of them are kept."""

import json
import os

import pytest

from clustr_tf.attacks import PGD
from clustr_tf.evaluate.kept import evaluation_name, show, shown
from clustr_tf.run.errors import InputError

CONFIGURED = PGD(eps=0.1)
FIGURES = {
    "norm": "linf",
    "eps": 0.1,
    "protocol": "adaptive",
    "attacks": {"clean": {}, "pgd": {"steps": 20, "restarts": 1}, "square": {"queries": 50}},
    "examples": 100,
    "seed": 0,
    "worst_case_accuracy": 0.5,
    "weights": "these",
}


@pytest.fixture
def keep(tmp_path):
    """Writes the files of an evaluation, a second after the one before; gives its folder."""

    def write(name, **changes):
        folder = tmp_path / "evaluations" / name
        folder.mkdir(parents=True)
        (folder / "robustness.json").write_text(json.dumps(FIGURES | changes))
        for file in ("robustness.npz", "report.html"):
            (folder / file).write_text(name)
        at = len(list(folder.parent.iterdir()))
        os.utime(folder / "robustness.json", (at, at))
        return folder

    return write


def test_a_name_says_what_was_asked_for():
    assert evaluation_name(FIGURES) == "linf-0.1-adaptive-clean+pgd_20x1+square_50-100-seed0"


@pytest.mark.parametrize(
    "weaker",
    [
        {"eps": 0.0, "worst_case_accuracy": 0.1, "examples": 360},  # another radius
        {"norm": "l2", "worst_case_accuracy": 0.1, "examples": 360},
        {"examples": 20, "worst_case_accuracy": 0.1},  # fewer images
        {"worst_case_accuracy": 0.6},  # weaker attacks
        {"worst_case_accuracy": None, "examples": 360},  # nothing attacked
        {"weights": "others", "worst_case_accuracy": 0.1},  # an earlier model
    ],
    ids=str,
)
def test_the_strongest_at_the_configured_radius_is_shown_whatever_came_later(
    keep, tmp_path, weaker
):
    first = keep("first")
    assert shown(tmp_path, CONFIGURED, "these") == first
    keep("later", **weaker)
    assert shown(tmp_path, CONFIGURED, "these") == first
    lower = keep("lower", worst_case_accuracy=0.4)
    assert shown(tmp_path, CONFIGURED, "these") == lower
    more = keep("more", examples=360, worst_case_accuracy=0.7)
    assert shown(tmp_path, CONFIGURED, "these") == more


def test_of_equals_the_latest_is_shown_and_its_files_are_copied(keep, tmp_path):
    keep("first")
    again = keep("again")
    assert shown(tmp_path, CONFIGURED, "these") == again
    show(again, tmp_path)
    assert (tmp_path / "report.html").read_text() == "again"
    assert json.loads((tmp_path / "robustness.json").read_text()) == FIGURES


def test_without_an_evaluation_of_this_model_nothing_is_shown(keep, tmp_path):
    assert shown(tmp_path, CONFIGURED, "these") is None
    keep("first", weights="others")
    assert shown(tmp_path, CONFIGURED, "these") is None


@pytest.mark.parametrize(
    "damaged",
    ["[]", "{", *(json.dumps(FIGURES | {name: None}) for name in ("eps", "examples"))]
    + [
        json.dumps({kept: FIGURES[kept] for kept in FIGURES if kept != missing})
        for missing in ("norm", "eps", "examples")
    ],
)
def test_a_damaged_one_is_named(keep, tmp_path, damaged):
    folder = keep("first")
    (folder / "robustness.json").write_text(damaged)
    with pytest.raises(InputError, match=r"evaluations/first/robustness\.json cannot be read"):
        shown(tmp_path, CONFIGURED, "these")
