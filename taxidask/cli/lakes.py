"""What a lake was made of, and taking a source out of it again."""

from __future__ import annotations

import taxidask
from taxidask.cli.base import DONE, Json, Lake, dumps, lake_app, output, settings_of, table
from taxidask.progress import say
from taxidask.words import escaped

SHOWN = ["url", "month", "rows", "kept", "rejected", "note"]


def _open(lake: str | None) -> taxidask.Lake:
    home = taxidask.Lake(settings_of(lake=lake).lake)
    home.space  # noqa: B018 - raises where there is no lake
    return home


@lake_app.command
def sources(*, lake: Lake = None, json: Json = False) -> int:
    """The files that a lake was made of, with their rows, kept and rejected.

    Example: `taxidask lake sources --lake lake`
    """
    listed = _open(lake).sources()
    return table(listed if json else listed[SHOWN], json)


@lake_app.command
def remove(source: str, /, *more: str, lake: Lake = None, json: Json = False) -> int:
    """Take files out of the lake again: their trips, rejects and counts. The files themselves stay where they are.

    Example: `taxidask lake remove yellow_tripdata_2015-01.csv --lake lake`

    Parameters
    ----------
    source, more
        URLs as `taxidask lake sources` lists them, or their last part where only one has it.
    """
    home = _open(lake)
    removed = []
    try:
        for name in (source, *more):
            removed.append(one := home.remove(name))
            if not json:
                output(f"removed {escaped(one.url)}: {one.trips:,} trips")
            if one.second_names:
                say(f"the same content counts nowhere now, ingest it again: {', '.join(one.second_names)}")
    finally:  # also of those before one that there is not
        if json:
            print(dumps([{"url": one.url, "trips": one.trips, "second_names": one.second_names} for one in removed]))
    return DONE
