"""The notebooks run from beginning to end, on less, and are kept without outputs."""

import os
from unittest import mock

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LESS = {"EPOCHS": "1", "EXAMPLES": "20"}


def _parameters(notebook):
    """The cell that says how much is done, and where."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    return cell


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["bring_your_own_images", "digits_tour"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_beginning_to_end(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    cell = _parameters(notebook)
    names = [name for name in LESS if name in cell.source]
    assert names
    # After the reader's values, so that the cell itself runs, too.
    cell.source += "\n" + "\n".join(f"{name} = {LESS[name]}" for name in names)
    # What an installation of the package lets import, from a folder that is no clone.
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "clustr_tf").symlink_to(ROOT / "clustr_tf")
    (tmp_path / "here").mkdir()
    with mock.patch.dict(os.environ, PYTHONPATH=str(tmp_path / "installed"), MPLBACKEND="agg"):
        NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "here")}}
        ).execute()
    assert list(tmp_path.glob("here/runs/*/model.keras"))
