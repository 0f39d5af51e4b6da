"""The client program against the test double of a model server, and against servers that err."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import programs
from tests.serve.double_client import ROOT
from tests.serve.fake_servers import http_server, send


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
def test_the_program_answers_for_a_folder(double, pictures, signatures, protocol):
    """One broken file hides nothing of the others, but the job is not done."""
    finished = programs.run(
        "export.client",
        f"--protocol={protocol}",
        f"--port={double.ports[protocol]}",
        f"--image={pictures}",
        "--radius=0",
        "--json",
    )
    assert finished.returncode == 1
    assert "error: 1 of 3 not answered; the first error: INVALID_ARGUMENT" in finished.stderr
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
    finished = programs.run(
        "export.client", f"--port={double.ports['grpc']}", f"--image={pictures / '0.png'}"
    )
    assert finished.returncode == 0, finished.stderr
    assert "0.png" in finished.stdout
    assert "l2 radius" in finished.stdout


def test_brackets_in_a_name_are_no_markup(double, pictures, tmp_path):
    name = "[red]a[0][bold].png"
    (tmp_path / name).write_bytes((pictures / "0.png").read_bytes())
    finished = programs.run(
        "export.client", f"--port={double.ports['grpc']}", f"--image={tmp_path}"
    )
    assert finished.returncode == 0, finished.stderr
    assert name in finished.stdout


def test_what_cannot_be_read_is_told_and_hides_nothing(double, pictures, tmp_path):
    """A folder and a dangling link are no images; reading a process's first page fails."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a.png").symlink_to("/proc/self/mem")
    (tmp_path / "b.png").write_bytes((pictures / "0.png").read_bytes())
    finished = programs.run(
        "export.client", f"--port={double.ports['grpc']}", f"--image={tmp_path}", "--json"
    )
    assert finished.returncode == 1
    rows = {Path(row["image"]).name: row for row in map(json.loads, finished.stdout.splitlines())}
    assert rows.keys() == {"a.png", "b.png"}
    assert rows["a.png"]["error"].startswith("UNREADABLE: ")
    assert "class_id" in rows["b.png"]
    assert "error: 1 of 2 not answered; the first error: UNREADABLE" in finished.stderr
    assert "Traceback" not in finished.stderr


GOOD = {
    "class_id": [1],
    "probabilities": [[0.25, 0.75]],
    "certified_radius_l2": [0.5],
    "certified_radius_linf": [0.125],
}


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({}, None),
        ({"class_id": None}, "the answer has no class_id; it has ['certified_radius_l2',"),
        (
            {"class_id": [1, 1]},
            "class_id must have 1 rows of numbers and rank 1; received int64 [2]",
        ),
        ({"class_id": [2]}, "the answer's class_id has no probability"),
        ({"class_id": ["cat"]}, "the answer's class_id must have 1 rows of numbers"),
        ({"probabilities": [1.0]}, "the answer's probabilities must have 1 rows of numbers"),
        ({"certified_radius_l2": 0.5}, "certified_radius_l2 must have 1 rows of numbers"),
    ],
)
def test_answers_of_other_models_are_told_in_one_line(pictures, outputs, words):
    answered = {name: values for name, values in {**GOOD, **outputs}.items() if values is not None}
    with http_server(lambda handler, _: send(handler, 200, {"outputs": answered})) as server:
        finished = programs.run(
            "export.client",
            *("--protocol=rest", f"--port={server.server_port}", "--json"),
            *(f"--image={pictures / '0.png'}", "--radius=1/2"),
        )
    (row,) = map(json.loads, finished.stdout.splitlines())
    assert "Traceback" not in finished.stderr
    assert row.pop("image").endswith("0.png")
    if words is None:
        assert finished.returncode == 0
        assert row == {
            "class_id": 1,
            "probability": 0.75,
            "certified_radius_l2": 0.5,
            "certified_radius_linf": 0.125,
            "is_certified": True,
        }
    else:
        assert finished.returncode == 1
        assert words in row["error"]


def test_a_program_that_is_given_no_certificates_says_so(pictures):
    for protocol in ("grpc", "rest"):
        finished = programs.run(
            "export.client",
            *(f"--protocol={protocol}", f"--image={pictures / '0.png'}"),
            f"--ca_file={pictures / 'notes.txt'}",
        )
        assert finished.returncode == 2
        assert "error: --ca_file must hold certificates (PEM): " in finished.stderr
        assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("flags", "status", "line"),
    [
        ((), 2, "error: --image is missing"),
        (("--image=/nowhere",), 2, "error: --image must be a file or a folder with PNG or JPEG"),
        ((f"--image={ROOT}/README.md", "--port=0"), 2, "error: --port must be 1 to 65535"),
        ((f"--image={ROOT}/README.md", "--radius=-1"), 2, "error: --radius must be at least 0"),
        ((f"--image={ROOT}/README.md", "--ca_file=/no"), 2, "error: --ca_file must be a file"),
        ((f"--image={ROOT}/README.md", "--timeout=0"), 2, "error: --timeout must be above 0"),
        ((f"--image={ROOT}/README.md", "--retries=9"), 2, "error: --retries must be 0 to 4"),
        (
            (f"--image={ROOT}/README.md", "--max_megabytes=2048"),
            2,
            "[1, 2047]",
        ),
        (
            (f"--image={ROOT}/README.md", "--port=9", "--retries=0", "--protocol=rest"),
            1,
            "error: no image was answered; the first error: UNAVAILABLE",
        ),
    ],
)
def test_the_program_tells_mistakes_in_one_line(flags, status, line):
    finished = programs.run("export.client", *flags)
    assert finished.returncode == status
    assert line in finished.stderr
    assert "Traceback" not in finished.stderr
