"""Errors that are told in one line, without a traceback."""


def first_line(error: Exception) -> str:
    """The first line of what an error says; its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class InputError(ValueError):
    """A user's mistake, told in one line: the field, what was received, what is allowed.

    Commands print the line without a traceback and exit with status 2.

    Example:
        >>> raise InputError("config.training.epochs must be at least 1. Received: 0")
    """


class RunError(RuntimeError):
    """A run that cannot go on through nobody's mistake, told in one line: what to try.

    Commands print the line without a traceback and exit with status 1.

    Example:
        >>> raise RunError("The loss is NaN in step 12. Try a smaller learning rate")
    """


class TerminatedError(RuntimeError):
    """The program was asked to end (SIGTERM) and has saved its work.

    Commands print the line and exit with status 143.

    Example:
        >>> raise TerminatedError("Terminated. The same command resumes")
    """


class TrainingDivergedError(RunError):
    """Loss or weights are no longer finite, or the embeddings cannot be clustered."""
