"""Data sets and augmentation."""

from clustr_tf.datasets.augmentation import AUGMENTATIONS
from clustr_tf.datasets.dataset import Dataset, to_pixels
from clustr_tf.datasets.registry import DATASETS, DatasetConfig, load_dataset

__all__ = ["AUGMENTATIONS", "DATASETS", "Dataset", "DatasetConfig", "load_dataset", "to_pixels"]
