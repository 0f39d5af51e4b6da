"""How far lower precision moves embeddings, beside the slack that certificates subtract.

    python -m benchmarks.precision --workdir=runs/digits

The float32 network of a run on digits against the same weights computing in float64 (what float32
really errs by), bfloat16 and float16; the slack is that of one forward pass, half of what is
proved for two.
"""

import keras
import numpy as np
from absl import app, flags

from benchmarks.runs import read_run
from clustr_tf.certify.l2.lipschitz import embed_with_norms, lipschitz_bound
from clustr_tf.data.pixels import to_pixels
from clustr_tf.evaluate.search_network import in_precision

_WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "a finished run")
_EXAMPLES = flags.DEFINE_integer("examples", 360, "test images")
_PRECISIONS = ("float64", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")


def main(arguments: list[str]) -> None:
    """Measures and prints a line a precision."""
    del arguments
    _, classifier, dataset = read_run(_WORKDIR.value)
    images = to_pixels(dataset.test_images[: _EXAMPLES.value])
    bound = lipschitz_bound(classifier.embedder)
    embeddings, norms = embed_with_norms(classifier.embedder, images)
    reference = np.asarray(embeddings, np.float64)
    slack = np.asarray(bound.rounding(norms)) / 2
    print(f"float32 slack of one pass: median {np.median(slack):.2e}")
    classes = np.argmax(classifier(images), axis=1)
    for precision in _PRECISIONS:
        other = in_precision(classifier, precision)
        moved = np.asarray(keras.ops.cast(other.embed(images), "float64")) - reference
        lengths = np.linalg.norm(moved, axis=1)
        changed = np.mean(np.argmax(other(images), axis=1) != classes)
        print(
            f"{precision}: embeddings moved by {np.median(lengths):.2e} (median), "
            f"{np.max(lengths):.2e} (most), {np.max(lengths / slack):.2g} times the slack at most; "
            f"{np.mean(lengths > slack):.1%} beyond it; {changed:.1%} of the classes change"
        )


if __name__ == "__main__":
    app.run(main)
