"""What the command writes and prints, of four pixels, by hand; what it refuses."""

import json
import re
import zipfile

import keras
import numpy as np
import pytest

from clustr_tf.certify.report import certify_workdir
from clustr_tf.layers import ScaledAveragePooling2D
from clustr_tf.run.errors import InputError
from clustr_tf.run.workdir import Workdir

METHODS = ("nearest", "pairwise", "exact")
FILES = ("certificates.json", "certificates.npz")


@pytest.fixture
def certify(tmp_path, dataset):
    """Certifies a classifier in a workdir of its own; returns the figures."""

    def run(classifier, **options):
        workdir = Workdir(tmp_path)
        workdir.save_classifier(classifier)
        certify_workdir(workdir, classifier, dataset, (0.0, 0.1), **options)
        return json.loads((tmp_path / "certificates.json").read_text())

    return run


def test_figures_arrays_and_bound_are_those_of_four_pixels(certify, classifier_with, tmp_path):
    """The bisector is at 0.5 and the network the identity: radii 0.3, 0.049, 0.402 and 0.449.

    The last pixel is of the other class. One pixel: l-infinity is l2. All proofs are one for K = 1.
    """
    figures = certify(classifier_with(keras.layers.ReLU()), linf_eps=0.1)
    radii = np.abs(np.array([51, 115, 230, 242]) / 255 - 0.5)
    for found in (figures, *figures["proofs"]):
        assert found["clean_accuracy"] == 0.75
        assert found["certified_accuracy_l2"] == [
            {"radius": 0.0, "accuracy": 0.75},
            {"radius": 0.1, "accuracy": 0.5},
        ]
        assert found["mean_radius_l2"] == pytest.approx(radii.mean(), abs=1e-5)
        assert found["median_radius_l2"] == pytest.approx((0.3 + radii[2]) / 2, abs=1e-5)
        assert found["largest_radius_l2"] == pytest.approx(radii[3], abs=1e-5)
        assert found["abstentions"] == 0
    keys = [proof["key"] for proof in figures["proofs"]]
    assert keys == ["soft_scores_all", *(f"nearest_cluster_{m}" for m in METHODS)]
    assert figures["certified_accuracy_linf_by_intervals"] == [{"eps": 0.1, "accuracy": 0.5}]
    assert (figures["data"], figures["examples"]) == ("four pixels, first 4 test images", 4)
    with np.load(tmp_path / "certificates.npz", allow_pickle=False) as arrays:
        for name in ("radius_l2", "radius_linf", *(f"radius_l2_{key}" for key in keys)):
            np.testing.assert_allclose(arrays[name], radii, atol=1e-5)
            assert np.all(arrays[name] < radii)
        for name in ("predictions", *(f"predictions_{key}" for key in keys)):
            np.testing.assert_array_equal(arrays[name], [0, 0, 1, 1])
        np.testing.assert_array_equal(arrays["labels"], [0, 0, 1, 0])
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        stored = json.loads(archive.read("certificate.json"))
    assert stored["lipschitz_bound"] == pytest.approx(1, abs=1e-6)
    assert stored == {name: figures[name] for name in stored}


def test_the_table_has_a_row_for_each_proof_and_says_what_is_left_out(
    certify, classifier_with, capsys
):
    certify(classifier_with(keras.layers.ReLU()), linf_eps=0.1)
    printed = capsys.readouterr().out
    assert len(re.findall(r"75\.0% +75\.0% +50\.0%", printed)) == 4
    assert "l-infinity, eps 0.1: 50.00% certified by intervals" in printed
    assert printed.count("left out: ") == 1
    assert "left out: soft scores, L nearest: the head takes all clusters" in printed


def test_fewer_examples_and_another_number_of_nearest_clusters(certify, classifier_with, capsys):
    """0.2 and 0.451 are both right; l-infinity was not asked for."""
    figures = certify(classifier_with(keras.layers.ReLU()), examples=2, nearest=1)
    assert (figures["examples"], figures["clean_accuracy"]) == (2, 1.0)
    assert "soft_scores_1_nearest" in [proof["key"] for proof in figures["proofs"]]
    assert "certified_accuracy_linf_by_intervals" not in figures
    printed = capsys.readouterr().out
    assert "left out" not in printed
    assert "by intervals" not in printed


def test_a_network_without_interval_bounds_has_its_l2_radii(certify, classifier_with):
    figures = certify(classifier_with(ScaledAveragePooling2D(1)), linf_eps=0.1)
    assert figures["clean_accuracy"] == 0.75
    assert "certified_accuracy_linf_by_intervals" not in figures


@pytest.mark.parametrize(
    ("layer", "head", "options", "message"),
    [
        (keras.layers.ReLU, keras.layers.Dense, {}, "must have a ClusteringHead.*Received: Dense"),
        (keras.layers.UnitNormalization, None, {}, "type with a proved Lipschitz bound"),
        (keras.layers.ReLU, None, {"nearest": 2}, "nearest must be from 1 to 1.*Received: 2"),
    ],
    ids=["head", "layer", "nearest"],
)
def test_refuses_in_one_line_and_writes_nothing(
    certify, classifier_with, tmp_path, layer, head, options, message
):
    classifier = classifier_with(layer(), head and head(2))
    with pytest.raises(InputError, match=message) as error:
        certify(classifier, **options)
    assert "\n" not in str(error.value)
    assert not any((tmp_path / name).exists() for name in FILES)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert "certificate.json" not in archive.namelist()
