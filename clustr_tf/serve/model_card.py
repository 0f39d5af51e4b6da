"""MODEL_CARD.md: what a served model is, what was measured, what is proved, and its limits."""

import hashlib
import json
from typing import Any

import keras
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from clustr_tf.certify.l2.lipschitz import LipschitzBound
from clustr_tf.certify.report import chosen_radii
from clustr_tf.classifier import Classifier
from clustr_tf.evaluate.report import Evaluation, read_certificates, read_evaluation
from clustr_tf.run.errors import InputError
from clustr_tf.run.provenance import versions
from clustr_tf.run.workdir import Workdir
from clustr_tf.serve.options import ServingOptions


def model_card(
    workdir: Workdir,
    classifier: Classifier,
    bound: LipschitzBound,
    options: ServingOptions,
    name: str,
) -> str:
    """The card of a finished run, with the figures that its folder holds.

    Args:
        workdir: of the run; its config is told as it is, evaluation and certificates if they are
            there. No data set is loaded.
        classifier: as it is served.
        bound: of its network.
        options: of the export.
        name: under which it is served.

    Returns:
        Markdown.

    Raises:
        InputError: if a file of the workdir is missing, damaged or lacks what the card tells.

    Example:
        >>> model_card(workdir, classifier, bound, ServingOptions(), "clustr")
    """
    environment = Environment(
        loader=PackageLoader("clustr_tf.serve"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of the run's own files
    )
    certificate = next(iter(read_certificates(workdir.root)), None)
    told = {
        "name": name,
        "config": workdir.config_values(),
        "image_shape": classifier.image_shape,
        "num_classes": classifier.head.num_classes,
        "parameters": f"{classifier.count_params():,}",
        "weights_sha256": weights_sha256(classifier),
        "options": options,
        "versions": versions(),
        "summary": _summary(workdir),
        "evaluation": _evaluation(workdir),
        "bound": bound,
        "certificate": certificate,
        "radii": {norm: chosen_radii(radii) for norm, radii in certificate.radii.items()}
        if certificate
        else {},
    }
    try:
        return environment.get_template("MODEL_CARD.md").render(told)
    except UndefinedError as error:
        raise InputError(
            f"{workdir.root} cannot be told in MODEL_CARD.md ({error}); --nomodel_card exports "
            "without it"
        ) from error


def weights_sha256(model: keras.Model) -> str:
    """A hash of a model's variables: their shapes, dtypes and values, in order.

    Args:
        model: built.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> weights_sha256(classifier)
    """
    digest = hashlib.sha256()
    for variable in model.variables:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _summary(workdir: Workdir) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads(workdir.summary.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"{workdir.summary} cannot be read ({error}). "
            f"Finish the run: python -m clustr_tf.train --workdir={workdir.root}"
        ) from error
    return summary


def _evaluation(workdir: Workdir) -> Evaluation | None:
    if not (workdir.root / "robustness.json").exists():
        return None
    return read_evaluation(workdir.root)
