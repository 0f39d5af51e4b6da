"""Files of an evaluation, whole and damaged: one line says what to do."""

import json

import numpy as np
import pytest

from clustr_tf.errors import InputError
from clustr_tf.evaluation.report import read_evaluation


def test_a_complete_evaluation_is_read_as_it_was_written(write_workdir, tmp_path):
    evaluation = read_evaluation(write_workdir(tmp_path))
    assert evaluation.figures == json.loads((tmp_path / "robustness.json").read_text())
    with np.load(tmp_path / "robustness.npz") as archive:
        assert set(evaluation.arrays) == set(archive.files)
        for name, values in evaluation.arrays.items():
            np.testing.assert_array_equal(values, archive[name])


@pytest.mark.parametrize("name", ["robustness.json", "robustness.npz"])
def test_a_missing_file_names_the_command(write_workdir, tmp_path, name):
    (write_workdir(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=r"python -m clustr_tf\.evaluate --workdir=") as error:
        read_evaluation(tmp_path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("robustness.json", b""),
        ("robustness.json", b'{"eps": 0.1,'),
        ("robustness.json", b"\xff\xfe"),
        ("robustness.json", b'{"eps": NaN}'),
        ("robustness.json", b"[]"),
        ("robustness.json", b"{}"),
        ("robustness.npz", b""),
        ("robustness.npz", b"not a zip archive"),
        ("robustness.npz", b"PK\x03\x04 cut off"),
    ],
)
def test_a_damaged_file_is_named(write_workdir, tmp_path, name, content):
    (write_workdir(tmp_path) / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as error:
        read_evaluation(tmp_path)
    assert "\n" not in str(error.value)


def _drop(key):
    return lambda figures, arrays: (figures if key in figures else arrays).pop(key)


def _set(key, value):
    return lambda figures, arrays: (figures if key in figures else arrays).update({key: value})


def _shorter_curve(figures, arrays):
    figures["curve"]["attacks"]["pgd"]["accuracy"].pop()


def _accuracy_as_text(figures, arrays):
    figures["attacks"]["pgd"]["accuracy"] = "57.5 %"


def _interval_of_three(figures, arrays):
    figures["attacks"]["pgd"]["interval_95"].append(1.0)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (_drop("eps"), "has no 'eps'"),
        (_drop("labels"), "has no array 'labels'"),
        (_drop("map_images"), "has no array 'map_images'"),
        (_drop("gallery_predictions"), "has no array 'gallery_predictions'"),
        (_set("classes", "0123456789"), "classes must be of type list"),
        (_set("examples", True), "examples must be of type int"),
        (_set("examples", 359), "'labels' of shape"),
        (_set("classes", ["0", "1"]), "'labels' must hold integers in \\[0, 2\\)"),
        (_set("map_rows", np.full(340, 360)), "'map_rows' must hold integers in \\[0, 360\\)"),
        (_set("map_points", np.zeros((340, 3))), "'map_points' of shape"),
        (_set("map_images", np.zeros((340, 8, 8), np.uint8)), "'map_images' of shape"),
        (_shorter_curve, "the curve 'pgd'"),
        (_accuracy_as_text, "attacks.pgd.accuracy must be of type float"),
        (_interval_of_three, "interval_95 must hold 2 values"),
    ],
)
def test_what_does_not_fit_is_named(write_workdir, tmp_path, edit, told):
    with pytest.raises(InputError, match=told) as error:
        read_evaluation(write_workdir(tmp_path, edit))
    assert "\n" not in str(error.value)


def test_arrays_of_objects_are_refused(write_workdir, tmp_path):
    """They would be unpickled, which runs code."""
    edit = _set("robust", np.array([{}] * 360, dtype=object))
    with pytest.raises(InputError, match=r"robustness\.npz cannot be read"):
        read_evaluation(write_workdir(tmp_path, edit))
