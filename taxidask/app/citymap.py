"""The map: cells as shapes in Bokeh, no tiles beneath, drawn once; another slot is another column of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh import models, palettes, plotting
from bokeh.models import ColumnDataSource

from taxidask.app.style import FONT
from taxidask.space import Zones

if TYPE_CHECKING:
    from taxidask.results.drawing.geometry import Geometry

_KM = 111.195  # of a degree along a meridian
_CHOSEN = "#E91E63"
# Keywords and names come from Bokeh's property system, which type checkers do not follow
_figure: Any = plotting.figure
_models: Any = models


def _blend(*colours: str) -> list[str]:
    """256 colours in equal steps between some."""
    ends = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    at = np.linspace(0, len(ends) - 1, 256)
    channels = [np.interp(at, np.arange(len(ends)), ends[:, c]).round().astype(int) for c in range(3)]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*channels, strict=True)]


# dark to bright, told apart by everybody, and neither end is the page's own colour
COUNTS = list(palettes.Viridis256)
# blue and orange around a grey that lies between the light and the dark page
DIFFERENCES = _blend("#1565C0", "#64B5F6", "#BDBDBD", "#FFB74D", "#D84315")


class CityMap:
    """Cells, coloured by a number each.

    Colours go by the square root, so that the quiet cells of a city whose busiest have a hundred times their trips are
    told apart as well.

    Attributes
    ----------
    plot : bokeh figure
    source : ColumnDataSource
        ``shade`` and ``text`` change with the slot, the shapes only with the space.
    """

    def __init__(self) -> None:
        # a square until there is a city: without any shape a plot has no range to draw
        square: dict[str, Any] = {"xs": [[[[0, 1, 1, 0, 0]]]], "ys": [[[[0, 0, 1, 1, 0]]]]}
        self.source = ColumnDataSource(square | {"name": [""], "borough": [""], "shade": [0.0], "text": [""]})
        self.chosen = ColumnDataSource({"xs": [], "ys": []})
        self.mapper = _models.LinearColorMapper(palette=COUNTS, low=0, high=1, nan_color="#80808033")
        self.ticks = _models.FixedTicker(ticks=[0, 1])
        plot = self.plot = _figure(
            match_aspect=True,
            height=540,
            sizing_mode="stretch_width",
            tools="pan,zoom_in,zoom_out,wheel_zoom,box_zoom,reset,save",
            active_scroll=None,
            min_border=12,
            name="map",
        )
        cells = plot.multi_polygons(
            "xs",
            "ys",
            source=self.source,
            fill_color={"field": "shade", "transform": self.mapper},
            line_color="#8A8A8A",
            line_width=0.5,
        )
        cells.nonselection_glyph = cells.selection_glyph = cells.glyph
        for side in (plot.x_range, plot.y_range):
            side.update(renderers=[cells], range_padding=0.02)
        plot.multi_polygons("xs", "ys", source=self.chosen, fill_color=None, line_color=_CHOSEN, line_width=3)
        self._hover = _models.HoverTool(renderers=[cells], tooltips=[("", "@name"), ("", "@text")])
        plot.add_tools(self._hover, _models.TapTool(renderers=[cells]))
        self.bar = _models.ColorBar(
            color_mapper=self.mapper,
            ticker=self.ticks,
            height=12,
            padding=4,
            title_text_font=FONT,
            title_text_font_style="normal",
            title_text_font_size="13px",
            major_label_text_font=FONT,
            major_label_text_font_size="12px",
            background_fill_alpha=0,
        )
        plot.add_layout(self.bar, "below")
        plot.axis.visible = False
        plot.grid.visible = False
        plot.outline_line_color = None
        plot.toolbar.logo = None

    def draw(self, geometry: Geometry) -> None:
        """Draw other cells, none of them coloured yet."""
        west, south, _, north = geometry.bounds
        scale = np.array([_KM * np.cos(np.radians((south + north) / 2)), _KM])
        shapes = [
            [[(ring - (west, south)) * scale for ring in rings] for rings in polygons] for polygons in geometry.shapes
        ]
        # metres are exact enough, and shorter to send
        self._xs, self._ys = (
            [[[ring[:, axis].round(3).tolist() for ring in rings] for rings in polygons] for polygons in shapes]
            for axis in (0, 1)
        )
        self.source.data = {
            "xs": self._xs,
            "ys": self._ys,
            "name": [geometry.label(cell) for cell in range(geometry.cells)],
            "borough": [borough or "" for borough in geometry.boroughs],
            "shade": [float("nan")] * geometry.cells,
            "text": [""] * geometry.cells,
        }
        self.chosen.data = {"xs": [], "ys": []}
        borough = [("", "@borough")] if any(geometry.boroughs) else []
        self._hover.tooltips = [("", "@name"), *borough, ("", "@text")]

    def colour(self, values: np.ndarray, texts: Sequence[str], *, top: float, signed: bool, title: str) -> None:
        """Show a number for each cell.

        Parameters
        ----------
        values : array (cells,)
            NaN where there is none.
        texts : sequence of str
            What hovering over a cell says.
        top : float
            What the last colour stands for; the same over a day, so that its slots can be compared.
        signed : bool
            Whether numbers go both ways from zero.
        title : str
            What is shown, and its unit.
        """
        high = float(np.sqrt(max(top, 1.0)))
        palette = DIFFERENCES if signed else COUNTS
        if self.mapper.palette is not palette:
            self.mapper.palette = palette
        self.mapper.update(low=-high if signed else 0.0, high=high)
        known = values[np.isfinite(values)]
        ticks = tick_values(max(top, 1.0), signed=signed, whole=bool((known == np.round(known)).all()))
        self.ticks.ticks = [float(np.sign(tick) * np.sqrt(abs(tick))) for tick in ticks]
        self.bar.major_label_overrides = {
            at: f"{tick:+,g}" if signed and tick else f"{tick:,g}"
            for at, tick in zip(self.ticks.ticks, ticks, strict=True)
        }
        self.bar.title = title
        shade = np.sign(values) * np.sqrt(np.abs(values))
        self.source.patch(
            {
                "shade": [(slice(None), shade.astype(np.float64))],
                "text": [(slice(None), list(texts))],
            }
        )

    def choose(self, cell: int | None) -> None:
        """Mark a cell, or none."""
        self.chosen.data = {"xs": [], "ys": []} if cell is None else {"xs": [self._xs[cell]], "ys": [self._ys[cell]]}

    def on_tap(self, told: Callable[[int], None]) -> None:
        """Call with the cell that a visitor clicks."""

        def tapped(_attr: str, _old: Any, new: list[int]) -> None:
            if new:
                told(new[-1])
                self.source.selected.indices = []  # so that the same cell can be clicked again

        self.source.selected.on_change("indices", tapped)


def zones_of_centres(geometry: Geometry) -> list[str]:
    """The name of the TLC's taxi zone that each cell's centre is in; empty where it is in none.

    To be called in a thread: the first call reads the zones' outlines.

    Examples
    --------
    >>> from taxidask.results.drawing.geometry import bodies_of, geometry_of
    >>> from taxidask.space import Grid
    >>> grid = Grid(1, 2, west=-73.80, south=40.63, east=-73.70, north=40.65)
    >>> zones_of_centres(geometry_of(bodies_of(grid), grid.key))
    ['JFK Airport', '']
    """
    zones = Zones()
    found = zones.locate(geometry.centres[:, 0], geometry.centres[:, 1])
    return [(zones.names[cell] or "") if cell >= 0 else "" for cell in found.tolist()]


def tick_values(top: float, *, signed: bool, whole: bool = False) -> list[float]:
    """Round numbers about as far from each other as their square roots are; `whole` ones where trips are counted.

    Examples
    --------
    >>> tick_values(437, signed=False), tick_values(20, signed=True)
    ([0.0, 27.0, 100.0, 240.0, 430.0], [-20.0, -5.0, 0.0, 5.0, 20.0])
    >>> tick_values(6, signed=False), tick_values(6, signed=False, whole=True)
    ([0.0, 0.3, 1.5, 3.3, 6.0], [0.0, 1.0, 3.0, 6.0])
    """
    shares = (0.25, 1.0) if signed else (1 / 16, 1 / 4, 9 / 16, 1.0)
    ups = [up for up in dict.fromkeys(_rounded(top * share, 1.0 if whole else 0.1) for share in shares) if up]
    return [-up for up in reversed(ups)] + [0.0, *ups] if signed else [0.0, *ups]


def _rounded(number: float, least: float) -> float:
    """Two digits, not more than the number; multiples of `least` at the least."""
    step = max(least, 10.0 ** (np.floor(np.log10(number)) - 1))
    return float(np.round(np.floor(number / step + 1e-9) * step, 1))
