"""The page's charts, in Bokeh: drawn once, then given new numbers. Aggregates only, a few hundred points each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from bokeh import models, plotting
from bokeh.models import ColumnDataSource
from bokeh.models.annotations import BoxAnnotation, Span

from taxidask.app.style import FONT
from taxidask.results.summary import percent, slot_of

# Okabe and Ito's palette, as in the report: told apart by everybody
# and the grey is legible on light and dark
PICKUP, DROPOFF, OBSERVED, LINE = "#0072B2", "#D55E00", "#757575", "#DADCE0"
BAR = 0.62  # of the height that a bar may take
# Keywords and names come from Bokeh's property system, which type checkers do not follow
_figure: Any = plotting.figure
_models: Any = models


class DemandChart:
    """Trips of one direction: the last days as observed, then the forecast with its 80 % band.

    Parameters
    ----------
    direction : {"pickup", "dropoff"}

    Attributes
    ----------
    plot : bokeh figure
    """

    def __init__(self, direction: str) -> None:
        self.direction = direction
        colour, self._word = (PICKUP, "Pickups") if direction == "pickup" else (DROPOFF, "Drop-offs")
        self.past = ColumnDataSource({"time": [], "trips": []})
        self.ahead = ColumnDataSource({"time": [], "mean": [], "low": [], "high": []})
        self.before = ColumnDataSource({"time": [], "mean": []})
        self.range = _models.Range1d(start=0, end=1)
        plot = self.plot = _figure(
            x_axis_type="datetime",
            y_range=self.range,
            height=250,
            sizing_mode="stretch_width",
            tools="xpan,xwheel_zoom,box_zoom,reset,save",
            active_scroll=None,
            min_border_right=16,
            name=f"demand-{direction}",
        )
        self._future = BoxAnnotation(left=0, fill_color=OBSERVED, fill_alpha=0.08, level="image", visible=False)
        self._begin = Span(location=0, dimension="height", line_color="#80868B", line_dash="dotted", visible=False)
        plot.add_layout(self._future)
        plot.add_layout(self._begin)
        band = plot.varea("time", "low", "high", source=self.ahead, fill_color=colour, fill_alpha=0.22)
        mean = plot.line("time", "mean", source=self.ahead, color=colour, line_width=2.2)
        seen = plot.line("time", "trips", source=self.past, color=OBSERVED, line_width=1.4)
        self._earlier = plot.line("time", "mean", source=self.before, color=colour, line_width=1.8, line_dash="dashed")
        expected = [("Forecast", "@mean{0,0.0}"), ("80 %", "@low{0,0.0} – @high{0,0.0}")]
        for line, values in ((mean, expected), (seen, [("Observed", "@trips{0,0}")])):
            plot.add_tools(
                _models.HoverTool(
                    renderers=[line],
                    mode="vline",
                    formatters={"@time": "datetime"},
                    tooltips=[("", "@time{%a %-d %b %H:%M}"), *values],
                )
            )
        self._legend = _legend(
            [("Observed", [seen]), ("Forecast", [mean]), ("80 %", [band]), ("Forecast before", [self._earlier])]
        )
        plot.add_layout(self._legend, "above")
        self._marks = plot.yaxis.formatter = _models.NumeralTickFormatter(format="0,0")
        plot.xaxis.formatter = _models.DatetimeTickFormatter(days="%a %-d %b", hours="%H:%M", months="%b %Y")
        style_plot(plot)

    def update(self, observed: pd.DataFrame, expected: pd.DataFrame, before: pd.Series | None = None) -> None:
        """Show other numbers.

        Parameters
        ----------
        observed : DataFrame
            time, pickups, dropoffs.
        expected : DataFrame
            time, direction, mean, low, high.
        before : Series, optional
            What had been expected of slots that are counted by now, by time.
        """
        before = pd.Series(dtype="float64", index=pd.DatetimeIndex([])) if before is None else before.dropna()
        self.before.data = {"time": before.index.to_numpy(), "mean": before.to_numpy()}
        self._legend.items[-1].visible = bool(len(before))
        self._legend.ncols = 2 if len(before) else "auto"  # four are too many for a phone
        ahead = expected[expected["direction"] == self.direction].sort_values("time")
        past = observed.sort_values("time")
        self.past.data = {"time": past["time"].to_numpy(), "trips": past[f"{self.direction}s"].to_numpy()}
        self.ahead.data = {name: ahead[name].to_numpy() for name in ("time", "mean", "low", "high")}
        top = np.nanmax([1.0, *past[f"{self.direction}s"], *ahead["high"], *before])
        self.range.end = float(top) * 1.08
        self._marks.format = "0,0" if top >= 5 else "0.0"
        self.plot.yaxis.axis_label = f"{self._word} per {slot_of(past['time'] if len(past) > 1 else ahead['time'])}"
        for mark in (self._future, self._begin):
            mark.visible = bool(len(ahead))
        if len(ahead):
            begin = ahead["time"].iloc[0]
            self._future.left = self._begin.location = begin.timestamp() * 1000


class DayChart:
    """A day by the clock: as counted, as expected with the 80 % band, and another day to compare it with."""

    def __init__(self) -> None:
        names = ("time", "trips", "mean", "low", "high", "other")
        self.source = ColumnDataSource({name: [] for name in names})
        self.range = _models.Range1d(start=0, end=1)
        plot = self.plot = _figure(
            x_axis_type="datetime",
            x_range=_models.Range1d(start=0, end=86_400_000),
            y_range=self.range,
            height=250,
            sizing_mode="stretch_width",
            tools="xpan,xwheel_zoom,box_zoom,reset,save",
            active_scroll=None,
            min_border_right=16,
            name="day",
        )
        self._now = BoxAnnotation(left=0, right=0, fill_color=OBSERVED, fill_alpha=0.2, level="image")
        plot.add_layout(self._now)
        self._band = plot.varea("time", "low", "high", source=self.source, fill_color=PICKUP, fill_alpha=0.22)
        self._mean = plot.line("time", "mean", source=self.source, color=PICKUP, line_width=2.2)
        self._seen = plot.line("time", "trips", source=self.source, color=OBSERVED, line_width=1.8)
        self._other = plot.line(
            "time", "other", source=self.source, color=OBSERVED, line_width=1.8, line_dash="dashed", visible=False
        )
        self._hover = _models.HoverTool(renderers=[self._seen], mode="vline", formatters={"@time": "datetime"})
        plot.add_tools(self._hover)
        self._lines = {"trips": self._seen, "mean": self._mean, "other": self._other}
        self._legend = _legend([(name, [line]) for name, line in {**self._lines, "80 %": self._band}.items()])
        plot.add_layout(self._legend, "above")
        self._marks = plot.yaxis.formatter = _models.NumeralTickFormatter(format="0,0")
        plot.xaxis.formatter = _models.DatetimeTickFormatter(days="%H:%M", hours="%H:%M", minutes="%H:%M")
        style_plot(plot)

    def update(self, curves: Mapping[str, np.ndarray], *, names: Mapping[str, str], direction: str, unit: str) -> None:
        """Show other numbers.

        Parameters
        ----------
        curves : dict of str to array (slots,)
            Some of trips, mean, low, high and other, of a whole day.
        names : dict of str to str
            What the legend calls trips, mean and other.
        """
        slots = len(next(iter(curves.values())))
        nothing = np.full(slots, np.nan)
        self._step = 86_400_000 / slots
        data = {name: np.asarray(curves.get(name, nothing)) for name in ("trips", "mean", "low", "high", "other")}
        self.source.data = {"time": np.arange(slots) * self._step, **data}
        known = np.concatenate([values[np.isfinite(values)] for values in data.values()])
        top = max([1.0, *known])
        self.range.end = float(top) * 1.08
        colour, word = (PICKUP, "Pickups") if direction == "pickup" else (DROPOFF, "Drop-offs")
        self._band.glyph.fill_color = self._mean.glyph.line_color = colour
        self._marks.format = "0,0" if top >= 5 else "0.0"
        self.plot.yaxis.axis_label = f"{word} per {unit}"
        there = [name for name in self._lines if np.isfinite(data[name]).any()]
        shown = [name in there for name in self._lines] + [bool(np.isfinite(data["low"]).any())]
        for (name, line), item in zip(self._lines.items(), self._legend.items, strict=False):
            line.visible = name in there
            item.label = {"value": names.get(name, "")}
        for item, visible in zip(self._legend.items, shown, strict=True):
            item.visible = visible
        self._legend.ncols = 2 if sum(shown) > 3 else "auto"  # four are too many for a phone
        first = [self._lines[name] for name in there[:1]]
        if self._hover.renderers != first:
            self._hover.renderers = first
        self._hover.tooltips = [("", "@time{%H:%M}"), *((names[name], f"@{name}{{0,0.0}}") for name in there)]

    def mark(self, slot: int) -> None:
        """Mark the slot that the map shows."""
        self._now.update(left=slot * self._step, right=(slot + 1) * self._step)


def _legend(items: list[tuple[str, list[Any]]]) -> Any:
    """Labels in a row, to stand above a plot."""
    return _models.Legend(
        items=items,
        orientation="horizontal",
        location="top_left",
        border_line_color=None,
        background_fill_alpha=0,
        padding=0,
        label_text_font=FONT,
        label_text_font_size="11.5px",
        label_standoff=4,
        spacing=8,
    )


class ReasonsChart:
    """Rejected rows by reason, the most frequent on top."""

    def __init__(self) -> None:
        self.source = ColumnDataSource({"reason": [], "rows": [], "label": []})
        self.names = _models.FactorRange(factors=[])
        self.range = _models.Range1d(start=0, end=1)
        plot = self.plot = bar_plot("rejects", self.names, self.range, axis="Rows")
        plot.hbar("reason", right="rows", source=self.source, height=BAR, color=PICKUP)
        bar_labels(plot, "rows", "reason", self.source)
        plot.xaxis.formatter = _models.NumeralTickFormatter(format="0,0")

    def update(self, reasons: Mapping[str, int], *, rows: int) -> None:
        """Show other counts; `rows` are all rows read, for the shares."""
        ordered = sorted((n, name.replace("_", " ")) for name, n in reasons.items() if n)
        counts = [n for n, _ in ordered]
        self.names.factors = [name for _, name in ordered]
        self.range.end = max([*counts, 1]) * 1.8  # room for the labels on a phone, too
        self.plot.height = 64 + 30 * len(ordered)
        labels = [f"{n:,} ({percent(n / max(rows, 1))})" for n in counts]
        self.source.data = {"reason": list(self.names.factors), "rows": counts, "label": labels}


def bar_plot(name: str, names: Any, across: Any, *, axis: str) -> Any:
    """A plot for bars that lie one below the other, each of them named at its left."""
    plot = _figure(
        y_range=names,
        x_range=across,
        height=120,
        sizing_mode="stretch_width",
        tools="",
        toolbar_location=None,
        x_axis_label=axis,
        name=name,
    )
    style_plot(plot)
    plot.xgrid.grid_line_color = LINE
    plot.ygrid.grid_line_color = None
    return plot


def bar_labels(plot: Any, x: str, y: str, source: ColumnDataSource) -> None:
    """Write each bar's ``label`` beside it."""
    plot.text(
        x,
        y,
        "label",
        source=source,
        x_offset=6,
        text_baseline="middle",
        text_font_size="12px",
        text_font={"value": FONT},
        text_color=OBSERVED,
    )


def style_plot(plot: Any) -> None:
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.outline_line_color = None
    plot.xgrid.grid_line_color = None
    plot.ygrid.grid_line_color = LINE
    for axis in plot.axis:
        axis.axis_line_color = axis.major_tick_line_color = LINE
        axis.major_label_policy = _models.NoOverlap(min_distance=8)  # a phone has no room for all
        axis.minor_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
