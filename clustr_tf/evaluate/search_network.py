"""The network in which attacks search, where it is not the one that is attacked."""

import keras

from clustr_tf.classifier import Classifier


def in_precision(classifier: Classifier, precision: str) -> Classifier:
    """The same weights in a backbone of another precision; the head stays as it is.

    Args:
        classifier: of any backbone whose layers can be made from their configs.
        precision: a Keras dtype policy.

    Returns:
        Another classifier; it shares the head.

    Example:
        >>> in_precision(classifier, "mixed_bfloat16")
    """

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": precision})

    backbone = keras.models.clone_model(classifier.backbone, clone_function=convert)
    backbone.set_weights(classifier.backbone.get_weights())
    return Classifier(backbone, classifier.head, classifier.mean, classifier.std)
