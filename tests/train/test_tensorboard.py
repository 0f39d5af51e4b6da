"""What TensorBoard is given."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.hparams import plugin_data_pb2

from clustr_tf.cli.config import read_experiment
from clustr_tf.configs import digits
from clustr_tf.train.callbacks.record import TensorBoard


@pytest.fixture
def board(tmp_path):
    return TensorBoard(tmp_path, read_experiment(digits.get_config("plain").to_dict()).values)


def _values(folder):
    (file,) = folder.glob("events*")
    return [
        (value, event.step)
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]


def test_scalars_have_names_with_a_path_and_cluster_sizes_a_histogram(board, tmp_path):
    row = {"epoch": 3, "seconds": 9.0, "loss": 0.25, "magnet": 0.5, "val_pgd_accuracy": 0.75}
    board.log_epoch(row, np.array([4, 4, 9]))
    board.close()
    values = {value.tag: (tf.make_ndarray(value.tensor), step) for value, step in _values(tmp_path)}
    scalars = ("train/loss", 0.25), ("train/magnet", 0.5), ("validation/pgd_accuracy", 0.75)
    for tag, expected in scalars:
        assert (float(values[tag][0]), values[tag][1]) == (expected, 3)
    # Buckets are (left edge, right edge, count).
    buckets, step = values["clusters/sizes"]
    assert (buckets[:, 2].sum(), buckets[0, 0], buckets[-1, 1], step) == (3, 4, 9, 3)


def test_hyper_parameters_have_dotted_names(board, tmp_path):
    board.close()
    (content,) = [
        value.metadata.plugin_data.content
        for value, _ in _values(tmp_path)
        if value.metadata.plugin_data.plugin_name == "hparams"
    ]
    data = plugin_data_pb2.HParamsPluginData.FromString(content)
    fields = data.session_start_info.hparams
    assert fields["method.alpha"].number_value == 12.5
    assert fields["dataset.name"].string_value == "digits"
    assert fields["clustering.normalize"].bool_value is True
    assert fields["evaluation.attack.losses"].string_value == "['ce', 'margin']"


def test_the_projector_finds_embeddings_and_classes(board, tmp_path):
    board.write_projector(np.array([[0.5, 1.0], [2.0, 3.0]]), np.array([1, 0]), ("cat", "dog"))
    board.log_radii({"l2": np.array([0.1, 0.2])}, epoch=40)
    board.close()
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert 'tensor_path: "embeddings.tsv"' in config
    assert 'metadata_path: "classes.tsv"' in config
    assert (tmp_path / "embeddings.tsv").read_text() == "0.5\t1.0\n2.0\t3.0\n"
    assert (tmp_path / "classes.tsv").read_text() == "dog\ncat\n"
    assert ("test/certified_radius_l2", 40) in [(v.tag, step) for v, step in _values(tmp_path)]
