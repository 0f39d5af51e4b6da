"""What the curves of robust training are drawn from."""

import json

import numpy as np
import pytest

from benchmarks.robust_curves import held_out_curve, worst_cases
from clustr_tf.train.callbacks.record import write_metrics


def write_run(workdir, pgd_accuracies, worst_case):
    """A finished run as far as the curves read it; `worst_case` None: not attacked yet."""
    workdir.mkdir(parents=True)
    rows = [{"epoch": n, "val_pgd_accuracy": value} for n, value in enumerate(pgd_accuracies, 1)]
    write_metrics(workdir / "metrics.csv", rows)
    epochs = {"training": {"epochs": len(rows)}}
    (workdir / "config.json").write_text(json.dumps(epochs))
    (workdir / "summary.json").write_text("{}")
    if worst_case is not None:
        values = {"worst_case_accuracy": worst_case}
        (workdir / "robustness.json").write_text(json.dumps(values))


def test_lines_are_means_of_seeds_and_dots_are_runs_of_every_budget(tmp_path):
    """An epoch of free_at is 4 passes: 2 epochs 8, 1 epoch 4. Means of (0.5, 0.75), (0.25, 0.5)."""
    write_run(tmp_path / "long" / "free_at-0", [0.5, 0.25], 0.5)
    write_run(tmp_path / "long" / "free_at-1", [0.75, 0.5], None)
    write_run(tmp_path / "short" / "free_at-0", [0.125], 0.125)
    write_run(tmp_path / "long" / "free_at_40-0", [0.0, 0.0], 0.0)
    folders = [tmp_path / "empty", tmp_path / "long", tmp_path / "short"]
    passes, accuracies = held_out_curve(folders, "free_at")
    np.testing.assert_array_equal(passes, [4, 8])
    np.testing.assert_array_equal(accuracies, [0.625, 0.375])
    dots = worst_cases(folders, "free_at")
    assert dots == [(4, 12.5), (8, 50.0)]


def test_runs_that_are_not_finished_are_left_out(tmp_path):
    write_run(tmp_path / "free_at-0", [0.5], 0.5)
    write_run(tmp_path / "free_at-1", [0.25], 0.25)
    (tmp_path / "free_at-1" / "summary.json").unlink()
    assert held_out_curve([tmp_path], "free_at")[1].tolist() == [0.5]
    assert worst_cases([tmp_path], "free_at") == [(4, 50.0)]


def test_a_row_that_is_not_trained_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"one of the folders\. Received: 'free_at'"):
        held_out_curve([tmp_path], "free_at")
