"""The conformance checks pass where a server answers right, and fail where it does not."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.run.workdir import Workdir
from clustr_tf.serve.conformance_checks import Model, checks_of
from clustr_tf.serve.options import ServingOptions
from clustr_tf.serve.saving import export_savedmodel
from clustr_tf.serve.transport import ServerError
from tests import programs
from tests.serve.double_client import Double


@pytest.fixture(scope="module")
def workdir(classifier, tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("run"))
    workdir.save_classifier(classifier)
    return workdir.root


class Honest:
    """A server that answers right: the exported model, loaded by TensorFlow."""

    def __init__(self, signatures):
        self._signatures = signatures

    def ask(self, signature, inputs):
        if signature not in self._signatures:
            raise ServerError("NOT_FOUND", f"there is no signature {signature}")
        given = {
            name: tf.constant(
                values.tolist(), tf.string if values.dtype == object else values.dtype
            )
            for name, values in inputs.items()
        }
        try:
            outputs = self._signatures[signature](**given)
        except tf.errors.InvalidArgumentError as error:
            raise ServerError("INVALID_ARGUMENT", error.message) from error
        except (TypeError, ValueError) as error:
            raise ServerError("INVALID_ARGUMENT", str(error)) from error
        return {name: values.numpy() for name, values in outputs.items()}

    def signatures(self):
        def types(specs):
            return {name: spec.dtype.name for name, spec in specs.items()}

        return {
            name: (
                types(function.structured_input_signature[1]),
                types(function.structured_outputs),
            )
            for name, function in self._signatures.items()
        }


class Lying(Honest):
    """One that says something else: `lie` changes the answer to a request."""

    def __init__(self, signatures, lie):
        super().__init__(signatures)
        self._lie = lie

    def ask(self, signature, inputs):
        return self._lie(signature, inputs, super().ask)


def failures(transport, model, options=ServingOptions()):  # noqa: B008
    failed = set()
    for check in checks_of(transport, {}, model, options):
        try:
            check.run()
        except (AssertionError, ServerError):
            failed.add(check.name)
    return failed


@pytest.fixture(scope="module")
def model(classifier):
    return Model(classifier)


def test_an_honest_server_passes(signatures, model):
    assert failures(Honest(signatures), model) == set()


def nothing(signature, inputs, ask):
    ask(signature, inputs)
    return {}


def one_less(signature, inputs, ask):
    answer = ask(signature, inputs)
    answer.pop("certified_radius_linf", None)
    return answer


def one_more(signature, inputs, ask):
    return {**ask(signature, inputs), "logits": np.zeros(1)}


def doubles(signature, inputs, ask):
    """The right numbers in another type."""
    answer = ask(signature, inputs)
    return {
        name: values.astype(np.float64) if values.dtype == np.float32 else values
        for name, values in answer.items()
    }


def larger_radii(signature, inputs, ask):
    """By a hundred-thousandth: a tenth of what other numbers may differ by."""
    answer = ask(signature, inputs)
    if "certified_radius_l2" in answer:
        answer["certified_radius_l2"] *= np.float32(1.00001)
    return answer


def no_numbers(signature, inputs, ask):
    answer = ask(signature, inputs)
    return {
        name: values * np.float32(np.nan) if values.dtype == np.float32 else values
        for name, values in answer.items()
    }


def always_certified(signature, inputs, ask):
    """Right where nothing is asked for."""
    answer = ask(signature, inputs)
    if "is_certified" in answer:
        norm = "linf" if signature == "certify_linf" else "l2"
        answer["is_certified"] = answer[f"certified_radius_{norm}"] > 0
    return answer


def clipped(signature, inputs, ask):
    """What is no image is made one."""
    if "images" in inputs:
        images = np.nan_to_num(inputs["images"].astype(np.float32), posinf=1.0)
        inputs = {**inputs, "images": np.clip(images, 0, 1)}
    return ask(signature, inputs)


def any_length(signature, inputs, ask):
    """Files are cut where they are too long, instead of refused."""
    if "image_bytes" in inputs:
        rows = [row[: 2**20] for row in inputs["image_bytes"]]
        inputs = {"image_bytes": np.array([*rows, None], object)[:-1]}
    return ask(signature, inputs)


def png_alone(signature, inputs, ask):
    if any(row.startswith(b"\xff\xd8") for row in inputs.get("image_bytes", [])):
        raise ServerError("INVALID_ARGUMENT", "JPEG files are not taken here")
    return ask(signature, inputs)


ANSWERS = {
    f"{signature}, batch {batch}: the model's answers"
    for signature in ("serving_default", "certify", "certify_linf", "embed", "serving_bytes")
    for batch in (1, 3, 64)
}


@pytest.mark.parametrize(
    ("lie", "found_out"),
    [
        (nothing, ANSWERS),
        (one_less, {name for name in ANSWERS if not name.startswith("embed")}),
        (one_more, ANSWERS),
        (doubles, ANSWERS),
        (larger_radii, {"serving_default, batch 64: the model's answers"}),
        (no_numbers, ANSWERS),
        (
            always_certified,
            {
                f"{signature}: certified up to half the proved radius and not beyond it"
                for signature in ("certify", "certify_linf")
            },
        ),
        (clipped, {f"embed: refuses {name}" for name in ("NaN", "infinity", "a pixel above 1")}),
        (clipped, {"certify: refuses NaN", "serving_default: refuses float64"}),
        (any_length, {"serving_bytes: refuses a PNG of 1048577 bytes"}),
        (png_alone, {"serving_bytes: JPEG"}),
    ],
)
def test_a_lie_is_found_out(signatures, model, lie, found_out):
    failed = failures(Lying(signatures, lie), model)
    assert found_out <= failed
    if lie in (always_certified, any_length, png_alone):
        assert failed == found_out


def test_other_names_and_types_of_the_signatures_are_found_out(signatures, model):
    class Renamed(Honest):
        def signatures(self):
            described = super().signatures()
            return {**described, "embed": (described["embed"][0], {"embeddings": "float16"})}

    assert failures(Renamed(signatures), model) == {"names and types of the signatures"}


def test_a_flag_that_says_nothing_is_found_out(classifier, bound, model, tmp_path):
    """A flagged row's radius must be 0, and its neighbour answered."""
    flag = ServingOptions(on_invalid="flag")
    version = export_savedmodel(classifier, tmp_path / "clustr", bound, flag)
    loaded = tf.saved_model.load(str(version))

    def unmarked(signature, inputs, ask):
        answer = ask(signature, inputs)
        if "certified_radius_l2" in answer:
            answer["certified_radius_l2"] = np.maximum(answer["certified_radius_l2"], 1e-6)
        return answer

    assert failures(Honest(loaded.signatures), model, flag) == set()
    failed = failures(Lying(loaded.signatures, unmarked), model, flag)
    assert "serving_default: flags NaN and answers its neighbour" in failed


@pytest.mark.slow
def test_the_double_conforms_over_both_protocols(double, workdir):
    ports = (f"--port={double.ports['grpc']}", f"--rest_port={double.ports['rest']}")
    finished = programs.run("export.conformance", f"--workdir={workdir}", *ports)
    assert finished.returncode == 0, finished.stdout
    assert "FAIL" not in finished.stdout
    assert finished.stdout.count("pass rest") == 46
    # Two more: only gRPC tells names and types, and sends numbers with their type.
    assert finished.stdout.count("pass grpc") == 48


@pytest.mark.slow
def test_a_flagging_model_conforms_only_as_one(classifier, bound, workdir, tmp_path):
    """And a server that answers otherwise than asked for is found out."""
    version = export_savedmodel(
        classifier, tmp_path / "clustr", bound, ServingOptions(on_invalid="flag")
    )
    with Double(version) as flagging:
        port = f"--port={flagging.ports['grpc']}"
        finished = programs.run(
            "export.conformance", f"--workdir={workdir}", port, "--on_invalid=flag"
        )
        assert finished.returncode == 0, finished.stdout
        finished = programs.run("export.conformance", f"--workdir={workdir}", port)
    assert finished.returncode == 1
    assert "FAIL grpc: serving_default: refuses a pixel above 1: it was answered" in finished.stdout
