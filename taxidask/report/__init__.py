"""The report: a notebook about one run, executed and exported to PDF without TeX or a browser.

Only for itself: building, data, display, fares, figures, kernel, pdf, sections. Tests: tests/report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .building import build
    from .data import RunData, open_run
    from .display import Figure, Header, Table, Text
    from .pdf.exporter import TypstPDFExporter

# The exporter, which nbconvert loads, must not drag the models in.
_MODULE = {
    "Figure": "display",
    "Header": "display",
    "RunData": "data",
    "Table": "display",
    "Text": "display",
    "TypstPDFExporter": "pdf.exporter",
    "build": "building",
    "open_run": "data",
}

__all__ = ["Figure", "Header", "RunData", "Table", "Text", "TypstPDFExporter", "build", "open_run"]
__getattr__, __dir__ = lazy(__name__, _MODULE)
