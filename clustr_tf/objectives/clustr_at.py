"""Adversarial training of clusters: the cross-entropy of log-scores of attacked images."""

from dataclasses import replace

from clustr_tf.objectives.fast_at import fast_at
from clustr_tf.objectives.pgd_at import AdversarialTraining
from clustr_tf.objectives.settings import ObjectiveSettings


def clustr_at(config: ObjectiveSettings) -> AdversarialTraining:
    """CE(x') + likelihood_lambda NLL(f(x')), x' one sign step of 1.25 eps from a random start.

    The cross-entropy is that of the log-scores, which the adversary ascends; NLL is that of the
    nearest cluster of the label (`nearest_cluster_nll`). With one cluster a class and without NLL
    this is `fast_at` on a layer whose biases belong to its weights.

    Args:
        config: `step_size`, `steps`, `likelihood_lambda` and `centroids` (learned unless it says
            otherwise) override the above.

    Returns:
        The objective.

    Reference:
        Wong et al., arXiv 2001.03994, algorithm 3; Wan et al., arXiv 1803.02988, section 3.2
        (likelihood regularisation).
    """
    return replace(
        fast_at(config),
        centroids=config.centroids or "learned",
        likelihood_lambda=config.likelihood_lambda,
    )
