"""The exported model in another engine, that shares nothing with TensorFlow but the graph."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest


@pytest.mark.slow
def test_onnx_runtime_answers_the_same(version, signatures, images, tmp_path):
    """Converted by tf2onnx, which leaves the checks of the input out."""
    path = tmp_path / "model.onnx"
    subprocess.run(
        [
            *(sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(version)),
            *("--tag", "serve", "--signature_def", "serving_default"),
            *("--opset", "18", "--output", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = signatures["serving_default"](images=images)
    found = session.run(list(wanted), {"images": images})
    for (name, values), answer in zip(wanted.items(), found, strict=True):
        assert answer.dtype == values.dtype.as_numpy_dtype
        np.testing.assert_allclose(answer, values, rtol=1e-5, atol=1e-9, err_msg=name)
