"""Tables of figures."""

import csv

import tensorflow as tf

from clustr_tf.training.metrics import COLUMNS, log_to_tensorboard, write_metrics


def test_csv_has_the_promised_columns_then_the_loss_parts(tmp_path):
    path = tmp_path / "metrics.csv"
    write_metrics(path, [{"epoch": 1, "loss": 2.5, "magnet": 2.0}, {"epoch": 2, "loss": 1.5}])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS, "magnet"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["loss"] == "2.5"
    assert rows[0]["pgd_accuracy"] == rows[1]["magnet"] == ""


def test_tensorboard_gets_metric_names_with_a_path(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    log_to_tensorboard(writer, {"epoch": 3, "seconds": 9.0, "loss": 0.25, "magnet": 0.5})
    writer.close()
    (file,) = tmp_path.iterdir()
    events = [
        (value.tag, float(tf.make_ndarray(value.tensor)), event.step)
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert events == [("train/loss", 0.25, 3), ("train/magnet", 0.5, 3)]
