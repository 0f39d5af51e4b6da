"""Writes docs/licences.md: the licences of all packages that requirements.txt brings along.

    .venv/bin/python docs/licences.py

in an environment with nothing but `pip install -r requirements.txt`. What pip-licenses reads is
what each package says of itself.
"""

import json
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
INSTALLERS = ("pip", "setuptools", "wheel")
HEAD = """# Licences of what is installed

clustr_tf is under Apache-2.0. `pip install -r requirements.txt` brings these packages along; none
is part of our wheel. The licences are what the packages say of themselves, written here by
`python docs/licences.py` (pip-licenses).

| package | version | licence |
| --- | --- | --- |
"""


def main() -> None:
    """Writes the page."""
    listing = subprocess.run(
        [sys.executable, "-m", "piplicenses", "--format=json", "--ignore-packages", *INSTALLERS],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [
        f"| {package['Name']} | {package['Version']} | {_short(package['License'])} |\n"
        for package in json.loads(listing.stdout)
    ]
    PAGE.write_text(HEAD + "".join(rows))


def _short(licence: str) -> str:
    """Some packages give the whole text of their licence where its name belongs."""
    return licence.strip().splitlines()[0]


if __name__ == "__main__":
    main()
