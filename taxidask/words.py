"""Words that agree with their numbers, lines for a shell, and texts that do nothing to a terminal."""

from __future__ import annotations

import re
import shlex

# control characters, what turns the direction of writing or ends a line, and bytes that were no text
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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


def escaped(text: str, *, lines: bool = False) -> str:
    r"""A text with escapes for what a terminal would act on: names of files may hold anything.

    Parameters
    ----------
    text : str
        What is to be shown.
    lines : bool
        Whether it may be of several lines.

    Examples
    --------
    >>> print(escaped("a\x1b[2J\n.csv"))
    a\x1b[2J\n.csv
    """
    if lines:
        return "\n".join(map(escaped, text.split("\n")))
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str, most: int) -> str:
    """A text, cut where it is long.

    Examples
    --------
    >>> shortened("abc" * 10, 8)
    'abcabcab… (30 characters)'
    """
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
