"""Plain ClusTR on your own images: a folder or an archive, see docs/data.md.

Source: the method of Alfarra et al., arXiv 2006.07682; the hyper-parameters are ours, those of the
digits, and a starting point only. Cost: depends on the images; 60,000 of 28x28 pixels load in
about 12 s on 2 CPU cores. Fewer than seven classes need a smaller M, or a larger K.

    python -m clustr_tf.train --config=configs/image_folder.py --config.dataset.data_dir=mine.tar.xz
"""

import ml_collections

from configs import digits


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = digits.get_config()
    config.dataset.name = "image_folder"  # train/CLASS/*.png and test/CLASS/*.png, or .jpg
    config.dataset.validation_examples = 0  # training images held out, never trained on
    config.evaluation.examples = 1000
    config.evaluation.batch_size = 250
    return config
