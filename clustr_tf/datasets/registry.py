"""The data sets by name."""

from collections.abc import Callable
from dataclasses import dataclass

from clustr_tf.datasets.augmentation import AUGMENTATIONS
from clustr_tf.datasets.cifar10 import cifar10
from clustr_tf.datasets.dataset import Dataset
from clustr_tf.datasets.digits import digits

DATASETS: dict[str, Callable[[str | None], Dataset]] = {
    "digits": digits,
    "cifar10": cifar10,
}


@dataclass(frozen=True)
class DatasetConfig:
    """Which data and how training images are augmented.

    Raises:
        ValueError: if a name is not registered.
    """

    name: str  # a key of DATASETS
    augmentation: str = "none"  # a key of AUGMENTATIONS
    data_dir: str | None = None  # where the data lie; None: the data set's default

    def __post_init__(self) -> None:
        if self.name not in DATASETS:
            raise ValueError(f"name must be one of {sorted(DATASETS)}. Received: {self.name!r}")
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(
                f"augmentation must be one of {sorted(AUGMENTATIONS)}. "
                f"Received: {self.augmentation!r}"
            )


def load_dataset(config: DatasetConfig) -> Dataset:
    """Loads the configured data set into memory.

    Args:
        config: which one, and where it lies.

    Returns:
        The data set.

    Raises:
        InputError: if the data cannot be had.

    Example:
        >>> load_dataset(DatasetConfig(name="digits")).image_shape  # (8, 8, 1)
    """
    return DATASETS[config.name](config.data_dir)
