"""Contents are told by small ranges, so that a tiny month has several blocks: for drivers, workers and the player."""

from __future__ import annotations

from collections.abc import Callable

from taxidask import settings
from taxidask.trips import sources, streams

RANGE = 1 << 16


def make_small() -> Callable[[], None]:
    """Take small ranges in this process; what undoes it."""
    before = settings.CONTENT_RANGE, sources.RANGE_BYTES, streams.RANGE_BYTES

    def undo() -> None:
        settings.CONTENT_RANGE, sources.RANGE_BYTES, streams.RANGE_BYTES = before

    settings.CONTENT_RANGE = sources.RANGE_BYTES = streams.RANGE_BYTES = RANGE
    return undo
