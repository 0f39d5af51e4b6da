"""ClusTR-TRADES: a companion of ten steps and the KL divergence to it."""

from clustr_tf.objectives.adversary import build_adversary
from clustr_tf.objectives.clustr import clustr
from clustr_tf.objectives.clustr_consistency import ClustrConsistency
from clustr_tf.objectives.consistency import CONSISTENCIES
from clustr_tf.objectives.settings import ObjectiveSettings

_LAMBDA = 8.0
_STEP, _STEPS = 0.25, 10  # of eps: 2/255 where eps is 8/255


def clustr_trades(config: ObjectiveSettings) -> ClustrConsistency:
    """Magnet loss + 8 * KL(p(x) || p(x')), x' after ten sign steps of eps / 4.

    The official code takes steps of 0.03 in standardised units instead: `step_size=0.03` with
    `standardised_steps=True`.

    Args:
        config: `consistency`, `consistency_lambda`, `step_size` and `steps` override the above.

    Returns:
        The objective.

    Reference:
        Alfarra et al., arXiv 2006.07682 ("actual TRADES" of the official code); Zhang et al.,
        arXiv 1901.08573.
    """
    return ClustrConsistency(
        clustr(config),
        CONSISTENCIES[config.consistency or "kl"],
        _LAMBDA if config.consistency_lambda is None else config.consistency_lambda,
        build_adversary(config, _STEP, _STEPS),
    )
