"""What a report's cells show: a header, a text, a table, a figure; readable in Jupyter too."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

HEADER = "application/vnd.taxidask.report+json"
Bundle = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class Header:
    """Title block of a report.

    Parameters
    ----------
    title, subtitle : str
        The two lines on top.
    details : sequence of (str, str)
        Names and values below them; the first value also stands in the running head.
    created : float, optional
        Seconds since 1970, written into the PDF as its date.
    """

    title: str
    subtitle: str = ""
    details: Sequence[tuple[str, str]] = ()
    created: float | None = None

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        told = {
            "title": self.title,
            "subtitle": self.subtitle,
            "details": [list(pair) for pair in self.details],
            "created": self.created,
        }
        lines = [f"# {self.title}", f"*{self.subtitle}*", *(f"- {name}: {text}" for name, text in self.details)]
        return {HEADER: told, "text/markdown": "\n\n".join(lines), "text/plain": repr(self)}, {}


@dataclass(frozen=True)
class Text:
    """Markdown made by a cell, with the run's own numbers in it."""

    markdown: str

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        return {"text/markdown": self.markdown, "text/plain": self.markdown}, {}


@dataclass(frozen=True)
class Table:
    """A table with a caption, formatted for print.

    Parameters
    ----------
    frame : DataFrame
        Shown without its index.
    caption : str
        Stands above it.
    formats : mapping of str to str
        Format of a column's values, as ``"{:,.2f}"``; missing values show as –.
    total : bool, default False
        The last row is a total: bold, set apart.
    """

    frame: pd.DataFrame
    caption: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    total: bool = False

    def rows(self) -> list[list[str]]:
        """Every row as it is printed.

        Examples
        --------
        >>> Table(pd.DataFrame({"trips": [1204, None]}), formats={"trips": "{:,.0f}"}).rows()
        [['1,204'], ['–']]
        """
        columns = [
            [_shown(value, self.formats.get(str(name), "{}")) for value in column]
            for name, column in self.frame.items()
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    def _repr_html_(self) -> str:
        def line(tag: str, values: Sequence[str]) -> str:
            numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in self.frame.dtypes]
            styles = [" style='text-align: right'" if right else " style='text-align: left'" for right in numeric]
            return "".join(f"<{tag}{s}>{html.escape(v)}</{tag}>" for v, s in zip(values, styles, strict=True))

        rows = self.rows()
        last = rows.pop() if self.total and rows else None
        body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
        foot = f"<tfoot><tr>{line('td', last)}</tr></tfoot>" if last else ""
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        head = line("th", [str(name) for name in self.frame.columns])
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _shown(value: Any, form: str) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value) or value is pd.NaT:
        return "–"
    return form.format(value)


class Figure:
    """A drawing with its caption, and its alternative text for readers who cannot see it.

    Parameters
    ----------
    canvas : matplotlib Figure
        Drawn to SVG at once.
    caption : str
        Stands below it.
    alt : str
        What there is to see, in a sentence.
    """

    def __init__(self, canvas: Canvas, *, caption: str, alt: str) -> None:
        import matplotlib as mpl

        self.caption, self.alt = caption, alt
        drawn = io.StringIO()
        # text stays text (the exporter hands the same face to Typst); a salt and no date make the bytes repeatable
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "taxidask"}):
            canvas.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        self.svg = drawn.getvalue()

    def __repr__(self) -> str:
        return f"Figure: {self.caption}"

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        told = {"caption": self.caption, "alt": self.alt}
        return {"image/svg+xml": self.svg, "text/plain": self.alt}, {"image/svg+xml": told}
