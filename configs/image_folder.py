"""Your own images, a folder or an archive (docs/data.md): clusters trained under attack.

Source: the `default` of configs/digits.py, with the radius that is usual for photographs and with
three steps of the adversary, which do not collapse unnoticed as one may where no images are held
out to watch. The hyper-parameters are ours and a starting point only: hold images out
(`dataset.validation_examples`), choose by them (`training.checkpoint=best_pgd`), search. Cost:
depends on the images; 60,000 of 28x28 pixels load in about 12 s on 2 CPU cores.

    python -m clustr_tf.train --config=configs/image_folder.py --config.dataset.data_dir=mine.tar.xz
"""

import ml_collections

from clustr_tf.configs import digits

_EPS = 8 / 255  # in pixels


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = digits.get_config()
    config.dataset.name = "image_folder"  # train/CLASS/*.png and test/CLASS/*.png, or .jpg
    config.dataset.validation_examples = 0  # training images held out, never trained on
    config.training.checkpoint = "last"  # best_pgd would need images held out
    config.method.eps = _EPS  # what is trained against
    config.method.steps = 3  # of the adversary
    config.method.step_size = _EPS / 2
    config.clustering.temperature = 10.0  # with 100 photographs begin slowly: docs/results.md
    for section in (config.watch, config.evaluation):
        section.attack.eps = _EPS
        section.attack.step_size = _EPS / 4
    config.evaluation.examples = 1000
    config.evaluation.batch_size = 250
    return config
