"""Sizes in bytes and lengths of time, and the few that the whole package shares."""

from __future__ import annotations

import re

from taxidask.errors import SettingsError

CONTENT_RANGE = 8 << 20  # a source's content is hashed in ranges of this many bytes
DAY = 86_400
LONGEST_SPAN = 30 * 366 * DAY
"""Seconds a cube spans at most unless asked for: trips are published since 2009, and a wrong date would fill memory."""

_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}


def parse_bytes(text: str | int) -> int:
    """A size in bytes from text such as ``"64MiB"`` or ``"4G"``, as Dask reads it.

    Examples
    --------
    >>> parse_bytes("64MiB"), parse_bytes("4G")
    (67108864, 4000000000)
    """
    from dask.utils import parse_bytes as parse  # a quarter of a second, which most commands need not wait for

    try:
        size = parse(text) if re.search(r"\d", str(text)) else 0  # Dask takes "MiB" for one and "" for a byte
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise SettingsError(f"{text!r} is no size in bytes", "write a number and a unit, e.g. 64MiB or 4GB")
    return int(size)


def parse_seconds(text: str | float) -> float:
    """A length of time in seconds from text such as ``"20min"``; a bare number counts as seconds.

    Examples
    --------
    >>> parse_seconds("20min")
    1200.0
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(text))
    if not match or (match[2] or "s") not in _SECONDS:
        raise SettingsError(f"{text!r} is no length of time", "write a number and one of s, min, h, d, e.g. 20min")
    return float(match[1]) * _SECONDS[match[2] or "s"]
