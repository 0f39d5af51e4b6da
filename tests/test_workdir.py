"""A workdir says in one line what is wrong with it."""

import pytest

from clustr_tf.errors import InputError
from clustr_tf.experiment import read_experiment
from clustr_tf.workdir import Workdir
from configs import digits


@pytest.fixture
def experiment():
    return read_experiment(digits.get_config().to_dict())


def test_claims_for_one_config_only(experiment, tmp_path):
    workdir = Workdir(tmp_path / "run")
    workdir.claim(experiment)
    workdir.claim(experiment)
    assert workdir.experiment() == experiment
    other = digits.get_config()
    other.training.seed = 5
    with pytest.raises(InputError, match=r"these fields differ: training\.seed\."):
        workdir.claim(read_experiment(other.to_dict()))


def test_a_file_in_its_place_cannot_be_written(experiment, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        Workdir(tmp_path / "run").claim(experiment)


def test_unfinished_and_damaged_runs_are_refused(experiment, tmp_path):
    workdir = Workdir(tmp_path)
    with pytest.raises(InputError, match="is no workdir"):
        workdir.experiment()
    workdir.config.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        workdir.experiment()
    with pytest.raises(InputError, match="training has not finished"):
        workdir.load_classifier()
    workdir.model.write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be loaded"):
        workdir.load_classifier()
