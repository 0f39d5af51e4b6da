"""The table of runs that are finished."""

import json

from tests import programs


def write_run(workdir, clean, worst, gap, cross_entropy, failed):
    """What a finished and attacked run leaves, as far as the table reads it."""
    workdir.mkdir()
    summary = {"test/median_certified_radius_l2": 0.25, "training_seconds": 60}
    robustness = {
        "examples": 360,
        "clean_accuracy": clean,
        "worst_case_accuracy": worst,
        "masking_gap": gap,
        "attacks": {"pgd": {"after": {"pgd_ce": cross_entropy}}},
        "diagnostics": [
            {"name": "losses agree", "passed": True},
            {"name": "masking gap", "passed": not failed},
        ],
    }
    (workdir / "summary.json").write_text(json.dumps(summary))
    (workdir / "robustness.json").write_text(json.dumps(robustness))


def test_the_table_has_means_and_ranges_of_the_seeds_from_the_first_on(tmp_path):
    """Of 360 images 135 stand, 0.375: Wilson's interval by its formula, z = 1.96, is 32.7 to 42.6.

    Seed 0 is there and left out. One step costs two passes: 9 allow 4 epochs, which have 8.
    """
    write_run(tmp_path / "clustr_at-0", 1.0, 1.0, 0.0, 1.0, failed=False)
    write_run(tmp_path / "clustr_at-1", 0.75, 0.25, 0.25, 0.375, failed=False)
    write_run(tmp_path / "clustr_at-2", 0.5, 0.5, 0.0, 0.5, failed=True)
    flags = ("--rows=clustr_at", "--passes=9", "--first_seed=1", "--seeds=2")
    finished = programs.run("benchmarks.robust_comparison", f"--output={tmp_path}", *flags)
    assert finished.returncode == 0, finished.stderr
    assert [cell.strip() for cell in finished.stdout.splitlines()[-1].split("|")[1:-1]] == [
        *("`clustr_at`", "8", "4"),
        *("62.50 (50.00-75.00)", "37.50 (25.00-50.00)", "32.7 to 42.6", ""),
        *("12.50 (0.00-25.00)", "6.25 (0.00-12.50)", "masking gap"),
        *("0.2500 (0.2500-0.2500)", "60 (60-60)"),
    ]
