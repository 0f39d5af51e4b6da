"""Images: data sets, pixels, clusters inside each class, batches."""

from collections.abc import Callable

from clustr_tf.data.augmentation import AUGMENTATIONS
from clustr_tf.data.batches import NeighbourhoodSampler, ShuffledBatches
from clustr_tf.data.dataset import Dataset, hold_out
from clustr_tf.data.digits import digits
from clustr_tf.data.image_folder import image_folder
from clustr_tf.data.image_store import StoredImages
from clustr_tf.data.kmeans import Clusters, cluster_by_class
from clustr_tf.data.npz import npz
from clustr_tf.data.pixels import to_pixels
from clustr_tf.data.tfds_images import cifar10, cifar100, svhn_cropped

# A name in configs -> the function that loads the data; its parameters are the config's fields.
DATASETS: dict[str, Callable[..., Dataset]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
    "image_folder": image_folder,
    "npz": npz,
    "svhn_cropped": svhn_cropped,
}

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Clusters",
    "Dataset",
    "NeighbourhoodSampler",
    "ShuffledBatches",
    "StoredImages",
    "cluster_by_class",
    "hold_out",
    "to_pixels",
]
