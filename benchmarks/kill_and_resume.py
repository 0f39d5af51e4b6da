"""Kills a run at random moments with SIGKILL, resumes it, compares with an uninterrupted run.

    python -m benchmarks.kill_and_resume --kills=20
    python -m benchmarks.kill_and_resume --override=training.checkpoint_minutes=1e-6

Weights, optimiser, sampler and metrics.csv have to be equal bit for bit. With plain ClusTR on
digits it takes about ten minutes on 2 CPU cores.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.first_epochs import weights_digest

_ROOT = Path(__file__).parents[1]
_FOLDER = flags.DEFINE_string("folder", "runs/kill_and_resume", "where the two runs go; new")
_KILLS = flags.DEFINE_integer("kills", 20, "how often to kill", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of the moments")
_OVERRIDES = flags.DEFINE_multi_string(
    "override", [], "config overrides, such as training.epochs=10"
)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    overrides = ["training.deterministic=True", *_OVERRIDES.value]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "clustr_tf.train", f"--workdir={folder.resolve()}"),
            "--config=configs/digits.py:plain",
            *(f"--config.{override}" for override in overrides),
        ],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
    )


def _finish(folder: Path) -> None:
    status = _start(folder).wait()
    if status:
        sys.exit(f"the run in {folder} ended with status {status}")


def _newest(folder: Path) -> str:
    """The newest checkpoint's name; the temporary ones of a write under way count as well."""
    names = {path.name.lstrip(".") for path in (folder / "checkpoints").glob("*epoch-*")}
    return max(names, default="none")


def _kill(folder: Path, moments: random.Random) -> str:
    """Kills a session while it starts, or after some checkpoints and a part of a second."""
    process, begin = _start(folder), time.monotonic()
    if moments.random() < 0.25:
        seconds = moments.uniform(0, 10)
    else:
        awaited, newest, seconds = moments.randint(1, 3), _newest(folder), moments.uniform(0, 0.5)
        while awaited and process.poll() is None:
            _wait(process, 0.002)
            if _newest(folder) != newest:
                newest, awaited = _newest(folder), awaited - 1
    _wait(process, seconds)
    if process.poll() is not None:
        sys.exit("the run ended before all kills: give it more epochs or fewer kills")
    process.kill()
    process.wait()
    return f"after {time.monotonic() - begin:5.1f} s, newest checkpoint {_newest(folder)}"


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _differences(one: Path, other: Path) -> list[str]:
    """Names of what is not equal bit for bit."""
    last = _newest(one)
    with (
        np.load(one / "checkpoints" / last, allow_pickle=False) as ours,
        np.load(other / "checkpoints" / last, allow_pickle=False) as theirs,
    ):
        names = sorted(set(ours) | set(theirs))
        differing = [name for name in names if ours[name].tobytes() != theirs[name].tobytes()]
    if (one / "metrics.csv").read_bytes() != (other / "metrics.csv").read_bytes():
        differing.append("metrics.csv")
    if weights_digest(one / "model.keras") != weights_digest(other / "model.keras"):
        differing.append("model.keras")
    return differing


def main(_: list[str]) -> None:
    """Runs what the flags say; status 0 if nothing differs."""
    killed, straight = Path(_FOLDER.value) / "killed", Path(_FOLDER.value) / "straight"
    if killed.exists() or straight.exists():
        sys.exit(f"--folder={_FOLDER.value} has been used before")
    moments = random.Random(_SEED.value)
    for kill in range(1, _KILLS.value + 1):
        print(f"kill {kill:2d} {_kill(killed, moments)}", flush=True)
    _finish(killed)
    _finish(straight)
    differing = _differences(killed, straight)
    rows = len((killed / "metrics.csv").read_text().splitlines()) - 1
    print(f"{_KILLS.value} kills, {rows} rows in metrics.csv, seed {_SEED.value}")
    print(f"different: {', '.join(differing)}" if differing else "equal bit for bit")
    sys.exit(bool(differing))


if __name__ == "__main__":
    app.run(main)
