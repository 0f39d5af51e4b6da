"""An installation, of a wheel or editable, puts clustr_tf into site-packages and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
OUTSIDE = ("configs", "export", "benchmarks", "tests")  # beside the package
PIP_WHEEL = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet")
PIP_INSTALL = ("-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--quiet")


class Environment:
    """A virtual environment that borrows all packages of this one, but not this clone."""

    def __init__(self, folder):
        venv.create(folder)
        self.bin = folder / "bin"
        (self.site_packages,) = folder.glob("lib/python*/site-packages")
        borrowed = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        (self.site_packages / "borrowed.pth").write_text("\n".join(borrowed))

    def install(self, *what):
        self.run("python", *PIP_INSTALL, "--ignore-installed", *what)

    def run(self, program, *arguments, **environment):
        """Runs a program of the environment in its folder, which is no clone."""
        inherited = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        return subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.bin,
            env=inherited | environment,
            capture_output=True,
            text=True,
            check=True,
        )

    def origins(self, *modules):
        """Where modules would be imported from, None for those that are not there."""
        code = (
            "import sys, importlib.util\n"
            "for name in sys.argv[1:]:\n"
            "    spec = importlib.util.find_spec(name)\n"
            "    print(spec and (spec.origin or list(spec.submodule_search_locations)[0]))"
        )
        lines = self.run("python", "-c", code, *modules).stdout.splitlines()
        return [None if line == "None" else Path(line).resolve() for line in lines]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What is in the repository, as far as setuptools looks at it."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    for name in ("clustr_tf", *OUTSIDE):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, clone / name, symlinks=True, ignore=ignored)
    return clone


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory):
    """The wheel of the sdist: what is missing in either is missing here."""
    folder = tmp_path_factory.mktemp("dist")
    call = f"import setuptools.build_meta as backend; backend.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", call], cwd=clone, capture_output=True, check=True)
    (sdist,) = folder.glob("*.tar.gz")
    subprocess.run([sys.executable, *PIP_WHEEL, f"--wheel-dir={folder}", sdist], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel."""
    environment = Environment(tmp_path_factory.mktemp("installed"))
    environment.install(wheel)
    return environment


@pytest.fixture(scope="module")
def editable(clone, tmp_path_factory):
    """An environment with `pip install -e`."""
    environment = Environment(tmp_path_factory.mktemp("editable"))
    environment.install("--editable", clone)
    return environment


def test_the_wheel_has_the_package_with_its_configs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = [name for name in archive.namelist() if ".dist-info/" not in name]
    package = ROOT / "clustr_tf"
    folders = [package, *(path for path in package.rglob("*") if path.is_dir())]
    files = {path for folder in folders for path in folder.iterdir() if path.is_file()}
    for_others = {path for path in files if path.name == "BUILD" or path.suffix in (".bzl", ".pyc")}
    names = {path.relative_to(ROOT).as_posix() for path in files - for_others}
    assert {"clustr_tf/configs/digits.py", "clustr_tf/serve/templates/MODEL_CARD.md"} <= names
    assert set(packed) == names


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_explain_themselves_without_tensorflow(installed, command):
    answer = installed.run(command, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert f"{command}:" in answer.stdout
    imported = set(re.findall(r"\| +([\w.]+)$", answer.stderr, re.MULTILINE))
    assert COMMANDS[command].partition(":")[0] in imported
    assert not imported & {"tensorflow", "keras"}


def test_the_wheel_is_imported_from_where_it_is_installed(installed):
    package, config = installed.origins("clustr_tf", "clustr_tf.configs.digits")
    home = installed.site_packages.resolve() / "clustr_tf"
    assert (package, config) == (home / "__init__.py", home / "configs" / "digits.py")
    top = {path.name for path in installed.site_packages.iterdir()} - {"borrowed.pth"}
    assert {name for name in top if not name.endswith(".dist-info")} == {"clustr_tf"}


def test_an_editable_installation_is_the_package_of_the_clone_alone(editable, clone):
    package, config, *others = editable.origins("clustr_tf", "clustr_tf.configs.digits", *OUTSIDE)
    assert package == clone.resolve() / "clustr_tf" / "__init__.py"
    assert config == clone.resolve() / "configs" / "digits.py"
    assert not [path for path in others if path and clone.resolve() in path.parents]
    assert "clustr-train:" in editable.run("clustr-train", "--help").stdout


def test_hashed_pins_are_the_pins():
    pins = {line.split("#")[0].strip() for line in _lines("requirements.txt")} - {""}
    locked = {line.split()[0] for line in _lines("requirements-lock.txt") if "==" in line}
    plain = {pin.lower().replace("_", "-") for pin in pins}
    assert plain <= {pin.lower().replace("_", "-") for pin in locked}
    text = (ROOT / "requirements-lock.txt").read_text()
    assert text.count("--hash=sha256:") >= len(locked)


def _lines(name):
    return (ROOT / name).read_text().splitlines()
