"""Words that agree with their numbers, and lines for a shell."""

from __future__ import annotations

import shlex


def quantity(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> quantity(1, "source"), quantity(1488, "slot")
    ('1 source', '1,488 slots')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def command(line: str, *words: str, **options: object) -> str:
    """A line that works when it is pasted into a shell; options that are None are left out.

    Examples
    --------
    >>> print(command("taxidask runs show", "r1", store="sqlite:////my data/taxi.db", worker_memory=None))
    taxidask runs show r1 --store 'sqlite:////my data/taxi.db'
    """
    given = {name: value for name, value in options.items() if value is not None}
    parts = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return " ".join([line, *map(shlex.quote, [*words, *parts])])
