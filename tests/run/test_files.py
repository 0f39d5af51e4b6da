"""Files are complete or not there."""

import json

import numpy as np
import pytest

from clustr_tf.run.files import replacing, write_arrays, write_json


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


def test_arrays_are_written_without_pickle(tmp_path):
    path = tmp_path / "radii.npz"
    write_arrays(path, {"radius": np.array([0.5])})
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(path, {"radius": np.array([object()])})
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["radius"], [0.5])
    assert [file.name for file in tmp_path.iterdir()] == ["radii.npz"]
