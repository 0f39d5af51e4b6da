"""Numbered versions of a served model: complete or not there."""

import tempfile
from collections.abc import Callable
from pathlib import Path


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
