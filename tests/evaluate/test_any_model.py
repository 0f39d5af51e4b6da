"""Any model's robustness: linear models, whose robust images a NumPy formula tells exactly."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import clustr_tf
from clustr_tf.attacks import PGD
from clustr_tf.evaluate import EvaluationPlan
from clustr_tf.evaluate.logits import without_final_activation
from clustr_tf.evaluate.report import read_evaluation

EPS = 0.03
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 3)).astype(np.float32)


def distances(images, weights):
    """Of each image to the nearest boundary, in l-infinity; the border of [0, 1] is farther."""
    scores = images.reshape(len(images), 12) @ weights
    best = scores.argmax(axis=1)
    gaps = scores.max(axis=1, keepdims=True) - scores
    slopes = np.abs(weights[:, best, None] - weights[:, None, :]).sum(axis=0)
    return np.where(gaps > 0, gaps / np.maximum(slopes, 1e-30), np.inf).min(axis=1)


def _drawn(weights, count=40):
    """Images whose distance differs from EPS by more than a twentieth."""
    images = RNG.uniform(0.3, 0.7, (100, 2, 2, 3)).astype(np.float32)
    return images[abs(distances(images, weights) / EPS - 1) > 0.05][:count]


IMAGES = _drawn(WEIGHTS)
CLASS_SCORES = IMAGES.reshape(40, 12) @ WEIGHTS
LABELS, ROBUST = CLASS_SCORES.argmax(axis=1), distances(IMAGES, WEIGHTS) > EPS
PLAN = EvaluationPlan(PGD(EPS), apgd_steps=30, fab_steps=20, diagnostic_examples=0)


def _dense(activation=None, scale=1.0, weights=WEIGHTS):
    layer = keras.layers.Dense(weights.shape[1], activation=activation)
    layer.build((None, 12))
    layer.set_weights([scale * weights, np.zeros(weights.shape[1], np.float32)])
    return layer


def _functional(finish, scale):
    inputs = keras.Input((2, 2, 3))
    return keras.Model(inputs, finish(keras.layers.Flatten()(inputs), scale))


def _nested(hidden, scale):
    inner = keras.Sequential([keras.Input((12,)), _dense(None, scale), keras.layers.Softmax()])
    return keras.Sequential([keras.Input((12,)), inner])(hidden)


FINISHES = {
    "logits": lambda hidden, scale: _dense(None, scale)(hidden),
    "dense": lambda hidden, scale: _dense("softmax", scale)(hidden),
    "layer": lambda hidden, scale: keras.layers.Softmax()(_dense(None, scale)(hidden)),
    "activation": lambda hidden, scale: keras.layers.Activation("softmax")(
        _dense(None, scale)(hidden)
    ),
    "operation": lambda hidden, scale: keras.ops.softmax(_dense(None, scale)(hidden)),
    "nested": _nested,
    "sigmoids": lambda hidden, scale: _dense("sigmoid", scale)(hidden),
}


def evaluated(model, images=IMAGES, labels=LABELS, **more):
    return clustr_tf.evaluate_robustness(
        model, images, labels, **{"eps": EPS, "plan": PLAN, "attacks": "fab_t", **more}
    )


def test_the_radius_parts_the_images():
    assert 5 < ROBUST.sum() < 35


@pytest.mark.parametrize("finish", FINISHES)
def test_a_final_activation_is_taken_off(finish):
    """The logits are the linear ones, times 1000, however surely the outputs are 0 and 1."""
    model = _functional(FINISHES[finish], 1000.0)
    found = without_final_activation(model)
    if finish == "logits":
        assert found is None
        return
    bare, name = found
    assert name == ("sigmoid" if finish == "sigmoids" else "softmax")
    np.testing.assert_allclose(bare(IMAGES), 1000 * CLASS_SCORES, rtol=1e-3, atol=1e-2)


def test_a_saturated_softmax_is_attacked_at_its_logits():
    """Its outputs are 0 and 1, where no gradient leads; see `distances` for what is right."""
    model = keras.Sequential(
        [keras.Input((2, 2, 3)), keras.layers.Flatten(), _dense("softmax", 1e5)]
    )
    report = evaluated(model)
    np.testing.assert_array_equal(report.robust, ROBUST)
    assert report.trusted
    assert "ends in a softmax: the logits before it are attacked" in str(report)


def test_hidden_probabilities_are_attacked_by_their_logarithm():
    """A function shows no layers."""
    report = evaluated(lambda images: tf.nn.softmax(tf.reshape(images, [-1, 12]) @ WEIGHTS))
    np.testing.assert_array_equal(report.robust, ROBUST)
    assert report.trusted
    assert "their logarithm is attacked" in str(report)


def test_hidden_saturated_probabilities_are_not_to_be_trusted():
    report = evaluated(lambda images: tf.nn.softmax(1e5 * tf.reshape(images, [-1, 12]) @ WEIGHTS))
    assert not report.trusted
    assert "NOT TO BE TRUSTED" in str(report)
    assert report.robust_accuracy > np.mean(ROBUST)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("hidden", [False, True])
def test_one_output_stands_for_two_classes(activation, hidden):
    """The second of two logits, the first of which is 0."""
    weights = WEIGHTS[:, :1] - WEIGHTS[:, 1:2]
    both = np.concatenate([0 * weights, weights], axis=1)
    images = _drawn(both)
    labels = (images.reshape(40, 12) @ both).argmax(axis=1)
    model = keras.Sequential(
        [keras.Input((2, 2, 3)), keras.layers.Flatten(), _dense(activation, weights=weights)]
    )
    function = (lambda images: model(images)[:, 0]) if hidden else model
    report = evaluated(function, images, labels)
    np.testing.assert_array_equal(report.robust, distances(images, both) > EPS)
    assert report.clean_accuracy == 1


def test_two_outputs_and_every_attack_of_the_standard_version():
    weights = WEIGHTS[:, :2]
    model = _functional(lambda hidden, _: _dense(None, weights=weights)(hidden), 1)
    images = _drawn(weights)
    labels = (images.reshape(40, 12) @ weights).argmax(axis=1)
    report = evaluated(model, images, labels, attacks="standard")
    np.testing.assert_array_equal(report.robust, distances(images, weights) > EPS)
    assert list(report.attacks) == ["clean", "standard"]
    assert report.attacks["standard"]["stages"] == ["apgd_ce", "apgd_t", "fab_t", "square"]


LOGITS = _functional(FINISHES["logits"], 1.0)
STORED = np.round(IMAGES * 255).astype(np.uint8)


@pytest.mark.parametrize(
    "given",
    [
        lambda: (LOGITS, tf.constant(IMAGES), tf.constant(LABELS), {}),
        lambda: (LOGITS, tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)), None, {}),
        lambda: (LOGITS, tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(7), None, {}),
        # A model on [0, 255], a standardised one, one of channels first.
        lambda: (
            keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Rescaling(1 / 255), LOGITS]),
            255 * IMAGES,
            LABELS,
            {"pixel_range": (0, 255)},
        ),
        lambda: (lambda x: LOGITS(x / 4 + 0.5), 4 * IMAGES - 2, LABELS, {"pixel_range": (-2, 2)}),
        lambda: (
            keras.Sequential([keras.Input((3, 2, 2)), keras.layers.Permute((2, 3, 1)), LOGITS]),
            np.moveaxis(IMAGES, -1, 1),
            LABELS,
            {},
        ),
    ],
)
def test_images_come_in_many_forms(given):
    """Eps is in pixels of [0, 1] in all of them."""
    model, images, labels, more = given()
    np.testing.assert_array_equal(evaluated(model, images, labels, **more).robust, ROBUST)


def test_a_report_is_saved_and_read(tmp_path):
    report = evaluated(LOGITS, attacks=["apgd_ce", "fab_t"])
    report.save(tmp_path / "linear")
    figures = json.loads((tmp_path / "linear" / "robustness.json").read_text())
    assert figures["worst_case_accuracy"] == report.robust_accuracy == np.mean(ROBUST)
    assert figures["trusted"] is True
    assert list(figures["attacks"]) == ["clean", "apgd_ce", "fab_t"]
    np.testing.assert_array_equal(
        read_evaluation(tmp_path / "linear").arrays["robust"], report.robust
    )
    assert (tmp_path / "linear" / "report.html").exists()


def test_an_accuracy_near_guessing_is_said():
    report = evaluated(LOGITS, labels=(LABELS + 1) % 3, attacks="apgd_ce")
    assert "near guessing" in str(report)


def test_diagnostics_come_with_it():
    plan = EvaluationPlan(PGD(EPS), apgd_steps=5, square_queries=20, diagnostic_examples=4)
    names = [entry["name"] for entry in evaluated(LOGITS, plan=plan).diagnostics]
    assert {"zero gradients", "square beats PGD", "large eps"} <= set(names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 255 * IMAGES}, r"images must be finite in pixel_range \(0, 1\). Received: "),
        ({"images": IMAGES[:, :1]}, r"images must have the model's shape \(2, 2, 3\). Received: "),
        ({"labels": None}, "labels are missing"),
        ({"labels": LABELS + 1}, "labels must be whole numbers from 0 to 2. Received: 3"),
        ({"pixel_range": (1, 0)}, r"pixel_range must be \(black, white\). Received: \(1, 0\)"),
        ({"attacks": "fgsm"}, "--attacks must be out of clean, pgd"),
        ({"norm": "l1"}, "norm must be one of"),
        ({"eps": -1}, "eps must be"),
        ({"model": lambda images: images}, "model must give one row of logits an image"),
        ({"model": lambda images: images[:, 0, 0] / 0}, "model must give finite numbers"),
    ],
)
def test_what_cannot_be_right_is_refused(changes, message):
    with pytest.raises(Exception, match=f"^{message}"):
        evaluated(**{"model": LOGITS, **changes})
