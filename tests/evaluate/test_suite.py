"""The attacks by name: which are made, and that another one is a file and a line."""

import ast
import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from clustr_tf.attacks import RobustnessEvaluator
from clustr_tf.evaluate.run import run_evaluation
from clustr_tf.evaluate.suite import (
    ATTACKS,
    ENSEMBLE,
    PLUS,
    PROTOCOLS,
    RAND,
    STANDARD,
    Target,
    build_stages,
    chosen_attacks,
)
from clustr_tf.run.errors import InputError
from clustr_tf.run.workdir import Workdir
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "CONTRIBUTING.md"
ADAPTIVE, PAPER = PROTOCOLS["adaptive"], PROTOCOLS["paper"]


def target_of(plan, **more):
    return Target(lambda images: images[:, 0, 0], (8, 8, 10), 10, plan, **more)


def test_autoattacks_versions_have_its_order_and_budgets(plan):
    """Of `set_version` in the official code: restarts, nine targets of the other nine classes."""
    target = target_of(plan)
    attempts = {
        name: [attack.attempts for attack in ATTACKS[name](target).stages.values()]
        for name in ("ensemble", "standard", "plus", "rand")
    }
    assert attempts == {
        "ensemble": [1, 9, 1],
        "standard": [1, 9, 9, 1],
        "plus": [5, 5, 5, 1, 9, 9],
        "rand": [1, 1],
    }
    assert tuple(ATTACKS["standard"](target).stages) == STANDARD
    assert {"pgd_ce", "pgd_margin", "pgd_paper", *ENSEMBLE, *STANDARD, *PLUS, *RAND} == set(
        build_stages(target)
    )


def test_every_stage_of_a_version_attacks(plan):
    """Class 9 is right by less than the others can be raised: each stage finds that."""
    images = np.full((4, 8, 8, 10), 0.5, np.float32)
    images[:, 0, 0, 9] = 0.6
    stages = build_stages(replace(target_of(plan), log_scores=lambda images: images[:, 0, 0]))
    evaluator = RobustnessEvaluator(lambda images: images[:, 0, 0], (8, 8, 10), stages)
    for name in {*STANDARD, *PLUS, *RAND} - set(ENSEMBLE):
        for eps, expected in ((0.04, 0), (0.06, 4)):
            broken = evaluator.broken_by(name, images, np.full(4, 9), np.ones(4, bool), eps)
            assert broken.sum() == expected, (name, eps)


def test_attacks_are_made_in_the_order_of_the_suite(plan, classifier):
    clustered = target_of(plan, clustered=True)
    assert chosen_attacks(clustered, ADAPTIVE) == ("clean", "pgd", "pgd_paper", "ensemble")
    assert chosen_attacks(clustered, PAPER) == ("clean", "pgd_paper")
    assert chosen_attacks(target_of(plan), ADAPTIVE) == ("clean", "pgd", "ensemble")
    assert chosen_attacks(clustered, PAPER, ["square", "pgd"]) == ("pgd", "square")
    source = Target(classifier, (8, 8, 1), 10, plan, classifier)
    assert chosen_attacks(source, ADAPTIVE)[-1] == "transfer"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["pdg"], "--attacks must be out of clean, pgd, pgd_paper"),
        ([], "--attacks must be out of clean, pgd, pgd_paper"),
        (["transfer"], "--attacks=transfer and --source=DIR"),
        (["pgd_paper"], "pgd_paper attacks the scores of clusters"),
    ],
)
def test_an_impossible_choice_is_refused_in_one_line(plan, asked, line):
    with pytest.raises(InputError, match=f"^{line}") as refused:
        chosen_attacks(target_of(plan), ADAPTIVE, asked)
    assert "\n" not in str(refused.value)


def test_the_papers_protocol_means_nothing_for_a_dense_head(plan):
    with pytest.raises(InputError, match=r"^pgd_paper attacks the scores of clusters"):
        chosen_attacks(target_of(plan), PAPER)


def test_a_source_must_see_the_same_images_and_be_attacked(plan, classifier):
    with pytest.raises(InputError, match=r"^--source must hold a model for images of shape \(8, 8"):
        chosen_attacks(target_of(plan, source=classifier), ADAPTIVE)
    with pytest.raises(InputError, match=r"^--attacks=transfer and --source=DIR"):
        chosen_attacks(Target(classifier, (8, 8, 1), 10, plan, classifier), ADAPTIVE, ["pgd"])


@pytest.fixture
def contributed():
    """What CONTRIBUTING.md's section on attacks defines: its file, its use, its line."""
    start = PAGE.read_text().splitlines().index("### An attack")
    file, use, line = [
        block.text for block in blocks(PAGE) if block.language == "python" and block.line > start
    ]
    namespace = {}
    with mock.patch.dict(ATTACKS):
        for text in (file, use, line):
            exec(compile(text, PAGE, "exec"), namespace)
        yield namespace, line


def test_another_attack_is_a_file_and_a_line(contributed, classifier, digits, plan, tmp_path):
    _, line = contributed
    statements = ast.parse(line).body
    assert sum(not isinstance(statement, ast.ImportFrom) for statement in statements) == 1
    asked = ["clean", "corners", "pgd"]
    plan = replace(plan, diagnostic_examples=0)
    run_evaluation(Workdir(tmp_path), classifier, digits, plan, attacks=asked)
    found = json.loads((tmp_path / "robustness.json").read_text())["attacks"]
    assert list(found) == ["clean", "pgd", "corners"]
    assert 0 < found["corners"]["accuracy"] <= found["clean"]["accuracy"]
    assert found["corners"]["restarts"] == 3
    assert '<th scope="row">corners</th>' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_it_breaks_what_noise_cannot_miss(contributed):
    pixels, classes = np.full((50, 1, 1, 1), 0.55), np.zeros(50, np.int64)
    result = contributed[0]["evaluator"](pixels, classes, eps=0.1, seed=1)
    # Each of three draws goes down by 0.1 with probability 1/2: about 7 in 8 are broken.
    assert 0 < np.mean(result.robust) < 0.35
