"""Which space trips are counted in: the one asked for, or the one that their sources can be placed in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from taxidask.errors import NoSpaceError, SpaceError
from taxidask.space.base import Space
from taxidask.space.grid import Grid
from taxidask.space.zones import Zones

AUTO = "auto"
NAMED: dict[str, Callable[[], Space]] = {"new_york": Grid.new_york, "zones": Zones}
SpaceLike = Space | str | os.PathLike[str]


class Choice(NamedTuple):
    """A space, and why it was chosen; no reason where it was asked for."""

    space: Space
    reason: str = ""

    def __str__(self) -> str:
        return f"counted in {self.space!r}" + (f": {self.reason}" if self.reason else "")


def space_of(space: SpaceLike) -> Space:
    """The space that a name ("new_york", "zones"), the URL or path of a GeoJSON, or a space itself stands for.

    Examples
    --------
    >>> space_of("new_york")
    Grid(24, 25, west=-74.05, south=40.63, east=-73.75, north=40.85)
    >>> space_of("zones")
    Zones()
    """
    if isinstance(space, Space):
        return space
    if not isinstance(space, (str, os.PathLike)):
        raise SpaceError(
            f"space cannot be {space!r}", 'give "auto", "new_york", "zones", a td.Grid, td.Zones, or a GeoJSON\'s URL'
        )
    if space in NAMED:
        return NAMED[str(space)]()
    from taxidask.storage import MissingError

    try:
        return Zones(space)
    except MissingError as error:
        raise NoSpaceError(
            f"there is no space and no file called {os.fspath(space)!r}",
            f"use {AUTO}, {', '.join(NAMED)}, or the path or URL of zones as GeoJSON",
        ) from error


def choose_space(space: SpaceLike, sources: Iterable[tuple[str, str]], *, own: Space | None = None) -> Choice:
    """The space to count sources in.

    Parameters
    ----------
    space : Space, str or path
        What was asked for; "auto" takes `own`, else the zones as soon as one source names zones, else the grid.
    sources : iterable of (URL, "zones" or "points")
        How each source says where trips begin and end.
    own : Space, optional
        That of a lake which is there already.

    Raises
    ------
    SpaceError
        A source names zones and the space is a grid.

    Examples
    --------
    >>> choose_space("auto", [("yellow_2015.csv", "points"), ("yellow_2019.csv", "zones")])
    Choice(space=Zones(), reason='yellow_2019.csv names taxi zones, and points are looked up in them')
    >>> choose_space("auto", [("yellow_2015.csv", "points")]).reason
    'trips begin and end at points'
    """
    sources = list(sources)
    zoned = next((url for url, places in sources if places == "zones"), None)
    if isinstance(space, str) and space == AUTO:
        if own is not None:
            choice = Choice(own)
        elif zoned is None:
            choice = Choice(Grid.new_york(), "trips begin and end at points")
        else:
            mixed = any(places == "points" for _, places in sources)
            also = ", and points are looked up in them" if mixed else ""
            choice = Choice(Zones(), f"{zoned.rpartition('/')[2]} names taxi zones{also}")
    else:
        choice = Choice(space_of(space))
    if zoned is not None and isinstance(choice.space, Grid):
        raise not_placed(zoned, choice.space, own)
    return choice


def not_placed(zoned: str, space: Grid, own: Space | None) -> SpaceError:
    """What is wrong with a source that names zones where a grid counts, `own` that of a lake which is there already."""
    return SpaceError(
        f"{zoned} says where trips begin and end by taxi zone, which {space!r} cannot place",
        "count the lake again in the taxi zones, lake.recount(space=td.Zones()), or use another lake"
        if isinstance(own, Grid)
        else "count in the taxi zones: space=td.Zones()",
    )
