"""A workdir says in one line what is wrong with it."""

import resource

import pytest
from filelock import FileLock, Timeout

from clustr_tf.errors import InputError, RunError
from clustr_tf.experiment import read_experiment
from clustr_tf.workdir import Workdir
from configs import digits
from tests import programs


@pytest.fixture
def experiment():
    return read_experiment(digits.get_config().to_dict())


def test_claims_for_one_config_only(experiment, tmp_path):
    workdir = Workdir(tmp_path / "run")
    for _ in range(2):
        with workdir.claimed(experiment):
            pass
    assert workdir.experiment() == experiment
    other = digits.get_config()
    other.training.seed = 5
    with (
        pytest.raises(InputError, match=r"these fields differ: training\.seed\."),
        workdir.claimed(read_experiment(other.to_dict())),
    ):
        pass


def _claim(root, experiment):
    with Workdir(root).claimed(experiment):
        return "claimed"


def test_only_one_process_trains_in_it(experiment, tmp_path):
    with programs.context().Pool(1) as pool:
        with (
            Workdir(tmp_path).claimed(experiment),
            pytest.raises(InputError, match="is in use: another process is training there"),
        ):
            pool.apply(_claim, (tmp_path, experiment))
        assert pool.apply(_claim, (tmp_path, experiment)) == "claimed"


def test_a_worker_that_does_not_write_leaves_it_alone(experiment, tmp_path):
    with Workdir(tmp_path / "run").claimed(experiment, writes=False):
        assert not (tmp_path / "run").exists()


def test_a_file_in_its_place_cannot_be_written(experiment, tmp_path):
    (tmp_path / "run").write_text("a file")
    with (
        pytest.raises(InputError, match="cannot be written"),
        Workdir(tmp_path / "run").claimed(experiment),
    ):
        pass


def test_a_full_disk_is_nobodys_mistake(experiment, tmp_path):
    """A quota of 100 bytes a file stands for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with (
            pytest.raises(RunError, match=r"cannot be written: File too large\. .* make room"),
            Workdir(tmp_path).claimed(experiment),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_claimed_twice_by_one_thread_it_is_free_after_the_outer_block(experiment, tmp_path):
    """A lock of this process can be asked for by another description of the same file."""
    workdir, other = Workdir(tmp_path), FileLock(tmp_path / ".lock", timeout=0)
    with workdir.claimed(experiment):
        with workdir.claimed(experiment):
            pass
        with pytest.raises(Timeout):
            other.acquire()
    with other:
        pass


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
