"""Whether the setting `regions` fits the lake that it is of: what is wrong with it, and what to set instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class _Region(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def lake(self) -> str | None: ...
    @property
    def places(self) -> dict[str, str]: ...
    @property
    def s3_endpoint(self) -> str | None: ...


def mismatch(regions: Sequence[_Region], *, lake: str, active: str | None) -> tuple[str, str] | None:
    """What is wrong and the remedy; None if nothing is.

    A lake that some region has no copy of is refused rather than read in one region only: with home's lake untold,
    another lake than the one that was meant would be taken for it.
    """
    names = [region.name for region in regions]
    if active is not None and active not in names:
        known = f"is none of the regions, which are {', '.join(names)}" if names else "is set, and no regions are"
        return f"active_region {active!r} {known}", "name one of regions, or leave it out: home"
    lake = lake.rstrip("/")
    for home, region in ((regions[0], other) for other in regions[1:]):
        if region.lake and not home.lake:
            return (
                f"{region.name} names its copy of a lake, and {home.name}, which is home, does not say of which",
                f'give home its lake, too: {{"name": "{home.name}", "lake": "{lake}"}}',
            )
        places = _places(home, region)
        for theirs, here in places.items():
            if theirs == here and region.s3_endpoint == home.s3_endpoint:
                return f"{here} of {region.name} is {home.name}'s own", "name the bucket that its copies go to"
        if lake.startswith("s3://") and not any(_begins(lake, theirs) for theirs in places):
            if any(_begins(lake, here) for here in places.values()):
                return f"the lake {lake} is {region.name}'s, which is not the first of regions", "put home first"
            known = ", ".join(places) or "nothing"
            return (
                f"{region.name} has no counterpart of the lake {lake}, only of {known}",
                f'add one to its places: {{"{lake}": "s3://…"}}; or leave regions out, for a lake of one region',
            )
    return None


def _places(home: _Region, region: _Region) -> dict[str, str]:
    own = {home.lake.rstrip("/"): region.lake.rstrip("/")} if home.lake and region.lake else {}
    return {**region.places, **own}


def _begins(url: str, place: str) -> bool:
    return url == place or url.startswith(f"{place}/")
