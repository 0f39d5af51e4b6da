"""Robustness of any model that maps images to classes."""

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from clustr_tf.attacks import PGD, RobustnessEvaluator
from clustr_tf.data.pixels import checked_examples, to_pixels
from clustr_tf.evaluate.attacking import Examples, Memory
from clustr_tf.evaluate.diagnostics import diagnostic_stages
from clustr_tf.evaluate.logits import Function, logits_of
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.evaluate.progress import EvaluationProgress
from clustr_tf.evaluate.report import read_evaluation, write_report
from clustr_tf.evaluate.results import Measurements
from clustr_tf.evaluate.run import measure, planned
from clustr_tf.evaluate.suite import Protocol, Target, build_stages, chosen_attacks
from clustr_tf.run.files import write_arrays, write_json
from clustr_tf.run.provenance import versions

_CHANNELS = (1, 3)
_NEAR_GUESSING = 1.5  # times the share of the most frequent class


@dataclass(frozen=True)
class RobustnessReport:
    """What `evaluate_robustness` found.

    Attributes:
        measurements: per-image verdicts of every attack.
        classes: how many the model knows.
        eps: radius in pixels of [0, 1].
        norm: "linf" or "l2".
        seed: of all random draws.
        notes: what was attacked, and what a reader must know before believing the figures.
        trusted: False where the outputs do not let an attack see its way.
        model: its name, for the reader of robustness.json.
        data: likewise.
        command: likewise, how to repeat it.
    """

    measurements: Measurements
    classes: int
    eps: float
    norm: str
    seed: int
    notes: Sequence[str] = ()
    trusted: bool = True
    model: str = "given in Python"
    data: str = "given in Python"
    command: str = "clustr_tf.evaluate_robustness"

    @property
    def clean_accuracy(self) -> float:
        """Share of correctly classified images."""
        return float(np.mean(self.measurements.correct))

    @property
    def robust(self) -> np.ndarray:
        """Which images are classified correctly and no attack broke, bool `[N]`."""
        return self.measurements.robust

    @property
    def robust_accuracy(self) -> float:
        """Share of them: an upper bound of the true robust accuracy."""
        return float(np.mean(self.robust))

    @property
    def attacks(self) -> dict[str, Any]:
        """Attack -> accuracy that it left, 95 % interval, seconds, budget."""
        return dict(self.figures()["attacks"])

    @property
    def diagnostics(self) -> list[dict[str, Any]]:
        """Signs that an attack failed: name, value, threshold, passed, meaning."""
        return list(self.figures()["diagnostics"])

    def figures(self) -> dict[str, Any]:
        """What `save` writes into robustness.json."""
        classes = [str(label) for label in range(self.classes)]
        return {
            "command": self.command,
            "model": self.model,
            "data": self.data,
            "eps": self.eps,
            "norm": self.norm,
            "seed": self.seed,
            "examples": len(self.measurements.labels),
            "classes": classes,
            "trusted": self.trusted,
            "notes": list(self.notes),
            **self.measurements.figures(classes),
            "versions": versions(),
        }

    def save(self, folder: str | Path) -> None:
        """Writes robustness.json, robustness.npz and report.html into a folder.

        `python -m clustr_tf.evaluate --compare` ranks such folders beside workdirs.

        Args:
            folder: made if it is missing.
        """
        write_arrays(Path(folder) / "robustness.npz", self.measurements.arrays())
        write_json(Path(folder) / "robustness.json", self.figures())
        write_report(Path(folder) / "report.html", [read_evaluation(Path(folder))])

    def __str__(self) -> str:
        table = Table("attack", "accuracy", "95 % interval", "seconds")
        for name, entry in self.attacks.items():
            low, high = entry["interval_95"]
            seconds = f"{entry['seconds']:.1f}" if "seconds" in entry else ""
            table.add_row(name, f"{entry['accuracy']:.2%}", f"{low:.2%} to {high:.2%}", seconds)
        printed = io.StringIO()
        Console(file=printed, width=80).print(table)
        failed = [
            f"diagnostic failed: {entry['name']} ({entry['meaning']})"
            for entry in self.diagnostics
            if not entry["passed"]
        ]
        lines = [
            f"{len(self.robust)} images, {self.norm} eps {self.eps:.4g}",
            printed.getvalue().rstrip(),
            f"robust accuracy at most {self.robust_accuracy:.2%}",
            *([] if self.trusted else ["NOT TO BE TRUSTED"]),
            *failed,
            *self.notes,
        ]
        return "\n".join(lines)


def evaluate_robustness(
    model: Callable[[Any], Any],
    images: Any,
    labels: Any = None,
    eps: float = 8 / 255,
    norm: str = "linf",
    attacks: str | Sequence[str] = "standard",
    seed: int = 0,
    *,
    pixel_range: tuple[float, float] = (0.0, 1.0),
    plan: EvaluationPlan | None = None,
    show_progress: bool = False,
) -> RobustnessReport:
    """Attacks a model: by default with the four attacks of AutoAttack's standard version.

    Args:
        model: a Keras model, or a function of images `[batch, H, W, C]` that TensorFlow can
            differentiate. It gives logits `[batch, classes]`, or one logit an image for two
            classes. Probabilities are noticed: a final softmax or sigmoid is taken off where the
            model shows it, else their logarithm is attacked; `notes` says which.
        images: `[N, H, W, C]`, or `[N, C, H, W]` with 1 or 3 channels: floats in the model's
            range, or uint8, which stand for multiples of 1/255 of it. Or a `tf.data.Dataset` of
            (image, label), batched or not.
        labels: int `[N]`; None with a data set.
        eps: radius in pixels of [0, 1], whatever range the model takes.
        norm: "linf" or "l2".
        attacks: "standard", "plus", "rand" or other names of `ATTACKS`, one or several.
        seed: of all random draws.
        pixel_range: what black and white are for the model, such as (0, 255).
        plan: steps, queries, batch size, how many images are diagnosed; its radius, norm and
            number of images are not used. None: AutoAttack's budgets.
        show_progress: whether a line on stderr tells attack, speed and what still stands.

    Returns:
        The report: `robust_accuracy`, `robust`, `clean_accuracy`, `attacks`, `diagnostics`,
        `notes`, `trusted`, `save(folder)`; printed, a table.

    Raises:
        ValueError: if images are not finite in the range, labels are no classes, shapes do not fit
            the model, the model gives no numbers, or eps or norm are out of range.
        InputError: if an attack is unknown.

    Example:
        >>> report = clustr_tf.evaluate_robustness(model, images, labels, eps=8 / 255)
        >>> print(report)
        >>> report.robust_accuracy, report.save("robustness")

    Reference:
        Croce and Hein, arXiv 2003.01690.
    """
    notes: list[str] = []
    images, labels = _arrays(images, labels)
    images = _in_unit_range(images, pixel_range)
    adapt = _from_unit_range(pixel_range)
    if images.ndim == 4 and images.shape[1] in _CHANNELS and images.shape[3] not in _CHANNELS:
        _check_shape(model, images.shape[1:])
        images, adapt = np.moveaxis(images, 1, -1), _channels_first(adapt)
        notes.append("Images and model are taken as channels first.")
    else:
        _check_shape(model, images.shape[1:])
    logits = logits_of(model, adapt, to_pixels(images))
    images, labels = checked_examples(images, labels, logits.function)
    names = attacks.split(",") if isinstance(attacks, str) else list(attacks)
    attack = PGD(eps, norm=norm)
    plan = replace(plan or EvaluationPlan(attack), attack=attack)
    classes = logits.function(tf.constant(to_pixels(images[:1]))).shape[1]
    target = Target(logits.function, images.shape[1:], classes, plan)
    measurements = _measured(target, images, labels, names, seed, show_progress)
    frequent = np.bincount(labels).max() / len(labels)
    accuracy = np.mean(measurements.correct)
    if accuracy < min(_NEAR_GUESSING * frequent, (1 + frequent) / 2):
        notes.append(
            f"Accuracy {accuracy:.2%} is near guessing: check the labels, the order of the classes "
            f"and pixel_range={tuple(pixel_range)}."
        )
    return RobustnessReport(
        measurements, classes, eps, norm, seed, (*logits.notes, *notes), logits.trusted
    )


def _measured(
    target: Target,
    images: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    seed: int,
    show_progress: bool,
) -> Measurements:
    protocol = Protocol("adaptive", ("clean",), radii=())
    chosen = chosen_attacks(target, protocol, names)
    evaluator = RobustnessEvaluator(
        target.log_scores,
        target.image_shape,
        build_stages(target) | diagnostic_stages(target),
        target.plan.batch_size,
    )
    console = Console(stderr=True, quiet=not show_progress)
    work = planned(target, protocol, chosen, len(labels))
    with (
        tempfile.TemporaryDirectory() as folder,
        EvaluationProgress(console, work, len(labels)) as progress,
    ):
        memory = Memory(Path(folder), {})
        examples = Examples(evaluator, images, labels, seed, memory, progress.told)
        return measure(examples, target, protocol, chosen)


def _arrays(images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, also of a data set of pairs, batched or not."""
    if not isinstance(images, tf.data.Dataset):
        if labels is None:
            raise ValueError("labels are missing: only a tf.data.Dataset brings its own")
        return np.asarray(images), np.asarray(labels)
    if labels is not None or not isinstance(images.element_spec, tuple):
        raise ValueError("a tf.data.Dataset must give (image, label) pairs and stand alone")
    pairs = [
        (image[None], np.asarray(label)[None]) if image.ndim == 3 else (image, label)
        for image, label in images.as_numpy_iterator()
    ]
    if not pairs:
        raise ValueError("the data set must hold at least one image. Received: none")
    return tuple(np.concatenate(parts) for parts in zip(*pairs, strict=True))  # type: ignore[return-value]


def _in_unit_range(images: np.ndarray, pixel_range: tuple[float, float]) -> np.ndarray:
    """Images as float32 in [0, 1]; stored ones, uint8, stay."""
    low, high = pixel_range
    if not -np.inf < low < high < np.inf:
        raise ValueError(f"pixel_range must be (black, white). Received: {pixel_range}")
    if images.dtype == np.uint8:
        return images
    images = images.astype(np.float64)
    if images.size and not (
        np.isfinite(images).all() and low <= images.min() <= images.max() <= high
    ):
        raise ValueError(
            f"images must be finite in pixel_range ({low:g}, {high:g}). "
            f"Received: {images.min():g} to {images.max():g}"
        )
    return ((images - low) / (high - low)).astype(np.float32)


def _from_unit_range(pixel_range: tuple[float, float]) -> Callable[[Function], Function]:
    """Makes a function of the model's range one of [0, 1]."""
    low, high = pixel_range
    if (low, high) == (0, 1):
        return lambda function: function
    return lambda function: lambda images: function(low + (high - low) * images)


def _channels_first(adapt: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """The same for a function of `[batch, C, H, W]`."""
    return lambda function: adapt(lambda images: function(tf.transpose(images, [0, 3, 1, 2])))


def _check_shape(model: Any, image_shape: Sequence[int]) -> None:
    """That a Keras model takes such images."""
    expected = getattr(model, "input_shape", None) if isinstance(model, keras.Model) else None
    if expected is None:
        return
    if not isinstance(expected, tuple) or len(expected) != 4:
        raise ValueError(f"model must take one image [batch, H, W, C]. Received: inputs {expected}")
    pairs = zip(expected[1:], image_shape, strict=False)
    if len(image_shape) != 3 or any(size not in (None, given) for size, given in pairs):
        raise ValueError(
            f"images must have the model's shape {expected[1:]}. Received: {tuple(image_shape)}"
        )
