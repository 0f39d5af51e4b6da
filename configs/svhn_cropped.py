"""ClusTR on SVHN with ResNet-18 and the hyper-parameters of the official code.

Source: Alfarra et al., arXiv 2006.07682, and the official PyTorch code, whose defaults are the same
for all data sets (K 2, M 12, D 20, alpha 12.5, L 20 in evaluation, rate / 10 after epochs 30 and
60, 90 epochs), but for k-means: 10 starts and 40 iterations here. Adam 1e-4 and L 10 in training
are those of our CIFAR-10 config. Data: SVHN through TensorFlow Datasets (fetched once, 1.5 GiB).
Cost: made for a GPU; not run to the end by us.

    python -m clustr_tf.train --config=configs/svhn_cropped.py --workdir=runs/svhn_cropped
"""

import ml_collections

from clustr_tf.configs import cifar10


def get_config() -> ml_collections.ConfigDict:
    """The settings; every field can be overridden as --config.section.field=value."""
    config = cifar10.get_config()
    config.dataset.name = "svhn_cropped"  # 73,257 training and 26,032 test images of 32x32x3
    config.dataset.augmentation = "none"  # the published choice: house numbers are not mirrored
    config.clustering.kmeans_starts = 10
    config.clustering.kmeans_iterations = 40
    return config
