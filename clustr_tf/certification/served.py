"""The classifier that certificates are about."""

from clustr_tf.certificates import is_reparametrised, plain_network
from clustr_tf.classifier import Classifier


def certified_classifier(classifier: Classifier) -> Classifier:
    """The classifier that certificates are about and that is served.

    A backbone with reparametrised layers becomes the `plain_network` in float64; any other
    classifier is what it is.

    Args:
        classifier: finished.

    Returns:
        A classifier with the same head.

    Example:
        >>> lipschitz_bound(certified_classifier(classifier).embedder)
    """
    if not is_reparametrised(classifier.backbone):
        return classifier
    backbone = plain_network(classifier.backbone)
    return Classifier(backbone, classifier.head, classifier.mean, classifier.std, name="certified")
