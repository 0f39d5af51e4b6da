"""A workdir says in one line what is wrong with it."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from clustr_tf.errors import InputError, RunError
from clustr_tf.experiment import read_experiment
from clustr_tf.workdir import Workdir
from configs import digits

ROOT = Path(__file__).parents[1]


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


def test_only_one_process_trains_in_it(experiment, tmp_path):
    workdir = Workdir(tmp_path)
    second = (
        "import sys; from pathlib import Path; from clustr_tf.workdir import Workdir\n"
        "from clustr_tf.experiment import read_experiment; from configs import digits\n"
        "experiment = read_experiment(digits.get_config().to_dict())\n"
        "with Workdir(Path(sys.argv[1])).claimed(experiment): print('claimed')"
    )

    def claim_in_another_process():
        return subprocess.run(
            [sys.executable, "-c", second, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    with workdir.claimed(experiment):
        refused = claim_in_another_process()
    assert refused.returncode == 1
    assert "is in use: another process is training there" in refused.stderr.splitlines()[-1]
    assert claim_in_another_process().stdout == "claimed\n"


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
