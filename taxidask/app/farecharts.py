"""The Fares page's map and charts, in Bokeh: drawn once, then given new numbers. The map needs no tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh import models, plotting
from bokeh.events import Tap
from bokeh.models import ColumnDataSource

from taxidask.app.charts import BAR, DROPOFF, OBSERVED, PICKUP, bar_labels, bar_plot, style_plot
from taxidask.fare.why import AVERAGE, FLAG, in_cents
from taxidask.space import zone_name
from taxidask.space.outlines import simplified

if TYPE_CHECKING:
    from taxidask.app.farerecord import Spread
    from taxidask.fare import Quote
    from taxidask.space import Zones

PRICE = "#009E73"
_figure: Any = plotting.figure
_models: Any = models
Outlines = dict[str, list[Any]]
ENDS = ("pickup", "dropoff")
# Manhattan, the airports of Queens and what lies around them, where nearly all rides are; all else is a zoom away
_WEST, _EAST, _SOUTH, _NORTH = -74.055, -73.745, 40.615, 40.885
_DETAIL = 60.0  # metres: less than a pixel of the map


def outlines(zones: Zones) -> Outlines:
    """Every zone's outlines as columns of what Bokeh draws, with few enough points for a page."""
    shapes = zones.polygons()
    rings = [np.array(ring) for rings in shapes for ring in rings]
    names = [zone_name(zone, zones) for zone, rings in zip(zones.ids.tolist(), shapes, strict=True) for _ in rings]
    thin = [ring.astype(np.float32) for ring in simplified(rings, _DETAIL)]
    return {"xs": [ring[:, 0] for ring in thin], "ys": [ring[:, 1] for ring in thin], "name": names}


class RideMap:
    """Zones, and up to two points on them, which a click tells.

    Parameters
    ----------
    tapped : callable
        Given the longitude and latitude of a click.

    Attributes
    ----------
    plot : bokeh figure
    """

    def __init__(self, tapped: Callable[[float, float], None]) -> None:
        self.zones = ColumnDataSource({"xs": [], "ys": [], "name": []})
        self.ends = ColumnDataSource({"x": [], "y": [], "colour": [], "mark": [], "letter": []})
        self.way = ColumnDataSource({"x": [], "y": []})
        self.tapped = tapped
        # a degree of longitude is so much shorter here
        shape = (_EAST - _WEST) * np.cos(np.radians((_SOUTH + _NORTH) / 2)) / (_NORTH - _SOUTH)
        plot = self.plot = _figure(
            x_range=_models.Range1d(start=_WEST, end=_EAST),
            y_range=_models.Range1d(start=_SOUTH, end=_NORTH),
            aspect_ratio=float(shape),
            width=600,
            height=round(600 / shape),
            sizing_mode="scale_width",
            tools="pan,wheel_zoom,zoom_in,zoom_out,reset",
            active_scroll=None,
            toolbar_location="right",
            toolbar_inner=True,
            min_border=0,
            name="city",
        )
        plot.toolbar.logo = None
        plot.toolbar.stylesheets = [":host(.bk-inner) { background-color: transparent; }"]
        plot.outline_line_color = None
        plot.axis.visible = False
        plot.grid.visible = False
        look = {"fill_color": OBSERVED, "fill_alpha": 0.16, "line_color": OBSERVED, "line_alpha": 0.7}
        land = plot.patches("xs", "ys", source=self.zones, **look, line_width=0.8)
        land.hover_glyph = _models.Patches(xs="xs", ys="ys", **{**look, "fill_alpha": 0.4})
        plot.add_tools(
            _models.HoverTool(renderers=[land], tooltips="@name", point_policy="follow_mouse", visible=False)
        )
        plot.line("x", "y", source=self.way, color=OBSERVED, line_width=2, line_dash="dashed")
        plot.scatter(
            "x", "y", source=self.ends, marker="mark", size=22, color="colour", line_color="white", line_width=1.5
        )
        plot.text(
            *("x", "y", "letter"),
            source=self.ends,
            text_align="center",
            text_baseline="middle",
            text_color="white",
            text_font_size="12px",
            text_font_style="bold",
        )
        plot.on_event(Tap, self._tap)

    def _tap(self, event: Any) -> None:
        if event.x is not None and event.y is not None:
            self.tapped(float(event.x), float(event.y))

    def draw(self, found: Outlines) -> None:
        """Show these zones."""
        self.zones.data = dict(found)

    def mark(self, ends: Mapping[str, tuple[float, float] | None]) -> None:
        """Show where a ride begins ("pickup") and where it ends ("dropoff"), as far as that is known."""
        looks = {"pickup": (PICKUP, "circle", "A"), "dropoff": (DROPOFF, "square", "B")}
        known = [(*point, *looks[end]) for end in ENDS if (point := ends.get(end))]
        columns = list(zip(*known, strict=True)) or [()] * 5
        self.ends.data = dict(zip(("x", "y", "colour", "mark", "letter"), map(list, columns), strict=True))
        points = self.ends.data if len(known) == 2 else {"x": [], "y": []}
        self.way.data = {"x": points["x"], "y": points["y"]}


class PartsChart:
    """What a price is made of, from top to bottom: each part begins where the one above it ends."""

    def __init__(self) -> None:
        self.source = ColumnDataSource({"part": [], "start": [], "end": [], "at": [], "colour": [], "label": []})
        self.names = _models.FactorRange(factors=[])
        self.range = _models.Range1d(start=0, end=1)
        plot = self.plot = bar_plot("parts", self.names, self.range, axis="USD")
        plot.hbar("part", left="start", right="end", source=self.source, height=BAR, color="colour")
        bar_labels(plot, "at", "part", self.source)

    def update(self, parts: Mapping[str, float]) -> None:
        """Show other parts, and their sum; what comes to no cent is left out."""
        shown = [(part, usd) for part, usd in zip(parts, in_cents(dict(parts)), strict=True) if usd]
        ends = [*accumulate(usd for _, usd in shown)]
        starts = [0.0, *ends[:-1]]
        rows = [
            (part, start, end, max(start, end), _colour(part, usd), f"{usd:+.2f}" if start else f"{usd:.2f}")
            for (part, usd), start, end in zip(shown, starts, ends, strict=True)
        ]
        total = ends[-1] if ends else 0.0
        rows.append(("price", 0.0, total, total, PRICE, f"{total:.2f}"))
        columns = map(list, zip(*rows, strict=True))
        self.names.factors = [row[0] for row in reversed(rows)]
        self.range.start = min(0.0, *ends) if ends else 0.0
        self.range.end = max([1.0, *ends]) * 1.35
        self.plot.height = 64 + 28 * len(rows)
        self.source.data = dict(zip(("part", "start", "end", "at", "colour", "label"), columns, strict=True))


def _colour(part: str, usd: float) -> str:
    if part in (FLAG, AVERAGE):
        return OBSERVED
    return DROPOFF if usd > 0 else PICKUP


class SpreadChart:
    """How often what was paid when about one price had been told, with the quote's price and band."""

    def __init__(self) -> None:
        self.source = ColumnDataSource({"left": [], "right": [], "trips": []})
        self.band = _models.BoxAnnotation(fill_color=PRICE, fill_alpha=0.14, level="underlay")
        self.price = _models.Span(location=0, dimension="height", line_color=PRICE, line_width=2)
        self.across, self.up = _models.Range1d(start=0, end=1), _models.Range1d(start=0, end=1)
        plot = self.plot = _figure(
            x_range=self.across,
            y_range=self.up,
            height=220,
            sizing_mode="stretch_width",
            tools="",
            toolbar_location=None,
            x_axis_label="paid, USD",
            y_axis_label="trips",
            name="spread",
        )
        plot.quad(left="left", right="right", bottom=0, top="trips", source=self.source, color=PICKUP, line_color=None)
        plot.add_layout(self.band)
        plot.add_layout(self.price)
        plot.yaxis.formatter = _models.NumeralTickFormatter(format="0,0")
        style_plot(plot)

    def update(self, found: Spread, quote: Quote) -> None:
        """Show another spread, where nearly all of it lies."""
        left, trips = found.paid["paid"].to_numpy(), found.paid["trips"].to_numpy()
        share = np.cumsum(trips) / trips.sum()
        first, last = float(left[np.searchsorted(share, 0.005)]), float(left[np.searchsorted(share, 0.995)] + 1)
        self.across.update(start=min(first, quote.low) - 1, end=max(last, quote.high) + 1)
        self.up.end = float(trips.max()) * 1.08
        self.band.update(left=quote.low, right=quote.high)
        self.price.location = quote.price
        self.source.data = {"left": left + 0.06, "right": left + 0.94, "trips": trips}
