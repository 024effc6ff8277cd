"""Loaded by drivers and their workers: contents are told by small ranges, so that a tiny month has several blocks."""

from taxidask import settings
from taxidask.trips import sources, streams

settings.CONTENT_RANGE = sources.RANGE_BYTES = streams.RANGE_BYTES = 1 << 16
