"""What `python -m clustr_tf.certify` finds out, writes and prints."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from clustr_tf.certify.images import Certification, ProvedRadii, certify_images
from clustr_tf.certify.radii import all_proofs
from clustr_tf.classifier import Classifier
from clustr_tf.data import Dataset
from clustr_tf.layers import ClusteringHead
from clustr_tf.run.errors import InputError
from clustr_tf.run.files import write_arrays, write_json
from clustr_tf.run.provenance import versions
from clustr_tf.run.workdir import Workdir

_NORMS = {"l2": "l2", "linf": "l-infinity"}
_COLUMNS = 5  # radii in the table
_QUANTILE = 0.95  # of the radii, near which the columns end


def certify_workdir(
    workdir: Workdir,
    classifier: Classifier,
    dataset: Dataset,
    radii: Sequence[float] | None = None,
    examples: int | None = None,
    nearest: int | None = None,
    linf_eps: float | None = None,
    singly: bool = False,
    relaxation: bool = False,
) -> None:
    """Certifies test images; writes certificates.json and .npz, prints a table.

    The Lipschitz bound joins the model's file, if it is not there yet.

    Args:
        workdir: of the classifier, where its model and the results lie.
        classifier: the finished model.
        dataset: whose test images are certified.
        radii: in pixels, at which certified accuracy is reported in both norms; None for five
            that suit what is proved.
        examples: the first so many test images; None for all.
        nearest: an L, beside the head's own, for the soft scores of the L nearest clusters; implies
            `singly`.
        linf_eps: an l-infinity radius that is reported besides.
        singly: whether every classifier and proof is made one by one too.
        relaxation: whether linear relaxation is made, which takes much longer.

    Raises:
        InputError: if the model has no certificate, or `nearest` is no number of its clusters;
            nothing is written.

    Example:
        >>> certify_workdir(workdir, workdir.load_classifier(), dataset, radii=(36 / 255,))
    """
    images, labels = dataset.test_images[:examples], dataset.test_labels[:examples]
    try:
        result, left_out = _certified(classifier, images, labels, nearest, singly, relaxation)
    except ValueError as error:
        raise InputError(str(error)) from error
    asked = {
        "l2": list(radii or chosen_radii(result.best.radii.l2)),
        "linf": list(radii or chosen_radii(result.best.radii.linf)),
    }
    if linf_eps is not None:
        asked["linf"] = sorted({*asked["linf"], linf_eps})
    proofs = (result.best, *result.proved, *result.further)
    figures = {
        "model": str(workdir.model),
        "data": f"{dataset.name}, first {len(labels)} test images",
        "examples": len(labels),
        **_figures(result.best, asked),
        "proved_by": {norm: _shares(result.sources(norm)) for norm in _NORMS},
        **result.bound.figures(),
        "num_pixels": result.num_pixels,
        "proofs": [
            {"key": proved.key, "title": proved.title, **_figures(proved, asked)}
            for proved in proofs
        ],
        "left_out": left_out,
        "versions": versions(),
    }
    # The arrays first: who finds the figures finds what they are of.
    with workdir.writing():
        workdir.store_bound(result.bound.figures())
        write_arrays(workdir.root / "certificates.npz", _arrays(result, proofs))
        write_json(workdir.root / "certificates.json", figures)
    rows = figures["proofs"] if singly or nearest else figures["proofs"][:1]
    _print(Console(), figures, rows, f"{workdir.root}/certificates.json")


def _certified(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    nearest: int | None,
    singly: bool,
    relaxation: bool,
) -> tuple[Certification, list[str]]:
    """The radii, and a line on each proof that was left out."""
    head = classifier.head
    if not ((singly or nearest) and isinstance(head, ClusteringHead)):
        return certify_images(classifier, images, labels, relaxation=relaxation), []
    proofs, left_out = all_proofs(
        head.num_clusters, head.clusters_per_class, head.ranked_clusters, nearest
    )
    found = certify_images(classifier, images, labels, proofs, relaxation=relaxation)
    return found, left_out


def chosen_radii(radii: np.ndarray) -> list[float]:
    """Five radii in equal steps, up to where nearly nothing is proved any more.

    Args:
        radii: `[N]`, as proved.

    Returns:
        Multiples of a step with one digit; multiples of 0.01 if nothing is proved.

    Example:
        >>> chosen_radii(np.full(9, 0.21))  # [0.04, 0.08, 0.12, 0.16, 0.2]
    """
    end = float(np.quantile(radii, _QUANTILE)) / _COLUMNS
    if end <= 0:
        end = 0.01
    power = math.floor(math.log10(end))
    digit = math.floor(end / 10.0**power)
    return [float(f"{count * digit}e{power}") for count in range(1, _COLUMNS + 1)]


def _figures(proved: ProvedRadii, asked: dict[str, list[float]]) -> dict[str, Any]:
    """One classifier and proof in figures."""
    figures: dict[str, Any] = {"clean_accuracy": float(np.mean(proved.correct))}
    for norm, at in asked.items():
        radius = getattr(proved.radii, norm).astype(np.float64)
        figures[f"certified_accuracy_{norm}"] = [
            {"radius": each, "accuracy": proved.certified_accuracy(each, norm)} for each in at
        ]
        figures[f"mean_radius_{norm}"] = float(np.mean(radius))
        figures[f"median_radius_{norm}"] = float(np.median(radius))
        figures[f"largest_radius_{norm}"] = float(np.max(radius))
    figures["abstentions"] = proved.abstentions
    figures["seconds_per_image"] = proved.seconds / len(proved.labels)
    return figures


def _shares(sources: np.ndarray) -> dict[str, float]:
    """The share of images by each proof, the largest first."""
    return {str(name): count / len(sources) for name, count in Counter(sources).most_common()}


def _arrays(result: Certification, proofs: Sequence[ProvedRadii]) -> dict[str, np.ndarray]:
    best = result.best
    arrays = {"labels": best.labels, "predictions": best.predictions}
    for norm in _NORMS:
        arrays[f"radius_{norm}"] = getattr(best.radii, norm)
        arrays[f"proof_{norm}"] = result.sources(norm)
    for proved in proofs:
        arrays[f"predictions_{proved.key}"] = proved.predictions
        for norm in _NORMS:
            arrays[f"radius_{norm}_{proved.key}"] = getattr(proved.radii, norm)
    return arrays


def _print(
    console: Console, figures: dict[str, Any], rows: Sequence[dict[str, Any]], file: str
) -> None:
    console.print(
        f"{figures['data']}: certified accuracy, the share that is right and provably stays "
        "right for every change of the pixels (in [0, 1]) up to a radius",
        highlight=False,
    )
    for norm, name in _NORMS.items():
        console.print(_table(rows, norm, name))
    for norm, name in _NORMS.items():
        shares = [f"{source} {share:.1%}" for source, share in figures["proved_by"][norm].items()]
        console.print(f"{name} radii are proved by: {', '.join(shares)}", highlight=False)
    for line in figures["left_out"]:
        console.print(f"left out: {line}", highlight=False)
    console.print(
        f"Lipschitz bound {figures['lipschitz_bound']:.4g}, "
        f"{1e3 * figures['seconds_per_image']:.3g} ms an image; see {file}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _table(rows: Sequence[dict[str, Any]], norm: str, name: str) -> Table:
    """Of the first radii alone, as they fit 80 columns; the file has all."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{name}\nradius", no_wrap=True)
    at = [entry["radius"] for entry in rows[0][f"certified_accuracy_{norm}"]][: _COLUMNS + 1]
    for column in ("0", *(f"{radius:.3g}" for radius in at), "median\nradius"):
        table.add_column(column, justify="right", no_wrap=True)
    for proof in rows:
        accuracies = [entry["accuracy"] for entry in proof[f"certified_accuracy_{norm}"]]
        table.add_row(
            proof["title"].replace(", ", ",\n"),
            *(f"{share:.1%}" for share in (proof["clean_accuracy"], *accuracies[: len(at)])),
            f"{proof[f'median_radius_{norm}']:.3g}",
        )
    return table
