"""The test double of a model server answers, over both protocols, as one does."""

import base64
import json
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.serve.transport import Server, ServerError
from tests.serve.double_client import TRANSPORTS, Double

DATA = Path(__file__).parent / "data"
PREDICT = "/v1/models/clustr:predict"


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
        ({"label": "canary"}, "INVALID_ARGUMENT"),
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


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_unexpected_inputs_are_refused(double, images, protocol):
    inputs = {"images": images[:1], "radius_l2": np.zeros(1, np.float32)}
    with pytest.raises(ServerError, match="inputs must be") as refused:
        double.transport(protocol).ask("embed", inputs)
    assert refused.value.status == "INVALID_ARGUMENT"


def test_types_that_the_double_does_not_know_are_refused(double):
    with pytest.raises(ServerError, match="no tensors of DT_COMPLEX64") as refused:
        double.transport("grpc").ask("embed", {"images": np.zeros(1, np.complex64)})
    assert refused.value.status == "INVALID_ARGUMENT"


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
        (b"{", PREDICT, 400, "JSON Parse error"),
        (b"[]", PREDICT, 400, "JSON Parse error"),
        (b'{"inputs": {"images": [[0.5]]}}', PREDICT, 400, "not compatible"),
        (
            b'{"inputs": {"images": "x"}}',
            "/v1/models/clustr:predict",
            400,
            "expected type: DT_FLOAT",
        ),
        (b'{"inputs": {"images": [[[["0"]]]]}}', PREDICT, 400, "expected type"),
        (
            b'{"inputs": {"images": [[[[true]]]]}}',
            "/v1/models/clustr:predict",
            400,
            "expected type",
        ),
        (b'{"inputs": {"images": [1, [1]]}}', PREDICT, 400, "different sizes"),
        (b'{"inputs": {"images": [1], "more": [1]}}', PREDICT, 400, "must be"),
        (b'{"signature_name": 3}', PREDICT, 400, "must be a string value"),
        (
            b'{"signature_name": "other", "inputs": {"images": [1]}}',
            PREDICT,
            412,
            'Serving signature key "other" not found.',
        ),
        (b"{}", "/v1/models/clustr/labels/canary:predict", 400, "Unrecognized servable version"),
        (b"{}", "/v1/models/clustr/versions/7:predict", 404, "Servable not found"),
        (b'{"inputs": {"images": [[[[NaN]]]]}}', PREDICT, 400, "compatible"),
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


def test_a_huge_body_is_refused_without_being_read(double):
    """413 as soon as the header has said 64 MiB and a byte; nothing more is sent."""
    with socket.create_connection(("127.0.0.1", double.ports["rest"]), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/models/clustr:predict HTTP/1.1\r\nHost: here\r\n"
            b"Content-Length: 67108865\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"a body of 67108865 bytes is above 67108864" in answer


RECORDED = list(
    zip(
        (DATA / "rest_requests.jsonl").read_text().splitlines(),
        (DATA / "rest_responses.tsv").read_text().splitlines(),
        strict=True,
    )
)


@pytest.fixture(scope="module")
def recorded_double(tmp_path_factory):
    """Serves the model that the answers were recorded for; see data/README.md."""
    module = tf.Module()
    module.v = tf.Variable(1.0)
    x = tf.TensorSpec((None, 2), tf.float32, "x")
    ints = [
        tf.TensorSpec((None,), dtype, name)
        for name, dtype in {"u": tf.uint8, "i": tf.int64, "b": tf.bool}.items()
    ]
    signatures = {
        "serving_default": tf.function(lambda x: {"y": x * module.v}).get_concrete_function(x),
        "scalar": tf.function(
            lambda x: {"y": x * module.v, "threshold": tf.constant(0.5)}
        ).get_concrete_function(x),
        "ints": tf.function(
            lambda u, i, b: {"u": tf.identity(u), "i": tf.identity(i), "b": ~b}
        ).get_concrete_function(*ints),
    }
    version = tmp_path_factory.mktemp("recorded") / "1"
    tf.saved_model.save(module, str(version), signatures=signatures)
    with Double(version) as running:
        yield running


@pytest.mark.parametrize(("request_body", "recorded"), RECORDED)
def test_answers_are_those_that_were_recorded(recorded_double, request_body, recorded):
    """The same status; where there are outputs, the same; refusals have words of their own."""
    status, _, body = recorded.partition("\t")
    answer = recorded_double.post(request_body)
    assert answer.status_code == {"OK": 200, "INVALID_ARGUMENT": 400}[status], answer.text
    found, wanted = answer.json(), json.loads(body)
    assert found.keys() == wanted.keys()
    if status == "OK":
        (key,) = wanted
        assert_same(found[key], wanted[key])


def assert_same(found, wanted):
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            assert_same(found[name], values)
        return
    # The smallest denormal number may be 0.
    np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=0, atol=2e-45)
