"""Models and labelled images from files that clustr_tf did not write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.data import DATASETS
from clustr_tf.data.image_folder import image_folder
from clustr_tf.run.errors import InputError, first_line

_KERAS_FILES = (".keras", ".h5", ".hdf5")
_ARRAYS = (("images", "labels"), ("x_test", "y_test"))


def load_foreign_model(path: Path) -> Callable[..., Any]:
    """A model that maps a batch of images to one row of numbers an image.

    Args:
        path: a Keras file, or the folder of a SavedModel: its `log_scores`, if it has such a
            function, else its signature `serving_default`, with one input and one output.

    Returns:
        A Keras model, or a function.

    Raises:
        InputError: in one line, if it is neither or cannot be read.

    Example:
        >>> load_foreign_model(Path("model.keras"))
    """
    try:
        if path.suffix in _KERAS_FILES and path.is_file():
            return keras.models.load_model(path, compile=False)
        loaded = tf.saved_model.load(str(path)) if (path / "saved_model.pb").is_file() else None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"--model={path} cannot be read: {first_line(error)}") from error
    if loaded is None:
        raise InputError(
            f"--model must be a file ({', '.join(_KERAS_FILES)}) or the folder of a SavedModel. "
            f"Received: {path}"
        )
    return _saved_function(loaded, path)


def _saved_function(loaded: Any, path: Path) -> Callable[[tf.Tensor], tf.Tensor]:
    if hasattr(loaded, "log_scores"):
        # The variables live as long as what was loaded does.
        return lambda images: loaded.log_scores(images)
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise InputError(f"--model={path} has neither log_scores nor a signature serving_default")
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"--model={path}: serving_default must have one input and one output. Received: "
            f"{sorted(inputs)} and {sorted(outputs)}"
        )
    (name,) = inputs
    return lambda images: next(
        iter(loaded.signatures["serving_default"](**{name: images}).values())
    )


def load_examples(data: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images of some data.

    Args:
        data: a name of `DATASETS`, a folder or archive as `image_folder` takes it, or an .npz file
            with `images` and `labels`, or `x_test` and `y_test`.
        count: at most so many.

    Returns:
        Images as stored, and their labels.

    Raises:
        InputError: in one line, if there is no such data or it cannot be read.

    Example:
        >>> load_examples("digits", 100)[0].shape  # (100, 8, 8, 1)
    """
    if not data.endswith(".npz"):
        dataset = DATASETS[data]() if data in DATASETS else image_folder(data)
        return dataset.test_images[:count], dataset.test_labels[:count]
    try:
        with np.load(data, allow_pickle=False) as arrays:
            for names in _ARRAYS:
                if set(names) <= set(arrays.files):
                    images, labels = (arrays[name][:count] for name in names)
                    return images, labels
            found = sorted(arrays.files)
    except (OSError, ValueError) as error:
        raise InputError(f"--data={data} cannot be read: {first_line(error)}") from error
    raise InputError(f"--data={data} must hold images and labels. Received: {found}")
