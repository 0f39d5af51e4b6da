"""The commands as a user calls them: help, mistakes, a whole run, an interruption."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from clustr_tf.backbones import build_backbone
from clustr_tf.certify.report import chosen_radii
from clustr_tf.classifier import Classifier
from tests import programs

ROOT = Path(__file__).parents[2]
# A run of seconds, and attacks that are as short.
SHORT = (
    "--config.training.epochs=3",
    "--config.evaluation.examples=100",
    "--config.evaluation.apgd_steps=10",
    "--config.evaluation.square_queries=50",
    "--config.evaluation.paper_restarts=2",
    "--config.evaluation.diagnostic_examples=20",
)
COMMANDS = [
    *("clustr_tf.train", "clustr_tf.evaluate", "clustr_tf.certify", "clustr_tf.tune"),
    "export.savedmodel",
]


def _arguments(command, *flags):
    return [sys.executable, "-m", command, *flags]


def _environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def _run(command, *flags, cwd, **environment):
    return subprocess.run(
        _arguments(command, *flags),
        cwd=cwd,
        env=_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def without_tensorflow(tmp_path):
    """An import path on which TensorFlow and Keras cannot be imported."""
    for package in ("tensorflow", "keras"):
        (tmp_path / "blocked" / package).mkdir(parents=True)
        (tmp_path / "blocked" / package / "__init__.py").write_text("raise ImportError('blocked')")
    return f"{tmp_path / 'blocked'}{os.pathsep}{ROOT}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_the_flags_without_tensorflow(command, without_tensorflow, tmp_path):
    finished = _run(command, "--help", cwd=tmp_path, PYTHONPATH=without_tensorflow)
    assert finished.returncode == 0, finished.stderr
    assert f"python -m {command}" in finished.stdout
    assert "--workdir: folder" in finished.stdout


@pytest.mark.parametrize(
    ("command", "flag", "line"),
    [
        ("train", "--config.training.epochs=three", "invalid literal for int()"),
        ("train", "--config.evaluation.attack.eps=8//255", "a fraction such as 8/255"),
        ("train", "--config=missing.py", "Received: 'missing.py'"),
        ("train", "--config=digit", "--config must be a Python file, or one of ['cifar10', "),
        ("train", "--config=cifar10:nope", "default, published, thin"),
        ("train", "--epochs=3", "Unknown command line flag 'epochs'"),
        ("train", "epochs=3", "unexpected argument 'epochs=3'"),
        ("evaluate", "--eps=0.1", "--workdir is missing"),
        ("evaluate", "--norm=l1", "should be one of <linf|l2>"),
        ("evaluate", "--compare", "--compare takes evaluated workdirs"),
        ("evaluate", "--workdir=a b", "unexpected argument 'b'"),
        ("certify", "--workdir=x --radii=a/b", "a fraction such as 8/255"),
        ("certify", "--workdir=x --radii=-1", "--radii must be numbers of at least 0"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(command, flag, line, without_tensorflow, tmp_path):
    finished = _run(
        f"clustr_tf.{command}", *flag.split(), cwd=tmp_path, PYTHONPATH=without_tensorflow
    )
    assert finished.returncode == 2, finished.stderr
    assert line in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert finished.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--config.clustering.clusters_per_batch=30"], "clusters_per_batch must be at most 19"),
        (["--config.training.epoch=3"], "config.training has no field 'epoch'; its fields: epochs"),
        (["--config.training.epoch=3"], "Did you mean 'epochs'?"),
        (["--config.training.seed=x"], "config.training.seed must be int. Received: 'x'"),
        (["--config.method.steps=3"], "config.method has no field 'steps'; its fields: alpha"),
        (["--config.plugins=nowhere"], "config.plugins must be importable modules"),
    ],
)
def test_an_impossible_config_is_refused_before_any_work(flags, line, tmp_path):
    finished = programs.run("clustr_tf.train", "--config=digits:plain", *flags, cwd=tmp_path)
    assert finished.returncode == 2, finished.stderr
    assert line in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of every command in a folder of its own."""
    cwd = tmp_path_factory.mktemp("user")
    outputs = {}
    for command, *flags in [
        ("clustr_tf.train", *SHORT),
        ("clustr_tf.evaluate", "--workdir=runs/digits", "--eps=8/255", "--examples=50"),
        ("clustr_tf.certify", "--workdir=runs/digits", "--radii=0,1/1000", "--examples=60"),
        ("export.savedmodel", "--workdir=runs/digits"),
    ]:
        finished = _run(command, *flags, cwd=cwd)
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr == ""
        outputs[command] = finished.stdout
    return cwd, outputs


def test_training_leaves_a_complete_workdir(run):
    cwd, outputs = run
    root = cwd / "runs" / "digits"
    names = {path.name for path in root.iterdir()}
    assert {
        *("config.json", "model.keras", "checkpoints", "metrics.csv", "summary.json"),
        *("tensorboard", "embedding.png"),
    } <= names
    with (root / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    promised = ["epoch", "train/loss", "train/accuracy", "validation/accuracy"]
    promised += ["validation/pgd_accuracy", "learning_rate", "images_per_second", "seconds"]
    assert list(rows[0])[: len(promised)] == promised
    summary = json.loads((root / "summary.json").read_text())
    assert summary["examples"] == 100
    assert 0 <= summary["test/pgd_accuracy"] <= summary["test/accuracy"] <= 1
    assert summary["versions"]["tensorflow"]
    assert (root / "embedding.png").read_bytes().startswith(b"\x89PNG")
    text = outputs["clustr_tf.train"]
    assert text.count("images/s") == 3
    for expected in ("clean accuracy", "PGD accuracy", "median proved radius", "export.savedm"):
        assert expected in text


def test_evaluation_and_certification_write_their_figures(run):
    root = run[0] / "runs" / "digits"
    robustness = json.loads((root / "robustness.json").read_text())
    assert robustness["eps"] == pytest.approx(8 / 255)
    assert robustness["examples"] == 50
    arrays = np.load(root / "robustness.npz", allow_pickle=False)
    correct = arrays["clean_predictions"] == arrays["labels"]
    assert robustness["clean_accuracy"] == pytest.approx(correct.mean())
    assert robustness["worst_case_accuracy"] == pytest.approx(arrays["robust"].mean())
    certificates = json.loads((root / "certificates.json").read_text())
    arrays = np.load(root / "certificates.npz", allow_pickle=False)
    assert len(arrays["radius_l2"]) == certificates["examples"] == 60
    correct = arrays["predictions"] == arrays["labels"]
    for entry in certificates["certified_accuracy_l2"]:
        certified = correct & (arrays["radius_l2"] >= entry["radius"]) & (arrays["radius_l2"] > 0)
        assert entry["accuracy"] == pytest.approx(certified.mean())
    # An l-infinity ball lies in the l2 ball of sqrt(64 pixels) times its radius and holds the one
    # of its own.
    assert np.all(arrays["radius_linf"] <= arrays["radius_l2"])
    assert np.all(arrays["radius_linf"] >= arrays["radius_l2"] / 8 * (1 - 1e-6))
    assert 0.1 in [entry["radius"] for entry in certificates["certified_accuracy_linf"]]


def test_the_bound_and_its_slack_are_stored_with_the_model(run):
    """The same figures in the model's own file, in the SavedModel and beside what they certify."""
    root = run[0] / "runs" / "digits"
    with zipfile.ZipFile(root / "model.keras") as archive:
        stored = json.loads(archive.read("certificate.json"))
    extra = run[0] / "models" / "clustr" / "1" / "assets.extra"
    files = (root / "summary.json", root / "certificates.json", extra / "certificate.json")
    assert stored["lipschitz_bound"] > 0 and all(part >= 0 for part in stored["rounding_slack"])
    for file in files:
        found = json.loads(file.read_text())
        assert {name: found[name] for name in stored} == stored


def test_lower_precision_is_refused_in_one_line(run, tmp_path):
    root = tmp_path / "half"
    shutil.copytree(run[0] / "runs" / "digits", root)
    model = keras.models.load_model(root / "model.keras", compile=False)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = build_backbone("small_cnn", model.image_shape, width=32)
    finally:
        keras.config.set_dtype_policy("float32")
    Classifier(backbone, model.head, model.mean, model.std).save(root / "model.keras")
    for command, *flags in (
        ("clustr_tf.certify", f"--workdir={root}"),
        ("export.savedmodel", f"--workdir={root}", f"--output={tmp_path / 'models'}"),
    ):
        finished = programs.run(command, *flags, cwd=tmp_path)
        assert finished.returncode == 2
        (line,) = finished.stderr.strip().splitlines()
        assert "must compute in float32 or float64" in line
        assert "Received: bfloat16" in line
    assert not (tmp_path / "models").exists()


def test_an_evaluation_has_every_attack_diagnostic_and_the_report(run):
    root = run[0] / "runs" / "digits"
    robustness = json.loads((root / "robustness.json").read_text())
    assert list(robustness["attacks"]) == ["clean", "pgd", "pgd_paper", "ensemble"]
    assert robustness["command"].endswith(
        "clustr_tf.evaluate --workdir=runs/digits --eps=8/255 --examples=50"
    )
    weakest = min(figures["accuracy"] for figures in robustness["attacks"].values())
    assert robustness["worst_case_accuracy"] <= weakest <= robustness["clean_accuracy"]
    assert [diagnostic["name"] for diagnostic in robustness["diagnostics"]] == [
        *("zero gradients", "square beats PGD", "large eps", "more steps", "random noise", "scale"),
        *("losses disagree", "silent success", "masking gap"),
    ]
    arrays = np.load(root / "robustness.npz", allow_pickle=False)
    curve = robustness["curve"]
    assert curve["eps"][0] == 0
    for name in ("pgd", "pgd_paper"):
        left = [np.mean(arrays[f"smallest_eps_{name}"] > np.float32(eps)) for eps in curve["eps"]]
        assert curve["attacks"][name]["accuracy"] == pytest.approx(left)
    page = (root / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().startswith("<!doctype html>")
    assert not (root / "evaluation").exists()


def test_the_model_card_tells_the_figures(run):
    root = run[0] / "runs" / "digits"
    card = (run[0] / "models" / "clustr" / "1" / "MODEL_CARD.md").read_text(encoding="utf-8")
    robustness = json.loads((root / "robustness.json").read_text())
    certificates = json.loads((root / "certificates.json").read_text())
    arrays = np.load(root / "certificates.npz", allow_pickle=False)
    correct = arrays["predictions"] == arrays["labels"]
    for line in (
        "# Model card: clustr",
        "| images | 8 x 8 x 1, float32 pixels in [0, 1] |",
        "| method | clustr_ibp, 3 epochs, seed 0 |",
        f"| clean | {robustness['clean_accuracy']:.2%} |",
        f"| worst case of all attacks made | {robustness['worst_case_accuracy']:.2%} |",
        f"Lipschitz bound from pixels to embeddings: {certificates['lipschitz_bound']:.6g}.",
        *(
            f"| {radius:.3g} | {np.mean(correct & (arrays[f'radius_{norm}'] >= radius)):.2%} |"
            for norm in ("l2", "linf")
            for radius in chosen_radii(np.where(correct, arrays[f"radius_{norm}"], 0))
        ),
        f"no radius for {certificates['abstentions']:.2%} of the images.",
    ):
        assert line.replace("%", " %") in card
    assert len(card.partition("SHA-256 `")[2].partition("`")[0]) == 64


@pytest.mark.slow
def test_an_interrupted_evaluation_resumes_to_the_very_same_file(run, tmp_path):
    """Interrupted once it has remembered a batch; the seed decides everything."""
    shutil.copytree(run[0] / "runs" / "digits", tmp_path / "runs" / "digits")
    copy = tmp_path / "runs" / "digits"
    expected = dict(np.load(copy / "robustness.npz", allow_pickle=False))
    (copy / "robustness.npz").unlink()
    flags = ("--workdir=runs/digits", "--eps=8/255", "--examples=50")
    with subprocess.Popen(
        _arguments("clustr_tf.evaluate", *flags),
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while len(list((copy / "evaluation").glob("[!.]*.npz"))) < 1 and process.poll() is None:
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert not (copy / "robustness.npz").exists()
    remembered = {path: path.stat().st_mtime_ns for path in (copy / "evaluation").glob("[!.]*.npz")}
    assert remembered
    finished = programs.run("clustr_tf.evaluate", *flags, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    found = np.load(copy / "robustness.npz", allow_pickle=False)
    assert set(found.files) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


def test_the_papers_protocol_is_told_apart_and_compared(run, tmp_path):
    """Its own eps, the published attack alone; it does not take the place of more images."""
    shutil.copytree(run[0] / "runs" / "digits", tmp_path / "run")
    before = (tmp_path / "run" / "robustness.json").read_bytes()
    flags = ("--workdir=run", "--protocol=paper", "--examples=30")
    finished = programs.run("clustr_tf.evaluate", *flags, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "It does not replace linf-0.0313725-adaptive" in finished.stdout
    assert (tmp_path / "run" / "robustness.json").read_bytes() == before
    (paper,) = (tmp_path / "run" / "evaluations").glob("linf-0.0313725-paper-*-30-seed0")
    robustness = json.loads((paper / "robustness.json").read_text())
    assert list(robustness["attacks"]) == ["clean", "pgd_paper"]
    assert robustness["eps"] == 8 / 255
    folders = (str(paper.relative_to(tmp_path)), "run")
    compared = programs.run("clustr_tf.evaluate", "--compare", *folders, cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert (tmp_path / "comparison.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--attacks=pdg", "--attacks must be out of clean, pgd, pgd_paper"),
        ("--attacks=transfer", "--attacks=transfer and --source=DIR"),
        ("--source=nowhere", "nowhere/model.keras is missing"),
        ("--norm=l2", "--norm=l2 needs eps=RADIUS: the plan's own eps 0.1 is a radius in linf"),
        ("--eps=-1", "--eps must be in [0, 1], as pixels are (8/255, not 8). Received: -1"),
        ("--eps=8", "--eps must be in [0, 1], as pixels are (8/255, not 8). Received: 8"),
    ],
)
def test_an_impossible_evaluation_is_refused_in_one_line(run, flag, line):
    finished = programs.run("clustr_tf.evaluate", "--workdir=runs/digits", flag, cwd=run[0])
    assert finished.returncode == 2
    (told,) = finished.stderr.strip().splitlines()
    assert told.startswith(f"error: {line}")


def test_the_served_certificate_is_the_one_that_certify_prints(run):
    """In a process without the project: the same radii up to 1e-5 relative."""
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        "images = np.load(sys.argv[2])\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "answer = serve(images=tf.constant(images))\n"
        "assert not any(name.startswith('clustr_tf') for name in sys.modules)\n"
        "np.savez(sys.argv[3], **{name: value.numpy() for name, value in answer.items()})\n"
    )
    cwd = run[0]
    from clustr_tf.data import DATASETS, to_pixels

    images = to_pixels(DATASETS["digits"]().test_images[:60])
    np.save(cwd / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", script, "models/clustr/1", "images.npy", "answer.npz"],
        cwd=cwd,
        env={**_environment(), "PYTHONPATH": ""},
        check=True,
        capture_output=True,
    )
    served = np.load(cwd / "answer.npz", allow_pickle=False)
    printed = np.load(cwd / "runs" / "digits" / "certificates.npz", allow_pickle=False)
    np.testing.assert_array_equal(served["class_id"], printed["predictions"])
    assert (printed["radius_l2"] > 0).any()
    np.testing.assert_allclose(served["certified_radius_l2"], printed["radius_l2"], rtol=1e-5)


def test_the_same_command_again_changes_no_figure_and_another_config_is_refused(run):
    cwd = run[0]
    root = cwd / "runs" / "digits"
    metrics = (root / "metrics.csv").read_bytes()
    again = programs.run("clustr_tf.train", *SHORT, cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert (root / "metrics.csv").read_bytes() == metrics
    other = programs.run("clustr_tf.train", "--config.training.epochs=4", cwd=cwd)
    assert other.returncode == 2
    assert "evaluation.square_queries, training.epochs" in other.stderr


def test_epochs_of_a_finished_run_can_be_raised(run, tmp_path):
    """The rows of the epochs before stay, one more comes; the model is another."""
    shutil.copytree(run[0] / "runs" / "digits", tmp_path / "copy")
    before = (tmp_path / "copy" / "metrics.csv").read_text().splitlines()
    model = (tmp_path / "copy" / "model.keras").read_bytes()
    more = [flag.replace("epochs=3", "epochs=4") for flag in SHORT]
    longer = programs.run("clustr_tf.train", *more, "--workdir=copy", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr
    after = (tmp_path / "copy" / "metrics.csv").read_text().splitlines()
    assert after[:-1] == before
    assert after[-1].startswith("4,")
    assert (tmp_path / "copy" / "model.keras").read_bytes() != model
    assert json.loads((tmp_path / "copy" / "summary.json").read_text())["epochs"] == 4
    shorter = programs.run("clustr_tf.train", *SHORT, "--workdir=copy", cwd=tmp_path)
    assert shorter.returncode == 2
    assert "these fields differ: training.epochs" in shorter.stderr


def test_evaluating_before_training_says_what_to_do(tmp_path):
    finished = programs.run("clustr_tf.certify", "--workdir=nowhere", cwd=tmp_path)
    assert finished.returncode == 2
    assert "nowhere is no workdir" in finished.stderr.splitlines()[-1]


@pytest.mark.slow
def test_ctrl_c_leaves_a_workdir_that_resumes_to_the_same_weights(tmp_path):
    """Interrupted after its first epoch and resumed: metrics as of an uninterrupted run."""
    flags = [
        f"--config={ROOT}/configs/digits.py:plain",
        *("--config.training.epochs=4", "--config.evaluation.examples=20"),
    ]
    with subprocess.Popen(
        _arguments("clustr_tf.train", *flags, "--workdir=a"),
        cwd=tmp_path,
        env=_environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if "images/s" in line:
                process.send_signal(signal.SIGINT)
                break
        _, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert "resumes" in stderr
    for workdir in ("a", "b"):
        finished = programs.run("clustr_tf.train", *flags, f"--workdir={workdir}", cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr

    def figures(workdir):
        with (tmp_path / workdir / "metrics.csv").open(newline="") as file:
            return [
                [row[name] for name in ("epoch", "train/loss", "train/accuracy", "variance")]
                for row in csv.DictReader(file)
            ]

    assert len(figures("a")) == 4
    np.testing.assert_allclose(
        np.array(figures("a"), float), np.array(figures("b"), float), rtol=1e-5
    )
