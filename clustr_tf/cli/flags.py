"""What every command shares: flags, exit statuses, errors in one line.

Nothing here imports TensorFlow: `--help` answers at once.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from clustr_tf.cli.entries import parse_fraction
from clustr_tf.run.errors import InputError, RunError, TerminatedError

STATUS_RUN_ERROR = 1
STATUS_USER_ERROR = 2
STATUS_INTERRUPTED = 130
STATUS_TERMINATED = 143

_SILENT = "3"
_CONFIGS = Path(__file__).parents[1] / "configs"

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")
TRUST_PLUGINS = flags.DEFINE_bool(
    "trust_plugins", False, "whether code that the workdir's config names (plugins) may run"
)
EXAMPLES = flags.DEFINE_integer(
    "examples", None, "the first so many test images; default: see the command", lower_bound=1
)


class FractionParser(flags.ArgumentParser):
    """Numbers that may be fractions: 0.1, 1e-4, 8/255."""

    syntactic_help = "a number or a fraction such as 8/255"

    def parse(self, argument: str | float) -> float:
        """The number as a float.

        Raises:
            ValueError: if the text is neither a number nor a fraction.
        """
        return parse_fraction(argument)

    def flag_type(self) -> str:
        """Named in the help."""
        return "float or fraction"


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps what TensorFlow's C++ writes to stderr while it is imported from burying our lines.

    TF_CPP_MIN_LOG_LEVEL does not reach those lines, as they are written before the log begins.
    Whoever sets that variable to less than 3 sees them; exceptions are told as ever.

    Example:
        >>> with quiet_start():
        ...     from clustr_tf.train.run import run_training
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != _SILENT:
        yield
        return
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def required_workdir() -> Path:
    """The folder given as --workdir.

    Raises:
        InputError: if it was not given.
    """
    if WORKDIR.value is None:
        raise InputError("--workdir is missing: give the folder of a finished run")
    return Path(WORKDIR.value)


def config_values() -> dict[str, Any]:
    """The fields of --config with the overrides.

    An entry that is given another name, such as `--config.method.name=pgd_at`, loses what the file
    says of the old one, unless the new one has such a field too.

    Raises:
        InputError: if the file cannot be read.
    """
    flag = flags.FLAGS["config"]
    try:
        values: dict[str, Any] = flag.value.to_dict()
    except OSError as error:
        raise InputError(f"--config: {' '.join(str(error).split())}") from error
    # After the flags: a mistake in them is answered without waiting for TensorFlow.
    with quiet_start():
        from clustr_tf.cli.config import without_foreign_fields
    return without_foreign_fields(values, config_flags.get_override_values(flag))


def shipped_config(name: str) -> Path:
    """The file of a config that the package ships, such as "digits"."""
    return _CONFIGS / f"{name}.py"


def run(
    main: Callable[..., None], default_config: str | None = None, takes_arguments: bool = False
) -> None:
    """Parses the flags, runs the command, exits.

    Status 0: done. 2: a user's mistake, one line on stderr. 1: a run that cannot go on, likewise.
    130: interrupted by Ctrl-C. 143: ended by SIGTERM. Errors of the program itself keep their
    traceback.

    Args:
        main: the command; reads its flags itself.
        default_config: for commands that take --config, the shipped one to use when none is given.
        takes_arguments: whether what follows the flags is allowed; it is then given to `main`.
    """
    # TensorFlow's C++ start-up messages would bury ours; its errors still arrive as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT)
    logging.set_verbosity(logging.WARNING)
    # absl explains the flags of the main module: of a console script that is the script.
    for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    if default_config:
        _define_config(default_config)

    def guarded(arguments: list[str]) -> None:
        if len(arguments) > 1 and not takes_arguments:
            _fail(f"unexpected argument {arguments[1]!r}: options are given as --name=value")
        try:
            main(*([arguments[1:]] if takes_arguments else []))
        except InputError as error:
            _fail(str(error))
        except RunError as error:
            _fail(str(error), STATUS_RUN_ERROR)
        except KeyboardInterrupt:
            print("Interrupted. The same command resumes or starts anew.", file=sys.stderr)
            sys.exit(STATUS_INTERRUPTED)
        except TerminatedError as error:
            print(error, file=sys.stderr)
            sys.exit(STATUS_TERMINATED)

    app.run(guarded, flags_parser=_parse)


def _define_config(default: str) -> None:
    # ml_collections parses a default while it is being defined, where a wrong override could only
    # end in a traceback; given as an argument it is parsed with all the others.
    given = [index for index, word in enumerate(sys.argv) if re.match(r"--?config(=|$)", word)]
    if not given:
        sys.argv.insert(1, f"--config={shipped_config(default)}")
    for index in given:
        if "=" in sys.argv[index]:
            flag, value = sys.argv[index].split("=", 1)
            sys.argv[index] = f"{flag}={_with_path(value)}"
        elif index + 1 < len(sys.argv):
            sys.argv[index + 1] = _with_path(sys.argv[index + 1])
    config_flags.register_flag_parser_for_type(float, FractionParser())
    config_flags.DEFINE_config_file(
        "config",
        None,
        "a shipped config by its name, or a Python file with get_config(); NAME:VARIANT asks it "
        "for a variant. Any field can be overridden, such as --config.training.epochs=10; floats "
        f"may be fractions. Without the flag: {default}. Shipped: {', '.join(_shipped())}.",
        # The file says what differs from the defaults; the door checks names and types.
        lock_config=False,
        accept_new_attributes=True,
    )
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["config"])


def _shipped() -> list[str]:
    return sorted(path.stem for path in _CONFIGS.glob("[!_]*.py"))


def _with_path(value: str) -> str:
    """NAME[:VARIANT] with the path of the shipped config of that name; a path stays."""
    name, colon, variant = value.partition(":")
    if name in _shipped():
        return f"{shipped_config(name)}{colon}{variant}"
    if not Path(name).is_file():
        _fail(f"--config must be a Python file, or one of {_shipped()}. Received: {name!r}")
    return value


def _parse(arguments: Sequence[str]) -> list[str]:
    asks_for_help = any(argument.lstrip("-").startswith("help") for argument in arguments[1:])
    try:
        remaining = flags.FLAGS(arguments)
    except SystemExit:
        # absl leaves with status 1 after it has printed the help that was asked for.
        if asks_for_help:
            sys.exit(0)
        raise
    except (flags.Error, AttributeError, OSError, TypeError, ValueError) as error:
        _fail(_one_line(error))
    return list(remaining)


def _one_line(error: Exception) -> str:
    """ml_collections nests exceptions and puts a config file's whole traceback into messages."""
    cause = error.args[0] if error.args else error
    if isinstance(cause, KeyError):
        return "unknown config field " + " ".join(str(cause.args[0]).splitlines())
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        return re.sub(r"^\w+Error: ", "", lines[-1])
    return " ".join(lines)


def _fail(message: str, status: int = STATUS_USER_ERROR) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
