"""Colours and marks of the charts, readable on the page's light and on its dark ground."""

# Each has a contrast of at least 3:1 with both grounds (WCAG 2.2, 1.4.11).
COLOURS = (
    "#3b7ddd",
    "#c8622a",
    "#2f8f5b",
    "#c9477f",
    "#8566cc",
    "#8d7a1f",
    "#1f8ba3",
    "#d0483e",
    "#7a8089",
    "#9a6b4b",
)
# Colour alone tells too little to those who do not see it. Dotted is only what is proved.
DASHES = ("solid", "dash", "longdash", "dashdot", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "pentagon")


def colour(index: int, opacity: float = 1.0) -> str:
    """The colour of the index-th series; they repeat.

    Example:
        >>> colour(0, 0.15)  # "rgba(59, 125, 221, 0.15)"
    """
    digits = COLOURS[index % len(COLOURS)].lstrip("#")
    red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
    return f"rgba({red}, {green}, {blue}, {opacity})"
