"""How sizes and lists of names are said to people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def times(values: Iterable[float], spec: str = "g") -> str:
    """Numbers -> "1 x 1 x 4", in their order; arrays' own triples (z, y, x) are reversed first, as scanners print them.

    Args:
        spec: how a number is formatted.
    """
    return " x ".join(f"{value:{spec}}" for value in values)


def some(names: Sequence[str], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def capital(sentence: str) -> str:
    """The sentence with a capital letter, for where it stands alone."""
    return sentence[:1].upper() + sentence[1:]
