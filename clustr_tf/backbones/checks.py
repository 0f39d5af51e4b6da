"""What backbones refuse alike."""


def check_positive(**values: int) -> None:
    """Refuses numbers below 1.

    Raises:
        ValueError: if one is, by its name.

    Example:
        >>> check_positive(width=64, depth=28)
    """
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1. Received: {value}")
