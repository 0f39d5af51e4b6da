"""Certificates as a report reads them: by hand, older ones and damaged ones."""

import json
import os

import numpy as np
import pytest

from clustr_tf.errors import InputError
from clustr_tf.evaluation.report import read_evaluation
from clustr_tf.evaluation.report.certificates import read_certificates

ENTRY = {
    "key": "soft",
    "title": "soft scores, all clusters",
    "clean_accuracy": 0.75,
    "mean_radius_l2": 0.2,
    "abstentions": 0.25,
    "seconds_per_image": 1e-4,
}


def write(folder, **changes):
    """Four images: right with 0.25 and 0.5, right without a radius, wrong with a large one."""
    figures = {"num_pixels": 4, "proofs": [ENTRY]} | changes
    (folder / "certificates.json").write_text(json.dumps(figures))
    np.savez(
        folder / "certificates.npz",
        labels=np.array([0, 0, 1, 1]),
        predictions_soft=np.array([0, 0, 1, 0]),
        radius_l2_soft=np.array([0.25, 0.5, 0.0, 8.0], np.float32),
    )


def test_a_curve_counts_right_answers_with_such_a_radius(tmp_path):
    """2 of 4 above 0 and up to 0.25, 1 of 4 up to 0.5; in l-infinity half of it, 4 pixels."""
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
    )
    (certificate,) = read_certificates(tmp_path, 1000)
    curve = certificate.curve("l2")
    assert 30 < len(curve["radius"]) < 40
    assert set(curve["radius"][1:]) <= set(radii.astype(float).tolist())
    for radius, accuracy in zip(curve["radius"], curve["accuracy"], strict=True):
        assert accuracy == np.mean(radii >= radius)
    assert curve["radius"][-1] == radii.max()


def test_what_is_served_leads(write_workdir, tmp_path):
    """Proved at the attack's own radius and norm: l-infinity 0.1 is l2 0.8 with 64 pixels."""
    evaluation = read_evaluation(write_workdir(tmp_path))
    with np.load(tmp_path / "certificates.npz") as arrays:
        correct = arrays["predictions_soft_scores_all"] == arrays["labels"]
        expected = np.mean(correct & (arrays["radius_l2_soft_scores_all"] >= 0.8))
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
        lambda folder: write(folder, num_pixels="many"),
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
