"""Small tables about a run, from what its store publishes; shared by the report and the app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from taxidask.trips.rules import REASONS


def reasons(ingest: pd.DataFrame) -> dict[str, int]:
    """Rejected rows by reason over all sources, in the order in which the rules apply.

    Examples
    --------
    >>> reasons(pd.DataFrame({"url": ["a", "b"], "malformed": [2, 1], "outside_city": [0, 5]}))
    {'malformed': 3, 'outside_city': 5}
    """
    counts = {reason: int(ingest[reason].fillna(0).sum()) for reason in REASONS if reason in ingest}
    return {reason: n for reason, n in counts.items() if n}


def totals(ingest: pd.DataFrame) -> dict[str, int]:
    """Rows, kept and rejected of all sources together.

    Examples
    --------
    >>> totals(pd.DataFrame({"rows": [5, 3], "kept": [4, 3], "rejected": [1, 0]}))
    {'rows': 8, 'kept': 7, 'rejected': 1}
    """
    return {name: int(ingest[name].fillna(0).sum()) if name in ingest else 0 for name in ("rows", "kept", "rejected")}


def short(url: str) -> str:
    """The last part of a URL, which is what a reader knows a source by.

    Examples
    --------
    >>> short("s3://bucket/2015/yellow_tripdata_2015-01.csv")
    'yellow_tripdata_2015-01.csv'
    """
    return url.rstrip("/").rsplit("/", 1)[-1] or url


def seconds_between(begun: str | None, ended: str | None) -> float | None:
    """Seconds between two ISO times, or None when one is missing.

    Examples
    --------
    >>> seconds_between("2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z")
    90.0
    """
    if not begun or not ended:
        return None
    return (pd.Timestamp(ended) - pd.Timestamp(begun)).total_seconds()


def lasted(seconds: float | None) -> str:
    """A length of time for a person.

    Examples
    --------
    >>> lasted(4.24), lasted(192), lasted(7320), lasted(None)
    ('4.2 s', '3 min 12 s', '2 h 2 min', '–')
    """
    if seconds is None or seconds != seconds:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def volume(size: float) -> str:
    """Bytes for a person.

    Examples
    --------
    >>> volume(512), volume(476_000_000)
    ('512 B', '476.0 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def percent(share: float) -> str:
    """A share of a whole; a small one does not read as none.

    Examples
    --------
    >>> percent(0.0066), percent(0.00004), percent(0)
    ('0.66%', '<0.01%', '0.00%')
    """
    return "<0.01%" if 0 < share < 0.0001 else f"{share:.2%}"


def slot_of(times: pd.Series) -> str:
    """The length of a slot, from the times of some.

    Examples
    --------
    >>> slot_of(pd.Series(pd.date_range("2015-01-01", periods=3, freq="30min")))
    '30 min'
    >>> slot_of(pd.Series(pd.date_range("2015-01-01", periods=3, freq="450s")))
    '450 s'
    """
    steps = times.drop_duplicates().sort_values().diff().dropna()
    if steps.empty:
        return "slot"
    seconds = int(steps.min().total_seconds())
    words = {3600: "hour", 86_400: "day"}
    return words.get(seconds) or (f"{seconds} s" if seconds % 60 else f"{seconds // 60} min")


def stages(run: Mapping[str, Any]) -> pd.DataFrame:
    """One row per stage of a run: stage, state, started, seconds, rows, detail; in the order in which they began."""
    rows = [
        {
            "stage": name,
            "state": record.get("state") or "–",
            "started": record.get("started"),
            "seconds": seconds_between(record.get("started"), record.get("ended")),
            "rows": record.get("rows"),
            "detail": record.get("detail") or "",
        }
        for name, record in (run.get("stages") or {}).items()
    ]
    frame = pd.DataFrame(rows, columns=["stage", "state", "started", "seconds", "rows", "detail"])
    return frame.sort_values("started", na_position="last", kind="stable").reset_index(drop=True)
