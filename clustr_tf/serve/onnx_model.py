"""An exported version as an ONNX model, for engines other than TensorFlow."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from clustr_tf.run.errors import first_line
from clustr_tf.run.files import replacing

OPSET = 18
_SIGNATURE = "serving_default"


class ConversionError(ValueError):
    """A model that cannot be converted, in words."""


def write_onnx(version: Path, path: Path) -> Path:
    """Converts `serving_default` of an exported version by tf2onnx.

    WARNING: the checks of the input are left out. What would be refused or flagged (NaN, infinity,
    pixels out of range) is answered with a class and a radius that mean nothing.

    Args:
        version: folder of the SavedModel, such as `models/clustr/1`.
        path: the file to write; complete or not there.

    Returns:
        `path`.

    Raises:
        ModuleNotFoundError: without tf2onnx, which the extra `serving` brings.
        ConversionError: if `version` holds no such model, or an operation that ONNX has not.
        OSError: if the file cannot be written.

    Example:
        >>> write_onnx(Path("models/clustr/1"), Path("model.onnx"))
    """
    import onnx
    from tf2onnx import optimizer, tf_loader, tfonnx

    try:
        frozen, inputs, outputs, names = tf_loader.from_saved_model(
            str(version), None, None, "serve", [_SIGNATURE], return_tensors_to_rename=True
        )
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ConversionError(f"{version} cannot be loaded: {first_line(error)}") from error
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
        converted = tfonnx.process_tf_graph(
            graph,
            # What tf2onnx does not know stays as it is, for the checker to find.
            continue_on_error=True,
            opset=OPSET,
            custom_op_handlers={"EuclideanNorm": (_as_reduce_l2, [])},
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=names,
        )
    model = optimizer.optimize_graph(converted).make_model(f"{_SIGNATURE} of {version.name}")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ConversionError(
            f"{version} cannot be converted: {first_line(error)}. The search for radii by interval "
            "bounds has no place in ONNX: export with --linf=off"
        ) from error
    with replacing(path) as temporary:
        onnx.save_model(model, str(temporary))
    return path


def _as_reduce_l2(context: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """tf2onnx 1.17 does not know TensorFlow's EuclideanNorm; ONNX calls it ReduceL2."""
    from tf2onnx.onnx_opset.reduction import ReduceOpBase

    del name, arguments
    node.type = "ReduceL2"
    # The axes become an input of int64, as of every reduction from opset 18 on.
    ReduceOpBase.version_18(context, node)
