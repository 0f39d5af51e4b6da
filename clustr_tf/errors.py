"""The error that means: the user can mend this."""


class InputError(ValueError):
    """A user's mistake, told in one line: the field, what was received, what is allowed.

    Commands print the line without a traceback and exit with status 2.

    Example:
        >>> raise InputError("config.training.epochs must be at least 1. Received: 0")
    """
