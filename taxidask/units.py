"""Sizes in bytes and lengths of time, and the few that the whole package shares."""

from __future__ import annotations

import re

from taxidask.errors import SettingsError

CONTENT_RANGE = 8 << 20  # a source's content is hashed in ranges of this many bytes
DAY = 86_400
LONGEST_SPAN = 30 * 366 * DAY
"""Seconds a cube spans at most unless asked for: trips are published since 2009, and a wrong date would fill memory."""

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}


def parse_bytes(text: str | int) -> int:
    """A size in bytes from text such as ``"64MiB"``.

    Examples
    --------
    >>> parse_bytes("64MiB")
    67108864
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(text))
    if not match or match[2].lower() not in _UNITS:
        raise SettingsError(f"{text!r} is no size in bytes", "write a number and one of KiB, MiB, GiB, e.g. 64MiB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


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
