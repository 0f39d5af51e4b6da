"""A trial as the search sees it: a process, and what came of it."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clustr_tf.errors import InputError
from clustr_tf.experiment import read_experiment
from clustr_tf.files import write_json
from clustr_tf.sections import section_values
from clustr_tf.training.metrics import Row, chosen_row, read_metrics
from clustr_tf.workdir import Workdir


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

    Example:
        >>> Trials(Path("runs/search/trials")).run("03", config).row["pgd_accuracy"]
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def workdir(self, trial_id: str) -> Path:
        """The folder of one trial."""
        return self._folder / trial_id

    def outcome(self, trial_id: str) -> Outcome | None:
        """What a finished trial found; None of one that has not finished."""
        path = self._result(trial_id)
        return Outcome(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def run(self, trial_id: str, config: dict[str, Any]) -> Outcome:
        """Trains in a process of its own, from the trial's newest checkpoint if there is one.

        Args:
            trial_id: names the folder.
            config: the whole config, without `search`.

        Returns:
            The outcome, written beside the trial's files too.

        Raises:
            RunError: if the folder cannot be written.
            KeyboardInterrupt: after Ctrl-C; the trial's state is saved before.
        """
        workdir, begin = Workdir(self.workdir(trial_id)), time.perf_counter()
        try:
            experiment = read_experiment(config)
        except InputError as error:
            outcome = Outcome(None, str(error), 0.0, 0.0, _own_peak())
        else:
            with workdir.writing():
                write_json(workdir.config, section_values(experiment))
            error_line, peak = _trained(workdir.root)
            if error_line is None:
                history = read_metrics(workdir.metrics)
                row = chosen_row(history, experiment.training.checkpoint)
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
    log = root / "log.txt"
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "clustr_tf.tuning.trial_process", f"--workdir={root}"],
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
