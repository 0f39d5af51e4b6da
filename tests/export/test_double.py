"""The test double of a model server answers, over both protocols, as one does."""

import base64
import json

import numpy as np
import pytest
import tensorflow as tf

from export.transport import Server, ServerError
from tests.export.double_client import TRANSPORTS, Double


@pytest.fixture(scope="module")
def double(version):
    with Double(version) as running:
        yield running


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_both_protocols_answer_like_the_model(double, signatures, images, protocol):
    found = double.transport(protocol).ask("serving_default", {"images": images[:3]})
    wanted = signatures["serving_default"](images=images[:3])
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        # JSON has the shortest decimals that give the same float32.
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"version": 7}, "NOT_FOUND"),
        ({"label": "canary"}, "NOT_FOUND"),
        ({"version": 1}, None),
    ],
)
def test_versions_and_labels_are_asked_for(double, images, protocol, more, status):
    transport = double.transport(protocol, **more)
    if status is None:
        assert len(transport.ask("embed", {"images": images[:1]})["nearest_cluster"]) == 1
        return
    with pytest.raises(ServerError) as refused:
        transport.ask("embed", {"images": images[:1]})
    assert refused.value.status == status


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_refusals_arrive_in_words(double, images, protocol):
    with pytest.raises(ServerError) as refused:
        double.transport(protocol).ask("serving_default", {"images": images[:2] + 1})
    assert refused.value.status == "INVALID_ARGUMENT"
    assert "images: pixels must be in [0, 1]" in refused.value.message
    assert "{{node" not in refused.value.message


def test_another_type_is_refused(double, images):
    with pytest.raises(ServerError, match="float but double"):
        double.transport("grpc").ask("embed", {"images": images[:1].astype(np.float64)})


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_server_that_is_not_there_is_told_in_words(protocol):
    """Port 9 of this machine; the retries are made and given up."""
    server = Server("127.0.0.1", 9, "clustr", timeout_s=2, retries=1)
    with pytest.raises(ServerError) as refused:
        TRANSPORTS[protocol](server).ask("embed", {"images": np.zeros((1, 8, 8, 1), np.float32)})
    assert refused.value.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_a_message_that_is_too_large_is_not_sent(double, images):
    for protocol in TRANSPORTS:
        transport = double.transport(protocol, max_message_bytes=1000)
        with pytest.raises(ServerError) as refused:
            transport.ask("embed", {"images": images})
        assert refused.value.status == "RESOURCE_EXHAUSTED"


def test_rows_and_columns_give_the_same(double, signatures, images):
    """TensorFlow Serving's row format: a list of instances in, a list of predictions out."""
    wanted = signatures["serving_default"](images=images[:2])
    rows = [{"images": image.tolist()} for image in images[:2]]
    bare = [image.tolist() for image in images[:2]]
    for instances in (rows, bare):
        answer = double.post(json.dumps({"instances": instances})).json()["predictions"]
        assert [row["class_id"] for row in answer] == wanted["class_id"].numpy().tolist()
        np.testing.assert_allclose(
            [row["probabilities"] for row in answer], wanted["probabilities"], rtol=1e-6
        )


def test_bytes_travel_in_base64(double):
    png = tf.io.encode_png(np.full((8, 8, 1), 200, np.uint8)).numpy()
    encoded = {"b64": base64.b64encode(png).decode()}
    body = {"signature_name": "serving_bytes", "instances": [{"image_bytes": encoded}]}
    (row,) = double.post(json.dumps(body)).json()["predictions"]
    assert 0 <= row["class_id"] < 3


@pytest.mark.parametrize(
    ("body", "path", "status", "words"),
    [
        (b"{", "/v1/models/clustr:predict", 400, "JSON Parse error"),
        (b"[]", "/v1/models/clustr:predict", 400, "JSON Parse error"),
        (b'{"inputs": {"images": [[0.5]]}}', "/v1/models/clustr:predict", 400, "not compatible"),
        (b'{"inputs": {"images": "x"}}', "/v1/models/clustr:predict", 400, "not a tensor"),
        (b'{"inputs": {"images": [[[[NaN]]]]}}', "/v1/models/clustr:predict", 400, "compatible"),
        (b"{}", "/v1/models/other:predict", 404, "Servable not found"),
        (b"{}", "/v1/models/clustr", 404, "Malformed request"),
    ],
)
def test_the_rest_api_refuses_in_words(double, body, path, status, words):
    answer = double.post(body, path)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_not_a_number_is_refused_over_rest(double, images):
    with pytest.raises(ServerError, match="pixels must be finite"):
        double.transport("rest").ask("embed", {"images": images[:1] * np.float32(np.nan)})
