"""The data sets by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from clustr_tf.datasets.augmentation import AUGMENTATIONS
from clustr_tf.datasets.dataset import Dataset
from clustr_tf.datasets.digits import digits
from clustr_tf.datasets.image_folder import image_folder
from clustr_tf.datasets.tfds_images import TFDS_IMAGES, tfds_images
from clustr_tf.datasets.validation import hold_out

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    **{name: partial(tfds_images, name) for name in TFDS_IMAGES},
    "image_folder": image_folder,
}


@dataclass(frozen=True)
class DatasetConfig:
    """Which data, how training images are augmented, and how many are held out.

    Raises:
        ValueError: if a name is not registered or a number is out of its range.
    """

    name: str  # a key of DATASETS
    augmentation: str = "none"  # a key of AUGMENTATIONS
    data_dir: str | None = None  # where the data lie; None: the data set's default
    validation_examples: int = 0  # training images held out, stratified, never trained on
    validation_seed: int = 0  # decides which are held out
    image_size: tuple[int, int] | None = None  # image_folder: (height, width) to resize to

    def __post_init__(self) -> None:
        if self.name not in DATASETS:
            raise ValueError(f"name must be one of {sorted(DATASETS)}. Received: {self.name!r}")
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(
                f"augmentation must be one of {sorted(AUGMENTATIONS)}. "
                f"Received: {self.augmentation!r}"
            )
        if self.validation_examples < 0:
            raise ValueError(
                f"validation_examples must be at least 0. Received: {self.validation_examples}"
            )
        if not 0 <= self.validation_seed < 2**32:
            raise ValueError(
                f"validation_seed must be in 0..2**32-1. Received: {self.validation_seed}"
            )
        if self.image_size is not None:
            if self.name != "image_folder":
                raise ValueError(
                    f"image_size must be None for {self.name}: only image_folder resizes. "
                    f"Received: {self.image_size}"
                )
            if len(self.image_size) != 2 or min(self.image_size) < 1:
                raise ValueError(
                    "image_size must be (height, width), each at least 1 pixel. "
                    f"Received: {self.image_size}"
                )


def load_dataset(config: DatasetConfig) -> Dataset:
    """Loads the configured data set into memory and holds out its validation split.

    Args:
        config: which one, where it lies, and how many images are held out.

    Returns:
        The data set.

    Raises:
        InputError: if the data cannot be had, or not so many images held out.

    Example:
        >>> load_dataset(DatasetConfig(name="digits")).image_shape  # (8, 8, 1)
    """
    options = {} if config.image_size is None else {"image_size": config.image_size}
    dataset = DATASETS[config.name](config.data_dir, **options)
    return hold_out(dataset, config.validation_examples, config.validation_seed)
