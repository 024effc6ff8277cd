"""The sources of a lake: as a table, and those at which nobody needs to look again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from taxidask.errors import LakeError, TaxidaskError
from taxidask.storage import Stat, Storage, absolute
from taxidask.trips.eras import Era
from taxidask.trips.outcome import remarks
from taxidask.trips.rules import Rules
from taxidask.trips.schema import REASONS
from taxidask.trips.sources import Source, month_of
from taxidask.words import quantity

from .copies import lacks
from .layout import load_space, read_layout
from .manifest import Manifest, Manifests, counted
from .names import part_id

_COLUMNS: dict[str, str] = {
    "url": "str", "month": "str", "era": "str", "rows": "int64", "kept": "int64", "rejected": "int64",
    **dict.fromkeys(REASONS, "int64"), "unreadable": "int64", "bytes": "int64", "seconds": "float64",
    "fares": "float64",
    "first": "datetime64[us]", "last": "datetime64[us]", "version": "str", "content": "str", "note": "str",
}  # fmt: skip


def sources_table(
    manifests: list[Manifest], claimant: Callable[[str], str | None], lacking: dict[str, int]
) -> pd.DataFrame:
    """One row per source: its rows, kept and rejected by reason, the kept trips' fares (USD, without tips and tolls;
    NaN in lakes of before), and what is worth knowing of it; no rows of one that is not whole."""
    whole = [one for one in manifests if one.url not in lacking]
    rows: list[dict[str, Any]] = [
        _row(replace(one.duplicate(""), duplicate_of=None), f"left out: {lacks(lacking[one.url])}")
        for one in manifests
        if one.url in lacking
    ]
    rows += _rows(whole, {one.url for one in manifests}, claimant)
    rows.sort(key=lambda row: str(row["url"]))
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def _rows(manifests: list[Manifest], there: set[str], claimant: Callable[[str], str | None]) -> list[dict[str, Any]]:
    visible = {one.url: one.content for one in counted(manifests, claimant)}
    rows = []
    for one in manifests:
        if one.url not in visible and one.duplicate_of is None:
            one = one.duplicate(claimant(one.content) or "")
        note = "; ".join(remarks(one.zoned, one.examples, one.left_out, one.month))
        if one.duplicate_of is not None:
            note = f"same content as {one.duplicate_of}, counted there"
            if visible.get(one.duplicate_of) != one.content:
                gone = "has other content" if one.duplicate_of in there else "was removed"
                note = f"counts nowhere since {one.duplicate_of} {gone}: ingest it again"
        rows.append(_row(one, note))
    return rows


def _row(one: Manifest, note: str) -> dict[str, Any]:
    moments = {name: pd.NaT if value is None else pd.Timestamp(value, unit="us") for name, value in
               (("first", one.first), ("last", one.last))}  # fmt: skip
    return {
        **{name: getattr(one, name) for name in ("url", "month", "era", "rows", "kept", "bytes", "seconds")},
        "rejected": sum(one.rejected.values()),
        **{reason: one.rejected.get(reason, 0) for reason in REASONS},
        "unreadable": sum(one.unreadable.values()),
        "fares": None if one.fares is None else one.fares / 100,
        **moments,
        "version": one.version,
        "content": one.content,
        "note": note,
    }


def known_sources(manifests: list[Manifest], *, month: str | None, rules: Rules) -> Callable[[Stat], Source | None]:
    """Of a file in the version that the lake has, the source it is, without its columns; None of any other."""
    there = {one.url: one for one in manifests if not one.duplicate_of}

    def known(stat: Stat) -> Source | None:
        one = there.get(stat.url)
        if one is None or one.version != stat.version:
            return None
        named = month or month_of(stat.url)
        era = Era(one.era, one.locations, (), ())
        source = Source(stat.url, stat.size, stat.version, named, era, "csv", None, 0)
        return source if part_id(source, rules) == one.id else None

    return known


def described(lake: str, storage: Storage, manifests: Manifests) -> str:
    """What a lake holds, in a line, or why nobody knows."""
    try:
        layout = read_layout(lake, storage)
        if layout is None:
            return "empty"
        counting = manifests.counted()
        space = load_space(lake, layout.space_key, storage)
    except TaxidaskError as error:
        return str(error)
    kept, rows = sum(one.kept for one in counting), sum(one.rows for one in counting)
    days = [pd.Timestamp(day, unit="us") for one in counting for day in (one.first, one.last) if day is not None]
    span = f", {min(days):%Y-%m-%d} to {max(days):%Y-%m-%d}" if days else ""
    return (
        f"{quantity(len(counting), 'source')}, {quantity(kept, 'trip')} of {quantity(rows, 'row')}{span}, "
        f"slots of {layout.slot_seconds // 60} min, {space!r}"
    )


def named_sources(source: str | os.PathLike[str], manifests: list[Manifest], lake: str) -> list[Manifest]:
    """The source of that URL, else those whose URL ends in that name."""
    url = absolute(source)
    chosen = [one for one in manifests if one.url == url]
    chosen = chosen or [one for one in manifests if one.url.rpartition("/")[2] == os.fspath(source)]
    if not chosen:
        raise LakeError(f"the lake {lake} has no source {url}", "lake.sources() lists what it has")
    return chosen
