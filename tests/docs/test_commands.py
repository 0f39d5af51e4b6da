"""Every command in the documentation has flags and config fields that exist."""

import importlib.util
import re
import subprocess
import tomllib

import pytest

from tests.docs import flags_of
from tests.docs.fields import FIELDS
from tests.docs.pages import (
    PAGES,
    ROOT,
    blocks,
    code_spans,
    commands,
    module_commands,
    name,
    write_modules,
)
from tests.programs import context

OURS = ("clustr_tf.", "export.", "benchmarks.")


@pytest.fixture(scope="module")
def processes():
    """A fresh process for each command, forked from one that has TensorFlow already."""
    with context().Pool(1, maxtasksperchild=1) as pool:
        yield pool


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_flags_exist_and_take_these_values(page, processes, tmp_path):
    write_modules(page, tmp_path)
    ours = dict.fromkeys(
        (*command, tmp_path) for command in module_commands(page) if command[0].startswith(OURS)
    )
    complaints = processes.starmap(flags_of.complaint, ours, chunksize=1)
    wrong = {command: found for command, found in zip(ours, complaints, strict=True) if found}
    assert not wrong


@pytest.mark.parametrize(
    "arguments",
    [
        ["--wokdir=runs"],
        ["--config.training.epoch=3"],
        ["--config.training.epochs=many"],
        ["--config.training.epoch=N"],
        ["--config.objective.name=clustr"],
        ["--config.method.name=clustrr"],
        ["--config.method.name=pgd_at", "--config.method.likelihood_lambda=0.1"],
        ["--config=digits:plain", "--config.method.eps=0.1"],
        ["--config=digits:plain", "--config.method.eps=N"],
        ["--config.optimizer.schedule.milestones=(3,)"],
        ["--config.plugins=not_on_the_page"],
        ["--epochs=N"],
        ["--config=none"],
        ["--config=digits:none"],
    ],
)
def test_a_wrong_command_is_noticed(arguments, processes, tmp_path):
    assert processes.apply(flags_of.complaint, ("clustr_tf.train", arguments, tmp_path))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_other_commands_name_what_exists(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in commands(page):
        if words[1:2] == ["-m"] and not words[2].isupper():  # in capitals it stands for any
            assert importlib.util.find_spec(words[2])
        if words[1:2] == ["-c"]:
            compile(words[2], name(page), "exec")
        for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= set(extras["optional-dependencies"])
        if words[0].startswith("clustr-"):
            assert words[0] in extras["scripts"]
        files = [word for word in words if re.match(r"(tests|docs|configs)/|require.*\.txt$", word)]
        assert not [file for file in files if not (ROOT / file.split("::")[0]).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_shell_blocks_parse(page):
    script = "\n".join(block.text for block in blocks(page) if block.language == "bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_config_fields_that_are_named_exist(page):
    """In the text, and in the options that benchmarks hand on to the training.

    A method that the page itself defines has the fields of its class.
    """
    words = [word for _, arguments in module_commands(page) for word in arguments]
    options = [word for word in words if word.startswith("--option=")]
    texts = " ".join([*code_spans(page), *options])
    named = re.findall(r"(?<![.\w])config\.([a-z0-9_]+(?:\.[a-z0-9_]+)+)", texts)
    fields = {field.removeprefix("search.space.") for field in named}
    code = "\n".join(block.text for block in blocks(page) if block.language == "python")
    own = {f"method.{field}" for field in re.findall(r"^    (\w+): ", code, re.MULTILINE)}
    assert not fields - FIELDS - own - {"section.field"}
