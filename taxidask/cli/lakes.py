"""What a lake was made of, taking a source out of it again, and whether all of it is what was written."""

from __future__ import annotations

from dataclasses import asdict

import taxidask
from taxidask.cli.base import DONE, LEFT_OUT, Json, Lake, dumps, lake_app, output, settings_of, table
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


@lake_app.command
def check(*, sample: int | None = None, mend: bool = False, lake: Lake = None, json: Json = False) -> int:
    """Look at every file of the lake: is it there, whole, and what was written? Exit code 3 where something is wrong.

    Example: `taxidask lake check --lake lake`

    Parameters
    ----------
    sample
        How many parts are read, chosen anew each time; all by default.
    mend
        Read the sources again whose parts, rejects, counts or manifest are damaged.
    """
    from taxidask.runs.stages import rules_of

    settings = settings_of(lake=lake)
    found = taxidask.Lake(settings.lake).check(sample=sample, mend=mend, rules=rules_of(settings), progress=True)
    if json:
        print(dumps({**asdict(found), "well": found.well}))
    else:
        output(found)
    return DONE if found.well and not found.left else LEFT_OUT


@lake_app.command
def tidy(*, older_than: str = "1d", apply: bool = False, lake: Lake = None, json: Json = False) -> int:
    """List what interrupted and former ingests left in the lake, which nothing names or needs; with --apply, remove it.

    Example: `taxidask lake tidy --lake lake`

    Parameters
    ----------
    older_than
        The least age of all such files of a source.
    apply
        Remove them.
    """
    home = _open(lake)
    found = home.tidy(older_than=older_than, apply=apply)
    if json:
        print(dumps({"lake": found.lake, "bytes": found.bytes, "removed": found.removed,
                     "files": [{"url": one.url, "bytes": one.size} for one in found.files]}))  # fmt: skip
    else:
        output(found)
        if found.files and not apply:
            say("nothing was touched: --apply removes them")
    return DONE
