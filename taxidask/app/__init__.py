"""The app: Panel pages of what a run published, out of the store.

Only for itself: charts, data, overview, server. Tests: tests/app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .overview import overview_page
    from .server import serve

# Panel takes a second to load.
_MODULE = {
    "overview_page": "overview",
    "serve": "server",
}

__all__ = ["overview_page", "serve"]
__getattr__, __dir__ = lazy(__name__, _MODULE)
