"""What a command makes of its arguments, up to where the work would begin.

Runs in a process of its own, as a process can define its flags but once.
"""

import functools
import operator
import re
import runpy
import sys
from unittest import mock

from absl import app, flags

_PLACEHOLDER = re.compile(r"--?([\w.]+)=(\.\.\.|[A-Z][A-Z0-9_]*|)")


def complaint(module, arguments, folder):
    """What is wrong with a command's arguments; None if nothing is.

    A value in capitals, such as N, stands for any: then the name alone is checked.

    Args:
        module: the command's.
        arguments: its words.
        folder: has the modules that the page tells its reader to write.
    """
    arguments = [re.sub(r"^(--config=\w+):[A-Z]+$", r"\1", argument) for argument in arguments]
    # A config that a search before it has written is one like any other.
    arguments = [
        re.sub(r"^--config=runs/.*", "--config=digits", argument) for argument in arguments
    ]
    placeholders = [match for argument in arguments if (match := _PLACEHOLDER.fullmatch(argument))]
    given = [argument for argument in arguments if not _PLACEHOLDER.fullmatch(argument)]
    parsed = functools.partial(_parsed, names=[match[1] for match in placeholders])
    errors = mock.Mock()
    sys.path.insert(0, str(folder))
    try:
        with (
            mock.patch.object(sys, "argv", [module, *given]),
            mock.patch.object(app, "run", parsed),
            mock.patch.object(sys, "stderr", errors),
        ):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except (SystemExit, flags.Error, KeyError, OSError, ValueError) as error:
        written = "".join(call.args[0] for call in errors.write.call_args_list)
        return f"{error!r} {written}"
    return None


def _parsed(main, flags_parser=flags.FLAGS, *, names):
    del main
    remaining = flags_parser(sys.argv)[1:]
    if any(word.startswith(("-", "[")) for word in remaining):
        raise flags.UnrecognizedFlagError(" ".join(remaining))
    fields = [name.removeprefix("config.") for name in names if name.startswith("config.")]
    for name in names:
        if not name.startswith("config.") and name not in flags.FLAGS:
            raise flags.UnrecognizedFlagError(name)
    if "config" in flags.FLAGS:
        values = _read()
        for field in fields:
            functools.reduce(operator.getitem, field.split("."), values)


def _read():
    """All fields of an experiment, or of where a search begins; as the commands read them."""
    # Not before: importing them defines flags.
    from clustr_tf.cli.config import read_experiment
    from clustr_tf.cli.flags import config_values

    config = config_values()
    if "search" not in config:
        return read_experiment(config).values
    from clustr_tf.cli.search import read_search

    return read_search(config).base
