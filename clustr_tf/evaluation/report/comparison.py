"""Several evaluations side by side: their order, and whether they can be compared at all."""

from collections.abc import Sequence

from clustr_tf.evaluation.report.reading import Evaluation

_CONDITIONS = ("data", "examples", "norm", "eps")


def ranking(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations by worst-case accuracy, the best first and the unattacked ones last.

    Args:
        evaluations: in any order.

    Returns:
        The same, sorted; equals keep their order.

    Example:
        >>> ranking([weak, robust])  # [robust, weak]
    """

    def worst_case(evaluation: Evaluation) -> float:
        accuracy = evaluation.get("worst_case_accuracy")
        return -1.0 if accuracy is None else float(accuracy)

    return sorted(evaluations, key=worst_case, reverse=True)


def differing_conditions(evaluations: Sequence[Evaluation]) -> list[str]:
    """What was not the same for all; a ranking over it means little.

    Args:
        evaluations: at least one.

    Returns:
        Names of entries of robustness.json, and "attacks" if not all met the same ones.

    Example:
        >>> differing_conditions([at_8_255, at_16_255])  # ["eps"]
    """
    found = [
        name
        for name in _CONDITIONS
        if len({evaluation.figures[name] for evaluation in evaluations}) > 1
    ]
    if len({tuple(evaluation.figures["attacks"]) for evaluation in evaluations}) > 1:
        found.append("attacks")
    return found


def by_norm(
    evaluations: Sequence[Evaluation], names: Sequence[str]
) -> list[tuple[list[Evaluation], list[str]]]:
    """The evaluations of each norm with their names: radii of two norms share no axis.

    Args:
        evaluations: in any order.
        names: one for each.

    Returns:
        One pair a norm.
    """
    norms = dict.fromkeys(evaluation.figures["norm"] for evaluation in evaluations)
    pairs = list(zip(evaluations, names, strict=True))
    groups = [[pair for pair in pairs if pair[0].figures["norm"] == norm] for norm in norms]
    return [([pair[0] for pair in group], [pair[1] for pair in group]) for group in groups]
