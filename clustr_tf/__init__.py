"""Clustering-trained image classifiers whose robustness is attacked honestly and certified.

Importing the package makes its layers, losses and models known to Keras, so that
`keras.models.load_model("runs/digits/model.keras")` needs no `custom_objects`. Nothing heavy is
imported until Keras itself or a name is asked for: `--help` answers without TensorFlow.
"""

import importlib

import lazy_loader
import wrapt

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "attacks",
        "backbones",
        "certify",
        "data",
        "evaluate",
        "layers",
        "losses",
        "methods",
        "serve",
        "train",
        "tune",
    ],
    submod_attrs={
        "certify.certifier": ["certified_radii"],
        "classifier": ["Classifier", "load_model"],
        "evaluate.any_model": ["evaluate_robustness"],
    },
)


@wrapt.when_imported("keras")
def _register_keras_classes(_: object) -> None:
    for room in ("layers", "losses", "classifier"):
        importlib.import_module(f"{__name__}.{room}")
