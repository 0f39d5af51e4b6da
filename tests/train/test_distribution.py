"""Two replicas, on two logical CPUs and in two processes over loopback, against one device."""

import json

import numpy as np
import pytest

from clustr_tf.run.distribution import connect
from clustr_tf.run.errors import InputError

PROGRAM = "tests.train.two_replicas"
METHODS = ("clustr", "clustr_free", "pgd_at")


@pytest.fixture
def known(start, start_workers, tmp_path):
    """What each process knew after each epoch: of two logical CPUs, of both workers."""
    folders = [tmp_path / name for name in ("mirrored", "chief", "worker")]
    for folder in folders:
        folder.mkdir()
    processes = [
        start(PROGRAM, "mirrored", folders[0]),
        *start_workers(lambda index: (PROGRAM, "multi_worker", folders[1 + index])),
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    # Only the chief touches its workdir.
    assert (folders[1] / "run" / "clustr" / "metrics.csv").exists()
    assert not (folders[2] / "run").exists()
    return [dict(np.load(folder / "known.npz", allow_pickle=False)) for folder in folders]


@pytest.mark.slow
def test_two_replicas_are_one_computation(known):
    """The program itself holds a step against one device, and copies of variables against another.

    Everything that the next step depends on has to be the same on all workers, bit for bit:
    weights, batch-norm averages, Adam's moments, clusters, example losses, draws, perturbation.
    """
    mirrored, chief, worker = known
    for method in METHODS:
        assert {f"{method}/{epoch}/batches/random" for epoch in (0, 1)} <= set(chief)
        # Two replicas' neighbourhoods of 3 clusters x 4 images.
        rows = 24 if method == "clustr_free" else 0
        assert len(chief[f"{method}/1/perturbation"]) == rows
    assert np.ptp(chief["clustr_free/1/perturbation"]) > 0
    assert chief.keys() == worker.keys() == mirrored.keys()
    for name, array in chief.items():
        np.testing.assert_array_equal(array, worker[name], name, strict=True)
        if name.endswith("history"):
            rows, others = (json.loads(str(of[name])) for of in (chief, mirrored))
            assert rows == [pytest.approx(other, abs=1e-5) for other in others]
        elif array.dtype.kind == "f":
            np.testing.assert_allclose(array, mirrored[name], rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(array, mirrored[name], name)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "no JSON",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_wrong_tf_config_is_told_in_one_line(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=r"^config.training.strategy=multi_worker needs .*TF_CONF"):
        connect("multi_worker")
