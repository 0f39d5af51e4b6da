"""The client checks a server's certificate against the file that it is given, and no other."""

import ssl
import subprocess

import grpc
import numpy as np
import pytest

from clustr_tf.serve.transport import Server, ServerError
from clustr_tf.serve.transport_grpc import GrpcTransport
from clustr_tf.serve.transport_rest import RestTransport
from tests.serve.fake_servers import grpc_server, http_server, send

IMAGES = {"images": np.zeros((1, 2), np.float32)}


def certificate(folder, name):
    """A self-signed certificate of localhost with its key, valid for a day."""
    key, pem = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(pem)),
        ],
        check=True,
        capture_output=True,
    )
    return key, pem


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("own"), "own")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module", params=["grpc", "rest"])
def ask(request, own):
    """Asks a server with the certificate `own`, checking it against a file."""
    key, pem = own
    if request.param == "grpc":
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), pem.read_bytes())])
        running = grpc_server(lambda *_: {"class_id": np.array([3])}, credentials)
        transport = GrpcTransport
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        running = http_server(
            lambda handler, _: send(handler, 200, {"outputs": {"class_id": [3]}}), context
        )
        transport = RestTransport

    with running as server:
        port = server if request.param == "grpc" else server.server_port

        def ask(ca_file, **more):
            server = Server("127.0.0.1", port, "clustr", timeout_s=5, ca_file=ca_file, **more)
            return transport(server).ask("embed", IMAGES)

        yield ask


def test_the_right_certificate_is_trusted(ask, own):
    np.testing.assert_array_equal(ask(own[1])["class_id"], [3])


def test_another_certificate_is_not(ask, other):
    with pytest.raises(ServerError) as refused:
        ask(other[1], retries=0)
    assert refused.value.status == "UNAVAILABLE"


def test_without_tls_there_is_no_answer(ask):
    with pytest.raises(ServerError) as refused:
        ask(None, retries=0)
    assert refused.value.status in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_the_environment_does_not_replace_the_file(ask, own, other, monkeypatch):
    """Which requests prefers to what a session was told, unless every call says it anew."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other[1]))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(other[1]))
    np.testing.assert_array_equal(ask(own[1])["class_id"], [3])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own[1]))
    with pytest.raises(ServerError):
        ask(other[1], retries=0)


@pytest.mark.parametrize("transport", [GrpcTransport, RestTransport])
def test_a_file_without_certificates_is_refused_before_anything_is_sent(transport, tmp_path):
    (tmp_path / "ca.pem").write_bytes(b"\xffno certificate")
    for file in ("ca.pem", "missing.pem"):
        with pytest.raises(OSError):
            transport(Server("127.0.0.1", 9, "clustr", ca_file=tmp_path / file))
