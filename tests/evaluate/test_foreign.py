"""Models and data from files that clustr_tf did not write."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.evaluate.foreign import load_examples, load_foreign_model
from clustr_tf.run.errors import InputError
from tests import programs

IMAGES = np.random.default_rng(1).uniform(0.3, 0.7, (20, 2, 2, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((2, 2, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def test_every_kind_of_file_is_the_model(model, tmp_path):
    """Keras' own file, its export, and a SavedModel that has `log_scores`."""
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    module = tf.Module()
    module.log_scores = tf.function(
        lambda images: model(images), input_signature=[tf.TensorSpec([None, 2, 2, 3])]
    )
    module.model = model
    tf.saved_model.save(module, tmp_path / "scores")
    for name in ("model.keras", "exported", "scores"):
        found = load_foreign_model(tmp_path / name)(tf.constant(IMAGES))
        np.testing.assert_allclose(found, model(IMAGES), rtol=1e-5)


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    (tmp_path / "empty").mkdir()
    for name, line in [
        ("broken.keras", "cannot be read"),
        ("empty", "must be a file"),
        ("none.keras", "must be a file"),
    ]:
        with pytest.raises(InputError, match=f"^--model.*{line}") as refused:
            load_foreign_model(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_examples(tmp_path):
    labels = np.arange(20) % 3
    for names in (("images", "labels"), ("x_test", "y_test")):
        np.savez(tmp_path / "data.npz", **dict(zip(names, (IMAGES, labels), strict=True)))
        found = load_examples(str(tmp_path / "data.npz"), 5)
        np.testing.assert_array_equal(found[0], IMAGES[:5])
        np.testing.assert_array_equal(found[1], labels[:5])
    assert load_examples("digits", 7)[0].shape == (7, 8, 8, 1)
    np.savez(tmp_path / "data.npz", pictures=IMAGES)
    for data, line in [
        (tmp_path / "data.npz", "must hold images and labels"),
        (tmp_path / "none.npz", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=f"^--data=.*{line}"):
            load_examples(str(data), 5)


@pytest.mark.slow
def test_a_keras_file_is_evaluated_from_the_command_line(model, tmp_path):
    """A model on [0, 255] that ends in a softmax."""
    model.save(tmp_path / "model.keras")
    labels = model(255 * IMAGES).numpy().argmax(axis=1)
    np.savez(tmp_path / "data.npz", images=255 * IMAGES, labels=labels)
    done = programs.run(
        "clustr_tf.evaluate",
        "--model=model.keras",
        "--data=data.npz",
        "--pixel_range=0,255",
        "--eps=0.02",
        "--attacks=apgd_t",
        "--output=found",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "ends in a softmax" in done.stdout
    figures = json.loads((tmp_path / "found" / "robustness.json").read_text())
    assert figures["model"] == "model.keras"
    assert figures["clean_accuracy"] == 1
    assert (tmp_path / "found" / "report.html").exists()
