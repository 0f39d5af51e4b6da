"""Free ClusTR: replayed neighbourhoods with a running perturbation."""

from dataclasses import replace

from clustr_tf.objectives.clustr import Clustr, clustr
from clustr_tf.objectives.objective import FreeTraining
from clustr_tf.objectives.settings import ObjectiveSettings

_REPLAYS = 4


def clustr_free(config: ObjectiveSettings) -> Clustr:
    """The magnet loss of perturbed images, each neighbourhood replayed four times.

    The sampler remembers the losses of the last replay; the published code pays one more pass for
    those after it.

    Args:
        config: `replays`, `eps` and `warmup` override the above.

    Returns:
        The objective.

    Reference:
        Alfarra et al., arXiv 2006.07682, section 4.2; Shafahi et al., arXiv 1904.12843.
    """
    free = FreeTraining(config.replays or _REPLAYS, config.eps, config.warmup or 0.0)
    return replace(clustr(config), free=free)
