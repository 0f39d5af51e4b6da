"""Imports only go down the floors of clustr_tf/floors.bzl, and BUILD files say what is imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import clustr_tf

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clustr_tf"
OURS = ("benchmarks", "clustr_tf", "configs", "export", "tests")
# The rooms above its own that a file imports all the same, inside a function.
UPWARD = {"clustr_tf/classifier.py": {"train"}}
# Import name -> name on PyPI where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "art": "adversarial-robustness-toolbox",
    "google": "protobuf",
    "grpc": "grpcio",
    "keras_tuner": "keras-tuner",
    "markdown_it": "markdown-it-py",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_serving": "tensorflow-serving-api",
    "yaml": "pyyaml",
}


def _value(node):
    """A literal; of glob(patterns) and requirement(name) their argument."""
    if isinstance(node, ast.Call):
        return _value(node.args[0])
    return [_value(item) for item in node.elts] if isinstance(node, ast.List) else node.value


def _rules(build):
    """The calls of a BUILD file, which is nearly Python, with their arguments."""
    for node in ast.parse(build.read_text()).body:
        if isinstance(node.value, ast.Call):
            keywords = {item.arg: _value(item.value) for item in node.value.keywords}
            yield node.value.func.id, keywords


def _constants(path):
    """The public ones of a .bzl file."""
    assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    names = {node.targets[0].id: node.value for node in assigned}
    return {name: _value(value) for name, value in names.items() if name[0] != "_"}


BUILDS = [ROOT / "BUILD", *(path for top in OURS for path in sorted((ROOT / top).rglob("BUILD")))]
TARGETS = {
    f"//{build.parent.relative_to(ROOT)}:{arguments['name']}": (build.parent, rule, arguments)
    for build in BUILDS
    for rule, arguments in _rules(build)
    if "deps" in arguments
}
FLOORS, ENTRY_POINTS = _constants(PACKAGE / "floors.bzl").values()
DEPTH = {room: depth for depth, floor in enumerate(FLOORS) for room in floor}


def _sources(folder, rule, arguments):
    """The files that a target names; or all of its folder that no other target names."""
    for pattern in arguments.get("srcs", [] if rule == "command" else ["**/*.py"]):
        if pattern.startswith("//"):
            yield ROOT / pattern.removeprefix("//").replace(":", "/")
        elif "*" not in pattern:
            yield folder / pattern
        else:
            files = [path for path in folder.glob(pattern) if path.name not in ENTRY_POINTS]
            yield from (path for path in files if _home(path) == folder)


def _name(path):
    return str(path.relative_to(ROOT))


def _home(path):
    return next(folder for folder in path.parents if (folder / "BUILD").exists())


def _imports(tree):
    """Names of modules, and of what is taken from packages of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports by dots"
            from_ours = node.module.partition(".")[0] in OURS
            taken = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from taken if from_ours else [node.module]


def _is_standard(module):
    return module.partition(".")[0] in sys.stdlib_module_names


def _rooms(tree):
    names = [name.split(".") for name in _imports(tree)]
    return {name[1] for name in names if name[0] == "clustr_tf" and name[1] in DEPTH}


def _label(module):
    """What a BUILD file calls a module: a label, or the name of a distribution."""
    top, *names = module.split(".")
    if top not in OURS:
        return DISTRIBUTIONS.get(top, top)
    if top == "clustr_tf" and names and names[0] in (*DEPTH, "configs"):
        if names[0] == "classifier":
            return "//clustr_tf:classifier"
        return "//clustr_tf/" + "/".join(names[: 2 if names[1:2] == ["commands"] else 1])
    if top == "tests":
        is_folder = (ROOT / top / names[0]).is_dir()
        return f"//tests/{names[0]}:helpers" if is_folder else f"//tests:{names[0]}"
    return f"//{top}"


@pytest.mark.parametrize("room", DEPTH)
def test_imports_only_go_down(room):
    files = [PACKAGE / f"{room}.py"] if room == "classifier" else (PACKAGE / room).rglob("*.py")
    for path in files:
        if path.name in ENTRY_POINTS or path.parent.name == "commands":
            continue
        tree, name = ast.parse(path.read_text()), _name(path)
        upward = {other for other in _rooms(tree) - {room} if DEPTH[other] <= DEPTH[room]}
        assert upward == UPWARD.get(name, set()), name
        eager = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not upward & _rooms(ast.Module(eager, [])), f"{name} must import {upward} lazily"


def test_every_file_is_part_of_a_target():
    files = {path for top in OURS for path in (ROOT / top).rglob("*.py")}
    assert files == {path for target in TARGETS.values() for path in _sources(*target)}


def test_every_room_is_a_target_and_has_a_floor():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"configs"}
    targets = [arguments["name"] for _, rule, arguments in TARGETS.values() if rule == "room"]
    assert sorted(targets) == sorted(DEPTH) == sorted(folders | {"classifier"})


def wanted(target):
    """What a target has to depend on: what its files import beside each other."""
    folder, rule, arguments = TARGETS[target]
    package = f"//{folder.relative_to(ROOT)}"
    own = {package, f"{package}:{arguments['name']}", f"{package}:helpers"}
    if package == "//configs":
        own.add("//clustr_tf/configs")  # by its other name
    modules = {arguments["module"]} if rule == "command" else set()
    for path in _sources(folder, rule, arguments):
        modules.update(_imports(ast.parse(path.read_text())))
        own.update(_label(f"clustr_tf.{room}") for room in UPWARD.get(_name(path), ()))
    return {_label(name) for name in modules if not _is_standard(name)} - own


@pytest.mark.parametrize("target", sorted(TARGETS.keys() - {"//clustr_tf:clustr_tf"}))
def test_targets_have_what_their_files_import(target):
    assert set(TARGETS[target][2]["deps"]) == wanted(target)


def test_the_package_has_what_its_public_names_need():
    rooms = {*dir(clustr_tf), "classifier"} & DEPTH.keys()
    labels = {_label(f"clustr_tf.{room}") for room in rooms}
    assert set(TARGETS["//clustr_tf:clustr_tf"][2]["deps"]) == labels | {"lazy_loader", "wrapt"}


@pytest.mark.parametrize("target", [name for name in TARGETS if TARGETS[name][1] == "room_tests"])
def test_slow_tests_are_told_apart(target):
    texts = [path.read_text() for path in _sources(*TARGETS[target])]
    marked = re.compile(r"^(@|pytestmark = )pytest\.mark\.slow", re.MULTILINE)
    assert TARGETS[target][2].get("slow", False) == any(map(marked.search, texts))


def test_commands_are_those_that_pip_installs():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    commands = [arguments for _, rule, arguments in TARGETS.values() if rule == "command"]
    assert {item["name"]: f"{item['module']}:cli" for item in commands} == scripts
