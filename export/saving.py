"""Writes a classifier as a numbered SavedModel version."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from clustr_tf.certificates import LipschitzBound
from clustr_tf.classifier import Classifier
from clustr_tf.files import write_json
from clustr_tf.provenance import versions
from export.serving import ServingModule
from export.versions import publish_version


def export_savedmodel(classifier: Classifier, output: Path, bound: LipschitzBound) -> Path:
    """Writes the next version of a served classifier.

    The SavedModel needs nothing but TensorFlow to load. `assets.extra/certificate.json` in it
    holds what its radii rest on.

    Answers are those of the Keras model and of `certify_embeddings` on its embeddings: on a CPU
    bit for bit as measured, anywhere within float32 rounding of the network (1e-5 relative).

    Args:
        classifier: with a `ClusteringHead`.
        output: folder of the versions; made if missing.
        bound: proved Lipschitz bound from pixels to embeddings, standardisation included.

    Returns:
        The folder of the new version, such as `output/1`.

    Raises:
        ValueError: if `output` is or lies in a file, or the classifier has no `ClusteringHead`, or
            images that are neither grey nor RGB.

    Example:
        >>> export_savedmodel(classifier, Path("models/clustr"), bound)
    """
    module = ServingModule(classifier, bound)
    signatures = module.signature_functions()

    def write(folder: Path) -> None:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        write_json(
            folder / "assets.extra" / "certificate.json",
            {
                "lipschitz_bound": bound.gain,
                "rounding_growth": bound.growth,
                "rounding_slack": bound.slack,
                "num_pixels": int(np.prod(classifier.image_shape)),
                "versions": versions(),
            },
        )

    return publish_version(output, write)
