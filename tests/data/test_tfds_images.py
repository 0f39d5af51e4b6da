"""The published data sets: through mocks, from archives that were put in place, prepared."""

import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.checksums import UrlInfo

from clustr_tf.data import DATASETS
from clustr_tf.data.tfds_images import cifar10
from clustr_tf.run.errors import InputError

CIFAR = "https://www.cs.toronto.edu/~kriz/"
SVHN = "http://ufldl.stanford.edu/housenumbers/"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 32, 32, 3), np.uint8)  # of each file
LABELS = np.arange(10, dtype=np.uint8)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self, url, **kwargs):
        raise downloader.requests.exceptions.ConnectionError(f"no route to {url}\nmore")

    monkeypatch.setattr(downloader.requests.Session, "get", refuse)


def _cifar_file(*labels):
    rows = np.concatenate([np.stack(labels, 1), IMAGES.transpose(0, 3, 1, 2).reshape(10, -1)], 1)
    return rows.astype(np.uint8).tobytes()


def _tar_gz(folder, files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _mat_file():
    buffer = io.BytesIO()
    # SVHN has the image's number last and writes digit 0 as 10.
    digits = np.where(LABELS == 0, 10, LABELS)[:, None]
    scipy.io.savemat(buffer, {"X": IMAGES.transpose(1, 2, 3, 0), "y": digits})
    return buffer.getvalue()


def _names(count):
    return "\n".join(f"class{number:02}" for number in range(count)).encode()


def _archives(name):
    """The files that the data set's site offers, in their true layout, by URL."""
    if name == "cifar10":
        files = {f"data_batch_{number}.bin": _cifar_file(LABELS) for number in range(1, 6)}
        files |= {"test_batch.bin": _cifar_file(LABELS), "batches.meta.txt": _names(10)}
        return {f"{CIFAR}cifar-10-binary.tar.gz": _tar_gz("cifar-10-batches-bin", files)}
    if name == "cifar100":
        content = _cifar_file(LABELS % 2, LABELS)
        files = {"train.bin": content, "test.bin": content}
        files |= {"coarse_label_names.txt": _names(20), "fine_label_names.txt": _names(100)}
        return {f"{CIFAR}cifar-100-binary.tar.gz": _tar_gz("cifar-100-binary", files)}
    return {f"{SVHN}{split}_32x32.mat": _mat_file() for split in ("train", "test", "extra")}


def _place(name, folder, monkeypatch):
    """Puts the archives where docs/data.md says, and registers their check sums."""
    folder.mkdir(parents=True)
    known = {}
    for url, content in _archives(name).items():
        file_name = url.rpartition("/")[2]
        (folder / file_name).write_bytes(content)
        checksum = hashlib.sha256(content).hexdigest()
        known[url] = UrlInfo(size=len(content), checksum=checksum, filename=file_name)
    monkeypatch.setattr(tfds.builder_cls(name), "url_infos", known)


@pytest.mark.parametrize(
    ("name", "classes", "mean", "std"),
    [
        ("cifar10", 10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("cifar100", 100, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("svhn_cropped", 10, (0.4378, 0.4439, 0.4729), (0.1980, 0.2011, 0.1971)),
    ],
)
def test_shapes_and_published_statistics(name, classes, mean, std, tmp_path):
    """DATASET_MEANS and DATASET_STDS of the official ClusTR code, datasets/load_dataset.py."""
    with tfds.testing.mock_data(num_examples=12):
        dataset = DATASETS[name](str(tmp_path))
    assert dataset.train_images.shape == dataset.test_images.shape == (12, 32, 32, 3)
    assert (dataset.train_images.dtype, dataset.train_labels.dtype) == (np.uint8, np.int64)
    assert dataset.validation_images.shape == (0, 32, 32, 3)
    assert (dataset.name, dataset.num_classes) == (name, classes)
    assert (dataset.mean, dataset.std) == (mean, std)


@pytest.mark.parametrize(("name", "files"), [("cifar10", 5), ("cifar100", 1), ("svhn_cropped", 1)])
def test_archives_in_place_and_then_prepared_data_need_no_network(
    name, files, tmp_path, monkeypatch, no_network
):
    _place(name, tmp_path / "downloads" / "manual", monkeypatch)
    dataset = DATASETS[name](str(tmp_path))
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (10 * files, 10)
    # TensorFlow Datasets shuffles; every class has one image, `files` times.
    for image, label in zip(dataset.train_images, dataset.train_labels, strict=True):
        np.testing.assert_array_equal(image, IMAGES[label])
    np.testing.assert_array_equal(np.bincount(dataset.train_labels), [files] * 10)

    # The prepared folder is enough, also in another place.
    (tmp_path / "copy").mkdir()
    (tmp_path / name).rename(tmp_path / "copy" / name)
    shutil.rmtree(tmp_path / "downloads")
    again = DATASETS[name](str(tmp_path / "copy"))
    np.testing.assert_array_equal(again.train_images, dataset.train_images)
    np.testing.assert_array_equal(again.test_labels, dataset.test_labels)


def _refusal(name, folder):
    with pytest.raises(InputError) as raised:
        DATASETS[name](str(folder))
    assert "\n" not in str(raised.value)
    assert f"config.dataset.name={name} could not be loaded" in str(raised.value)
    assert "config.dataset.data_dir" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn_cropped"])
def test_without_a_network_one_line_says_what_to_do(name, tmp_path, no_network):
    line = _refusal(name, tmp_path)
    assert "no route to http" in line
    assert "downloads/manual" in line


def test_an_archive_with_a_wrong_check_sum_is_refused(tmp_path, monkeypatch, no_network):
    manual = tmp_path / "downloads" / "manual"
    _place("cifar10", manual, monkeypatch)
    (manual / "cifar-10-binary.tar.gz").write_bytes(b"something else")
    line = _refusal("cifar10", tmp_path)
    assert "wrong checksum" in line


def test_damaged_prepared_data_are_refused(tmp_path, monkeypatch, no_network):
    _place("cifar10", tmp_path / "downloads" / "manual", monkeypatch)
    cifar10(str(tmp_path))
    (shard,) = tmp_path.glob("cifar10/*/cifar10-train.tfrecord*")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1000])
    _refusal("cifar10", tmp_path)
    shard.write_bytes(whole)
    (info,) = tmp_path.glob("cifar10/*/dataset_info.json")
    info.write_bytes(info.read_bytes()[:200])
    _refusal("cifar10", tmp_path)


def test_the_folder_that_cannot_be_written_is_refused(tmp_path, no_network):
    (tmp_path / "file").touch()
    _refusal("cifar10", tmp_path / "file")
