"""Fast adversarial training: one step from a random start."""

from clustr_tf.objectives.adversary import build_adversary
from clustr_tf.objectives.pgd_at import AdversarialTraining
from clustr_tf.objectives.settings import ObjectiveSettings

_STEP = 1.25  # of eps


def fast_at(config: ObjectiveSettings) -> AdversarialTraining:
    """CE(x'), x' one sign step of 1.25 eps from a uniformly random start.

    One-step training can collapse within an epoch ("catastrophic overfitting"): the PGD accuracy
    of held-out images is watched while it runs.

    Args:
        config: `step_size` and `steps` override the above.

    Returns:
        The objective.

    Reference:
        Wong et al., "Fast is better than free", arXiv 2001.03994, algorithm 3.
    """
    return AdversarialTraining(build_adversary(config, _STEP, 1))
