"""Clustering-trained image classifiers whose robustness is attacked honestly and certified.

Importing the package makes its layers, losses and models known to Keras, so that
`keras.models.load_model("runs/digits/model.keras")` needs no `custom_objects`. Nothing heavy is
imported until Keras itself is: `python -m clustr_tf.train --help` answers without TensorFlow.
"""

import importlib

import wrapt

__version__ = "0.1.0"

_MODULES_WITH_KERAS_CLASSES = (
    "clustr_tf.layers",
    "clustr_tf.losses",
    "clustr_tf.classifier",
)


@wrapt.when_imported("keras")
def _register_keras_classes(_: object) -> None:
    for module in _MODULES_WITH_KERAS_CLASSES:
        importlib.import_module(module)
