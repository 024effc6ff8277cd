"""Trips: made, read into a lake, and taken out of it."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from cyclopts import Parameter

import taxidask
from taxidask.cli.base import (
    DONE,
    LEFT_OUT,
    Folder,
    Json,
    Lake,
    app,
    check_out,
    dumps,
    output,
    settings_of,
    table,
    trips_app,
    with_settings,
)
from taxidask.errors import LakeError, SettingsError
from taxidask.progress import Progress, say
from taxidask.settings import resolve
from taxidask.storage import absolute
from taxidask.words import command, escaped, quantity

_INGEST = "taxidask ingest 'trips/*.csv'"


@app.command
def sample(
    folder: Folder,
    *,
    start: str,
    months: int = 1,
    trips_per_month: int = 100_000,
    seed: int = 0,
    faults: float = 0.01,
    json: Json = False,
) -> int:
    """Make plausible trip files in the layout of their dates.

    Example: `taxidask sample trips --start 2015-01 --months 3 --trips-per-month 300000`

    Parameters
    ----------
    folder
        Where the files go, one a month.
    start
        First month, YYYY-MM, from 2009-01 to 2020-06.
    faults
        Share of all faulty rows together, 0 to 1.
    """
    with Progress(label="sample"):
        files = taxidask.make_sample(
            str(folder), start=start, months=months, trips_per_month=trips_per_month, seed=seed, faults=faults
        )
    output(dumps(files) if json else "\n".join(map(escaped, files)))
    return DONE


@app.command
@with_settings
def ingest(*files: str, json: Json = False, **given: Any) -> int:
    """Read trip files into the lake; what is there already is not read again.

    Example: `taxidask ingest 'trips/*.csv' --lake lake`

    Parameters
    ----------
    files
        Paths, folders, globs or s3:// URLs.
    """
    from taxidask.runs.stages import left_out, rules_of
    from taxidask.trips.outcome import raise_failures
    from taxidask.units import parse_bytes

    settings, origin = resolve(given | ({"sources": list(files)} if files else {}))
    if not settings.sources:
        raise SettingsError("there is nothing to ingest", "name files, e.g. taxidask ingest 'trips/*.csv'")
    lake, blocks = taxidask.Lake(settings.lake), itertools.count()
    try:
        with taxidask.connect(settings) as client:
            result = lake.ingest(
                settings.sources,
                space=settings.space,
                # what nobody set is the lake's own
                slot=None if origin["slot"] == "default" else settings.slot,
                client=client,
                block_size=parse_bytes(settings.block_size),
                rules=rules_of(settings),
                on_block=lambda _: next(blocks),
                progress=True,
                errors="report",
            )
    except KeyboardInterrupt:
        again = {name: given[name] for name, place in origin.items() if place == "argument" and name != "sources"}
        line = command("taxidask ingest", *map(absolute, settings.sources), **again | {"lake": lake.url})
        try:
            whole = quantity(len(lake.sources()), "source")
        except LakeError:
            whole = "no source yet"
        say(f"ingest interrupted: {quantity(next(blocks), 'block')} read and kept, {whole} in the lake")
        say(f"go on with: {line}")
        raise
    if len(result.failed) == len(result.sources):
        raise_failures(result)
    records = result.to_pandas().assign(space=repr(result.space.space), space_reason=result.space.reason)
    output(records.to_json(orient="records") if json else result)
    notes = left_out(result)
    for note in notes:
        say(f"left out: {note}")
    return LEFT_OUT if notes else DONE


@trips_app.command
def query(
    *,
    lake: Lake = None,
    start: str | None = None,
    end: str | None = None,
    where: str | None = None,
    columns: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    limit: int | None = 20,
    out: str | None = None,
    json: Json = False,
) -> int:
    """Trips of the lake, by time and by conditions on columns.

    Example: `taxidask trips query --start 2015-03-01 --end 2015-03-02 --where 'fare_amount > 50' --limit 10`

    Parameters
    ----------
    start
        First pickup time.
    end
        Pickups before this time.
    where
        Conditions joined by `and`, `or`, `not`, e.g. `fare_amount > 50 and passenger_count == 1`; a null is in no
        answer unless asked for: `passenger_count is null`.
    limit
        Rows at most; 0 for all.
    out
        Write to this .csv or .parquet file, a path or an s3:// URL; what was there stays until all is written.
    """
    check_out(out)
    home = taxidask.Lake(settings_of(lake=lake).lake)
    frame = home.trips(start=start, end=end, where=where, columns=columns, limit=limit or None)
    if frame.empty and home.sources().empty:
        raise LakeError(
            f"there is no lake at {home.url} yet", f"ingest into it first: {command(_INGEST, lake=home.url)}"
        )
    return table(frame, json, out)
