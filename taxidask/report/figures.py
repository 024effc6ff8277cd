"""The report's figures: plain tables and cubes in, drawings out. Legible in grey, and to the colour-blind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.report.display import Figure, Text
from taxidask.results.summary import percent, slot_of
from taxidask.units import slot_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from taxidask.cube import Cube

# Okabe and Ito's palette: told apart by everybody
PICKUP, DROPOFF, BASE, ALERT, GREY = "#0072B2", "#D55E00", "#7A7A7A", "#CC3311", "#4D4D4D"
WIDTH = 6.5  # inches between A4's margins
HOUR = pd.Timedelta("1h")
DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.2,
}


@contextmanager
def canvas(height: float, **subplots: Any) -> Iterator[tuple[Any, Any]]:
    """A figure of the report's width, without pyplot's global state."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        sheet = Canvas(figsize=(WIDTH, height), layout="constrained")
        yield sheet, sheet.subplots(**subplots)


def counted(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if float(v).is_integer() else f"{v:g}"))


def _dated(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def rejects(reasons: Mapping[str, int], *, rows: int) -> Figure | Text:
    """Rejected rows by reason.

    Parameters
    ----------
    reasons : mapping of str to int
        Rows set aside, by reason.
    rows : int
        All rows read, to give shares.
    """
    ordered = sorted(((n, reason.replace("_", " ")) for reason, n in reasons.items() if n), reverse=True)
    if not ordered:
        return Text("No row was set aside.")
    with canvas(0.5 + 0.24 * max(len(ordered), 2)) as (sheet, axes):
        counts = [n for n, _ in ordered]
        places = range(len(ordered))
        axes.barh(places, counts, color=PICKUP, height=0.66)
        axes.set_yticks(places, [reason for _, reason in ordered])
        axes.invert_yaxis()
        for place, n in enumerate(counts):
            axes.annotate(
                f"{n:,} ({percent(n / max(rows, 1))})",
                (n, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_xlim(0, max([*counts, 1]) * 1.25)
        axes.set_xlabel("rows")
        counted(axes.xaxis)
        axes.tick_params(axis="y", length=0)
        total = sum(counts)
        return Figure(
            sheet,
            caption=f"Rows set aside, by the first reason that applies; percentages are of all {rows:,} rows read.",
            alt=f"Bar chart: {total:,} rejected rows; " + ", ".join(f"{reason} {n:,}" for n, reason in ordered),
        )


def daily(cube: Cube) -> Figure | Text:
    """Trips per day over the whole time the cube covers; days with missing slots are left out."""
    days = _whole_days(cube)
    if not days["pickups"].notna().any():
        return Text("*There is no day with data in all its slots.*")
    with canvas(2.0) as (sheet, axes):
        marker = "o" if len(days) < 15 else None
        axes.plot(days.index, days["pickups"], color=PICKUP, lw=1.0, marker=marker, ms=3)
        axes.set_ylabel("pickups per day")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        counted(axes.yaxis)
        _dated(axes)
        missing = int(cube.missing.sum())
        note = f" {missing:,} slots without data are left out." if missing else ""
        low, high = days["pickups"].min(), days["pickups"].max()
        return Figure(
            sheet,
            caption=f"Pickups per day inside the area, {cube.start:%-d %B %Y} to {_last(cube):%-d %B %Y}.{note}",
            alt=f"Line of daily pickups, from {low:,.0f} to {high:,.0f} a day",
        )


def _last(cube: Cube) -> pd.Timestamp:
    return cube.end - pd.Timedelta(seconds=1)


def _observed(cube: Cube) -> pd.DataFrame:
    """City totals by slot; slots without data are NaN, not zero."""
    sums = cube.counts.sum(axis=1, dtype=np.int64).astype(float)
    sums[cube.missing] = np.nan
    return pd.DataFrame(sums, index=cube.times, columns=["pickups", "dropoffs"])


def _whole_days(cube: Cube) -> pd.DataFrame:
    table = _observed(cube)
    per_day = int(pd.Timedelta("1D") / cube.slot)
    days = table.resample("D").sum(min_count=per_day)
    return days.asfreq("D")


def hourly(cube: Cube) -> pd.Series:
    """Pickups of the whole city in every hour whose slots all have data; a slot that reaches over several hours, or
    over a part of one, counts evenly in all of its time."""
    slot = round(cube.slot.total_seconds())
    step = math.gcd(slot, 3600)
    steps = slot // step
    share = np.repeat(_observed(cube)["pickups"].to_numpy() / steps, steps)
    times = pd.date_range(cube.start, periods=len(share), freq=pd.Timedelta(seconds=step))
    return pd.Series(share, index=times).resample("h").sum(min_count=3600 // step).dropna()


def rhythm(cube: Cube) -> Figure | Text:
    """Mean pickups per hour by hour of day and by weekday."""
    hours = hourly(cube)
    if hours.empty:
        return Text("*There is no hour with data in all its slots.*")
    when = pd.DatetimeIndex(hours.index)
    table = pd.DataFrame({"trips": hours, "day": when.day_of_week, "hour": when.hour}).pivot_table(
        values="trips", index="day", columns="hour", aggfunc="mean"
    )
    table = table.reindex(index=range(7), columns=range(24))
    days_seen = int(when.normalize().nunique())
    with canvas(2.55, ncols=2, width_ratios=[1, 1.25]) as (sheet, (left, right)):
        weekday = table.iloc[:5].mean(skipna=True)
        weekend = table.iloc[5:].mean(skipna=True)
        left.plot(weekday.index, weekday, color=PICKUP, label="Monday–Friday")
        left.plot(weekend.index, weekend, color=DROPOFF, ls="--", label="Saturday, Sunday")
        left.set_ylim(bottom=0)
        left.set_xlim(0, 23)
        left.set_xticks(range(0, 24, 6), [f"{h}:00" for h in range(0, 24, 6)])
        left.set_ylabel("pickups per hour")
        left.set_title("Hour of the day")
        left.grid(axis="y")
        left.legend(loc="lower right", handlelength=2.2)
        counted(left.yaxis)
        shown = right.pcolormesh(
            np.arange(25) - 0.5, np.arange(8) - 0.5, table, cmap="cividis", vmin=0, rasterized=False
        )
        right.invert_yaxis()
        right.set_yticks(range(7), DAYS)
        right.set_xticks(range(0, 24, 6), [f"{h}:00" for h in range(0, 24, 6)])
        right.tick_params(length=0)
        right.set_title("Hour and weekday")
        for spine in right.spines.values():
            spine.set_visible(False)
        bar = sheet.colorbar(shown, ax=right, label="pickups per hour", shrink=0.9, pad=0.02)
        bar.outline.set_visible(False)
        counted(bar.ax.yaxis)
        peak = divmod(int(np.nanargmax(table.fillna(-1).to_numpy())), 24)
        return Figure(
            sheet,
            caption=f"Mean pickups per hour over {days_seen:,} days with data, New York time. "
            f"Busiest: {DAYS[peak[0]]} from {peak[1]}:00."
            + (f" Within a slot of {slot_name(cube.slot)} all hours count alike." if cube.slot > HOUR else ""),
            alt="Left, two lines of mean pickups by hour, for weekdays and the weekend; right, the same as a heat map "
            "of hour and weekday",
        )


def demand_map(cube: Cube) -> Figure:
    """Pickups and drop-offs per day in every cell, as two maps with one logarithmic scale."""
    from matplotlib.collections import PathCollection
    from matplotlib.colors import LogNorm
    from matplotlib.path import Path

    slots = int((~cube.missing).sum())
    days = max(slots * cube.slot / pd.Timedelta("1D"), 1e-9)
    per_day = cube.counts.sum(axis=0, dtype=np.int64) / days
    top = max(float(per_day.max()), 1.0)
    norm = LogNorm(
        vmin=max(top / 10_000, float(per_day[per_day > 0].min()) if (per_day > 0).any() else top / 10), vmax=top
    )
    paths = [
        Path.make_compound_path(*(Path(np.asarray(ring), closed=True) for ring in rings))
        for rings in cube.space.polygons()
    ]
    west, south, east, north = cube.space.bounds
    ratio = np.cos(np.radians((south + north) / 2))
    height = min(1.15 + (WIDTH / 2 - 0.1) * (north - south) / ((east - west) * ratio), 6.0)
    with canvas(height, ncols=2, sharey=True) as (sheet, panels):
        for axes, values, title in zip(panels, per_day.T, ("Pickups", "Drop-offs"), strict=True):
            seen = values > 0
            axes.add_collection(
                PathCollection(
                    [p for p, s in zip(paths, seen, strict=True) if not s],
                    facecolor="#F0F0F0",
                    edgecolor="white",
                    lw=0.2,
                )
            )
            cells = PathCollection(
                [p for p, s in zip(paths, seen, strict=True) if s],
                array=np.clip(values[seen], norm.vmin, None), cmap="viridis", norm=norm, edgecolor="face", lw=0.2,
            )  # fmt: skip
            axes.add_collection(cells)
            axes.set_xlim(west, east)
            axes.set_ylim(south, north)
            axes.set_aspect(1 / ratio)
            axes.set_title(title)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            _scale_bar(axes, ratio)
        bar = sheet.colorbar(
            cells, ax=panels, orientation="horizontal", label="trips per day (logarithmic)", aspect=45, pad=0.02
        )
        bar.outline.set_visible(False)
        counted(bar.ax.xaxis)
        return Figure(
            sheet,
            caption=f"Trips per day and cell ({cube.space.cells:,} cells; grey: none), mean of {days:,.1f} days. "
            "North is up.",
            alt=f"Two maps of the area's cells, coloured by pickups and by drop-offs per day, up to {top:,.0f}",
        )


def _scale_bar(axes: Axes, ratio: float) -> None:
    """A length on the ground, below the map's south-east corner."""
    west, east = axes.get_xlim()
    south, north = axes.get_ylim()
    kilometre = 1 / (111.32 * ratio)  # degrees of longitude
    wide = (east - west) / kilometre
    length = next((step for step in (50, 20, 10, 5, 2, 1) if step < wide / 4), 0.5)
    y = south - (north - south) * 0.035
    axes.plot([east - length * kilometre, east], [y, y], color="black", lw=1.2, solid_capstyle="butt", clip_on=False)
    middle = (east - length * kilometre, y)
    axes.annotate(f"{length:g} km ", middle, ha="right", va="center", fontsize=6.5, annotation_clip=False)


def forecast(
    observed: pd.DataFrame, expected: pd.DataFrame, *, title: str = "the whole area", days: float = 5
) -> Figure:
    """The forecast with its band after the last observations.

    Parameters
    ----------
    observed : DataFrame
        time, pickups, dropoffs; one row per slot.
    expected : DataFrame
        time, direction ("pickup" or "dropoff"), mean, low, high.
    title : str
        The place, for the caption.
    days : float, default 5
        Days of observations to show before the forecast.
    """
    expected = expected.reset_index(drop=True)
    begin = expected["time"].min()
    past = observed[observed["time"] >= begin - pd.Timedelta(days=days)]
    slot = slot_of(expected["time"])
    with canvas(3.5, nrows=2, sharex=True) as (sheet, panels):
        for axes, name, label, colour in zip(
            panels, ("pickup", "dropoff"), ("pickups", "drop-offs"), (PICKUP, DROPOFF), strict=True
        ):
            part = expected[expected["direction"] == name].sort_values("time")
            axes.plot(past["time"], past[f"{name}s"], color=GREY, lw=1.0, label="observed")
            axes.fill_between(
                part["time"], part["low"], part["high"], color=colour, alpha=0.25, lw=0, label="80 % interval"
            )
            axes.plot(part["time"], part["mean"], color=colour, label="forecast")
            axes.axvline(begin, color="black", lw=0.7, ls=":")
            axes.set_ylim(bottom=0)
            axes.set_ylabel(f"{label} per {slot}")
            axes.grid(axis="y")
            axes.margins(x=0.01)
            axes.legend(loc="upper left", ncols=3, bbox_to_anchor=(0, 1.13), borderaxespad=0)
            counted(axes.yaxis)
        _dated(panels[1])
        top = expected.dropna(subset=["mean"]).nlargest(1, "mean")
        peak = top.iloc[0] if len(top) else None
        return Figure(
            sheet,
            caption=f"Forecast for {title} from {begin:%A %-d %B %Y %H:%M} (dotted line) with its 80 % interval, "
            f"after the last {days:g} days of observations.",
            alt=f"Lines of observed and forecast trips per {slot}"
            + (
                f"; the highest forecast is {peak['mean']:,.0f} at {peak['time']:%Y-%m-%d %H:%M}"
                if peak is not None
                else ""
            ),
        )


def forecast_cells(cells: Sequence[tuple[str, pd.DataFrame, pd.DataFrame]], *, days: float = 2) -> Figure:
    """Pickups forecast for a few cells, side by side.

    Parameters
    ----------
    cells : sequence of (name, observed, expected)
        As for `forecast`.
    """
    with canvas(
        1.0 + 1.15 * ((len(cells) + 1) // 2), nrows=(len(cells) + 1) // 2, ncols=2, squeeze=False, sharex=True
    ) as (
        sheet,
        panels,
    ):
        flat = list(panels.flat)
        for axes, (name, observed, expected) in zip(flat, cells, strict=False):
            part = expected[expected["direction"] == "pickup"].sort_values("time")
            begin = part["time"].min()
            past = observed[observed["time"] >= begin - pd.Timedelta(days=days)]
            axes.plot(past["time"], past["pickups"], color=GREY, lw=0.9)
            axes.fill_between(part["time"], part["low"], part["high"], color=PICKUP, alpha=0.25, lw=0)
            axes.plot(part["time"], part["mean"], color=PICKUP)
            axes.axvline(begin, color="black", lw=0.7, ls=":")
            axes.set_ylim(bottom=0)
            axes.set_title(name)
            axes.grid(axis="y")
            axes.margins(x=0.01)
            counted(axes.yaxis)
        for axes in flat[len(cells) :]:
            axes.set_visible(False)
        for axes in panels[-1]:
            _dated(axes)
        sheet.supylabel(f"pickups per {slot_of(cells[0][2]['time'])}", fontsize=8)
        return Figure(
            sheet,
            caption="Pickups in the busiest cells: observed (grey), forecast (blue) and its 80 % interval.",
            alt="Small charts of observed and forecast pickups for: " + ", ".join(name for name, _, _ in cells),
        )
