"""The client and the conformance checks against the test double of a model server."""

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow as tf

from clustr_tf.workdir import Workdir
from export.options import ServingOptions
from export.saving import export_savedmodel
from export.transport import Server, ServerError
from export.transport_grpc import GrpcTransport
from export.transport_rest import RestTransport

ROOT = Path(__file__).parents[2]
TRANSPORTS = {"grpc": GrpcTransport, "rest": RestTransport}


class Double:
    """The double in a process of its own, until the block ends; `ports` by protocol."""

    def __init__(self, version):
        self._version = version

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.export.double", str(self._version), "clustr"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.ports = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_):
        self._process.communicate()
        assert self._process.returncode == 0

    def transport(self, protocol, **more):
        return TRANSPORTS[protocol](Server("127.0.0.1", self.ports[protocol], "clustr", **more))

    def post(self, body, path="/v1/models/clustr:predict"):
        url = f"http://127.0.0.1:{self.ports['rest']}{path}"
        return requests.post(url, data=body, timeout=20)


@pytest.fixture(scope="module")
def double(version):
    with Double(version) as running:
        yield running


@pytest.fixture(scope="module")
def workdir(classifier, tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("run"))
    workdir.save_classifier(classifier)
    return workdir.root


def program(name, *flags):
    return subprocess.run(
        [sys.executable, "-m", name, *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, images):
    """Two PNG files of the fixture's images, and one file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for row in range(2):
        pixels = np.uint8(np.rint(255 * images[row]))
        (folder / f"{row}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (folder / "broken.png").write_bytes(b"GIF89a")
    (folder / "notes.txt").write_text("no image")
    return folder


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


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_the_program_answers_for_a_folder(double, pictures, signatures, protocol):
    """One broken file hides nothing of the others."""
    finished = program(
        "export.client",
        f"--protocol={protocol}",
        f"--port={double.ports[protocol]}",
        f"--image={pictures}",
        "--radius=0",
        "--json",
    )
    assert finished.returncode == 0, finished.stderr
    rows = {Path(row["image"]).name: row for row in map(json.loads, finished.stdout.splitlines())}
    assert rows.keys() == {"0.png", "1.png", "broken.png"}
    assert "neither a PNG nor a JPEG" in rows["broken.png"]["error"]
    for name in ("0.png", "1.png"):
        encoded = tf.constant([(pictures / name).read_bytes()])
        wanted = signatures["serving_bytes"](image_bytes=encoded)
        assert rows[name]["class_id"] == int(wanted["class_id"][0])
        radius = float(wanted["certified_radius_l2"][0])
        assert rows[name]["certified_radius_l2"] == pytest.approx(radius, rel=1e-6)
        assert rows[name]["is_certified"] == (radius > 0)


def test_the_program_prints_a_table(double, pictures):
    finished = program(
        "export.client", f"--port={double.ports['grpc']}", f"--image={pictures / '0.png'}"
    )
    assert finished.returncode == 0, finished.stderr
    assert "0.png" in finished.stdout
    assert "l2 radius" in finished.stdout


@pytest.mark.parametrize(
    ("flags", "status", "line"),
    [
        ((), 2, "error: --image is missing"),
        (("--image=/nowhere",), 2, "error: --image must be a file or a folder with PNG or JPEG"),
        ((f"--image={ROOT}/README.md", "--port=0"), 2, "error: --port must be 1 to 65535"),
        ((f"--image={ROOT}/README.md", "--radius=-1"), 2, "error: --radius must be at least 0"),
        ((f"--image={ROOT}/README.md", "--ca_file=/no"), 2, "error: --ca_file must be a file"),
        (
            (f"--image={ROOT}/README.md", "--port=9", "--retries=0", "--protocol=rest"),
            1,
            "error: no image was answered; the first error: UNAVAILABLE",
        ),
    ],
)
def test_the_program_tells_mistakes_in_one_line(flags, status, line):
    finished = program("export.client", *flags)
    assert finished.returncode == status
    assert line in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_the_double_conforms_over_both_protocols(double, workdir):
    ports = (f"--port={double.ports['grpc']}", f"--rest_port={double.ports['rest']}")
    finished = program("export.conformance", f"--workdir={workdir}", *ports)
    assert finished.returncode == 0, finished.stdout
    assert "FAIL" not in finished.stdout
    assert finished.stdout.count("pass grpc") == finished.stdout.count("pass rest") == 29


@pytest.mark.slow
def test_a_flagging_model_conforms_only_as_one(classifier, bound, workdir, tmp_path):
    """And a server that answers otherwise than asked for is found out."""
    version = export_savedmodel(
        classifier, tmp_path / "clustr", bound, ServingOptions(on_invalid="flag")
    )
    with Double(version) as flagging:
        port = f"--port={flagging.ports['grpc']}"
        finished = program("export.conformance", f"--workdir={workdir}", port, "--on_invalid=flag")
        assert finished.returncode == 0, finished.stdout
        finished = program("export.conformance", f"--workdir={workdir}", port)
    assert finished.returncode == 1
    assert "FAIL grpc: serving_default: refuses a pixel above 1: it was answered" in finished.stdout


def test_many_clients_at_once_get_their_own_answers(double, signatures, images):
    """Eight clients, 25 requests each, of different images over both protocols."""
    wanted = signatures["embed"](images=images)["nearest_cluster"].numpy()

    def client(number):
        transport = double.transport("grpc" if number % 2 else "rest")
        rows = np.random.default_rng(number).integers(0, len(images), (25, 3))
        return all(
            np.array_equal(
                transport.ask("embed", {"images": images[row]})["nearest_cluster"], wanted[row]
            )
            for row in rows
        )

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(client, range(8)))
