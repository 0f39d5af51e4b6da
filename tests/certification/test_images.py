"""Certified accuracy of given radii, counted by hand."""

import numpy as np

from clustr_tf.certificates import soft_score_proof
from clustr_tf.certification import ProvedRadii


def test_counts_what_is_right_and_proved_that_far():
    """float32(0.7) lies below 0.7 and does not reach it; 0 is no radius; the last one is wrong."""
    proved = ProvedRadii(
        proof=soft_score_proof(None),
        labels=np.array([0, 0, 0, 1]),
        predictions=np.zeros(4, np.int64),
        radius_l2=np.array([0.7, 0.75, 0.0, 0.9], np.float32),
        seconds=0.0,
    )
    assert proved.certified_accuracy(0.7) == 0.25
    assert proved.certified_accuracy(float(np.float32(0.7))) == 0.5
    assert proved.certified_accuracy(0.0) == 0.5
    assert proved.abstentions == 0.25
