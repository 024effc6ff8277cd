"""Words that agree with their numbers."""

from __future__ import annotations


def quantity(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> quantity(1, "source"), quantity(1488, "slot")
    ('1 source', '1,488 slots')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
