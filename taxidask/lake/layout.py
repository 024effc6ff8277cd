"""``lake.json``: the one space and slot of a lake, and the spaces its counts are made in."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taxidask.errors import LakeError, SpaceError
from taxidask.space import AUTO, Choice, Grid, Space, SpaceLike, not_placed, space_from_dict, space_of
from taxidask.storage import MissingError, Storage, join
from taxidask.trips.sources import LAKE, Source, Unusable
from taxidask.units import DAY, is_whole, slot_seconds_of

from .manifest import json_object
from .names import FORMAT

_spaces: dict[tuple[str, str], Space] = {}
_lock = threading.Lock()
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # of a file in the lake, and nowhere else


@dataclass(frozen=True)
class Layout:
    """What ``lake.json`` says."""

    space_key: str
    slot_seconds: int
    storage_version: str

    @property
    def count_key(self) -> str:
        """Names the folder of the counts."""
        return f"{self.space_key}-{self.slot_seconds}s"


def read_layout(lake: str, storage: Storage) -> Layout | None:
    """The layout of a lake, None where there is no lake yet."""
    url = join(lake, LAKE)
    try:
        version = storage.stat(url).version
        fields = json_object(storage.read(url))
        if fields.setdefault("format", FORMAT) != FORMAT:
            raise LakeError(
                f"{lake} is a lake of format {fields['format']}, this version reads {FORMAT}",
                "use the version of taxidask that wrote it",
            )
        key, slot = fields.get("space_key"), fields.get("slot_seconds", 0)
        if not isinstance(key, str) or not _NAME.fullmatch(key) or not is_whole(slot) or DAY % slot:
            raise ValueError(f"space_key is {key!r:.100}, slot_seconds is {slot!r:.100}")
        return Layout(key, int(slot), version)
    except MissingError:
        return None
    except ValueError as error:
        raise LakeError(
            f"{url} is damaged: {error}",
            "restore it from a copy, or delete it and ingest any source with the space= and slot= that the lake had "
            "(its folder cube/ names them): trips are untouched, and counts that lack are made of them",
        ) from error


def write_layout(
    lake: str, storage: Storage, space: Space, slot_seconds: int, *, over: Layout | None = None
) -> Layout | None:
    """Write the layout of a new lake, or instead of a known one; None if another driver was first."""
    save_space(lake, space, storage)
    fields: dict[str, Any] = {"format": FORMAT, "space_key": space.key, "slot_seconds": slot_seconds}
    fields["space"] = f"spaces/{space.key}.json"
    url, data = join(lake, LAKE), json.dumps(fields, indent=1).encode()
    won = storage.create(url, data) if over is None else storage.replace(url, data, over.storage_version)
    return read_layout(lake, storage) if won else None


def save_space(lake: str, space: Space, storage: Storage) -> None:
    """Keep a space, geometry and all, with the lake: the file it was made from may change or go."""
    storage.create(_space_url(lake, space.key), json.dumps(space.to_dict()).encode())


def load_space(lake: str, key: str, storage: Storage) -> Space:
    """A space of the lake; read once in each process."""
    with _lock:
        if (lake, key) not in _spaces:
            _spaces[lake, key] = read_space(lake, key, storage)
        return _spaces[lake, key]


def settle(lake: str, storage: Storage, choose: Callable[[Layout | None], Choice], slot: Any) -> tuple[Layout, Choice]:
    """The lake's layout, written if this is its first ingest, checked against what was asked for."""
    seconds = None if slot is None else slot_seconds_of(slot)
    layout = read_layout(lake, storage)
    choice = choose(layout)
    if layout is None:
        layout = write_layout(lake, storage, choice.space, seconds or 1800)
    if layout is None:  # another driver was first: the lake has a space now
        layout = read_layout(lake, storage)
        choice = choose(layout)
    if layout is None:
        raise LakeError(f"{lake} was made by another driver, and removed again", "ingest again")
    if choice.space.key != layout.space_key:
        own = load_space(lake, layout.space_key, storage)
        raise LakeError(
            f"the lake {lake} counts in {own!r}, not in {choice.space!r}",
            "leave space out, use another lake, or count again: lake.recount(space=…)",
        )
    if seconds not in (None, layout.slot_seconds):
        raise LakeError(
            f"the lake {lake} has slots of {layout.slot_seconds // 60:g} min, not {slot}",
            "leave slot out, use another lake, or count again: lake.recount(slot=…)",
        )
    return layout, choice


def set_aside(
    found: Sequence[Source | Unusable], space: SpaceLike, lake: str, storage: Storage
) -> list[Source | Unusable]:
    """Sources as they are, but those that name zones where the lake's grid, or a new lake's, cannot place them."""
    if not any(isinstance(one, Source) and one.era.locations == "zones" for one in found):
        return list(found)
    layout = read_layout(lake, storage)
    own = load_space(lake, layout.space_key, storage) if layout else None
    grid = own if isinstance(space, str) and space == AUTO else space_of(space)
    if not isinstance(grid, Grid):
        return list(found)
    return [
        Unusable(one.url, not_placed(one.url, grid, own))
        if isinstance(one, Source) and one.era.locations == "zones"
        else one
        for one in found
    ]


def read_space(lake: str, key: str, storage: Storage) -> Space:
    """A space of the lake as it stands there."""
    url = _space_url(lake, key)
    remedy = "restore it from a copy, or delete it and give the lake its space again: lake.recount(space=…)"
    try:
        space = space_from_dict(json_object(storage.read(url)))
    except MissingError as error:
        if dark := storage.dark(url):
            text = f"{url}, the lake's space, is in no region that answers yet: {', '.join(dark)} may have it"
            raise LakeError(text, "try again when that answers") from error
        raise LakeError(f"{url}, the lake's space, is not there", remedy) from error
    except ValueError as error:
        raise LakeError(f"{url} is damaged: {error}", remedy) from error
    except SpaceError as error:
        raise SpaceError(f"{url}: {error.message}", f"{error.remedy}; or {remedy}") from error
    if space.key != key:
        raise LakeError(f"{url} is damaged: it describes {space.key}", remedy)
    return space


def _space_url(lake: str, key: str) -> str:
    return join(lake, "spaces", f"{key}.json")
