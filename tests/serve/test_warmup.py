"""Warm-up requests are what TensorFlow Serving replays, and the model answers them."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.saving import export_savedmodel
from tests.serve.c_api_client import CApiProcess


@pytest.mark.parametrize("on_invalid", ["refuse", "flag"])
def test_there_is_a_request_for_each_signature_and_it_is_answered(
    classifier, bound, tmp_path, on_invalid
):
    version = export_savedmodel(
        classifier, tmp_path / "clustr", bound, ServingOptions(on_invalid=on_invalid)
    )
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    requests = [log.predict_log.request for log in logs]
    names = ["serving_default", "certify", "certify_linf", "embed", "serving_bytes"]
    assert [request.model_spec.signature_name for request in requests] == names
    assert {request.model_spec.name for request in requests} == {"clustr"}
    with CApiProcess(version) as server:
        for request in requests:
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            answer = server.ask(request.model_spec.signature_name, inputs)
            assert {len(values) for values in answer.values()} == {1}
            # No row is flagged.
            assert answer.get("class_id", answer.get("nearest_cluster"))[0] >= 0
    # Pixels and bytes are the same image: 128 of 255.
    (image,) = tf.make_ndarray(requests[0].inputs["images"])
    (encoded,) = tf.make_ndarray(requests[-1].inputs["image_bytes"])
    np.testing.assert_array_equal(image, tf.io.decode_png(encoded) / np.float32(255))
    assert float(image[0, 0, 0]) == np.float32(128 / 255)
