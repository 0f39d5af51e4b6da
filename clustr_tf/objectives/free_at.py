"""Free adversarial training on a dense softmax layer."""

from clustr_tf.objectives.nominal import Nominal
from clustr_tf.objectives.objective import FreeTraining
from clustr_tf.objectives.settings import ObjectiveSettings

_REPLAYS = 4


def free_at(config: ObjectiveSettings) -> Nominal:
    """The cross-entropy of perturbed images, each batch replayed four times.

    Args:
        config: `replays`, `eps` and `warmup` override the above.

    Returns:
        The objective.

    Reference:
        Shafahi et al., arXiv 1904.12843, algorithm 1.
    """
    return Nominal(free=FreeTraining(config.replays or _REPLAYS, config.eps, config.warmup or 0.0))
