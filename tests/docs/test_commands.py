"""Every command in the documentation has flags and config fields that exist."""

import importlib.util
import re
import subprocess
import tomllib

import pytest

from configs.digits import get_config
from tests.docs import flags_of
from tests.docs.pages import PAGES, ROOT, blocks, code_spans, commands, module_commands, name
from tests.programs import context

OURS = ("clustr_tf.", "export.", "benchmarks.")


@pytest.fixture(scope="module")
def processes():
    """A fresh process for each command, forked from one that has TensorFlow already."""
    with context().Pool(1, maxtasksperchild=1) as pool:
        yield pool


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_flags_exist_and_take_these_values(page, processes):
    ours = dict.fromkeys(
        command for command in module_commands(page) if command[0].startswith(OURS)
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
        ["--config.objective.name=clustrr"],
        ["--config.training.epoch=N"],
        ["--epochs=N"],
        ["--config=configs/none.py"],
    ],
)
def test_a_wrong_command_is_noticed(arguments, processes):
    assert processes.apply(flags_of.complaint, ("clustr_tf.train", arguments))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_other_commands_name_what_exists(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in commands(page):
        if words[1:2] == ["-m"]:
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
def test_config_fields_that_the_text_names_exist(page):
    fields = re.findall(r"(?<![.\w])config((?:\.[a-z_]+){2,})", " ".join(code_spans(page)))
    missing = []
    for field in set(fields) - {".section.field"}:
        value = get_config()
        for part in field[1:].split("."):
            if part not in value:
                missing.append(field)
                break
            value = value[part] if hasattr(value, "keys") else {}
    assert not missing
