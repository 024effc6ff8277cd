"""The report: a notebook about one run, executed and exported to PDF without TeX or a browser."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Names are imported on first use: the exporter, which nbconvert loads, must not drag the models in.
_MODULE = {
    "Figure": "taxidask.report.display",
    "Header": "taxidask.report.display",
    "Table": "taxidask.report.display",
    "Text": "taxidask.report.display",
    "RunData": "taxidask.report.data",
    "TypstPDFExporter": "taxidask.report.exporter",
    "build": "taxidask.report.building",
    "open_run": "taxidask.report.data",
}

__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'taxidask.report' has no attribute {name!r}")
    value = getattr(import_module(_MODULE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
