"""What a command makes of its arguments, up to where the work would begin.

Runs in a process of its own, as a process can define its flags but once.
"""

import functools
import re
import runpy
import sys
from unittest import mock

from absl import app, flags

_PLACEHOLDER = re.compile(r"--?([\w.]+)=(\.\.\.|[A-Z][A-Z0-9_]*|)")


def complaint(module, arguments):
    """What is wrong with a command's arguments; None if nothing is.

    A value in capitals, such as N, stands for any: then the name alone is checked.
    """
    arguments = [re.sub(r"(\.py):[A-Z]+$", r"\1", argument) for argument in arguments]
    # A config that a search before it has written is one like any other.
    arguments = [
        re.sub(r"^--config=runs/.*", "--config=configs/digits.py", argument)
        for argument in arguments
    ]
    placeholders = [match for argument in arguments if (match := _PLACEHOLDER.fullmatch(argument))]
    given = [argument for argument in arguments if not _PLACEHOLDER.fullmatch(argument)]
    parsed = functools.partial(_parsed, names=[match[1] for match in placeholders])
    errors = mock.Mock()
    try:
        with (
            mock.patch.object(sys, "argv", [module, *given]),
            mock.patch.object(app, "run", parsed),
            mock.patch.object(sys, "stderr", errors),
        ):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except (SystemExit, flags.Error, AttributeError, OSError, ValueError) as error:
        written = "".join(call.args[0] for call in errors.write.call_args_list)
        return f"{error!r} {written}"
    return None


def _parsed(main, flags_parser=flags.FLAGS, *, names):
    del main
    remaining = flags_parser(sys.argv)[1:]
    if any(word.startswith(("-", "[")) for word in remaining):
        raise flags.UnrecognizedFlagError(" ".join(remaining))
    for name in names:
        if name.startswith("config."):
            functools.reduce(getattr, name.split(".")[1:], flags.FLAGS.config)
        elif name not in flags.FLAGS:
            raise flags.UnrecognizedFlagError(name)
    if "config" in flags.FLAGS:
        config = flags.FLAGS.config.to_dict()
        if "search" in config:
            from clustr_tf.tuning.request import read_request

            read_request(config, None)
        else:
            from clustr_tf.experiment import read_experiment

            read_experiment(config)
