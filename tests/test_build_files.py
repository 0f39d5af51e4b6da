"""The BUILD files name the files and imports that exist, so that they cannot rot."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("clustr_tf", "export", "configs", "benchmarks", "tests")
FOLDERS = sorted({path.parent for top in PACKAGES for path in (ROOT / top).rglob("*.py")})
# Import name -> name on PyPI where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "art": "adversarial-robustness-toolbox",
    "google": "protobuf",
    "grpc": "grpcio",
    "markdown_it": "markdown-it-py",
    "sklearn": "scikit-learn",
    "keras_tuner": "keras-tuner",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_serving": "tensorflow-serving-api",
    "yaml": "pyyaml",
}


def _targets(folder):
    """BUILD files are a subset of Python: the calls' keyword arguments by target name."""
    tree = ast.parse((folder / "BUILD").read_text())
    calls = [node.value for node in tree.body if isinstance(node, ast.Expr)]
    rules = [call for call in calls if isinstance(call, ast.Call) and call.func.id[:3] == "py_"]
    return [
        (rule.func.id, {keyword.arg: keyword.value for keyword in rule.keywords}) for rule in rules
    ]


def _imported_files(path):
    """Files of this project, and distributions, that a module imports anywhere."""
    files, distributions = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found = [_file_of(name) for name in names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
            found = [_source_of(node.module, alias.name) for alias in node.names]
        else:
            continue
        files.update(file for file in found if file)
        distributions.update(
            DISTRIBUTIONS.get(top, top)
            for top in (name.split(".")[0] for name in names)
            if top not in sys.stdlib_module_names and top not in PACKAGES
        )
    return files - {path}, distributions


def _source_of(module, name):
    """`from package import module` needs the module; a name that the package exports, the package.

    Where both have one name, as `clustr_tf.attacks.pgd`, the export hides the module.
    """
    package = _file_of(module)
    exports = set()
    if package and package.name == "__init__.py":
        exports = {
            alias.asname or alias.name
            for node in ast.parse(package.read_text()).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
    return package if name in exports else _file_of(f"{module}.{name}") or package


def _file_of(module):
    path = ROOT / module.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.exists()), None)


def _label_file(label, folder):
    package, _, name = label.removeprefix("//").partition(":")
    package_folder = folder if label.startswith(":") else ROOT / package
    name = name or package_folder.name
    initial = package_folder / "__init__.py"
    return initial if name == package_folder.name else package_folder / f"{name}.py"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_has_one_target_with_its_imports(folder):
    own_files = {path.name for path in folder.glob("*.py")}
    named = []
    for rule, arguments in _targets(folder):
        sources = [ast.literal_eval(item) for item in arguments["srcs"].elts]
        (source,) = [name for name in sources if not name.startswith("//")]
        named.append(source)
        path = folder / source
        is_test = source.startswith("test_")
        assert (rule == "py_test") == is_test, source
        if is_test:
            tags = ast.literal_eval(arguments["tags"]) if "tags" in arguments else []
            assert ("slow" in tags) == ("mark.slow" in path.read_text()), source
        dependencies = arguments["deps"].elts if "deps" in arguments else []
        labels = {item.value for item in dependencies if isinstance(item, ast.Constant)}
        distributions = {item.args[0].value for item in dependencies if isinstance(item, ast.Call)}
        files, imported = _imported_files(path)
        conftests = {label for label in labels if label.endswith(":conftest")}
        assert {_label_file(label, folder) for label in labels - conftests} == files, source
        assert distributions == imported | ({"pytest"} if is_test else set()), source
    assert sorted(named) == sorted(own_files)
