"""What the files of a lake are called."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from taxidask.storage import join
from taxidask.trips.rules import Rules
from taxidask.trips.sources import Source

FORMAT = 1
"""Version of the lake's layout; parts written under another are not mixed with these."""


def sha(text: str) -> str:
    """A text by 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def part_id(source: Source, rules: Rules) -> str:
    """Name of a source's parts: the source and everything that decides what is in them."""
    inputs = {"version": source.version, "month": source.month, "rules": asdict(rules), "format": FORMAT}
    return f"{source_key(source.url)}-{sha(json.dumps(inputs, sort_keys=True))[:12]}"


def source_key(url: str) -> str:
    """What the names of all files of a source begin with."""
    return sha(url)[:16]


def version_key(version: str) -> str:
    """What stands in the names of files for the version of the source that they were read from."""
    return sha(version)[:8]


def work_folder(lake: str, stem: str) -> str:
    """Where the summaries and counts of a source's finished blocks wait for its manifest."""
    return join(lake, "blocks", stem)


def added_url(lake: str, name: str = "") -> str:
    """Where single trips that people added lie, which no file of a month held: they say nothing of other trips."""
    return join(lake, "added", name)


def cube_url(lake: str, count_key: str, part: str) -> str:
    """Where a source's counts are, for one space and slot."""
    return join(lake, "cube", count_key, f"{part}.parquet")
