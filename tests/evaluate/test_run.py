"""A whole evaluation from objects: its files, what it refuses, how it resumes."""

import json
from dataclasses import replace
from unittest import mock

import keras
import numpy as np
import pytest
from filelock import FileLock

from clustr_tf import evaluate
from clustr_tf.evaluate import run as run_module
from clustr_tf.evaluate.run import run_evaluation
from clustr_tf.evaluate.suite import PROTOCOLS
from clustr_tf.layers import ClusteringHead
from clustr_tf.run.errors import InputError
from clustr_tf.run.workdir import Workdir


def test_every_public_name_is_there():
    assert all(getattr(evaluate, name) is not None for name in evaluate.__all__)


@pytest.fixture
def evaluated(classifier, digits, plan, tmp_path):
    """Evaluates; gives robustness.json and the arrays beside it."""

    def run(folder="run", classifier=classifier, plan=plan, **options):
        root = tmp_path / folder
        run_evaluation(Workdir(root), classifier, digits, plan, **options)
        figures = json.loads((root / "robustness.json").read_text())
        with np.load(root / "robustness.npz", allow_pickle=False) as arrays:
            return figures, dict(arrays)

    return run


def test_the_figures_are_those_of_the_arrays(evaluated, tmp_path):
    figures, arrays = evaluated(seed=3, config={"dataset": {"name": "digits"}})
    assert list(figures["attacks"]) == ["clean", "pgd", "pgd_paper", "ensemble"]
    assert (figures["eps"], figures["norm"], figures["seed"]) == (0.1, "linf", 3)
    assert figures["data"] == "digits, first 50 test images"
    assert figures["config"] == {"dataset": {"name": "digits"}}
    correct = arrays["clean_predictions"] == arrays["labels"]
    assert figures["clean_accuracy"] == pytest.approx(correct.mean())
    assert figures["worst_case_accuracy"] == pytest.approx(arrays["robust"].mean())
    weakest = min(entry["accuracy"] for entry in figures["attacks"].values())
    assert figures["worst_case_accuracy"] <= weakest <= figures["clean_accuracy"]
    assert figures["curve"]["eps"] == pytest.approx([0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2])
    assert [diagnostic["name"] for diagnostic in figures["diagnostics"]] == [
        *("zero gradients", "square beats PGD", "large eps", "more steps", "random noise", "scale"),
        *("losses disagree", "silent success", "masking gap"),
    ]
    assert arrays["map_points"].shape == (50, 2)
    # What the gallery shows is broken, by changes inside the ball.
    rows = arrays["gallery_rows"]
    assert not arrays["robust"][rows].any()
    change = np.abs(arrays["gallery_adversarial"] - arrays["gallery_images"])
    assert change.max() <= 0.1 + 1e-6
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().startswith("<!doctype html>")
    assert not (tmp_path / "run" / "evaluation").exists()


def test_the_papers_protocol_has_its_radii_and_no_diagnostics(evaluated, plan):
    protocol = PROTOCOLS["paper"]
    figures, _ = evaluated(plan=plan.replaced(protocol.eps), protocol=protocol)
    assert list(figures["attacks"]) == ["clean", "pgd_paper"]
    assert figures["eps"] == 8 / 255
    radii = [0, 2 / 255, 8 / 255, 16 / 255, 25.5 / 255]
    assert figures["curve"]["eps"] == pytest.approx(radii)
    assert figures["attacks"]["pgd_paper"]["losses"] == ["ce on exp(log-scores)"]
    assert figures["diagnostics"] == []


@pytest.fixture
def quick(plan):
    """Two attacks alone."""
    return {"attacks": ("clean", "pgd"), "plan": replace(plan, curve=(), diagnostic_examples=0)}


def test_transfer_takes_the_other_models_images(evaluated, classifier, quick):
    """From a model to itself: what its own PGD on the margin breaks."""
    _, arrays = evaluated(**quick | {"attacks": ("pgd", "transfer")}, source=classifier)
    assert arrays["broken_transfer"].any()
    assert not (arrays["broken_transfer"] & ~arrays["broken_pgd"]).any()


def test_without_an_attack_no_worst_case_is_claimed(evaluated, plan, capsys):
    """And of 9999 images there are 360."""
    figures, arrays = evaluated(attacks=("clean",), plan=plan.replaced(examples=9999))
    assert "worst case: unknown" in capsys.readouterr().out
    assert figures["worst_case_accuracy"] is None
    assert figures["examples"] == len(arrays["robust"]) == 360
    assert figures["config"] is None


def test_a_dense_head_is_evaluated_without_the_papers_protocol(evaluated, classifier_with):
    figures, _ = evaluated(classifier=classifier_with(keras.layers.Dense(10)))
    assert list(figures["attacks"]) == ["clean", "pgd", "ensemble"]
    assert "masking gap" not in [entry["name"] for entry in figures["diagnostics"]]


def test_a_search_in_bfloat16_is_told_and_its_verdicts_are_float32(evaluated, quick):
    plan = replace(quick["plan"], search_precision="mixed_bfloat16")
    half, arrays = evaluated(**quick | {"plan": plan})
    whole, others = evaluated("float32", **quick)
    told = half["search_precision"], whole["search_precision"]
    assert told == ("mixed_bfloat16", "float32")
    np.testing.assert_array_equal(arrays["clean_predictions"], others["clean_predictions"])
    assert abs(half["worst_case_accuracy"] - whole["worst_case_accuracy"]) <= 0.02


@pytest.fixture
def interrupted(evaluated):
    """Ends an evaluation as Ctrl-C does, after two batches."""

    def run(**options):
        told = mock.Mock(side_effect=[None, KeyboardInterrupt])
        with (
            mock.patch.object(run_module.EvaluationProgress, "told", told),
            pytest.raises(KeyboardInterrupt),
        ):
            evaluated(**options)

    return run


def test_an_interrupted_evaluation_resumes_to_the_very_same_arrays(
    evaluated, interrupted, quick, tmp_path
):
    interrupted(**quick)
    assert not (tmp_path / "run" / "robustness.json").exists()
    remembered = sorted((tmp_path / "run" / "evaluation").glob("[!.]*.npz"))
    assert len(remembered) == 2
    touched = [path.stat().st_mtime_ns for path in remembered]
    interrupted(**quick)
    assert [path.stat().st_mtime_ns for path in remembered] == touched
    _, resumed = evaluated(**quick)
    _, whole = evaluated("another", **quick)
    assert resumed.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, name)


@pytest.mark.parametrize("change", ["weights", "plan"])
def test_another_evaluation_starts_anew(evaluated, interrupted, classifier_with, quick, change):
    """Two clusters changed places, or fewer steps: nothing that was remembered counts."""
    interrupted(**quick)
    if change == "weights":
        other = classifier_with(ClusteringHead(10, 1))
        centroids = np.asarray(other.head.centroids)
        other.head.set_clusters(centroids[[1, 0, *range(2, 10)]], 1.0)
        other = quick | {"classifier": other}
    else:
        plan = quick["plan"]
        other = quick | {"plan": replace(plan, attack=replace(plan.attack, steps=1))}
    _, resumed = evaluated(**other)
    _, whole = evaluated("another", **other)
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, name)


def test_a_workdir_in_use_is_refused(evaluated, tmp_path):
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(InputError, match="is in use: another process is working there"),
    ):
        evaluated(attacks=("clean",))
