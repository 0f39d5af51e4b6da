"""`python -m export.savedmodel`: a numbered SavedModel version for TensorFlow Serving."""

from pathlib import Path

from absl import flags

from clustr_tf.commands import required_workdir, run
from clustr_tf.errors import InputError

_OUTPUT = flags.DEFINE_string(
    "output", "models/clustr", "folder of the model's versions; the next free number is used"
)
flags.declare_key_flag("workdir")


def main() -> None:
    """Exports what the flags say."""
    workdir_root = required_workdir()
    from clustr_tf.certificates import lipschitz_bound
    from clustr_tf.certification import certified_classifier
    from clustr_tf.workdir import Workdir
    from export.saving import export_savedmodel

    classifier = certified_classifier(Workdir(workdir_root).load_classifier())
    try:
        version = export_savedmodel(
            classifier, Path(_OUTPUT.value), lipschitz_bound(classifier.embedder)
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    print(
        f"{version} is ready for TensorFlow Serving; signatures: serving_default, certify, embed,"
    )
    print("serving_bytes. assets.extra/certificate.json holds what its radii rest on.")


def cli() -> None:
    """Entry point of `clustr-export`."""
    run(main)


if __name__ == "__main__":
    cli()
