"""`python -m export.onnx`: an exported version as an ONNX model."""

from pathlib import Path

from absl import flags

from clustr_tf.cli.flags import quiet_start, run
from clustr_tf.run.errors import InputError

_VERSION = flags.DEFINE_string("version", None, "folder of the version, such as models/clustr/1")
_OUTPUT = flags.DEFINE_string("output", "model.onnx", "the file to write")


def main() -> None:
    """Converts what the flags say."""
    if _VERSION.value is None:
        raise InputError("--version is missing: give the folder of an exported version")
    version, output = Path(_VERSION.value), Path(_OUTPUT.value)
    if not (version / "saved_model.pb").is_file():
        raise InputError(f"--version must be a folder with saved_model.pb. Received: {version}")
    if output.is_dir():
        raise InputError(f"--output must be a file, but {output} is a folder")
    with quiet_start():
        from clustr_tf.serve.onnx_model import ConversionError, write_onnx

    try:
        write_onnx(version, output)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed: pip install 'clustr-tf[serving]'"
        ) from error
    except ConversionError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"--output cannot be written: {error}") from error
    print(f"{output} answers serving_default without any check of its input: NaN and pixels")
    print("outside [0, 1] get a class and a radius that mean nothing.")


def cli() -> None:
    """Ends with the status of the command."""
    run(main)


if __name__ == "__main__":
    cli()
