"""Sizes in bytes and lengths of time, and the few that the whole package shares."""

from __future__ import annotations

import contextlib
import re
from numbers import Real
from typing import TYPE_CHECKING, Any

from taxidask.errors import CubeError, SettingsError

if TYPE_CHECKING:
    import pandas as pd

CONTENT_RANGE = 8 << 20  # a source's content is hashed in ranges of this many bytes
DAY = 86_400
LONGEST_SPAN = 30 * 366 * DAY
"""Seconds a cube spans at most unless asked for: trips are published since 2009, and a wrong date would fill memory."""

_ALSO = {"min": "minute", "mins": "minute", "sec": "second", "secs": "second", "hr": "hour", "hrs": "hour"}
"""Usual units that Dask's parser does not know, by those it knows."""


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number of at least `least` and at most 64 bits: 3 and 3.0, but neither True nor text.

    Examples
    --------
    >>> [is_whole(value) for value in (3, 3.0, 0, 2.5, True, "3", None, float("nan"), float("inf"), 1e23)]
    [True, True, False, False, False, False, False, False, False, False]
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    return least <= number < 2**63 and number.is_integer()


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
    except (ValueError, OverflowError, TypeError, AttributeError):
        size = 0
    if size < 1:
        raise SettingsError(f"{text!r:.100} is no size in bytes", "write a number and a unit, e.g. 64MiB or 4GB")
    return int(size)


def parse_seconds(text: str | float) -> float:
    """A length of time in seconds from text such as ``"20min"``, as Dask reads it; a bare number counts as seconds.

    Examples
    --------
    >>> parse_seconds("20min"), parse_seconds("1.5 hours")
    (1200.0, 5400.0)
    """
    from dask.utils import parse_timedelta

    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-zA-Z]*)\s*", str(text))
    seconds = -1.0
    if match:
        with contextlib.suppress(KeyError, ValueError, OverflowError):
            unit = match[2].lower()
            seconds = float(parse_timedelta(match[1] + _ALSO.get(unit, unit), default="seconds"))
    if seconds < 0:
        raise SettingsError(f"{text!r} is no length of time", "write a number and one of s, min, h, d, e.g. 20min")
    return seconds


def parse_slot(slot: str | pd.Timedelta) -> pd.Timedelta:
    """Return a slot's length, checked: whole seconds, and a day is a whole number of slots.

    Examples
    --------
    >>> parse_slot("30min")
    Timedelta('0 days 00:30:00')
    >>> parse_slot("7min")
    Traceback (most recent call last):
    taxidask.errors.CubeError: a day is no whole number of slots of '7min'; use a slot such as 15min, 30min, 60min or 1D
    """
    import pandas as pd  # a third of a second, which whoever only looks at settings need not wait for

    remedy = "use a slot such as 15min, 30min, 60min or 1D"
    try:
        length = pd.Timedelta(slot)
    except (ValueError, TypeError) as error:
        raise CubeError(f"{slot!r} is no length of a slot", remedy) from error
    if pd.isna(length) or length <= pd.Timedelta(0) or length % pd.Timedelta(seconds=1):
        raise CubeError(f"{slot!r} is no length of a slot", remedy)
    if pd.Timedelta(days=1) % length:
        raise CubeError(f"a day is no whole number of slots of {slot!r}", remedy)
    return length.as_unit("s")


def slot_name(slot: pd.Timedelta) -> str:
    """Return a slot's length as text that `parse_slot` reads.

    Examples
    --------
    >>> import pandas as pd
    >>> slot_name(pd.Timedelta("0.5h")), slot_name(pd.Timedelta("90s")), slot_name(pd.Timedelta("1D"))
    ('30min', '90s', '1440min')
    """
    seconds = int(slot.total_seconds())
    return f"{seconds}s" if seconds % 60 else f"{seconds // 60}min"


def slot_seconds_of(slot: str | pd.Timedelta) -> int:
    """Return a slot's length in seconds, checked as `parse_slot` does.

    Examples
    --------
    >>> slot_seconds_of("30min")
    1800
    """
    return int(parse_slot(slot).total_seconds())
