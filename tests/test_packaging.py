"""The wheel holds everything that the commands need, outside the clone."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("clustr_tf", "export", "configs")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder with what a wheel of this tree installs."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, f"--wheel-dir={source}", str(source)], check=True)
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_every_file_but_those_of_bazel_is_installed(unpacked):
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    needed = [path.relative_to(ROOT) for path in files if "__pycache__" not in path.parts]
    missing = [path for path in needed if path.name != "BUILD" and not (unpacked / path).exists()]
    assert needed
    assert not missing


@pytest.mark.parametrize(
    "target",
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values(),
)
def test_console_commands_answer_from_there(unpacked, tmp_path, target):
    module, function = target.split(":")
    call = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); sys.argv = ['command', '--help']; "
        f"import {module} as command; assert command.__file__.startswith({str(unpacked)!r}); "
        f"command.{function}()"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", call], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "USAGE: command" in answer.stdout


def test_hashed_pins_are_the_pins():
    pins = {line.split("#")[0].strip() for line in _lines("requirements.txt")} - {""}
    locked = {line.split()[0] for line in _lines("requirements-lock.txt") if "==" in line}
    plain = {pin.lower().replace("_", "-") for pin in pins}
    assert plain <= {pin.lower().replace("_", "-") for pin in locked}
    text = (ROOT / "requirements-lock.txt").read_text()
    assert text.count("--hash=sha256:") >= len(locked)


def _lines(name):
    return (ROOT / name).read_text().splitlines()
