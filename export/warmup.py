"""Requests that TensorFlow Serving replays before it lets a new version answer.

Source: TensorFlow Serving, "SavedModel Warmup": a TFRecord file of PredictionLog messages named
assets.extra/tf_serving_warmup_requests.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

WARMUP_FILE = "tf_serving_warmup_requests"
# In the middle of the pixels, so that nothing refuses it.
_GREY = 128


def warmup_inputs(
    image_shape: tuple[int, int, int], max_image_bytes: int
) -> dict[str, dict[str, Any]]:
    """Inputs of each signature, one grey image each.

    Args:
        image_shape: (H, W, C).
        max_image_bytes: the longest encoded image that the model decodes.

    Returns:
        Inputs by name, by signature.

    Raises:
        ValueError: if the image's PNG file is longer, with which the version would never start.

    Example:
        >>> warmup_inputs((32, 32, 3), 2**20)
    """
    grey = np.full(image_shape, _GREY, np.uint8)
    png = tf.io.encode_png(grey).numpy()
    if len(png) > max_image_bytes:
        raise ValueError(
            f"max_image_bytes must be at least {len(png)}, the size of the PNG file that the "
            f"server is warmed up with. Received: {max_image_bytes}"
        )
    images: dict[str, Any] = {"images": grey[None].astype(np.float32) / 255}
    return {
        "serving_default": images,
        "certify": {**images, "radius_l2": np.zeros(1, np.float32)},
        "embed": images,
        "serving_bytes": {"image_bytes": [png]},
    }


def write_warmup_requests(
    folder: Path, requests: dict[str, dict[str, Any]], model_name: str
) -> None:
    """Writes a request for each signature.

    Args:
        folder: assets.extra of the version; it exists.
        requests: inputs by name, by signature.
        model_name: under which the model is going to be served.

    Example:
        >>> requests = warmup_inputs((32, 32, 3), 2**20)
        >>> write_warmup_requests(version / "assets.extra", requests, "clustr")
    """
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest(
                inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()}
            )
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
