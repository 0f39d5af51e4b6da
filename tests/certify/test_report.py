"""What the command writes and prints, of four pixels, by hand; what it refuses."""

import json
import re
import zipfile

import keras
import numpy as np
import pytest

from clustr_tf.certify.linf.boxes import LAYER_BOXES
from clustr_tf.certify.report import certify_workdir, chosen_radii
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
    figures = certify(classifier_with(keras.layers.ReLU()), linf_eps=0.2, singly=True)
    radii = np.abs(np.array([51, 115, 230, 242]) / 255 - 0.5)
    for found in (figures, *figures["proofs"]):
        assert found["clean_accuracy"] == 0.75
        shares = [{"radius": 0.0, "accuracy": 0.75}, {"radius": 0.1, "accuracy": 0.5}]
        assert found["certified_accuracy_l2"] == shares
        assert found["certified_accuracy_linf"] == [*shares, {"radius": 0.2, "accuracy": 0.5}]
        for norm in ("l2", "linf"):
            assert found[f"mean_radius_{norm}"] == pytest.approx(radii.mean(), abs=3e-4)
            median = pytest.approx((0.3 + radii[2]) / 2, abs=3e-4)
            assert found[f"median_radius_{norm}"] == median
            assert found[f"largest_radius_{norm}"] == pytest.approx(radii[3], abs=3e-4)
        assert found["abstentions"] == 0
    assert figures["proved_by"] == {norm: {"Lipschitz bound": 1.0} for norm in ("l2", "linf")}
    keys = [proof["key"] for proof in figures["proofs"]]
    methods = [f"nearest_cluster_{method}" for method in METHODS]
    assert keys == ["best_proof", "lipschitz_bound", "interval_bounds", "soft_scores_all", *methods]
    assert (figures["data"], figures["examples"]) == ("four pixels, first 4 test images", 4)
    with np.load(tmp_path / "certificates.npz", allow_pickle=False) as arrays:
        for norm in ("l2", "linf"):
            for name in (f"radius_{norm}", *(f"radius_{norm}_{key}" for key in keys)):
                np.testing.assert_allclose(arrays[name], radii, rtol=6e-4)
                assert np.all(arrays[name] < radii)
            assert arrays[f"proof_{norm}"].tolist() == 4 * ["Lipschitz bound"]
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
    certify(classifier_with(keras.layers.ReLU()), linf_eps=0.1, singly=True)
    printed = capsys.readouterr().out
    assert len(re.findall(r"75\.0% +75\.0% +50\.0%", printed)) == 2 * 7
    assert all(len(line) <= 80 for line in printed.splitlines() if "%" in line)
    for norm in ("l2", "l-infinity"):
        assert f"{norm} radii are proved by: Lipschitz bound 100.0%" in printed
    assert printed.count("left out: ") == 1
    assert "left out: soft scores, L nearest: the head takes all clusters" in printed


def test_fewer_examples_and_another_number_of_nearest_clusters(certify, classifier_with, capsys):
    """0.2 and 0.451 are both right; l-infinity was not asked for."""
    figures = certify(classifier_with(keras.layers.ReLU()), examples=2, nearest=1)
    assert (figures["examples"], figures["clean_accuracy"]) == (2, 1.0)
    assert "soft_scores_1_nearest" in [proof["key"] for proof in figures["proofs"]]
    assert "left out" not in capsys.readouterr().out


def test_the_best_proof_alone_is_told_unless_asked(certify, classifier_with, capsys):
    """One row a norm; what each proof of the served classifier proves stands in the file."""
    figures = certify(classifier_with(keras.layers.ReLU()))
    keys = [proof["key"] for proof in figures["proofs"]]
    assert keys == ["best_proof", "lipschitz_bound", "interval_bounds"]
    assert len(re.findall(r"75\.0% +75\.0% +50\.0%", capsys.readouterr().out)) == 2


def test_a_network_without_interval_bounds_has_the_lipschitz_bound(
    certify, classifier_with, monkeypatch
):
    monkeypatch.delitem(LAYER_BOXES, ScaledAveragePooling2D)
    figures = certify(classifier_with(ScaledAveragePooling2D(1)), linf_eps=0.1)
    assert figures["clean_accuracy"] == 0.75
    assert [proof["key"] for proof in figures["proofs"]] == ["best_proof", "lipschitz_bound"]


@pytest.mark.parametrize(
    ("radius", "expected"),
    [
        (0.21, [0.04, 0.08, 0.12, 0.16, 0.2]),
        (1.1, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, [0.01, 0.02, 0.03, 0.04, 0.05]),
        (3.2e-4, [6e-5, 1.2e-4, 1.8e-4, 2.4e-4, 3e-4]),
    ],
)
def test_five_radii_end_where_proofs_do(radius, expected):
    assert chosen_radii(np.full(20, radius)) == expected


@pytest.mark.parametrize(
    ("layer", "head", "options", "message"),
    [
        (
            keras.layers.ReLU,
            lambda classes: keras.layers.Dense(classes, activation="relu"),
            {},
            "to be an affine head. Received: Dense",
        ),
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
