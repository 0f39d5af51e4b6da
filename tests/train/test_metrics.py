"""Tables of figures."""

import csv

from clustr_tf.train.callbacks.record import COLUMNS, write_metrics


def test_csv_has_the_promised_columns_then_the_loss_parts(tmp_path):
    path = tmp_path / "metrics.csv"
    write_metrics(path, [{"epoch": 1, "loss": 2.5, "magnet": 2.0}, {"epoch": 2, "loss": 1.5}])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS, "train/magnet"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["train/loss"] == "2.5"
    assert rows[0]["validation/pgd_accuracy"] == rows[1]["train/magnet"] == ""
