"""Writes a classifier as a numbered SavedModel version."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from clustr_tf.certificates import LipschitzBound
from clustr_tf.classifier import Classifier
from clustr_tf.files import write_json
from clustr_tf.provenance import versions
from export.options import DEFAULTS, ServingOptions
from export.serving import ServingModule
from export.versions import publish_version
from export.warmup import warmup_inputs, write_warmup_requests


def export_savedmodel(
    classifier: Classifier,
    output: Path,
    bound: LipschitzBound,
    options: ServingOptions = DEFAULTS,
    card: str | None = None,
) -> Path:
    """Writes the next version of a served classifier.

    The SavedModel needs nothing but TensorFlow to load. `assets.extra/certificate.json` in it
    holds what its radii rest on, `assets.extra/tf_serving_warmup_requests` a request for each
    signature.

    Answers are those of the Keras model and of `certify_embeddings` on its embeddings: on a CPU
    bit for bit as measured, anywhere within float32 rounding of the network (1e-5 relative).

    Args:
        classifier: with a `ClusteringHead`.
        output: folder of the versions; made if missing.
        bound: proved Lipschitz bound from pixels to embeddings, standardisation included.
        options: what happens to bad input and to images of another size.
        card: text of MODEL_CARD.md; None for no such file.

    Returns:
        The folder of the new version, such as `output/1`.

    Raises:
        ValueError: if `output` is or lies in a file, or the classifier has no `ClusteringHead`, or
            images that are neither grey nor RGB, or `max_image_bytes` is below the size of the file
            that the server is warmed up with.
        OSError: if `output` cannot be written; what was made is taken away.

    Example:
        >>> export_savedmodel(classifier, Path("models/clustr"), bound)
    """
    requests = warmup_inputs(classifier.image_shape, options.max_image_bytes)
    module = ServingModule(classifier, bound, options)
    signatures = module.signature_functions()

    def write(folder: Path) -> None:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        extra = folder / "assets.extra"
        write_json(
            extra / "certificate.json",
            {
                **bound.figures(),
                "num_pixels": int(np.prod(classifier.image_shape)),
                "options": dataclasses.asdict(options),
                "versions": versions(),
            },
        )
        write_warmup_requests(extra, requests, output.resolve().name)
        if card is not None:
            (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")

    return publish_version(output, write)
