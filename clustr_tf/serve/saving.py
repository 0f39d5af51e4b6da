"""Writes a classifier as a numbered SavedModel version: complete or not there."""

import dataclasses
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from clustr_tf.certify.l2.lipschitz import LipschitzBound, lipschitz_bound
from clustr_tf.certify.radii import certified_classifier
from clustr_tf.classifier import Classifier
from clustr_tf.data.pixels import to_pixels
from clustr_tf.run.files import write_json
from clustr_tf.run.provenance import versions
from clustr_tf.serve.options import DEFAULTS, ServingOptions, good_inputs
from clustr_tf.serve.signatures import ServingModule

# Of the image that a server is warmed up with: in the middle, so that nothing refuses it.
_GREY = 128


def export_savedmodel(
    classifier: Classifier,
    output: Path,
    bound: LipschitzBound | None = None,
    options: ServingOptions = DEFAULTS,
    card: str | None = None,
) -> Path:
    """Writes the next version of a served classifier.

    The SavedModel needs nothing but TensorFlow to load. `assets.extra/certificate.json` in it
    holds what its radii rest on, `assets.extra/tf_serving_warmup_requests` a request for each
    signature, which TensorFlow Serving replays before it lets the version answer.

    Answers are those of the Keras model and of `certify_embeddings` on its embeddings: on a CPU
    bit for bit as measured, anywhere within float32 rounding of the network (1e-5 relative).

    Args:
        classifier: with a `ClusteringHead`; what is served is its `certified_classifier`.
        output: folder of the versions; made if missing.
        bound: `lipschitz_bound` of the embedder that is served; None to compute it.
        options: what happens to bad input and to images of another size.
        card: text of MODEL_CARD.md; None for no such file.

    Returns:
        The folder of the new version, such as `output/1`.

    Raises:
        ValueError: if `output` is or lies in a file, or the classifier has no `ClusteringHead`, or
            a layer without a proved bound, or images that are neither grey nor RGB, or
            `max_image_bytes` is below the size of the file that the server is warmed up with.
        OSError: if `output` cannot be written; what was made is taken away.

    Example:
        >>> export_savedmodel(load_model("runs/digits"), Path("models/clustr"))

    Reference:
        "SavedModel Warmup" of TensorFlow Serving: a TFRecord file of PredictionLog messages.
    """
    classifier = certified_classifier(classifier)
    proved = lipschitz_bound(classifier.embedder) if bound is None else bound
    requests = _warmup_inputs(classifier.image_shape, options.max_image_bytes)
    module = ServingModule(classifier, proved, options)
    signatures = module.signature_functions()

    def write(folder: Path) -> None:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        extra = folder / "assets.extra"
        write_json(
            extra / "certificate.json",
            {
                **proved.figures(),
                "num_pixels": math.prod(classifier.image_shape),
                "options": dataclasses.asdict(options),
                "versions": versions(),
            },
        )
        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
            for signature, inputs in requests.items():
                writer.write(_logged_request(output.resolve().name, signature, inputs))
        if card is not None:
            (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")

    return publish_version(output, write)


def _warmup_inputs(
    image_shape: tuple[int, int, int], max_image_bytes: int
) -> dict[str, dict[str, Any]]:
    grey = np.full(image_shape, _GREY, np.uint8)
    png = tf.io.encode_png(grey).numpy()
    if len(png) > max_image_bytes:  # with which the version would never start
        raise ValueError(
            f"max_image_bytes must be at least {len(png)}, the size of the PNG file that the "
            f"server is warmed up with. Received: {max_image_bytes}"
        )
    return good_inputs(to_pixels(grey[None]), [png])


def _logged_request(model: str, signature: str, inputs: dict[str, Any]) -> bytes:
    request = predict_pb2.PredictRequest(
        inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()}
    )
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()


def publish_version(output: Path, write: Callable[[Path], object]) -> Path:
    """Writes the next numbered version of a served model.

    TensorFlow Serving loads the highest number it finds in `output` at any moment, so a version
    appears under its number only once it is complete.

    Args:
        output: folder of the versions `1`, `2`, ...; made if missing.
        write: fills the folder that it is given, which does not exist yet.

    Returns:
        The folder of the new version, one above the highest there is.

    Raises:
        ValueError: if `output`, or a folder it would lie in, is a file.

    Example:
        >>> publish_version(Path("models/clustr"), lambda path: tf.saved_model.save(module, path))
    """
    folders = [output, *output.parents]
    missing = [folder for folder in folders if not folder.exists()]
    existing = folders[len(missing)]
    if not existing.is_dir():
        raise ValueError(f"output must be a folder, but {existing} is a file. Received: {output}")
    output.mkdir(parents=True, exist_ok=True)
    try:
        # Inside `output`, because renaming works only within one file system.
        with tempfile.TemporaryDirectory(dir=output, prefix=".partial-") as folder:
            finished = Path(folder) / "version"
            write(finished)
            return finished.rename(output / str(_highest_version(output) + 1))
    except BaseException:
        for made in missing:
            made.rmdir()
        raise


def _highest_version(output: Path) -> int:
    names = [path.name for path in output.iterdir()]
    return max((int(name) for name in names if name.isdecimal()), default=0)
