"""The small world of all schedules: months of trips, four zones, and what an undisturbed run makes of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import taxidask as td

MONTHS = ("2015-01", "2015-02", "2015-03")
SECOND_NAME = "again/yellow_tripdata_2015-01.csv"
"""The first month once more, under a name that comes before its own: it is the one that counts."""
SLOT = "6h"
HORIZON = 4


def build(folder: Path) -> None:
    """Write the files, the same each time."""
    trips = folder / "trips"
    trips.mkdir(parents=True, exist_ok=True)
    for number, month in enumerate(MONTHS):
        td.make_sample(str(trips), start=month, trips_per_month=1_500, seed=number, faults=0.05)
    second = trips / SECOND_NAME
    second.parent.mkdir(exist_ok=True)
    shutil.copyfile(trips / second.name, second)
    squares = [(west, south) for south in (40.63, 40.74) for west in (-74.05, -73.90)]
    features = [_square(number, west, south) for number, (west, south) in enumerate(squares, 1)]
    (folder / "zones.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _square(number: int, west: float, south: float) -> dict[str, Any]:
    east, north = west + 0.15, south + 0.11
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "properties": {"LocationID": number, "zone": f"Square {number}", "borough": "Here"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def names(folder: Path) -> list[str]:
    """The files, relative to the folder of trips."""
    trips = folder / "trips"
    return sorted(str(path.relative_to(trips)) for path in trips.rglob("*.csv"))


def settings(
    folder: Path, home: str, sources: Sequence[str], *, lake: str, store: str, timeout: float, **more: Any
) -> dict[str, Any]:
    return {
        "sources": list(sources),
        "lake": lake,
        "store": store,
        "report": str(Path(home) / "report.pdf"),
        "space": str(folder / "zones.geojson"),
        "slot": SLOT,
        "horizon": HORIZON,
        "heartbeat_timeout": timeout,
        **more,
    }


# -- what is seen ------------------------------------------------------------------------------------------------------


def seen(lake: td.Lake) -> dict[str, Any]:
    """What a reader of the lake is shown, small enough to be compared all the time: each month and file by itself."""
    trips = lake.trips()
    months: dict[str, list[Any]] = {}
    if len(trips):
        for month, part in trips.groupby(trips["pickup_datetime"].dt.strftime("%Y-%m")):
            months[str(month)] = [len(part), _digest(part)]
    rejects = lake.rejects()
    rejects["name"] = rejects["source"].str.rsplit("/", n=1).str[1]
    aside = {
        str(name): [len(part), _digest(part.drop(columns=["source", "name"]))] for name, part in rejects.groupby("name")
    }
    return {"trips": months, "rejects": aside}


def counted(lake: td.Lake) -> dict[str, list[int]]:
    """Pickups of each month in the cube, and its missing slots."""
    cube = lake.cube()
    table = pd.DataFrame({"month": cube.times.strftime("%Y-%m"), "pickups": cube.counts[..., 0].sum(axis=1)})
    table["missing"] = cube.missing
    sums = table.groupby("month").agg({"pickups": "sum", "missing": "sum"})
    return {str(month): [int(row.pickups), int(row.missing)] for month, row in sums.iterrows()}


def listed(lake: td.Lake) -> list[dict[str, Any]]:
    """The table of sources, by name of the file."""
    table = lake.sources()[["url", "rows", "kept", "rejected"]]
    return [{**row, "url": str(row["url"])} for row in table.to_dict("records")]


def _digest(frame: pd.DataFrame) -> str:
    hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes()).hexdigest()[:16]


def answers(lake: td.Lake, store: Any, *, name: str | None = None) -> dict[str, Any]:
    """Everything that a run left but for what names it: lake rows, cube, sources, published items.

    `name` is what the lake is called where it was written, if that is another region than this one. Files go by the
    last part of their names: which of two names of a content counts is decided by who comes first.
    """
    rejects = lake.rejects()
    rejects["source"] = _last_part(rejects["source"])
    found: dict[str, Any] = {
        "trips": lake.trips(),
        "rejects": rejects,
        "cube": lake.cube(),
        "sources": _by_file(lake.sources()),
    }
    latest = store.get_latest()
    found["latest"] = {name: value for name, value in latest.items() if name not in ("run", "lake")}
    if latest:
        run, space = latest["run"], latest["space"]
        ahead = pd.Timestamp(latest["forecast_start"]), pd.Timestamp(latest["forecast_end"])
        past = pd.Timestamp(latest["cube_end"]) - pd.Timedelta("28D"), pd.Timestamp(latest["cube_end"])
        for cell in (*range(4), "city"):  # what runs of fewer files published of other days stays
            found[f"forecast of {cell}"] = store.get_forecast(space, cell, *ahead, slot=latest["slot"])
            found[f"demand of {cell}"] = store.get_demand(space, cell, *past, slot=latest["slot"])
        for kind in ("demand", "fare", "fare-prices", "fare-errors"):
            found[f"metrics of {kind}"] = store.get_metrics(run, kind)
        for kind in ("demand", "fare"):
            card = store.get_card(kind) or {}
            found[f"card of {kind}"] = {name: value for name, value in card.items() if name != "created"}
        found["ingest"] = _by_file(store.get_ingest(name or lake.url))
    return found


def _last_part(urls: pd.Series) -> pd.Series:
    return urls.str.rsplit("/", n=1).str[1]


def _by_file(table: pd.DataFrame) -> pd.DataFrame:
    """A table of sources without second names, and without what is of the moment at which it was made."""
    table = table[table["rows"] > 0].assign(url=lambda rows: _last_part(rows["url"]))
    table = table.drop(columns=["seconds", "version", "note"], errors="ignore")
    return table.sort_values("url", ignore_index=True)


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what is not the same."""
    found = []
    for name in sorted({*one, *other}):
        mine, theirs = one.get(name), other.get(name)
        if isinstance(mine, pd.DataFrame) and isinstance(theirs, pd.DataFrame):
            same = mine.reset_index(drop=True).equals(theirs.reset_index(drop=True))
        else:
            same = type(mine) is type(theirs) and bool(mine == theirs)
        if not same:
            found.append(f"{name}: {_apart(mine, theirs)}")
    return found


def _apart(mine: Any, theirs: Any) -> str:
    """Where two answers differ first."""
    if not (isinstance(mine, pd.DataFrame) and isinstance(theirs, pd.DataFrame)):
        return f"{theirs!r:.300}, expected {mine!r:.300}"
    if len(mine) != len(theirs) or list(mine) != list(theirs):
        return f"{len(theirs)} rows of {list(theirs)}, expected {len(mine)} of {list(mine)}"
    for column in mine:
        for number, (one, other) in enumerate(zip(mine[column], theirs[column], strict=True)):
            if one != other and not (pd.isna(one) and pd.isna(other)):
                return f"{column} of row {number} is {other!r:.100}, expected {one!r:.100}"
    return f"types {theirs.dtypes.to_dict()}, expected {mine.dtypes.to_dict()}"


@dataclass(frozen=True)
class Expected:
    """What an undisturbed run gives: in whole, and as a reader may see parts of it."""

    answers: dict[str, Any]
    seen: dict[str, Any]
    counted: dict[str, list[int]]
    rows: dict[str, list[int]]  # by name of the file: rows, kept and rejected

    @classmethod
    def of(cls, lake: td.Lake, store: Any) -> Expected:
        rows: dict[str, list[int]] = {}
        for one in listed(lake):
            if one["rows"]:
                rows[os.path.basename(one["url"])] = [one["rows"], one["kept"], one["rejected"]]
        return cls(answers(lake, store), seen(lake), counted(lake), rows)

    def to_json(self) -> dict[str, Any]:
        return {"seen": self.seen, "counted": self.counted, "rows": self.rows}
