"""Numbered versions are complete or not there."""

import pytest

from clustr_tf.serve.saving import publish_version


def write(folder):
    folder.mkdir()
    (folder / "model").write_text("complete")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_counts_on_from_the_highest_number(tmp_path):
    output = tmp_path / "models" / "clustr"
    assert publish_version(output, write) == output / "1"
    assert publish_version(output, write) == output / "2"
    (output / "2").rename(output / "9")
    (output / "notes").mkdir()
    assert publish_version(output, write) == output / "10"
    assert names(output) == ["1", "10", "9", "notes"]
    assert (output / "10" / "model").read_text() == "complete"


def test_nothing_is_visible_until_it_is_complete(tmp_path):
    seen = []

    def look(folder):
        write(folder)
        seen.extend(name for name in names(tmp_path) if name.isdecimal())

    assert publish_version(tmp_path, look) == tmp_path / "1"
    assert seen == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(tmp_path, error):
    def fail(folder):
        write(folder)
        raise error

    with pytest.raises(type(error)):
        publish_version(tmp_path / "new" / "clustr", fail)
    assert names(tmp_path) == []
    publish_version(tmp_path / "old", write)
    with pytest.raises(type(error)):
        publish_version(tmp_path / "old", fail)
    assert names(tmp_path / "old") == ["1"]


@pytest.mark.parametrize("output", ["model", "model/clustr"])
def test_refuses_a_file(tmp_path, output):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ValueError, match=r"output must be a folder, but .*model is a file"):
        publish_version(tmp_path / output, write)
    assert (tmp_path / "model").read_text() == "mine"
