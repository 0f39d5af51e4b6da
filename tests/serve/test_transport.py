"""Deadlines, retries and answers that no model server gives, over both protocols."""

import time

import grpc
import numpy as np
import pytest

from clustr_tf.serve.transport import Server, ServerError
from clustr_tf.serve.transport_grpc import GrpcTransport
from clustr_tf.serve.transport_rest import RestTransport
from tests.serve.fake_servers import grpc_server, http_server, send

IMAGES = {"images": np.zeros((1, 2), np.float32)}
ANSWER = {"class_id": np.array([3])}
JSON_ANSWER = {"outputs": {"class_id": [3]}}


def rest(server, **more):
    return RestTransport(Server("127.0.0.1", server.server_port, "clustr", **more))


def refusal_of(transport):
    with pytest.raises(ServerError) as refused:
        transport.ask("embed", IMAGES)
    assert "\n" not in str(refused.value)
    return refused.value


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_rest_server_is_asked_again(status):
    """Twice, after 0.2 and 0.4 seconds; the third answer counts."""

    def answer(handler, number):
        send(handler, *((200, JSON_ANSWER) if number == 2 else (status, b"<html>busy</html>")))

    with http_server(answer) as server:
        begin = time.monotonic()
        found = rest(server).ask("embed", IMAGES)
        assert time.monotonic() - begin >= 0.6
    np.testing.assert_array_equal(found["class_id"], [3])
    assert server.requests == 3


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_busy_grpc_server_is_asked_again(code):
    def answer(context, number):
        if number < 2:
            context.abort(code, "busy")
        return ANSWER

    with grpc_server(answer) as port:
        found = GrpcTransport(Server("127.0.0.1", port, "clustr")).ask("embed", IMAGES)
    np.testing.assert_array_equal(found["class_id"], [3])


@pytest.mark.parametrize("retries", [0, 1])
def test_attempts_are_counted(retries):
    with http_server(lambda handler, _: send(handler, 503, {"error": "busy"})) as server:
        assert str(refusal_of(rest(server, retries=retries))) == "UNAVAILABLE: busy"
    assert server.requests == retries + 1


def test_what_is_refused_is_not_asked_again():
    with http_server(lambda handler, _: send(handler, 400, {"error": "no image"})) as server:
        assert str(refusal_of(rest(server))) == "INVALID_ARGUMENT: no image"
    assert server.requests == 1


def test_a_server_that_asks_for_an_hour_is_given_up():
    """Rather than waited for: no more than 5 seconds, and not beyond the timeout."""
    with http_server(lambda handler, _: send(handler, 503, b"", Retry_After=3600)) as server:
        begin = time.monotonic()
        assert refusal_of(rest(server, timeout_s=2)).status == "UNAVAILABLE"
        assert time.monotonic() - begin < 1
    assert server.requests == 1


def test_a_moment_that_is_asked_for_is_waited():
    def answer(handler, number):
        if number:
            send(handler, 200, JSON_ANSWER)
        else:
            send(handler, 503, b"", Retry_After=1)

    with http_server(answer) as server:
        begin = time.monotonic()
        rest(server).ask("embed", IMAGES)
        assert time.monotonic() - begin >= 1


def silent(handler, number):
    time.sleep(3)


def dripping(handler, number):
    """A byte every tenth of a second, each within any socket's timeout."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(30):
        handler.wfile.write(b" ")
        time.sleep(0.1)


def dripping_headers(handler, number):
    for character in b"HTTP/1.1 200 all is well     ":
        handler.wfile.write(bytes([character]))
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [silent, dripping, dripping_headers])
def test_the_deadline_is_one_for_all_over_rest(answer):
    """And what has been too late is not asked again."""
    with http_server(answer) as server:
        begin = time.monotonic()
        refusal = refusal_of(rest(server, timeout_s=0.5, retries=3))
        assert 0.4 < time.monotonic() - begin < 1.5
    assert str(refusal) == "DEADLINE_EXCEEDED: no answer in 0.5 s"
    assert server.requests == 1


def test_the_deadline_is_one_for_all_over_grpc():
    def answer(context, number):
        time.sleep(1)
        return ANSWER

    with grpc_server(answer) as port:
        transport = GrpcTransport(Server("127.0.0.1", port, "clustr", timeout_s=0.3))
        begin = time.monotonic()
        assert refusal_of(transport).status == "DEADLINE_EXCEEDED"
        assert time.monotonic() - begin < 0.9


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (503, b"<html>", "UNAVAILABLE: HTTP 503 without JSON"),
        (429, b"<html>", "RESOURCE_EXHAUSTED: HTTP 429 without JSON"),
        (413, b"", "RESOURCE_EXHAUSTED: HTTP 413 without JSON"),
        (520, {"error": "odd"}, "HTTP 520: odd"),
        (302, b"", "HTTP 302: HTTP 302 without JSON"),
        (500, ["odd"], "INTERNAL: ['odd']"),
        (200, b"<html>", "UNKNOWN: the answer is no JSON"),
        (200, b"[" * 100_000, "UNKNOWN: the answer is no JSON"),
        (200, {"predictions": []}, "UNKNOWN: the answer has no outputs by name"),
        (200, {"outputs": {"a": [[1], [1, 2]]}}, "UNKNOWN: the answer's a is no tensor"),
        (200, {"outputs": {"a": [None]}}, "UNKNOWN: the answer's a is no tensor"),
    ],
)
def test_odd_answers_over_rest_are_told_in_words(status, content, words):
    with http_server(lambda handler, _: send(handler, status, content)) as server:
        assert str(refusal_of(rest(server, retries=0))).startswith(words)


def test_an_answer_that_is_too_large_is_not_read():
    """Nor one that does not say how large it is."""

    def endless(handler, number):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(2**16))

    for answer in (lambda handler, _: send(handler, 200, bytes(2**20)), endless):
        with http_server(answer) as server:
            refusal = refusal_of(rest(server, max_message_bytes=2**18))
        assert str(refusal) == "RESOURCE_EXHAUSTED: the answer is above 262144 bytes"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"port": 0}, "port must be 1 to 65535. Received: 0"),
        ({"timeout_s": 0}, "timeout_s must be above 0. Received: 0"),
        ({"retries": 5}, "retries must be 0 to 4. Received: 5"),
        ({"max_message_bytes": 2**31}, "max_message_bytes must be 1 to 2146435072. Received"),
        ({"version": 1, "label": "stable"}, "version and label exclude each other"),
    ],
)
def test_servers_that_cannot_be_are_refused(more, words):
    with pytest.raises(ValueError, match=words):
        Server(**{"host": "127.0.0.1", "port": 8500, "model": "clustr", **more})


def test_the_largest_message_is_one_that_grpc_takes():
    server = Server(
        "127.0.0.1", 9, "clustr", timeout_s=1, retries=0, max_message_bytes=2047 * 2**20
    )
    assert refusal_of(GrpcTransport(server)).status in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
