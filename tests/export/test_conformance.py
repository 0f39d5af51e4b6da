"""The conformance checks pass where a server answers right, and fail where it does not."""

import pytest

from clustr_tf.workdir import Workdir
from export.options import ServingOptions
from export.saving import export_savedmodel
from tests.export.double_client import Double, program


@pytest.fixture(scope="module")
def double(version):
    with Double(version) as running:
        yield running


@pytest.fixture(scope="module")
def workdir(classifier, tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("run"))
    workdir.save_classifier(classifier)
    return workdir.root


@pytest.mark.slow
def test_the_double_conforms_over_both_protocols(double, workdir):
    ports = (f"--port={double.ports['grpc']}", f"--rest_port={double.ports['rest']}")
    finished = program("export.conformance", f"--workdir={workdir}", *ports)
    assert finished.returncode == 0, finished.stdout
    assert "FAIL" not in finished.stdout
    assert finished.stdout.count("pass grpc") == finished.stdout.count("pass rest") == 29


@pytest.mark.slow
def test_a_flagging_model_conforms_only_as_one(classifier, bound, workdir, tmp_path):
    """And a server that answers otherwise than asked for is found out."""
    version = export_savedmodel(
        classifier, tmp_path / "clustr", bound, ServingOptions(on_invalid="flag")
    )
    with Double(version) as flagging:
        port = f"--port={flagging.ports['grpc']}"
        finished = program("export.conformance", f"--workdir={workdir}", port, "--on_invalid=flag")
        assert finished.returncode == 0, finished.stdout
        finished = program("export.conformance", f"--workdir={workdir}", port)
    assert finished.returncode == 1
    assert "FAIL grpc: serving_default: refuses a pixel above 1: it was answered" in finished.stdout
