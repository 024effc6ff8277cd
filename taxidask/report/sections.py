"""The report's words and tables, with one run's numbers in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from taxidask.report import figures
from taxidask.report.display import Figure, Header, Table, Text
from taxidask.results.summary import lasted, percent, reasons, short, stages, totals, volume
from taxidask.words import quantity

if TYPE_CHECKING:
    from taxidask.report.data import RunData

_MOST_SOURCES = 36  # rows of the table of sources; the rest is summed up in one
_MOST_NOTES = 40  # of what was left out


def header(data: RunData) -> Header:
    """The title block: what the report is about, from which run and data."""
    cube = data.cube
    created = pd.Timestamp(str(data.run["created"]))
    sums = totals(data.sources)
    return Header(
        title="New York taxi demand and fares",
        subtitle=_span(cube.start, cube.end),
        details=[
            ("Run", data.id),
            ("Started", f"{created:%-d %B %Y, %H:%M} UTC"),
            ("Lake", data.lake.url),
            ("Trips", f"{sums['kept']:,} from {quantity(len(data.sources), 'file')}"),
            (
                "Area",
                f"{cube.space.cells:,} cells: {cube.space.label}, in slots of {cube.slot.total_seconds() / 60:g} min",
            ),
        ],
        created=created.timestamp(),
    )


def _span(start: pd.Timestamp, end: pd.Timestamp) -> str:
    last = end - pd.Timedelta(seconds=1)
    if (start.year, start.month) == (last.year, last.month):
        return f"{start:%B %Y}"
    return f"{start:%B %Y} to {last:%B %Y}"


def summary(data: RunData) -> Text:
    """The report in a few sentences."""
    sums, cube = totals(data.sources), data.cube
    days = int((~cube.missing).sum()) * cube.slot / pd.Timedelta("1D")
    pickups, dropoffs = cube.total()
    lines = [
        f"- **{sums['rows']:,} rows** were read; **{sums['kept']:,}** are trips "
        f"({percent(sums['kept'] / max(sums['rows'], 1))}), {sums['rejected']:,} were set aside with their reason.",
        f"- Inside the area there are **{pickups:,} pickups** and {dropoffs:,} drop-offs on {days:,.0f} days with "
        f"data: {pickups / max(days, 1):,.0f} pickups a day.",
    ]
    expected = data.forecast
    if len(expected):
        ahead = expected[expected["direction"] == "pickup"]
        top = ahead.nlargest(1, "mean").iloc[0]
        hours = (ahead["time"].max() - ahead["time"].min() + cube.slot).total_seconds() / 3600
        lines.append(
            f"- In the {hours:g} hours after the data ends, **{ahead['mean'].sum():,.0f} pickups** are expected, most "
            f"at {top['time']:%A %H:%M} ({top['mean']:,.1f} a slot, 80 % interval {top['low']:,.1f} to "
            f"{top['high']:,.1f})."
        )
    return Text("\n".join(lines))


def sources_table(data: RunData) -> Table:
    """Rows, kept and rejected by source; kept + rejected = rows in every line."""
    frame = data.sources.sort_values("url", kind="stable")
    rows = pd.DataFrame(
        {
            "Source": [short(url) for url in frame["url"]],
            "Rows": frame["rows"].astype("int64"),
            "Kept": frame["kept"].astype("int64"),
            "Rejected": frame["rejected"].astype("int64"),
            "Share": (frame["rejected"] / frame["rows"].where(frame["rows"] > 0)).astype("float64"),
            "Size": [volume(size) for size in frame["bytes"]],
        }
    )
    if len(rows) > _MOST_SOURCES:
        rest = rows.iloc[_MOST_SOURCES - 1 :]
        named = f"{len(rest):,} more sources"
        rows = pd.concat(
            [rows.iloc[: _MOST_SOURCES - 1], _sum_of(rest, named, frame["bytes"].iloc[_MOST_SOURCES - 1 :])]
        )
    table = pd.concat([rows, _sum_of(rows, "All", frame["bytes"])], ignore_index=True)
    notes = [f"{short(url)}: {note}." for url, note in zip(frame["url"], frame.get("note", ""), strict=False) if note]
    undated = [
        short(url) for url, month in zip(frame["url"], frame["month"], strict=True) if pd.isna(month) or not month
    ]
    if undated:
        notes.append(f"Without a month in the name, outside_month was not checked: {', '.join(undated[:5])}.")
    counts = dict.fromkeys(("Rows", "Kept", "Rejected"), "{:,}")
    return Table(
        table,
        " ".join(["Rows read from each source. Kept and rejected rows add up to all rows.", *notes[-6:]]),
        {**counts, "Share": "{:.2%}"},
        total=True,
    )


def _sum_of(rows: pd.DataFrame, name: str, sizes: pd.Series) -> pd.DataFrame:
    sums = {column: int(rows[column].sum()) for column in ("Rows", "Kept", "Rejected")}
    share = sums["Rejected"] / sums["Rows"] if sums["Rows"] else float("nan")
    return pd.DataFrame([{"Source": name, **sums, "Share": share, "Size": volume(float(sizes.sum()))}])


def unreadable(data: RunData) -> Text:
    """Values that became null, and duplicates, in a sentence; nothing to show when there are none."""
    count = int(data.sources["unreadable"].sum()) if "unreadable" in data.sources else 0
    if not count:
        return Text("")
    return Text(f"In rows that were kept, {count:,} values of columns no rule needs could not be read and became null.")


def left_out(data: RunData) -> Table | Text:
    """What the run passed over, by name: files it could not read, second names of a content, values made null."""
    records = (data.run.get("stages") or {}).values()
    notes = [str(note) for record in records for note in record.get("left_out") or []]
    if not notes:
        return Text("")
    shown = notes[:_MOST_NOTES]
    more = f" {len(notes) - len(shown):,} more: taxidask runs show {data.id}." if len(notes) > len(shown) else ""
    caption = f"Left out of this run, with the reason.{more}"
    return Table(pd.DataFrame({"Left out": shown}), caption)


_NO_FORECAST = Text("*The store holds no forecast of this run: it has not published one, or a later run replaced it.*")


def forecast(data: RunData) -> Figure | Text:
    """The forecast of the whole area after the last observations."""
    expected = data.forecast
    return figures.forecast(data.observed, expected) if len(expected) else _NO_FORECAST


def forecast_cells(data: RunData, *, cells: int = 4) -> Figure | Text:
    """The forecast of the busiest cells."""
    busiest = [int(cell) for cell in data.latest.get("cells", [])[:cells]] if data.published else []
    shown = [(data.cell_name(cell), data.observed_in(cell), data.forecast_in(cell)) for cell in busiest]
    shown = [one for one in shown if len(one[2])]
    return figures.forecast_cells(shown) if shown else Text("")


def demand_metrics(data: RunData) -> Table | Text:
    """The demand model beside the naive baselines, by direction."""
    frame = data.metrics("demand")
    if frame.empty:
        return Text("*The run published no backtest of the demand model.*" + _note(data))
    whole = frame[(frame["first_lead"] == frame["first_lead"].min()) & (frame["last_lead"] == frame["last_lead"].max())]
    rows = []
    for direction, label in (("pickup", "Pickups"), ("dropoff", "Drop-offs")):
        part = whole[whole["direction"] == direction]
        if part.empty:
            continue
        for name, prefix in (
            ("Model", ""),
            ("Same slot yesterday", "yesterday_"),
            ("Same slot last week", "last_week_"),
            ("Mean of four weeks", "four_weeks_"),
        ):
            if f"{prefix}mae" not in part:
                continue
            rows.append(
                {
                    "Direction": label,
                    "Forecast": name,
                    "MAE": part[f"{prefix}mae"].mean(),
                    "RMSE": part[f"{prefix}rmse"].mean(),
                    "MAPE": part[f"{prefix}mape"].mean(),
                    "In the 80 % band": part["coverage"].mean() if not prefix else None,
                }
            )
    horizon = int(frame["last_lead"].max())
    folds = frame["fold"].nunique()
    table = pd.DataFrame(rows).astype({"In the 80 % band": "float64"})
    note = "MAPE where ten or more trips were counted. " if table["MAPE"].notna().any() else ""
    origins = "one origin" if folds == 1 else f"mean of {folds} rolling origins"
    return Table(
        table if note else table.drop(columns="MAPE"),
        f"Errors of the demand forecast in trips per cell and slot, {origins}, up to {horizon} slots ahead. {note}"
        f"The model saw only the slots before an origin.{_note(data)}",
        {"MAE": "{:,.3f}", "RMSE": "{:,.3f}", "MAPE": "{:,.1f}%", "In the 80 % band": "{:.1%}"},
    )


def _note(data: RunData) -> str:
    """What the demand model could not learn, as a sentence more."""
    note = data.card("demand").get("note")
    return f" The model is fitted on {note}." if note else ""


def run_table(data: RunData) -> Table:
    """The run's stages with their times; the one that builds this report is still at work on it."""
    frame = stages(data.run)
    frame = frame[frame["stage"] != "report"]
    return Table(
        pd.DataFrame(
            {
                "Stage": frame["stage"],
                "State": frame["state"],
                "Took": [lasted(seconds) for seconds in frame["seconds"]],
                "What": frame["detail"],
            }
        ),
        f"Stages of run {data.id}.",
    )


def settings_table(data: RunData) -> Table:
    """The settings that decide the run's numbers."""
    wanted = (
        *("sources", "lake", "store", "space", "slot", "horizon", "max_duration_hours", "max_distance_miles"),
        *("max_fare", "min_passengers", "max_passengers", "west", "east", "south", "north"),
    )
    settings: dict[str, Any] = data.run.get("settings") or {}
    rows = [{"Setting": name, "Value": _words(settings[name])} for name in wanted if name in settings]
    return Table(pd.DataFrame(rows, columns=["Setting", "Value"]), "Settings that decide the numbers of this report.")


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        shown = [str(item) for item in value[:6]]
        return ", ".join(shown) + (f" and {len(value) - 6} more" if len(value) > 6 else "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def rejected(data: RunData) -> dict[str, int]:
    """Rejected rows by reason."""
    return reasons(data.sources)
