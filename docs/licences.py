"""Writes docs/licences.md: the licences of all packages that requirements.txt brings along.

    .venv/bin/python docs/licences.py

in an environment with nothing but
`pip install --require-hashes -r requirements-lock.txt`. What pip-licenses reads is
what each package says of itself.
"""

import json
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
LEFT_OUT = ("pip", "clustr-tf")  # what installs, and what is installed for
HEAD = """# Licences of what is installed

clustr_tf is under Apache-2.0. `pip install -r requirements.txt` brings these packages along, here
in the versions of `requirements-lock.txt`; none is part of our wheel. The licences are what the
packages say of themselves, written here by `python docs/licences.py` (pip-licenses). `pip` itself,
which every environment has, is left out.

- **LGPL**: `easydict` and `nose`, which CleverHans declares that it needs. They are neither changed
  nor copied into our wheel; whoever passes on an environment or an image with them passes on
  their terms, too.
- **MPL-2.0** (`certifi`, `hypothesis`, `pathspec`, in part `tqdm`) is about changes to their own
  files; we make none.
- **UNKNOWN**: `namex`, which Keras needs, names no licence in its metadata; the file in its wheel
  is the notice of Apache-2.0.

| package | version | licence |
| --- | --- | --- |
"""


def main() -> None:
    """Writes the page."""
    listing = subprocess.run(
        [
            *(sys.executable, "-m", "piplicenses", "--format=json"),
            *("--with-system", "--ignore-packages", *LEFT_OUT),
        ],
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
