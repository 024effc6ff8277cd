"""The app: Panel pages of what a run published, out of the store.

Only for itself: adding, calendar, charts, citymap, days, farecharts, farerecord, forms, pages, quoting, reportfile,
server, shell, snapshot, spool, state, style, told. Tests: tests/app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .server import page, serve

# Panel takes a second to load.
_MODULE = {"page": "server", "serve": "server"}

__all__ = ["page", "serve"]
__getattr__, __dir__ = lazy(__name__, _MODULE)
