"""The documentation's code runs, its links lead somewhere, its figures come from the results."""

import re
from unittest import mock

import pytest
import yaml

from clustr_tf.methods import METHODS
from tests.docs.pages import PAGES, ROOT, blocks, code_spans, links, name

SOURCES = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("benchmarks", "clustr_tf", "configs", "docs", "export", "tests")
    for path in (ROOT / folder).rglob("*.*")
]
LANGUAGES = {"python", "bash", "yaml", "text", "mermaid", ""}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_of_a_kind_that_is_checked(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES


# The examples of CONTRIBUTING.md register things: test_contributing.py runs them.
WITH_PYTHON = [
    page
    for page in PAGES
    if page.name != "CONTRIBUTING.md" and any(block.language == "python" for block in blocks(page))
]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_python_blocks_run(page):
    namespace = {}
    with mock.patch.dict(METHODS):  # as before when the page has been read
        for block in blocks(page):
            if block.language == "python":
                # Empty lines first, so that a traceback names the line of the page.
                code = "\n" * block.line + block.text
                exec(compile(code, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_yaml_blocks_parse(page):
    for block in blocks(page):
        if block.language == "yaml":
            assert all(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_files_lead_somewhere(page):
    files = [link.split("#")[0] for link in links(page) if not re.match(r"https?:|#", link)]
    assert not [file for file in files if not (page.parent / file).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_source_files_that_the_text_names_exist(page):
    """By their path or the end of it; but for what a search writes and the official code has."""
    named = {span for span in code_spans(page) if re.fullmatch(r"[a-z0-9_/]+\.(py|bzl|yaml)", span)}
    missing = {file for file in named if not any(path.endswith(f"/{file}") for path in SOURCES)}
    assert not missing - {"best_config.py", "datasets/load_dataset.py"}


@pytest.mark.parametrize("page", ["recipes.md", "evaluating.md"])
def test_measured_shares_stand_in_the_results(page):
    results = (ROOT / "docs" / "results.md").read_text()
    text = (ROOT / "docs" / page).read_text()
    # What RobustBench lists and what the text supposes was not measured here.
    elsewhere = {"74.04 %", "0.00 %", "0 %", "100 %", "90 %", "95 %", "64 %", "97 %", "94 %"}
    shares = set(re.findall(r"\d+(?:\.\d+)? %", text)) - elsewhere
    assert shares
    assert not {share for share in shares if share.removesuffix(" %") not in results}
