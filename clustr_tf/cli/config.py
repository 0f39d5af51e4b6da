"""The door: a config, nested mappings of names and fields, becomes objects.

This is the only module that knows what a config looks like. Entries name what a registry has
(`METHODS`, `BACKBONES`, `DATASETS`, `AUGMENTATIONS`, `SCHEDULES`, Keras' optimizers); a plug-in is
a module that adds to one of them.
"""

import copy
import functools
import importlib
import inspect
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.backbones import BACKBONES, BFLOAT16_WIDTHS, build_backbone, is_lipschitz
from clustr_tf.classifier import Classifier
from clustr_tf.cli.entries import (
    build,
    known_fields,
    plain,
    read_fields,
    read_group,
    read_name,
    read_value,
)
from clustr_tf.data import AUGMENTATIONS, DATASETS, Dataset, hold_out
from clustr_tf.data.batches import most_clusters
from clustr_tf.data.dataset import check_hold_out
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import METHODS, Method
from clustr_tf.run.checks import check_at_least, check_at_least_or_none, check_one_of
from clustr_tf.run.errors import InputError
from clustr_tf.run.precision import bfloat16_unit
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.callbacks.watch import Watch
from clustr_tf.train.run import Plan
from clustr_tf.train.settings import SCHEDULES, Clustering, Schedule, Training

_SECTIONS = (
    *("dataset", "backbone", "clustering", "method"),
    *("optimizer", "training", "watch", "evaluation"),
)
_HALF = "mixed_bfloat16"
_OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    name.lower(): member
    for name, member in vars(keras.optimizers).items()
    if isinstance(member, type)
    and issubclass(member, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer")
}


@dataclass(frozen=True)
class DatasetEntry:
    """`config.dataset`: which data, how many images are held out, how training images change.

    Attributes:
        name: a key of `DATASETS`.
        fields: of that data set, such as `data_dir`.
        augmentation: a key of `AUGMENTATIONS`.
        validation_examples: training images held out, stratified, never trained on.
        validation_seed: decides which.
        validation_split: their share instead of their number.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str = "none"
    validation_examples: int = 0
    validation_seed: int = 0
    validation_split: float = 0.0

    def __post_init__(self) -> None:
        check_one_of(self, sorted(AUGMENTATIONS), "augmentation")
        check_hold_out(self.validation_examples, self.validation_seed)
        if not 0 <= self.validation_split < 1 or (
            self.validation_split and self.validation_examples
        ):
            raise ValueError(
                "validation_split must be in [0, 1), and 0 with validation_examples. "
                f"Received: {self.validation_split}"
            )

    def load(self) -> Dataset:
        """The data in memory, with their validation split.

        Raises:
            InputError: if they cannot be had, or not so many images held out.
        """
        dataset = build(DATASETS[self.name], self.fields, "config.dataset")
        examples = self.validation_examples or round(
            self.validation_split * len(dataset.train_labels)
        )
        if examples and len(dataset.validation_labels):
            raise InputError(
                "config.dataset.validation_examples and validation_split must be 0 with "
                f"{dataset.name}, which has validation images. Received: {examples} images"
            )
        return hold_out(dataset, examples, self.validation_seed)


@dataclass(frozen=True)
class HeadEntry:
    """The part of `config.clustering` that is the head's; see `ClusteringHead`."""

    clusters_per_class: int = 2  # K
    nearest: int | None = None  # L of the finished model's scores; None: all clusters
    normalize: bool = True  # False ignores L

    def __post_init__(self) -> None:
        check_at_least(self, 1, "clusters_per_class")
        check_at_least_or_none(self, 1, "nearest")


@dataclass(frozen=True)
class Experiment:
    """A whole run as objects; `values` says the same as config.json does.

    Raises:
        InputError: if its parts contradict each other.
    """

    dataset: DatasetEntry
    backbone: str
    backbone_fields: Mapping[str, Any]
    head: HeadEntry
    clustering: Clustering
    method: Method
    optimizer: Mapping[str, Any]  # name and fields of a Keras optimizer
    schedule: Schedule
    training: Training
    watch: Watch
    evaluation: EvaluationPlan
    plugins: tuple[str, ...]

    def __post_init__(self) -> None:
        radius = self.watch.certified_radius
        if radius is not None and self.method.centroids is None:
            raise InputError(
                "config.watch.certified_radius must be None with config.method.name="
                f"{self.method_name}, which has no clusters. Received: {radius}"
            )
        # Interval bounds are those of a network that computes in float32.
        if self.watch.certified_linf is not None and self.training.precision == _HALF:
            raise InputError(
                "config.watch.certified_linf must be None unless config.training.precision is "
                f"float32. Received: {self.watch.certified_linf}"
            )

    @property
    def method_name(self) -> str:
        """The method's key in `METHODS`."""
        return next(name for name, kind in METHODS.items() if kind is type(self.method))

    @property
    def values(self) -> dict[str, Any]:
        """Everything as nested mappings that JSON takes; `read_experiment` is the inverse."""
        data, head = plain(self.dataset), plain(self.head)
        schedule = next(n for n, kind in SCHEDULES.items() if kind is type(self.schedule))
        return {
            "dataset": {"name": data.pop("name"), **data.pop("fields"), **data},
            "backbone": {"name": self.backbone, **plain(self.backbone_fields)},
            "clustering": {**head, **plain(self.clustering)},
            "method": {"name": self.method_name, **plain(self.method)},
            "optimizer": {
                **plain(self.optimizer),
                "schedule": {"name": schedule, **plain(self.schedule)},
            },
            "training": plain(self.training),
            "watch": plain(self.watch),
            "evaluation": plain(self.evaluation),
            "plugins": list(self.plugins),
        }

    def resolved(self, begun: Mapping[str, Any] | None = None) -> "Experiment":
        """The experiment with `training.precision` and `training.jit_compile` decided, if "auto".

        bfloat16 where this machine multiplies it faster and the training gains by it: a backbone
        of `BFLOAT16_WIDTHS` that is wide enough, without interval bounds, on one machine, as
        several may differ. XLA for the same backbones on GPUs.

        Args:
            begun: what config.json of a run that goes on holds; it keeps what it began with.

        Returns:
            The experiment, with "float32" or "mixed_bfloat16", and with True or False.
        """
        training, kept = self.training, None if begun is None else begun["training"]
        if training.precision == "auto":
            half = self._gains_by_bfloat16() if kept is None else kept.get("precision") == _HALF
            training = replace(training, precision=_HALF if half else "float32")
        if training.jit_compile == "auto":
            xla = self._gains_by_xla() if kept is None else kept.get("jit_compile") is True
            training = replace(training, jit_compile=xla)
        return replace(self, training=training)

    def search_precision(self, asked: str | None = None) -> str:
        """What the attacks of an evaluation search in, decided if it is "auto".

        Args:
            asked: instead of `evaluation.search_precision`.

        Returns:
            "float32" or "mixed_bfloat16".
        """
        precision = asked or self.evaluation.search_precision
        if precision != "auto":
            return precision
        return _HALF if self._is_wide_resnet() and bfloat16_unit() else "float32"

    def _gains_by_xla(self) -> bool:
        return self._is_wide_resnet() and bool(tf.config.list_physical_devices("GPU"))

    def _is_wide_resnet(self) -> bool:
        return (
            self.backbone in BFLOAT16_WIDTHS
            and self.backbone_fields["width"] >= BFLOAT16_WIDTHS[self.backbone]
        )

    def _gains_by_bfloat16(self) -> bool:
        return (
            self._is_wide_resnet()
            and self.method.suits_bfloat16
            and self.watch.certified_linf is None
            and self.training.strategy != "multi_worker"
            and bfloat16_unit() is not None
        )

    def build_classifier(self, dataset: Dataset, precision: str | None = None) -> Classifier:
        """An untrained classifier for the data.

        The backbone computes in the given precision; standardisation, head, distances and losses
        always in float32, and so are all weights. Images of a backbone that is 1-Lipschitz are
        only centred, so that a pixel is a unit of the embedding.

        Args:
            dataset: shapes and pixel statistics.
            precision: a Keras dtype policy; None for that of the training.

        Returns:
            The classifier: a clustering head that has no clusters yet, or a dense softmax layer.

        Raises:
            InputError: if the backbone cannot take such images, or is not 1-Lipschitz where it has
                to be.
        """
        precision = precision or self.resolved().training.precision
        backbone = self.build_backbone(dataset, precision)
        head: keras.layers.Layer
        if self.method.centroids is not None:
            head = ClusteringHead(
                dataset.num_classes,
                self.head.clusters_per_class,
                nearest=self.head.nearest,
                normalize=self.head.normalize,
                learned=self.method.centroids == "learned",
                name="clustering_head",
            )
        else:
            head = keras.layers.Dense(dataset.num_classes, name="dense_head")
        std = [1.0] * len(dataset.std) if is_lipschitz(backbone) else dataset.std
        return Classifier(backbone, head, dataset.mean, std, name="classifier")

    def build_backbone(self, dataset: Dataset, precision: str) -> keras.Model:
        """An untrained backbone for the data; see `build_classifier`."""
        usual = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision)
        try:
            backbone = build(
                lambda **fields: build_backbone(self.backbone, dataset.image_shape, **fields),
                self.backbone_fields,
                "config.backbone",
            )
        finally:
            keras.config.set_dtype_policy(usual)
        if is_lipschitz(backbone):
            return backbone
        told = "config.backbone.name must be 1-Lipschitz by construction, such as lipschitz_mlp,"
        if self.method.needs_lipschitz:
            raise InputError(
                f"{told} with config.method.name={self.method_name}. Received: {self.backbone!r}"
            )
        if self.watch.certified_radius is not None:
            raise InputError(
                f"{told} with config.watch.certified_radius={self.watch.certified_radius}. "
                f"Received: {self.backbone!r}"
            )
        return backbone

    def build_optimizer(self) -> keras.optimizers.Optimizer:
        """A fresh Keras optimizer.

        Raises:
            InputError: if Keras refuses a value.
        """
        fields = {name: value for name, value in self.optimizer.items() if name != "name"}
        return build(_OPTIMIZERS[self.optimizer["name"]], fields, "config.optimizer")

    def plan(self, dataset: Dataset) -> Plan:
        """What `train` takes; after checking that it fits the data.

        Raises:
            InputError: as `check_fits`.
        """
        check_fits(self, dataset)
        training = self.resolved().training
        return Plan(
            build_classifier=lambda precision=training.precision: self.build_classifier(
                dataset, precision
            ),
            build_optimizer=self.build_optimizer,
            method=self.method,
            learning_rate=lambda epoch: (
                self.optimizer["learning_rate"] * self.schedule.factor(epoch, self.training.epochs)
            ),
            clustering=self.clustering,
            augment=AUGMENTATIONS[self.dataset.augmentation],
            training=training,
            watch=self.watch,
        )


def read_experiment(config: Mapping[str, Any]) -> Experiment:
    """Reads a config; its plug-ins are imported first, so whoever calls this trusts them.

    Args:
        config: nested mappings: dataset, backbone, clustering, method, optimizer, training, watch,
            evaluation, plugins.

    Returns:
        The experiment.

    Raises:
        InputError: one line naming the field, what was received and what is allowed.

    Example:
        >>> read_experiment(get_config().to_dict())
    """
    sections = {
        **{name: {} for name in ("clustering", "optimizer", "watch", "evaluation")},
        **config,
    }
    plugins = read_value(tuple[str, ...], sections.pop("plugins", ()), "config.plugins")
    import_plugins(plugins)
    for name in sections:
        if name not in _SECTIONS:
            raise InputError(
                f"config has no field {name!r}; its fields: {', '.join((*_SECTIONS, 'plugins'))}"
            )
    for name in _SECTIONS:
        if not isinstance(sections.get(name), Mapping):
            raise InputError(
                f"config.{name} must be a group of fields. Received: {sections.get(name)!r}"
            )
    backbone, options = read_name(sections["backbone"], BACKBONES, "config.backbone")
    head = known_fields(HeadEntry)
    clustering = sections["clustering"]
    optimizer, schedule = _read_optimizer(sections["optimizer"])
    name, fields = read_name(sections["method"], METHODS, "config.method")
    return Experiment(
        dataset=_read_dataset(sections["dataset"]),
        backbone=backbone,
        backbone_fields=_read_backbone(backbone, options),
        head=read_group(
            HeadEntry, {k: v for k, v in clustering.items() if k in head}, "config.clustering"
        ),
        clustering=read_group(
            Clustering, {k: v for k, v in clustering.items() if k not in head}, "config.clustering"
        ),
        method=read_group(METHODS[name], fields, "config.method"),
        optimizer=optimizer,
        schedule=schedule,
        training=read_group(Training, sections["training"], "config.training"),
        watch=read_group(Watch, sections["watch"], "config.watch"),
        evaluation=read_group(EvaluationPlan, sections["evaluation"], "config.evaluation"),
        plugins=plugins,
    )


def experiment_of(workdir: Workdir, trust_plugins: bool = False) -> Experiment:
    """The experiment of a workdir.

    Args:
        workdir: of a run.
        trust_plugins: whether code that its config names may run.

    Raises:
        InputError: if this is no workdir, its config cannot be read, or it names plug-ins that are
            not trusted.

    Example:
        >>> experiment_of(Workdir(Path("runs/digits"))).dataset.load()
    """
    values = workdir.config_values()
    _trusted(workdir, values, trust_plugins)
    return read_experiment(values)


def trusted_plugins(workdir: Workdir, trust_plugins: bool) -> None:
    """Imports the plug-ins of a workdir, which its model may need to be loaded.

    Raises:
        InputError: if there are some and they are not trusted.
    """
    if workdir.config.exists():  # a model alone names no code
        import_plugins(_trusted(workdir, workdir.config_values(), trust_plugins))


def trusted_classifier(workdir: Workdir, trust_plugins: bool) -> Classifier:
    """The finished model of a workdir; see `trusted_plugins` and `Workdir.load_classifier`.

    Raises:
        InputError: as these do.
    """
    trusted_plugins(workdir, trust_plugins)
    return workdir.load_classifier()


def _trusted(workdir: Workdir, values: Mapping[str, Any], trust_plugins: bool) -> tuple[str, ...]:
    """The plug-ins that the values of its config name."""
    plugins = read_value(tuple[str, ...], values.get("plugins", ()), "config.plugins")
    if plugins and not trust_plugins:
        raise InputError(
            f"{workdir.config} names code of its own, plugins={list(plugins)}: it runs only with "
            "--trust_plugins. Give that if you know where this workdir comes from"
        )
    return plugins


def import_plugins(plugins: Iterable[str]) -> None:
    """Imports modules, which register what they bring.

    Raises:
        InputError: if one cannot be found; errors inside a module keep their traceback.
    """
    for name in plugins:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, and lacks something itself
            raise InputError(
                f"config.plugins must be importable modules, such as my_package.my_module with "
                f"its folder in PYTHONPATH. Received: {name!r}"
            ) from error


def without_foreign_fields(
    config: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """A config whose entries were given other names by overrides, without the old names' fields.

    `--config.method.name=pgd_at` begins with the file's method, of which only what `pgd_at` has
    too is taken over, such as eps. What the command line sets itself stays, and may be refused.

    Args:
        config: nested mappings, overrides included.
        overrides: dotted name -> value, of the command line.

    Returns:
        A copy.
    """
    import_plugins(read_value(tuple[str, ...], config.get("plugins", ()), "config.plugins"))
    result = copy.deepcopy(dict(config))
    for section, known in _known_by_name(result).items():
        if f"{section}.name" in overrides:
            entry = functools.reduce(operator.getitem, section.split("."), result)
            for name in entry.keys() - known:
                if f"{section}.{name}" not in overrides:
                    del entry[name]
    return result


def _known_by_name(config: Mapping[str, Any]) -> dict[str, set[str]]:
    """Section -> what its entry may have; only of sections with a registered name."""
    registries: dict[str, Mapping[str, Any]] = {
        "dataset": DATASETS,
        "backbone": BACKBONES,
        "method": METHODS,
        "optimizer": _OPTIMIZERS,
    }
    common = {
        "dataset": known_fields(DatasetEntry) - {"fields"},
        "backbone": {"unit_ball"},
        "method": set(),
        "optimizer": {"schedule"},
    }
    known = {}
    for section, registry in registries.items():
        entry = _group(config, section)
        if entry.get("name") in list(registry):
            own = set(inspect.signature(registry[entry["name"]]).parameters)
            known[section] = {*own, *common[section], "name"}
    schedule = _group(_group(config, "optimizer"), "schedule").get("name")
    if schedule in list(SCHEDULES):
        known["optimizer.schedule"] = {*known_fields(SCHEDULES[schedule]), "name"}
    return known


def _group(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A group of fields; none where it is no group, which is told when it is read."""
    group = values.get(name)
    return group if isinstance(group, Mapping) else {}


def _read_dataset(values: Mapping[str, Any]) -> DatasetEntry:
    name, others = read_name(values, DATASETS, "config.dataset")
    shared = known_fields(DatasetEntry) - {"fields", "name"}
    fields = {key: value for key, value in others.items() if key not in shared}
    common = {key: value for key, value in others.items() if key in shared}
    common = read_fields(DatasetEntry, common, "config.dataset", frozenset({"name", "fields"}))
    own = read_fields(DATASETS[name], fields, "config.dataset")
    return build(DatasetEntry, {"name": name, "fields": own, **common}, "config.dataset")


def _read_backbone(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(options)
    unit_ball = read_value(bool, fields.pop("unit_ball", False), "config.backbone.unit_ball")
    target = BACKBONES[name]
    first = next(iter(inspect.signature(target).parameters))
    own = read_fields(target, fields, "config.backbone", frozenset({first}))
    return {**own, "unit_ball": unit_ball}


def _read_optimizer(values: Mapping[str, Any]) -> tuple[dict[str, Any], Schedule]:
    entry = {"name": "adam", **values}
    name, schedule = read_name(
        entry.pop("schedule", {"name": "constant"}), SCHEDULES, "config.optimizer.schedule"
    )
    schedule = read_group(SCHEDULES[name], schedule, "config.optimizer.schedule")
    name, fields = read_name(entry, _OPTIMIZERS, "config.optimizer")
    allowed = set(inspect.signature(_OPTIMIZERS[name]).parameters) - {"name", "kwargs"}
    for key, value in fields.items():
        if key not in allowed:
            raise InputError(
                f"config.optimizer has no field {key!r}; its fields: schedule, "
                f"{', '.join(sorted(allowed))}"
            )
        if isinstance(value, str):
            fields[key] = read_value(float, value, f"config.optimizer.{key}")
    rate = fields.setdefault("learning_rate", 1e-3)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise InputError(f"config.optimizer.learning_rate must be above 0. Received: {rate}")
    return {"name": name, **fields}, schedule


def check_fits(experiment: Experiment, dataset: Dataset) -> None:
    """Refuses combinations of settings and data that cannot work, before any training.

    Args:
        experiment: the settings.
        dataset: the loaded data.

    Raises:
        InputError: if the backbone cannot take the images; if there is but one class; if K exceeds
            the smallest class of the images that are left to train on, M the clusters a
            neighbourhood can have, L the number of clusters, or a shuffled batch the training
            images; each only of methods that use it.

    Example:
        >>> check_fits(experiment, experiment.dataset.load())
    """
    classes, per_class = dataset.num_classes, experiment.head.clusters_per_class
    if classes < 2:
        raise InputError(
            "config.dataset.name must be data of two classes or more. "
            f"Received: {dataset.name} with {classes}"
        )
    if experiment.training.checkpoint == "best_pgd" and not len(dataset.validation_labels):
        raise InputError(
            "config.dataset.validation_examples must be above 0 with "
            "config.training.checkpoint=best_pgd: the best epoch is never chosen on test "
            "images. Received: 0"
        )
    # They refuse what does not fit. They use TensorFlow, which workers have to connect before.
    experiment.build_backbone(dataset, "float32")
    experiment.build_optimizer()
    centroids, images = experiment.method.centroids, len(dataset.train_labels)
    batch_size = experiment.training.batch_size or experiment.clustering.usual_batch
    if centroids != "refreshed" and batch_size > images:
        raise InputError(
            f"config.training.batch_size must be at most {images}, the number of training "
            f"images of {dataset.name}. Received: {batch_size}"
        )
    if centroids is None:
        return
    smallest = int(np.bincount(dataset.train_labels, minlength=classes).min())
    if per_class > smallest:
        raise InputError(
            f"config.clustering.clusters_per_class must be at most {smallest}, the size of the "
            f"smallest class of {dataset.name}. Received: {per_class}"
        )
    per_batch = experiment.clustering.clusters_per_batch
    neighbourhood = most_clusters(per_class, classes)
    if centroids == "refreshed" and per_batch is not None and per_batch > neighbourhood:
        raise InputError(
            f"config.clustering.clusters_per_batch must be at most {neighbourhood}: one seed and "
            f"the {neighbourhood - 1} clusters of other classes. Received: {per_batch}"
        )
    for path, nearest in [
        ("clustering.nearest", experiment.head.nearest),
        ("method.nearest", getattr(experiment.method, "nearest", None)),
    ]:
        if nearest is not None and nearest > per_class * classes:
            raise InputError(
                f"config.{path} must be at most {per_class * classes}, the number of clusters. "
                f"Received: {nearest}"
            )


__all__ = [
    "DatasetEntry",
    "Experiment",
    "check_fits",
    "experiment_of",
    "import_plugins",
    "read_experiment",
    "trusted_classifier",
    "without_foreign_fields",
]
