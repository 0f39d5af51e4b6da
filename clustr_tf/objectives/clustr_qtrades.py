"""ClusTR-QTRADES: a one-step companion and the cross-entropy to its log-scores."""

from clustr_tf.objectives.adversary import build_adversary
from clustr_tf.objectives.clustr import clustr
from clustr_tf.objectives.clustr_consistency import ClustrConsistency
from clustr_tf.objectives.consistency import CONSISTENCIES
from clustr_tf.objectives.settings import ObjectiveSettings

_LAMBDA = 8.0
_STEP = 1.25  # of eps: 10/255 where eps is 8/255


def clustr_qtrades(config: ObjectiveSettings) -> ClustrConsistency:
    """Magnet loss + 8 * CE(p(x), log-scores(x')), x' one sign step of 1.25 eps from a random start.

    Args:
        config: `consistency`, `consistency_lambda`, `step_size` and `steps` override the above.

    Returns:
        The objective.

    Reference:
        Alfarra et al., arXiv 2006.07682, section 4.2; the official code hands exp-scores to the
        cross-entropy, here they are log-scores.
    """
    return ClustrConsistency(
        clustr(config),
        CONSISTENCIES[config.consistency or "cross_entropy"],
        _LAMBDA if config.consistency_lambda is None else config.consistency_lambda,
        build_adversary(config, _STEP, 1),
    )
