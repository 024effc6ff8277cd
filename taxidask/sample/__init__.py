"""Plausible months for trying things out, in the layout of their date.

Only for itself: city, make, rows, text. Tests: tests/sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .make import make_sample

_MODULE = {
    "make_sample": "make",
}

__all__ = ["make_sample"]
__getattr__, __dir__ = lazy(__name__, _MODULE)
