"""The exported model in another engine, that shares nothing with TensorFlow but the graph."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from clustr_tf.serve.onnx_model import ConversionError, write_onnx
from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.saving import export_savedmodel
from tests import programs

ROOT = Path(__file__).parents[2]


def program_without(module, *flags):
    """The command where a module cannot be imported."""
    call = f"import runpy, sys; sys.modules['{module}'] = None; "
    call += "runpy.run_module('export.onnx', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", call, *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )


def engine(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def version(classifier, bound, tmp_path_factory):
    """Without the search for radii by interval bounds, which ONNX cannot express."""
    output = tmp_path_factory.mktemp("plain") / "clustr"
    return export_savedmodel(classifier, output, bound, ServingOptions(linf="off"))


@pytest.mark.slow
def test_onnx_runtime_answers_the_same(version, images, tmp_path):
    """Converted by tf2onnx, which leaves the checks of the input out."""
    signatures = tf.saved_model.load(str(version)).signatures
    path = tmp_path / "new" / "model.onnx"
    finished = programs.run("export.onnx", f"--version={version}", f"--output={path}")
    assert finished.returncode == 0, finished.stderr
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    session = engine(path)
    wanted = signatures["serving_default"](images=images)
    found = session.run(list(wanted), {"images": images})
    for (name, values), answer in zip(wanted.items(), found, strict=True):
        assert answer.dtype == values.dtype.as_numpy_dtype
        np.testing.assert_allclose(answer, values, rtol=1e-5, atol=1e-9, err_msg=name)
    assert {node.domain for node in onnx.load(path).graph.node} == {""}
    # No check is left: this is what the documentation warns of.
    (classes,) = session.run(["class_id"], {"images": images + 7})
    assert classes.shape == (len(images),)


def save(tmp_path, answer):
    """A version whose serving_default is `answer` of images `[batch, 2]`."""
    module = tf.Module()
    images = tf.TensorSpec((None, 2), tf.float32, "images")
    concrete = tf.function(answer).get_concrete_function(images)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=concrete)
    return tmp_path / "1"


@pytest.mark.parametrize(("axis", "keepdims"), [(-1, False), (1, True), ((0, 1), False)])
def test_euclidean_norms_are_those_of_numpy(tmp_path, axis, keepdims):
    def answer(images):
        return {"norm": tf.math.reduce_euclidean_norm(images, axis, keepdims)}

    path = write_onnx(save(tmp_path, answer), tmp_path / "model.onnx")
    images = np.array([[3, 4], [-5, 12], [0, 0]], np.float32)
    (found,) = engine(path).run(["norm"], {"images": images})
    # [5, 13, 0], and 194 ** 0.5 of all of them.
    wanted = np.sqrt(np.square(images).sum(axis=axis, keepdims=keepdims))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.shape == wanted.shape


def test_an_operation_that_onnx_has_not_is_refused(tmp_path):
    version = save(tmp_path, lambda images: {"bessel": tf.math.bessel_i0e(images)})
    with pytest.raises(ConversionError, match="BesselI0e"):
        write_onnx(version, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_help_does_not_wait_for_tensorflow():
    """And shows the command's own flags."""
    finished = program_without("tensorflow", "--help")
    assert finished.returncode == 0
    assert "--version" in finished.stdout and "--output" in finished.stdout


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ((), "error: --version is missing"),
        (("--version=/nowhere",), "error: --version must be a folder with saved_model.pb"),
        (("--version={version}", "--output=/proc/new/model.onnx"), "error: --output cannot be"),
        (("--version={version}", "--output=/tmp"), "error: --output must be a file, but /tmp is"),
        (("--version={damaged}",), "error: {damaged} cannot be loaded: "),
    ],
)
def test_mistakes_are_told_in_one_line(version, tmp_path, flags, line):
    damaged = tmp_path / "1"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_bytes(b"nothing")
    filled_in = [flag.format(version=version, damaged=damaged) for flag in flags]
    finished = programs.run("export.onnx", *filled_in)
    assert finished.returncode == 2
    assert line.format(damaged=damaged) in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_missing_converter_is_told_in_one_line(version, tmp_path):
    finished = program_without("tf2onnx", f"--version={version}", f"--output={tmp_path}/model.onnx")
    assert finished.returncode == 2
    assert "error: tf2onnx is not installed: pip install 'clustr-tf[serving]'" in finished.stderr
    assert "Traceback" not in finished.stderr
