"""Images beyond memory: peak memory, an epoch against the same in memory, and slopes to plan by.

    python -m benchmarks.big_data --gigabytes=12 --folder=/tmp/big_data

Made images of 64x64x3 (noise, 12,288 bytes each) go into a file as `in_memory=False` leaves them; a
tiny network trains on them, each epoch with its embedding pass and k-means. Everything is timed in
processor seconds of this process. Peak memory is the process's own (RssAnon): pages of the file
that the operating system keeps do not count. Images in memory and on disk take turns on a smaller
set.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import app, flags
from PIL import Image

from clustr_tf.classifier import Classifier, Embedder
from clustr_tf.data import cluster_by_class
from clustr_tf.data.image_folder import image_folder
from clustr_tf.data.image_store import Images, StoredImages, kept_on_disk, subset
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import Clustr
from clustr_tf.train import Clustering
from clustr_tf.train.trainer import Trainer, TrainingImages

_GIGABYTES = flags.DEFINE_float("gigabytes", 12.0, "of made images, 10^9 bytes each")
_FOLDER = flags.DEFINE_string("folder", "/tmp/big_data", "where they lie; it is not emptied")
_STEPS = flags.DEFINE_integer("steps", 200, "steps of an epoch")
_SMALL = flags.DEFINE_integer("small", 50_000, "images that fit into memory")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "epochs of each in turn, after one to warm up")
_SHAPE, _CLASSES, _FILES = (64, 64, 3), 10, 2000
_CLUSTERING = Clustering(clusters_per_batch=12, examples_per_cluster=20)


def made_images(count: int) -> StoredImages:
    """Noise, a thousand different images after another and then again with another offset."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1000, *_SHAPE), np.uint8)

    def read(append: Any) -> dict[str, np.ndarray]:
        for number in range(count):
            append(noise[number % 1000] + np.uint8(number // 1000 % 256))
        return {}

    take, _ = kept_on_disk(read, Path(_FOLDER.value), "made", {"count": count})
    images = take(np.arange(count))
    assert isinstance(images, StoredImages)
    return images


def own_memory() -> float:
    """RssAnon in GiB: what belongs to this process and to no file."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line
    ]
    return int(line.split()[1]) / 2**20


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Yields a list that holds the peak of `own_memory` when the block has ended."""
    peak, ended = [own_memory()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


class Epochs(keras.callbacks.Callback):
    """Processor seconds of each epoch, its embedding pass and k-means included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self._begin = time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.process_time() - self._begin)
        self._begin = time.process_time()


def tiny_backbone() -> keras.Model:
    """Little work an image, so that reading it counts; embeddings of 128 numbers."""
    inputs = keras.Input(_SHAPE)
    features = keras.layers.Conv2D(16, 5, strides=4, activation="relu")(inputs)
    features = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(features)
    features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, keras.layers.Dense(128)(features))


def trainer_of(images: Images) -> Trainer:
    """A trainer of plain ClusTR."""
    keras.utils.set_random_seed(0)
    classifier = Classifier(tiny_backbone(), ClusteringHead(_CLASSES, 2), [0.5] * 3, [0.29] * 3)
    data = TrainingImages(images, np.arange(len(images)) % _CLASSES)
    return Trainer(
        classifier,
        Clustr(),
        keras.optimizers.Adam(1e-4),
        data,
        steps_per_epoch=_STEPS.value,
        clustering=_CLUSTERING,
    )


def compare(images: StoredImages) -> None:
    """Epochs of a smaller set in memory and on disk, in turn."""
    few = subset(images, slice(min(_SMALL.value, len(images))))
    trainers = [trainer_of(np.asarray(few)), trainer_of(few)]
    stopwatches = [Epochs(), Epochs()]
    for epoch in range(1 + _ROUNDS.value):
        for trainer, stopwatch in zip(trainers, stopwatches, strict=True):
            trainer.train(epoch + 1, recorders=[stopwatch])
    memory, disk = (stopwatch.seconds[1:] for stopwatch in stopwatches)
    ratio = statistics.median(b / a for a, b in zip(memory, disk, strict=True))
    print(
        f"{len(few):,} images, epoch of {_STEPS.value} steps: {statistics.median(memory):.1f} s in "
        f"memory, {statistics.median(disk):.1f} s on disk, ratio {ratio:.3f}"
    )


def slopes(images: StoredImages) -> None:
    """What one more image costs, each part alone."""
    count = len(images)
    few = subset(images, slice(min(_SMALL.value, count)))
    trainer = trainer_of(few)
    embed = Embedder(trainer.classifier)
    embed(few[:1024])
    for name, run, over in (
        ("draw and read a step's images", lambda: _draws(trainer), 100 * 240),
        ("embedding pass", lambda: embed(few), len(few)),
    ):
        print(f"{name}: {1e6 * _seconds(run) / over:.1f} us an image")
    labels = np.arange(count) % _CLASSES
    embeddings = np.random.default_rng(0).normal(size=(count, 512)).astype(np.float32)
    with peak_memory() as peak:
        seconds = _seconds(lambda: cluster_by_class(embeddings, labels, 2, max_iter=20))
    print(
        f"k-means of {count:,} embeddings of 512 numbers: {seconds:.1f} s, peak {peak[0]:.2f} GiB"
    )


def _draws(trainer: Trainer) -> None:
    for _ in range(100):
        (draw,) = trainer._source.draw(1)
        trainer._source.images(draw)


def cache_speed() -> None:
    """PNG files to the file of decoded images, and its check when it is used again."""
    root = Path(_FOLDER.value) / "files"
    noise = np.random.default_rng(1).integers(0, 256, (_FILES, *_SHAPE), np.uint8)
    for number, pixels in enumerate(noise):
        split = "test" if number % 10 == 0 else "train"
        path = root / split / str(number % 4) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    for stored in Path(_FOLDER.value).glob("files-*"):
        stored.unlink()
    for name in ("decoding into the cache", "listing and checking the cache"):
        seconds = _seconds(
            lambda: image_folder(str(root), in_memory=False, cache_dir=_FOLDER.value)
        )
        print(f"{name}: {1e6 * seconds / _FILES:.0f} us an image (PNG of 64x64x3)")


def _seconds(run: Any) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main(arguments: list[str]) -> None:
    """Makes the images, measures and prints."""
    del arguments
    count = int(_GIGABYTES.value * 1e9 / np.prod(_SHAPE))
    begin = time.process_time()
    images = made_images(count)
    print(
        f"{count:,} images of 64x64x3, {count * np.prod(_SHAPE) / 1e9:.1f} GB: written and ", end=""
    )
    print(f"checked in {time.process_time() - begin:.0f} s")
    with peak_memory() as peak:
        stopwatch = Epochs()
        trainer_of(images).train(1, recorders=[stopwatch])
    print(f"two passes and {_STEPS.value} steps: {stopwatch.seconds[0]:.0f} s after the first pass")
    print(f"peak memory of the process itself: {peak[0]:.2f} GiB")
    compare(images)
    slopes(images)
    cache_speed()


if __name__ == "__main__":
    app.run(main)
