"""Images on disk: the same as in memory, decoded once, never taken when damaged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustr_tf.data.image_store import StoredImages, in_parts, kept_on_disk, subset
from clustr_tf.data.pixels import checked_examples
from clustr_tf.run.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 3, 2), np.uint8)
KEY = {"files": "these"}


class Reading:
    """Gives the images above, and counts how often."""

    def __init__(self):
        self.count = 0

    def __call__(self, append):
        self.count += 1
        for image in IMAGES:
            append(image)
        return {"numbers": np.arange(len(IMAGES))}


@given(st.lists(st.integers(0, 6), min_size=1), st.data())
def test_indices_and_slices_give_what_an_array_gives(rows, data):
    stored, array = StoredImages(IMAGES, np.array(rows)), IMAGES[rows]
    index = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1))), int)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    np.testing.assert_array_equal(stored[index], array[index])
    np.testing.assert_array_equal(stored[start:stop], array[start:stop])
    np.testing.assert_array_equal(subset(stored, index), subset(array, index))
    np.testing.assert_array_equal(subset(stored, slice(start, stop)), array[start:stop])
    np.testing.assert_array_equal(np.concatenate(list(in_parts(stored))), array)
    assert (stored.shape, stored.dtype, len(stored)) == (array.shape, array.dtype, len(array))
    assert isinstance(subset(stored, index), StoredImages)


def test_they_are_read_once(tmp_path):
    read = Reading()
    for _ in range(2):
        take, columns = kept_on_disk(read, tmp_path / "cache", "mine", KEY)
        np.testing.assert_array_equal(take(np.array([6, 0, 0])), IMAGES[[6, 0, 0]])
        np.testing.assert_array_equal(columns["numbers"], np.arange(7))
    assert read.count == 1
    kept_on_disk(read, tmp_path / "cache", "mine", {"files": "others"})
    assert read.count == 2
    assert len([path for path in (tmp_path / "cache").iterdir() if path.name[0] != "."]) == 4


def test_all_bytes_of_the_file_are_the_images(tmp_path):
    kept_on_disk(Reading(), tmp_path, "mine", KEY)
    (file,) = tmp_path.glob("mine-*.images")
    assert file.read_bytes() == IMAGES.tobytes()


@pytest.mark.parametrize(
    ("ending", "damage"),
    [
        ("images", lambda content: content[:-1]),
        ("images", lambda content: content + b"\0"),
        ("images", lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:]),
        ("images", lambda content: b""),
        ("npz", lambda content: content[:100]),
        ("npz", lambda content: b"nothing"),
        ("npz", lambda content: b""),
    ],
)
def test_a_damaged_file_is_written_anew(tmp_path, caplog, ending, damage):
    read = Reading()
    kept_on_disk(read, tmp_path, "mine", KEY)
    (file,) = tmp_path.glob(f"*.{ending}")
    file.write_bytes(damage(file.read_bytes()))
    take, _ = kept_on_disk(read, tmp_path, "mine", KEY)
    assert read.count == 2
    np.testing.assert_array_equal(take(np.arange(7)), IMAGES)
    assert "is damaged: the images are decoded anew" in caplog.text


def test_what_is_not_read_to_its_end_is_not_there(tmp_path):
    def read(append):
        append(IMAGES[0])
        raise InputError("the second image is damaged")

    with pytest.raises(InputError, match="the second image"):
        kept_on_disk(read, tmp_path, "mine", KEY)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^config\.dataset\.cache_dir=.* cannot be written"):
        kept_on_disk(Reading(), tmp_path / "file" / "cache", "mine", KEY)


def test_checked_examples_stay_on_disk():
    stored = StoredImages(IMAGES, np.arange(3))
    images, labels = checked_examples(stored, [0, 1, 1], lambda pixels: pixels[:, 0, 0])
    assert images is stored
    assert labels.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match=r"^images must be \[N, H, W, C\]"):
        checked_examples(stored, [0, 1], len)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1, np.inf])
def test_float_images_are_checked_part_by_part(monkeypatch, wrong):
    monkeypatch.setattr("clustr_tf.data.image_store._PART_BYTES", 50)
    images = np.full((7, 4, 3, 2), 0.5, np.float32)
    images[5, 1, 1, 0] = wrong
    with pytest.raises(ValueError, match=r"^images must be finite in \[0, 1\]"):
        checked_examples(images, np.zeros(7, int), lambda pixels: pixels[:, 0, 0])
