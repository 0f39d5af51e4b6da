"""`python -m clustr_tf.train`: trains, evaluates briefly, leaves a complete workdir."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.console import Console
from rich.table import Table

from clustr_tf.cli.flags import WORKDIR, config_values, run

if TYPE_CHECKING:
    from clustr_tf.cli.config import Experiment
    from clustr_tf.data import Dataset
    from clustr_tf.run.workdir import Workdir
    from clustr_tf.train.run import Trained

flags.declare_key_flag("workdir")


def main() -> None:
    """Trains what the flags say."""
    begin = time.perf_counter()
    config = config_values()
    from clustr_tf.cli.config import read_experiment

    run_training(read_experiment(config), Path(WORKDIR.value), begin)


def run_training(experiment: "Experiment", root: Path, begin: float) -> None:
    """Trains, evaluates briefly and completes the workdir; tells the terminal about it.

    Args:
        experiment: what to train.
        root: the workdir.
        begin: `time.perf_counter()` when the command began; the seconds in summary.json count
            from there.

    Raises:
        InputError: if the parts, the data or the workdir do not fit.
        RunError: if the run cannot go on, as on a full disk.
    """
    from clustr_tf.run.distribution import connect
    from clustr_tf.run.workdir import Workdir
    from clustr_tf.train.callbacks.progress import ProgressBars
    from clustr_tf.train.run import train

    console, workdir = Console(), Workdir(root)
    # Before any other use of TensorFlow: later it refuses to connect workers.
    replicas = connect(experiment.training.strategy)
    chosen = experiment.training.precision
    experiment = experiment.resolved(workdir.config_values() if workdir.config.exists() else None)
    dataset = experiment.dataset.load()
    plan, config = experiment.plan(dataset), experiment.values  # before the workdir is touched
    if replicas.is_chief and chosen == "auto" and plan.training.precision == "mixed_bfloat16":
        console.print(
            "The backbone trains in bfloat16, the model will be float32 "
            "(--config.training.precision=float32: all of it).",
            highlight=False,
            soft_wrap=True,
        )
    progress = ProgressBars(console)
    with workdir.claimed(config, replicas.is_chief):
        try:
            told = [progress] if replicas.is_chief else []
            trained = train(plan, dataset, workdir, config, replicas, told)
        finally:
            progress.close()
        if replicas.is_chief:
            summary = complete(workdir, experiment, dataset, trained, begin)
            _print_summary(console, summary, experiment, dataset, workdir)


def complete(
    workdir: "Workdir",
    experiment: "Experiment",
    dataset: "Dataset",
    trained: "Trained",
    begin: float,
) -> dict[str, Any]:
    """Evaluates the trained model, adds pictures and summary.json to the workdir.

    Args:
        workdir: has the model.
        experiment: what was trained.
        dataset: whose test images are evaluated.
        trained: the model and its history.
        begin: as of `run_training`.

    Returns:
        What summary.json holds.
    """
    from clustr_tf.evaluate.run import evaluate_briefly
    from clustr_tf.run.files import write_json
    from clustr_tf.run.provenance import git_revision, versions

    plan = experiment.evaluation
    evaluation = evaluate_briefly(trained.classifier, dataset, plan, experiment.training.seed)
    summary = {
        "dataset": dataset.name,
        "method": experiment.method_name,
        **evaluation.figures(),
        "attack": plan.attack.describe(),
        "seed": experiment.training.seed,
        "epochs": experiment.training.epochs,
        "precision": experiment.training.precision,
        # Over all sessions of the run; `seconds` is this command's own time.
        "training_seconds": sum(row.get("seconds", 0.0) for row in trained.history),
        "seconds": time.perf_counter() - begin,
        "versions": versions(),
        "git_revision": git_revision(),
    }
    with workdir.writing():
        if evaluation.certification:
            workdir.store_bound(evaluation.certification.bound.figures())
        _draw(workdir, experiment, dataset, trained, evaluation.certification)
        write_json(workdir.summary, summary)
    return summary


def _draw(
    workdir: "Workdir",
    experiment: "Experiment",
    dataset: "Dataset",
    trained: "Trained",
    certification: Any,
) -> None:
    """The pictures: embedding.png, and TensorBoard's projector and histogram of radii."""
    import numpy as np

    from clustr_tf.classifier import Embedder
    from clustr_tf.evaluate.pictures import draw_embedding_map
    from clustr_tf.layers import ClusteringHead
    from clustr_tf.train.callbacks.record import TensorBoard

    shown = slice(experiment.evaluation.examples)
    labels, head = dataset.test_labels[shown], trained.classifier.head
    embeddings = Embedder(trained.classifier)(dataset.test_images[shown])
    draw_embedding_map(
        workdir.embedding_map,
        embeddings,
        labels,
        np.asarray(head.centroids) if isinstance(head, ClusteringHead) else None,
        dataset.class_names,
        title=f"{dataset.name}: test embeddings",
    )
    board = TensorBoard(workdir.tensorboard, experiment.values)
    board.write_projector(embeddings, labels, dataset.class_names)
    if certification:
        board.log_radii(certification.best.radii._asdict(), experiment.training.epochs)
    board.close()


def _print_summary(
    console: Console,
    summary: Mapping[str, Any],
    experiment: "Experiment",
    dataset: "Dataset",
    workdir: "Workdir",
) -> None:
    console.print(f"{dataset.name}, {summary['examples']} test images")
    table = Table(show_header=False)
    table.add_row("clean accuracy", f"{summary['test/accuracy']:.2%}")
    table.add_row("PGD accuracy", f"{summary['test/pgd_accuracy']:.2%} ({summary['attack']})")
    certified = "test/median_certified_radius_l2" in summary
    if certified:
        attack = experiment.evaluation.attack
        proved = summary[f"test/certified_accuracy_{attack.norm}"]
        table.add_row("proved accuracy", f"{proved:.2%} ({attack.norm} {attack.eps:.4g})")
        table.add_row(
            "median proved radius",
            f"{summary['test/median_certified_radius_linf']:.3g} (l-infinity), "
            f"{summary['test/median_certified_radius_l2']:.3g} (l2), in pixels",
        )
    elif summary["not_certified"]:
        table.add_row("proved accuracy", f"nothing: {summary['not_certified']}")
    table.add_row("seconds", f"{summary['seconds']:.0f}")
    console.print(table)
    root = workdir.root
    console.print(
        f"[bold]{root}[/] holds model.keras, metrics.csv, summary.json, embedding.png, "
        "checkpoints/ and tensorboard/. Next:",
        highlight=False,
    )
    commands = [f"python -m clustr_tf.evaluate --workdir={root}"]
    if certified:
        commands += [
            f"python -m clustr_tf.certify --workdir={root}",
            f"python -m export.savedmodel --workdir={root} --output=models/clustr",
        ]
    for command in commands:
        console.print(f"  {command}", highlight=False, soft_wrap=True)


def cli() -> None:
    """Entry point of `clustr-train`."""
    flags.set_default(WORKDIR, "runs/digits")
    run(main, default_config="digits")


if __name__ == "__main__":
    cli()
