"""Files are complete or not there."""

import json

import pytest

from clustr_tf.files import replacing, write_json


def test_replaces_only_on_success(tmp_path):
    path = tmp_path / "folder" / "model.keras"
    with replacing(path) as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("old")
    with pytest.raises(RuntimeError, match="power"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("power failure")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


def test_json_is_readable_and_has_no_nan(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"accuracy": 0.5})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"accuracy": float("nan")})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
