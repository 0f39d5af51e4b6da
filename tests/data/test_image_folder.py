"""Image folders and archives as data sets: order, classes, statistics, refusals."""

import dataclasses
import importlib
import io
import tarfile
import zipfile

import numpy as np
import pytest

from clustr_tf.data.dataset import hold_out
from clustr_tf.data.image_folder import image_folder
from clustr_tf.data.image_store import StoredImages
from clustr_tf.run.errors import InputError
from clustr_tf.run.workdir import Workdir
from tests import programs

# The function of the room hides the module of its name.
module = importlib.import_module("clustr_tf.data.image_folder")


def _folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def _archive(path, files, top=""):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(top + name, content)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '')}") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(top + name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def _load(source, **options):
    return image_folder(str(source), **options)


def _refusal(source, **options):
    with pytest.raises(InputError) as raised:
        _load(source, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def _check(dataset):
    """The fixture's images, sorted by class and number whatever the order of the files."""
    assert dataset.class_names == ("a", "b")
    assert dataset.image_shape == (3, 2, 1)
    np.testing.assert_array_equal(dataset.train_images[:, 0, 0, 0], [0, 1, 50, 51, 52])
    np.testing.assert_array_equal(dataset.train_labels, [0, 0, 1, 1, 1])
    assert sorted(dataset.test_labels) == [0, 1]
    np.testing.assert_array_equal(dataset.test_images[:, 0, 0, 0], 100 + 50 * dataset.test_labels)
    assert (dataset.train_images.dtype, dataset.train_labels.dtype) == (np.uint8, np.int64)
    assert dataset.validation_images.shape == (0, 3, 2, 1)


def test_a_folder(tmp_path, image_files):
    dataset = _load(_folder(tmp_path / "mine", {**image_files, "README.md": b"not an image"}))
    assert dataset.name == "mine"
    _check(dataset)
    # Values 0, 1, 50, 51, 52, each in 6 pixels.
    values = np.array([0, 1, 50, 51, 52]) / 255
    np.testing.assert_allclose(dataset.mean, [values.mean()], rtol=1e-12)
    np.testing.assert_allclose(dataset.std, [values.std()], rtol=1e-12)


@pytest.mark.parametrize("top", ["", "mine/", "./", "./mine/"])
@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz", ".zip"])
def test_an_archive_with_or_without_a_top_folder_in_any_order(tmp_path, image_files, top, ending):
    shuffled = dict(reversed(image_files.items()))
    dataset = _load(_archive(tmp_path / f"Mine.v1{ending}", shuffled, top))
    assert dataset.name == "Mine.v1"
    _check(dataset)


@pytest.mark.parametrize("ending", ["", ".tar.gz"])
def test_images_on_disk_are_decoded_once_and_anew_when_a_file_changes(
    tmp_path, image_files, ending, monkeypatch
):
    def load():
        decoded.clear()
        return _load(source, in_memory=False, cache_dir=str(tmp_path / "cache"))

    decoded = []
    decode = module.decode_image
    monkeypatch.setattr(
        module, "decode_image", lambda *told: decoded.append(told[1]) or decode(*told)
    )
    make = _archive if ending else _folder
    source = make(tmp_path / f"mine{ending}", image_files)
    for count in (7, 0):
        dataset = load()
        assert len(decoded) == count
        assert isinstance(dataset.train_images, StoredImages)
        _check(
            dataclasses.replace(
                dataset,
                train_images=np.asarray(dataset.train_images),
                test_images=np.asarray(dataset.test_images),
            )
        )
        assert dataset.checksum == _load(source).checksum
        held_out = hold_out(dataset, examples=2, seed=1)
        assert isinstance(held_out.validation_images, StoredImages)
        assert held_out.checksum == hold_out(_load(source), examples=2, seed=1).checksum
    source = make(source, {**image_files, "train/a/1.png": image_files["train/b/2.png"]})
    dataset = load()
    assert len(decoded) == 7
    assert dataset.train_images[1][0, 0, 0] == 52
    dataset = _load(source, in_memory=False, cache_dir=str(tmp_path / "cache"), image_size=(4, 4))
    assert dataset.image_shape == (4, 4, 1)


def test_the_first_test_images_are_of_all_classes(tmp_path, encode):
    """Of 3 classes with 40 images; sorted, the first 40 would be those of the first class."""
    names = [f"{name}/{number:02}.png" for name in "abc" for number in range(40)]
    images = {f"test/{name}": [[value, value]] for value, name in enumerate(names)}
    images |= {f"train/{name}/0.png": [[0, 1]] for name in "abc"}
    files = {name: encode(np.array(pixels, np.uint8)) for name, pixels in images.items()}
    dataset = _load(_folder(tmp_path / "mine", files))
    other = _load(_archive(tmp_path / "reverse.tar", dict(reversed(files.items()))))
    values = dataset.test_images[:, 0, 0, 0]
    assert sorted(values) == list(range(120))
    np.testing.assert_array_equal(dataset.test_labels, values // 40)
    assert np.bincount(dataset.test_labels[:40], minlength=3).min() >= 5
    np.testing.assert_array_equal(other.test_images, dataset.test_images)


def test_statistics_of_colour_images_are_those_of_each_channel(tmp_path, encode):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3), np.uint8)
    files = {f"train/{number % 2}/{number}.png": encode(pixels[number]) for number in range(8)}
    files["test/0/0.png"] = encode(pixels[0])
    dataset = _load(_folder(tmp_path, files))
    np.testing.assert_array_equal(dataset.train_images, pixels[[0, 2, 4, 6, 1, 3, 5, 7]])
    channels = pixels.reshape(-1, 3).astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, channels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, channels.std(axis=0), rtol=1e-12)
    assert dataset.test_labels.tolist() == [0]  # class 1 has no test image, which is allowed


def test_jpeg_files_of_three_endings(tmp_path, encode):
    names = ["train/a/1.jpg", "train/b/2.JPEG", "test/a/3.jpeg"]
    content = encode(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), format="JPEG")
    assert _load(_folder(tmp_path, dict.fromkeys(names, content))).image_shape == (8, 8, 3)


def test_images_of_many_sizes_are_resized(tmp_path, image_files, encode):
    files = {**image_files, "train/a/large.png": encode(np.full((90, 70), 7, np.uint8))}
    dataset = _load(_folder(tmp_path, files), image_size=(5, 4))
    assert dataset.train_images.shape == (6, 5, 4, 1)
    np.testing.assert_array_equal(dataset.train_images[2], 7)


def test_a_validation_split(tmp_path, image_files):
    source = _folder(tmp_path, image_files)
    whole = _load(source)
    dataset = hold_out(whole, examples=2, seed=1)
    assert sorted(dataset.validation_labels) == [0, 1]
    assert (dataset.mean, dataset.std) == (whole.mean, whole.std)
    with pytest.raises(InputError, match=r"^config\.dataset\.validation_examples must be"):
        hold_out(whole, examples=4, seed=0)


def test_one_size_is_needed(tmp_path, image_files, encode):
    files = {**image_files, "train/a/9.png": encode(np.zeros((4, 2), np.uint8))}
    line = _refusal(_folder(tmp_path, files))
    assert "train/a/9.png has 4x2 pixels, the first image 3x2" in line
    assert "config.dataset.image_size resizes images" in line


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("name", ["train/b/9.png", "test/a/0.png"])
def test_grey_images_among_colour_become_rgb(tmp_path, image_files, encode, name, in_memory):
    """Whichever comes first; the others keep their value in each channel."""
    files = {**image_files, name: encode(np.full((3, 2, 3), (1, 2, 3), np.uint8))}
    source = _folder(tmp_path / "mine", files)
    for _ in range(2):
        dataset = _load(source, in_memory=in_memory, cache_dir=str(tmp_path / "cache"))
        assert dataset.image_shape == (3, 2, 3)
        np.testing.assert_array_equal(np.asarray(dataset.train_images)[0], np.zeros((3, 2, 3)))
        every = np.concatenate([dataset.train_images, dataset.test_images])
        assert [1, 2, 3] in every[:, 0, 0].tolist()
    assert _load(source, color_mode="grey").image_shape == (3, 2, 1)


def test_classes_without_splits(tmp_path, encode):
    """20 images of each of 3 classes, some in folders below: a fifth becomes the test images."""
    files = {
        f"{name}/{'deep/' * (number % 3)}{number}.png": encode(
            np.array([[20 * label + number, 255]], np.uint8)
        )
        for label, name in enumerate(("a", "b", "c"))
        for number in range(20)
    }
    source = _folder(tmp_path / "mine", {**files, "README.md": b"no image", "a/Thumbs.db": b""})
    dataset = _load(source)
    assert dataset.class_names == ("a", "b", "c")
    assert np.bincount(dataset.train_labels).tolist() == [16] * 3
    assert np.bincount(dataset.test_labels).tolist() == [4] * 3
    train, test = dataset.train_images[:, 0, 0, 0], dataset.test_images[:, 0, 0, 0]
    assert sorted([*train, *test]) == list(range(60))
    np.testing.assert_array_equal(train // 20, dataset.train_labels)
    np.testing.assert_array_equal(test // 20, dataset.test_labels)
    again = _load(_archive(tmp_path / "mine.tar", dict(reversed(files.items())), "mine/"))
    assert again.checksum == dataset.checksum
    np.testing.assert_array_equal(again.test_images, dataset.test_images)
    assert _load(source, test_seed=1).checksum != dataset.checksum
    assert len(_load(source, test_split=0.5).test_labels) == 30
    assert "config.dataset.test_split must give each" in _refusal(source, test_split=0.02)


@pytest.mark.parametrize("folder", ["val", "validation", "Valid"])
def test_validation_images_of_their_own(tmp_path, image_files, folder):
    files = {f"{folder}/b/0.png": image_files["train/b/0.png"], **image_files}
    dataset = _load(_folder(tmp_path, files))
    _check(dataclasses.replace(dataset, validation_images=dataset.train_images[:0]))
    np.testing.assert_array_equal(dataset.validation_images, np.full((1, 3, 2, 1), 50))
    assert dataset.validation_labels.tolist() == [1]


def test_splits_in_capitals(tmp_path, image_files):
    files = {
        name.replace("train", "Training").replace("test", "TEST"): content
        for name, content in image_files.items()
    }
    _check(_load(_folder(tmp_path, files)))


def test_one_class_is_refused(tmp_path, image_files):
    files = {name: file for name, file in image_files.items() if not name.startswith("train/b")}
    assert "must have two classes or more. Received: ['a']" in _refusal(_folder(tmp_path, files))


def test_no_training_images_are_refused(tmp_path, image_files):
    files = {name: file for name, file in image_files.items() if not name.startswith("train/")}
    assert "must have a folder train/ with a folder a class" in _refusal(_folder(tmp_path, files))


@pytest.mark.parametrize("name", ["train/c", "test/c"])
def test_empty_class_folders_are_refused(tmp_path, image_files, name):
    folder = _folder(tmp_path, image_files)
    (folder / name).mkdir()
    assert f"{name} must have an image or more" in _refusal(folder)


def test_an_empty_test_folder_is_refused(tmp_path, image_files):
    train = {name: file for name, file in image_files.items() if name.startswith("train")}
    (_folder(tmp_path, train) / "test").mkdir()
    assert "test/ must have an image or more" in _refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("train/a/notes.txt", "train/a/notes.txt is no image"),
        ("train/labels.csv", "train/labels.csv is no image"),
        ("train/1.png", "train/1.png has no place"),
        ("test/c/1.png", "test/c must also be a class of train/"),
    ],
)
def test_files_out_of_place_are_refused(tmp_path, image_files, name, line):
    files = {**image_files, name: image_files["train/a/0.png"]}
    assert line in _refusal(_folder(tmp_path, files))


@pytest.mark.parametrize("ending", ["", ".zip"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_all_bad_images_are_told_at_once_or_left_out(
    tmp_path, image_files, ending, in_memory, caplog
):
    whole = image_files["train/b/1.png"]
    bad = {f"train/b/bad{number:02}.png": whole[:-30] for number in range(25)}
    make = _archive if ending else _folder
    source = make(tmp_path / f"mine{ending}", {**bad, **image_files})
    where = {"in_memory": in_memory, "cache_dir": str(tmp_path / "cache")}
    line = _refusal(source, **where)
    assert line.startswith(f"{source}: 25 files cannot be used: train/b/bad00.png must be a whole")
    assert "bad19.png" in line
    assert "bad20.png" not in line
    assert line.endswith("and 5 more. config.dataset.on_bad_image=skip leaves them out")
    for _ in range(2):
        caplog.clear()
        dataset = _load(source, on_bad_image="skip", **where)
        assert len(dataset.train_labels) == 5
        assert "left out 25 files" in caplog.text
        assert all(name in caplog.text for name in bad)


@pytest.mark.parametrize("name", ["other/train/a/7.png", "train/a/0.png"])
def test_an_archive_with_two_data_sets_or_a_file_twice_is_refused(tmp_path, image_files, name):
    files = [*image_files.items(), (name, image_files["train/a/0.png"])]
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        for path, content in files:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    line = _refusal(tmp_path / "data.tar")
    assert "must have one train/ and one test/" in line or "it is there twice" in line
    assert name.removesuffix("/a/7.png") in line


def test_too_many_decoded_bytes_are_refused(tmp_path, image_files, monkeypatch):
    """Seven images of 6 bytes."""
    monkeypatch.setattr(module, "MAX_DECODED_BYTES", 41)
    assert "must decode to at most 41 bytes" in _refusal(_folder(tmp_path, image_files))
    monkeypatch.setattr(module, "MAX_DECODED_BYTES", 42)
    _check(_load(tmp_path))


def test_a_channel_without_contrast_is_refused(tmp_path, encode):
    """It could not be standardised: its standard deviation is 0."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    pixels[..., 1] = 7
    names = ["train/a/1.png", "train/b/1.png", "test/a/1.png"]
    line = _refusal(_folder(tmp_path, dict.fromkeys(names, encode(pixels))))
    assert "more than one value in every channel" in line


def test_the_path_is_required():
    with pytest.raises(ValueError, match=r"^data_dir must be .* Received: None$"):
        image_folder()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("resize", "fit"), ("color_mode", "bgr"), ("on_bad_image", "ignore")],
        *[("test_split", 0.0), ("test_split", 1.0), ("test_seed", -1)],
    ],
)
def test_fields_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be .* Received: "):
        image_folder("anywhere", **{field: value})


@pytest.mark.parametrize("size", [(8,), (8, 0), (8, 8, 3)])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match=r"^image_size must be \(height, width\), each at least 1"):
        image_folder("anywhere", image_size=size)


def test_the_command_line_sets_an_image_size(tmp_path, image_files):
    """A run is trained on images of 3x2 pixels that are resized."""
    finished = programs.run(
        "clustr_tf.train",
        "--config=image_folder",
        f"--workdir={tmp_path / 'run'}",
        f"--config.dataset.data_dir={_folder(tmp_path / 'mine', image_files)}",
        "--config.dataset.image_size=(8,4)",
        "--config.dataset.in_memory=False",
        f"--config.dataset.cache_dir={tmp_path / 'cache'}",
        "--config.method.name=nominal",
        "--config.training.batch_size=5",
        "--config.training.epochs=1",
    )
    assert finished.returncode == 0, finished.stderr
    workdir = Workdir(tmp_path / "run")
    assert workdir.config_values()["dataset"]["image_size"] == [8, 4]
    assert workdir.load_classifier().image_shape == (8, 4, 1)
