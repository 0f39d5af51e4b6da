"""`python -m export.savedmodel`: a numbered SavedModel version for TensorFlow Serving."""

from pathlib import Path

from absl import flags

from clustr_tf.cli.flags import TRUST_PLUGINS, quiet_start, required_workdir, run
from clustr_tf.run.errors import InputError
from clustr_tf.serve.options import (
    DEFAULTS,
    INPUTS,
    LINF,
    MOST_IMAGE_BYTES,
    ON_INVALID,
    RESIZE,
    ServingOptions,
)

_OUTPUT = flags.DEFINE_string(
    "output", "models/clustr", "folder of the model's versions; the next free number is used"
)
_ON_INVALID = flags.DEFINE_enum(
    "on_invalid",
    DEFAULTS.on_invalid,
    ON_INVALID,
    "refuse: a bad row refuses its whole request; flag: it answers class -1 and radius 0, for "
    "servers that batch requests",
)
_RESIZE = flags.DEFINE_enum(
    "resize",
    DEFAULTS.resize,
    RESIZE,
    "exact: encoded images of another size are bad; bilinear: they are resized, and radii are "
    "about the resized image",
)
_MAX_IMAGE_BYTES = flags.DEFINE_integer(
    "max_image_bytes",
    DEFAULTS.max_image_bytes,
    "the longest encoded image",
    lower_bound=1,
    upper_bound=MOST_IMAGE_BYTES,
)
_LINF = flags.DEFINE_enum(
    "linf",
    DEFAULTS.linf,
    LINF,
    "how radii by interval bounds are sought: bisection (15 passes of the bounds, the radii of "
    "certify), grid (4 passes, lower by up to a factor of 1.42), off (the Lipschitz bound alone)",
)
_MODEL_CARD = flags.DEFINE_bool("model_card", True, "write MODEL_CARD.md into the version")
flags.declare_key_flag("workdir")
flags.declare_key_flag("trust_plugins")


def main() -> None:
    """Exports what the flags say."""
    workdir_root, output = required_workdir(), Path(_OUTPUT.value)
    options = ServingOptions(_ON_INVALID.value, _RESIZE.value, _MAX_IMAGE_BYTES.value, _LINF.value)
    with quiet_start():
        from clustr_tf.certify.l2.lipschitz import lipschitz_bound
        from clustr_tf.certify.radii import certified_classifier
        from clustr_tf.cli.config import trusted_classifier
        from clustr_tf.run.workdir import Workdir
        from clustr_tf.serve.model_card import model_card
        from clustr_tf.serve.saving import export_savedmodel

    workdir = Workdir(workdir_root)
    classifier = trusted_classifier(workdir, TRUST_PLUGINS.value)
    try:
        classifier = certified_classifier(classifier)
        bound = lipschitz_bound(classifier.embedder)
        card = None
        if _MODEL_CARD.value:
            card = model_card(workdir, classifier, bound, options, output.resolve().name)
        version = export_savedmodel(classifier, output, bound, options, card)
    except OSError as error:
        raise InputError(f"--output cannot be written: {error}") from error
    except ValueError as error:
        raise InputError(str(error)) from error
    print(f"{version} is ready for TensorFlow Serving; signatures: {', '.join(INPUTS)}.")
    print("assets.extra/certificate.json holds what its radii rest on.")


def cli() -> None:
    """Entry point of `clustr-export`."""
    run(main)


if __name__ == "__main__":
    cli()
