"""A trial that has ended, in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from clustr_tf.tuning.trials import Outcome


@dataclass(frozen=True)
class Finished:
    """A trial that has ended.

    Attributes:
        trial_id: names its folder.
        values: of the fields that were drawn, by dotted name.
        score: the objective; None if the trial failed.
        outcome: what else is known of it.
    """

    trial_id: str
    values: Mapping[str, Any]
    score: float | None
    outcome: Outcome


def ranked(trials: Iterable[Finished]) -> list[Finished]:
    """The trials that succeeded, the best one first; of equals the one that began first."""
    scored = [(trial.score, trial) for trial in trials if trial.score is not None]
    return [trial for _, trial in sorted(scored, key=itemgetter(0), reverse=True)]


def settings_text(values: Mapping[str, Any]) -> str:
    """The drawn values on one line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def trial_line(trial: Finished, objective: str) -> str:
    """What the terminal is told when a trial ends.

    Args:
        trial: the trial.
        objective: its name.

    Returns:
        One line.
    """
    outcome = trial.outcome
    found = f"failed: {outcome.error}" if trial.score is None else f"{objective} {trial.score:.4f}"
    return (
        f"trial {trial.trial_id}: {found} ({settings_text(trial.values)}; "
        f"{outcome.seconds:.0f} s, {outcome.peak_mebibytes:.0f} MiB)"
    )
