"""Where figures come from: versions and the revision of the code."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("clustr-tf", "tensorflow", "keras", "numpy", "scikit-learn", "cleverhans")


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that decide figures; None if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_revision() -> str | None:
    """The checked-out revision of this code, None outside a git checkout."""
    try:
        finished = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return finished.stdout.strip() or None
