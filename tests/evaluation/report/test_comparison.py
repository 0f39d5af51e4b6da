"""Order of evaluations, and whether they can be compared."""

from pathlib import Path

from clustr_tf.evaluation.report import Evaluation
from clustr_tf.evaluation.report.comparison import by_norm, differing_conditions, ranking


def _evaluation(accuracy, **changes):
    figures = {"data": "digits", "examples": 10, "norm": "linf", "eps": 0.1, "attacks": {"pgd": {}}}
    return Evaluation(Path(), {**figures, "worst_case_accuracy": accuracy, **changes}, {})


def test_the_highest_worst_case_comes_first_and_unknown_last():
    unknown, weak, broken, robust = map(_evaluation, (None, 0.1, 0.0, 0.9))
    assert ranking([unknown, weak, broken, robust]) == [robust, weak, broken, unknown]


def test_what_differs_is_named():
    one = _evaluation(0.5)
    assert differing_conditions([one, _evaluation(0.1)]) == []
    other = _evaluation(0.1, eps=0.2, data="cifar10", attacks={"clean": {}})
    assert differing_conditions([one, other]) == ["data", "eps", "attacks"]


def test_norms_are_kept_apart():
    one, two, three = _evaluation(0.5), _evaluation(0.5, norm="l2"), _evaluation(0.1)
    assert by_norm([one, two, three], "abc") == [([one, three], ["a", "c"]), ([two], ["b"])]
