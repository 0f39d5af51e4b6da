"""A trial as the search sees it: a process, and what came of it."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from clustr_tf.run.errors import InputError
from clustr_tf.run.files import write_json
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.callbacks.record import Row, chosen_row, read_metrics


@dataclass(frozen=True)
class Outcome:
    """What a trial found.

    Attributes:
        row: of metrics.csv, of the epoch that became the model; None if the trial failed.
        error: one line on why it failed; None if it did not.
        seconds: of all its sessions' epochs; of this session alone if it failed.
        peak_mebibytes: the most memory that its last process had.
        search_mebibytes: the most that the search itself had until then.
    """

    row: Row | None
    error: str | None
    seconds: float
    peak_mebibytes: float
    search_mebibytes: float


class Trials:
    """The trials' workdirs, one folder each.

    Args:
        folder: of all of them.
        resolve: what is drawn, by dotted name -> all fields of the trial's config, or InputError.

    Example:
        >>> trials = Trials(Path("runs/search/trials"), request.resolved)
        >>> trials.run("03", {"method.name": "pgd_at"}).row["validation/pgd_accuracy"]
    """

    def __init__(self, folder: Path, resolve: Callable[[Mapping[str, Any]], dict[str, Any]]):
        self._folder, self._resolve = folder, resolve

    def workdir(self, trial_id: str) -> Path:
        """The folder of one trial."""
        return self._folder / trial_id

    def outcome(self, trial_id: str) -> Outcome | None:
        """What a finished trial found; None of one that has not finished."""
        path = self._result(trial_id)
        return Outcome(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def run(self, trial_id: str, drawn: Mapping[str, Any]) -> Outcome:
        """Trains in a process of its own, from the trial's newest checkpoint if there is one.

        Args:
            trial_id: names the folder.
            drawn: values by dotted name.

        Returns:
            The outcome, written beside the trial's files too.

        Raises:
            RunError: if the folder cannot be written.
            KeyboardInterrupt: after Ctrl-C; the trial's state is saved before.
        """
        workdir, begin = Workdir(self.workdir(trial_id)), time.perf_counter()
        try:
            config = self._resolve(drawn)
        except InputError as error:
            outcome = Outcome(None, str(error), 0.0, 0.0, _own_peak())
        else:
            with workdir.writing():
                write_json(workdir.config, config)
            error_line, peak = _trained(workdir.root)
            if error_line is None:
                history = read_metrics(workdir.metrics)
                row = chosen_row(history, config["training"]["checkpoint"])
                seconds = sum(row.get("seconds", 0.0) for row in history)
                outcome = Outcome(row, None, seconds, peak, _own_peak())
            else:
                seconds = time.perf_counter() - begin
                outcome = Outcome(None, error_line, seconds, peak, _own_peak())
        with workdir.writing():
            write_json(self._result(trial_id), asdict(outcome))
        return outcome

    def _result(self, trial_id: str) -> Path:
        return self.workdir(trial_id) / "result.json"


def _trained(root: Path) -> tuple[str | None, float]:
    """Runs the process; gives why it failed, None if it did not, and its peak memory in MiB."""
    log, module = root / "log.txt", "clustr_tf.tune.trial_process"
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            # Whoever gave the search its config trusts the plug-ins that this names.
            [sys.executable, "-m", module, f"--workdir={root}", "--trust_plugins"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            # Ctrl-C and the like: closing its standard input asks the process to save and leave.
            process.communicate()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss / 1024
    assert process.stdin is not None
    process.stdin.close()
    if process.returncode == 0:
        return None, peak
    if process.returncode < 0:  # as by the kernel, when memory runs out
        return f"the process was ended by signal {-process.returncode}", peak
    return _last_line(log), peak


def _own_peak() -> float:
    """Of this process, in MiB; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _last_line(log: Path) -> str:
    """The last line that a process said, without "error: " before it."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1].removeprefix("error: ") if said else ""


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
