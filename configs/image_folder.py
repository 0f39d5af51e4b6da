"""Your own images, a folder or an archive (docs/data.md): clusters trained under attack.

Variants: `default` is the variant `at` of configs/digits.py, with the radius that is usual for
photographs and with three steps of the adversary, which do not collapse unnoticed as one may where
no images are held out to watch; `certified` is trained on interval bounds, for a certificate at a
quarter of that radius. The hyper-parameters are ours and a starting point only: hold images out
(`dataset.validation_examples`), choose by them (`training.checkpoint=best_pgd`), search. Cost:
depends on the images; 60,000 of 28x28 pixels load in about 12 s on 2 CPU cores.

    python -m clustr_tf.train --config=configs/image_folder.py --config.dataset.data_dir=mine.tar.xz
    python -m clustr_tf.train --config=configs/image_folder.py:certified \
        --config.dataset.data_dir=mine.tar.xz
"""

import ml_collections

from clustr_tf.configs import digits

_VARIANTS = ("default", "certified")
_EPS = 8 / 255  # in pixels
_CERTIFIED_EPS = 2 / 255  # larger boxes prove nothing of photographs


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """The settings of a variant; a field is overridden as --config.section.field=value."""
    if variant not in _VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}. Received: {variant!r}")
    certified = variant == "certified"
    eps = _CERTIFIED_EPS if certified else _EPS
    config = digits.get_config("default" if certified else "at")
    config.dataset.name = "image_folder"  # train/CLASS/... and test/CLASS/..., or CLASS/...
    config.dataset.validation_examples = 0  # training images held out, never trained on
    config.training.checkpoint = "last"  # best_pgd would need images held out
    config.method.eps = eps  # what is trained against
    if certified:
        config.training.epochs = 40
        config.training.steps_per_epoch = None  # as many as the images have batches
        config.watch.certified_linf = eps  # certified accuracy every epoch, by interval bounds
    else:
        config.method.steps = 3  # of the adversary
        config.method.step_size = eps / 2
        config.clustering.temperature = 10.0  # with 100 photographs begin slowly: docs/results.md
    for section in (config.watch, config.evaluation):
        section.attack.eps = eps
        section.attack.step_size = eps / 4
    config.evaluation.examples = 1000
    config.evaluation.batch_size = 250
    return config
