"""Files of evaluations and certificates, whole and damaged: one line says what to do."""

import json
import os

import numpy as np
import pytest

from clustr_tf.evaluate.report import read_certificates, read_evaluation
from clustr_tf.run.errors import InputError


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


ENTRY = {
    "key": "soft",
    "title": "soft scores, all clusters",
    "clean_accuracy": 0.75,
    "median_radius_l2": 0.2,
    "median_radius_linf": 0.1,
    "abstentions": 0.25,
    "seconds_per_image": 1e-4,
}


def write(folder, **changes):
    """Four images: right with 0.25 and 0.5, right without a radius, wrong with a large one."""
    figures = {"proofs": [ENTRY]} | changes
    (folder / "certificates.json").write_text(json.dumps(figures))
    np.savez(
        folder / "certificates.npz",
        labels=np.array([0, 0, 1, 1]),
        predictions_soft=np.array([0, 0, 1, 0]),
        radius_l2_soft=np.array([0.25, 0.5, 0.0, 8.0], np.float32),
        radius_linf_soft=np.array([0.125, 0.25, 0.0, 4.0], np.float32),
    )


def test_a_curve_counts_right_answers_with_such_a_radius(tmp_path):
    """2 of 4 above 0 and up to 0.25, 1 of 4 up to 0.5; in l-infinity half of it."""
    write(tmp_path)
    (certificate,) = read_certificates(tmp_path, 4)
    for norm, factor in (("l2", 1), ("linf", 0.5)):
        curve = certificate.curve(norm)
        at = dict(zip(curve["radius"], curve["accuracy"], strict=True))
        assert at == {0.0: 0.5, 0.25 * factor: 0.5, 0.5 * factor: 0.25}
        assert len(curve["interval_95"]) == 3
        for radius, expected in ((0.0, 0.5), (0.2, 0.5), (0.25, 0.5), (0.3, 0.25), (0.6, 0.0)):
            assert certificate.certified_accuracy(radius * factor, norm) == expected


def test_only_what_was_attacked_is_counted(tmp_path):
    write(tmp_path)
    (certificate,) = read_certificates(tmp_path, 1)
    assert certificate.curve("l2")["accuracy"] == [1.0, 1.0]


def test_the_steps_of_many_radii_are_radii_and_bound_all_between(tmp_path):
    """1000 radii: at the steps the accuracy is counted, so between them it is no lower."""
    write(tmp_path)
    radii = np.sort(np.random.default_rng(0).gamma(2.0, 0.1, 1000)).astype(np.float32)
    labels = np.zeros(1000, np.int64)
    np.savez(
        tmp_path / "certificates.npz",
        labels=labels,
        predictions_soft=labels,
        radius_l2_soft=radii,
        radius_linf_soft=radii / 2,
    )
    (certificate,) = read_certificates(tmp_path, 1000)
    curve = certificate.curve("l2")
    assert 30 < len(curve["radius"]) < 40
    assert set(curve["radius"][1:]) <= set(radii.astype(float).tolist())
    for radius, accuracy in zip(curve["radius"], curve["accuracy"], strict=True):
        assert accuracy == np.mean(radii >= radius)
    assert curve["radius"][-1] == radii.max()


def test_what_is_served_leads(write_workdir, tmp_path):
    """Proved at the attack's own radius and norm."""
    evaluation = read_evaluation(write_workdir(tmp_path))
    with np.load(tmp_path / "certificates.npz") as arrays:
        correct = arrays["predictions_soft_scores_all"] == arrays["labels"]
        expected = np.mean(correct & (arrays["radius_linf_soft_scores_all"] >= np.float32(0.1)))
    assert 0 < expected < 1
    assert evaluation.proved_accuracy == expected
    assert read_evaluation(write_workdir(tmp_path / "b", certified=False)).proved_accuracy is None


def test_certificates_of_another_model_or_version_are_none(tmp_path):
    assert read_certificates(tmp_path, 4) == ()
    write(tmp_path)
    (tmp_path / "model.keras").touch()
    os.utime(tmp_path / "certificates.json", (1, 1))
    assert read_certificates(tmp_path, 4) == ()
    (tmp_path / "certificates.json").write_text('{"clean_accuracy": 0.9}')
    assert read_certificates(tmp_path, 4) == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "certificates.json").write_text("{"),
        lambda folder: (folder / "certificates.json").write_text("[]"),
        lambda folder: (folder / "certificates.npz").unlink(),
        lambda folder: (folder / "certificates.npz").write_bytes(b"PK\x03\x04 cut off"),
        lambda folder: write(folder, proofs="many"),
        lambda folder: write(folder, proofs=[ENTRY | {"key": "unknown"}]),
        lambda folder: np.savez(
            folder / "certificates.npz",
            labels=np.zeros(4),
            predictions_soft=np.zeros(4),
            radius_l2_soft=np.zeros(3),
        ),
    ],
)
def test_damaged_files_say_in_one_line_how_to_make_them_anew(tmp_path, damage):
    write(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=r"python -m clustr_tf\.certify --workdir=") as error:
        read_certificates(tmp_path, 4)
    assert "\n" not in str(error.value)
