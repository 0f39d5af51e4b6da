"""A workdir says in one line what is wrong with it."""

import resource

import pytest
from filelock import FileLock, Timeout

from clustr_tf.run.errors import InputError, RunError
from clustr_tf.run.workdir import Workdir, changed_fields
from tests import programs


@pytest.fixture
def config():
    return {"method": {"name": "clustr", "alpha": 12.5}, "training": {"epochs": 3, "seed": 0}}


def _with(config, **training):
    return {**config, "training": {**config["training"], **training}}


def test_claims_for_one_config_only(config, tmp_path):
    workdir = Workdir(tmp_path / "run")
    for _ in range(2):
        with workdir.claimed(config):
            pass
    assert workdir.config_values() == config
    with (
        pytest.raises(InputError, match=r"these fields differ: training\.seed\."),
        workdir.claimed(_with(config, seed=5)),
    ):
        pass


def test_epochs_may_grow_and_nothing_else(config, tmp_path):
    workdir = Workdir(tmp_path)
    with workdir.claimed(config):
        pass
    with workdir.claimed(_with(config, epochs=7)):
        assert workdir.config_values()["training"]["epochs"] == 7
    for other in (_with(config, epochs=6), _with(config, epochs=8, seed=1)):
        with pytest.raises(InputError, match=r"training\.epochs"), workdir.claimed(other):
            pass
    assert workdir.config_values() == _with(config, epochs=7)


def test_images_may_move_to_the_disk(config, tmp_path):
    stored = {**config, "dataset": {"in_memory": False, "cache_dir": "cache"}}
    for one in ({**config, "dataset": {"in_memory": True}}, stored):
        with Workdir(tmp_path).claimed(one):
            pass
    assert Workdir(tmp_path).config_values() == stored


def test_changed_fields_are_named():
    old = {"method": {"alpha": 12.5}, "watch": {"attack": {"steps": 10}}, "plugins": []}
    new = {"method": {"eps": 0.1}, "watch": {"attack": {"steps": 3}}, "plugins": []}
    assert changed_fields(old, old) == []
    assert changed_fields(old, new) == ["method.alpha", "method.eps", "watch.attack.steps"]


def _claim(root, config):
    with Workdir(root).claimed(config):
        return "claimed"


def test_only_one_process_trains_in_it(config, tmp_path):
    with programs.context().Pool(1) as pool:
        with (
            Workdir(tmp_path).claimed(config),
            pytest.raises(InputError, match="is in use: another process is training there"),
        ):
            pool.apply(_claim, (tmp_path, config))
        assert pool.apply(_claim, (tmp_path, config)) == "claimed"


def test_a_worker_that_does_not_write_leaves_it_alone(config, tmp_path):
    with Workdir(tmp_path / "run").claimed(config, writes=False):
        assert not (tmp_path / "run").exists()


def test_a_file_in_its_place_cannot_be_written(config, tmp_path):
    (tmp_path / "run").write_text("a file")
    with (
        pytest.raises(InputError, match="cannot be written"),
        Workdir(tmp_path / "run").claimed(config),
    ):
        pass


def test_a_full_disk_is_nobodys_mistake(config, tmp_path):
    """A quota of 100 bytes a file stands for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with (
            pytest.raises(RunError, match=r"cannot be written: File too large\. .* make room"),
            Workdir(tmp_path).claimed(config),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_claimed_twice_by_one_thread_it_is_free_after_the_outer_block(config, tmp_path):
    """A lock of this process can be asked for by another description of the same file."""
    workdir, other = Workdir(tmp_path), FileLock(tmp_path / ".lock", timeout=0)
    with workdir.claimed(config):
        with workdir.claimed(config):
            pass
        with pytest.raises(Timeout):
            other.acquire()
    with other:
        pass


def test_unfinished_and_damaged_runs_are_refused(tmp_path):
    workdir = Workdir(tmp_path)
    with pytest.raises(InputError, match="is no workdir"):
        workdir.config_values()
    for content, line in [
        (b"{", "is not JSON"),
        ('{"training": {}}'.encode("utf-16"), "is not JSON"),
        (b"null", "must be a group of sections. Received: None"),
        (b"[1]", "must be a group of sections"),
        (b'{"objective": {"name": "clustr"}, "training": {}}', "an older version of clustr_tf"),
    ]:
        workdir.config.write_bytes(content)
        with pytest.raises(InputError, match=line) as raised:
            workdir.config_values()
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="training has not finished"):
        workdir.load_classifier()
    workdir.model.write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be loaded"):
        workdir.load_classifier()
