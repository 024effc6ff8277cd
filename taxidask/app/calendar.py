"""A calendar of days, a square each, coloured by how many trips were counted: gaps are seen at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from bokeh import models, plotting
from bokeh.models import ColumnDataSource

from taxidask.app.style import FONT

_figure: Any = plotting.figure
_models: Any = models
# light to dark of one hue; days without data have none, but an outline
_SHADES = ["#c6dbef", "#9ecae1", "#6baed6", "#3182bd", "#08519c"]
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_ROWS = 9  # of a year: seven days, its name, and a gap


class Calendar:
    """Days in columns of weeks, a band of rows for each year, the newest on top."""

    def __init__(self) -> None:
        names = ("week", "row", "day", "trips", "told", "fill")
        self.source = ColumnDataSource({name: [] for name in names})
        self.range = _models.Range1d(start=0.5, end=-_ROWS)
        self.names = ColumnDataSource({"week": [], "row": [], "text": []})
        plot = self.plot = _figure(
            x_range=_models.Range1d(start=-6.2, end=53.5),
            y_range=self.range,
            height=170,
            sizing_mode="stretch_width",
            tools="",
            toolbar_location=None,
            name="calendar",
        )
        squares = plot.rect(
            "week", "row", 0.86, 0.86, source=self.source, fill_color="fill", line_color="#9aa0a6", line_width=0.5
        )
        plot.text(
            "week", "row", "text", source=self.names, text_font_size="11px", text_font={"value": FONT},
            text_color="#757575", text_baseline="middle",
        )  # fmt: skip
        plot.add_tools(
            _models.HoverTool(renderers=[squares], tooltips=[("", "@day{%a %-d %b %Y}"), ("Pickups", "@told")],
                              formatters={"@day": "datetime"})
        )  # fmt: skip
        plot.grid.visible = plot.axis.visible = False
        plot.outline_line_color = None
        plot.background_fill_alpha = plot.border_fill_alpha = 0

    def update(self, days: pd.Series) -> None:
        """Show other days: trips by day, NaN where there is no data."""
        stamps = pd.DatetimeIndex(days.index)
        values = days.to_numpy(dtype="float64")
        years = sorted(set(stamps.year), reverse=True)
        first = {year: pd.Timestamp(year, 1, 1).day_of_week for year in years}
        band = np.array([years.index(year) for year in stamps.year], dtype=int)
        week = np.array([(day.day_of_year - 1 + first[day.year]) // 7 for day in stamps], dtype=int)
        known = np.isfinite(values)
        top = values[known].max() if known.any() else 0.0
        shade = np.minimum(len(_SHADES) - 1, np.nan_to_num(values) / max(top, 1.0) * len(_SHADES)).astype(int)
        self.source.data = {
            "week": week,
            "row": -(band * _ROWS + 1 + stamps.day_of_week.to_numpy()),
            "day": stamps.to_numpy(),
            "trips": values,
            "told": [f"{value:,.0f}" if there else "no data" for value, there in zip(values, known, strict=True)],
            "fill": [_SHADES[one] if there else None for one, there in zip(shade, known, strict=True)],
        }
        marks = [(-6.0, -number * _ROWS, str(year)) for number, year in enumerate(years)]
        for number, year in enumerate(years):
            marks += [
                ((pd.Timestamp(year, month, 1).day_of_year - 1 + first[year]) // 7 - 0.4, -number * _ROWS,
                 f"{pd.Timestamp(year, month, 1):%b}")
                for month in range(1, 13)
            ]  # fmt: skip
            marks += [(-6.0, -(number * _ROWS + 1 + day), _DAYS[day]) for day in (0, 2, 4)]
        self.names.data = {name: [mark[at] for mark in marks] for at, name in enumerate(("week", "row", "text"))}
        self.range.start, self.range.end = -(len(years) or 1) * _ROWS + 0.5, 0.8
        self.plot.height = 20 + 150 * max(1, len(years))


def by_day(observed: pd.DataFrame, first: str | None, last: str | None) -> pd.Series:
    """Pickups of each day from the first to the last of what was counted; NaN where a day has no data.

    Parameters
    ----------
    observed : DataFrame
        time and pickups, as `Store.get_demand` gives them.
    first, last : str or None
        Where the published cube begins and ends (the end left out).
    """
    if observed.empty and not (first and last):
        return pd.Series(dtype="float64", index=pd.DatetimeIndex([]))
    sums = observed.groupby(observed["time"].dt.normalize())["pickups"].sum(min_count=1)
    begin = pd.Timestamp(first).normalize() if first else sums.index.min()
    end = (pd.Timestamp(last) - pd.Timedelta(1, "s")).normalize() if last else sums.index.max()
    return sums.reindex(pd.date_range(begin, end, freq="D"))
