"""Trips: made, read into a lake, and taken out of it."""

from __future__ import annotations

import getpass
import inspect
import itertools
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from cyclopts import Parameter

import taxidask
from taxidask.asking import FormError, ask_trips, load_file, question, read_form, save_trips
from taxidask.cli.base import (
    DONE,
    FAILED,
    LEFT_OUT,
    Folder,
    Json,
    Lake,
    Store,
    again,
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
from taxidask.trips.schema import TRIP_SCHEMA
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
    blocks, given = itertools.count(), given | ({"sources": list(files)} if files else {})
    try:
        return _ingest(given, blocks, json)
    except KeyboardInterrupt:
        lake = taxidask.Lake(settings_of(**given).lake)
        try:
            whole = quantity(len(lake.sources()), "source")
        except LakeError:
            whole = "no source yet"
        say(f"ingest interrupted: {quantity(next(blocks), 'block')} read and kept, {whole} in the lake")
        say(f"go on with: {again('taxidask ingest', given, 'lake')}")
        raise


def _ingest(given: dict[str, Any], blocks: Iterator[int], json: bool) -> int:
    from taxidask.runs.stages import left_out, rules_of, unpack_of
    from taxidask.trips.outcome import raise_failures
    from taxidask.units import parse_bytes

    settings, origin = resolve(given)
    if not settings.sources:
        raise SettingsError("there is nothing to ingest", "name files, e.g. taxidask ingest 'trips/*.csv'")
    lake = taxidask.Lake(settings.lake)
    with taxidask.connect(settings) as client:
        result = lake.ingest(
            lake.find(settings.sources, rules=rules_of(settings), space=settings.space, unpack=unpack_of(settings)),
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
    if len(result.failed) == len(result.sources):
        raise_failures(result)
    records = result.to_pandas().assign(space=repr(result.space.space), space_reason=result.space.reason)
    output(records.to_json(orient="records") if json else result)
    notes = left_out(result)
    for note in notes:
        say(f"left out: {note}")
    return LEFT_OUT if notes else DONE


def _beside(url: str | None) -> Any:
    """The store whose added trips are asked for; None where nobody named one and there is none."""
    found = taxidask.open_store(settings_of(store=url).store)
    if url is None and found.url.startswith("sqlite") and not found.path.exists():
        return None
    found.check()
    return found


def _me() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container whose user has no name
        return f"{os.getuid()}@{socket.gethostname()}"


Range = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


@trips_app.command
def query(
    *,
    lake: Lake = None,
    store: Store = None,
    start: str | None = None,
    end: str | None = None,
    passengers: Range = None,
    tip: Range = None,
    vendor: str | None = None,
    payment_type: str | None = None,
    distance: Range = None,
    fare: Range = None,
    where: str | None = None,
    columns: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    skip: int = 0,
    limit: int | None = 20,
    totals: Annotated[bool, Parameter(negative="")] = False,
    out: str | None = None,
    json: Json = False,
) -> int:
    """Trips of the lake and those that were added, by time, by six filters and by conditions on columns.

    How many trips match, their average fare and total tip, and how many rows are left out, is said beside the rows.

    Example: `taxidask trips query --start 2015-03-01 --end 2015-03-02 --fare 50.. --passengers 1..2 --limit 10`

    Parameters
    ----------
    start
        First pickup time.
    end
        Pickups before this time.
    passengers, tip, distance, fare
        One value or a range with its ends, in USD and miles: `2`, `1..3`, `20..`, `..5`.
    vendor
        As the file wrote it, e.g. `CMT` or `1`; several joined by commas.
    payment_type
        Code or name, e.g. `1` or `cash`; several joined by commas.
    where
        Conditions joined by `and`, `or`, `not`, e.g. `fare_amount > 50 and passenger_count == 1`; a null is in no
        answer unless asked for: `passenger_count is null`.
    skip
        Rows to leave out at the beginning.
    limit
        Rows at most; 0 for all.
    totals
        Print the count, average fare and total tip instead of rows.
    out
        Write to this .csv or .parquet file, a path or an s3:// URL; what was there stays until all is written.
    """
    check_out(out)
    for name, value in (("--skip", skip), ("--limit", limit or 0)):
        if value < 0:
            raise SettingsError(f"{name} is {value}", "give 0 or more")
    asked = question(
        start=start, end=end, passengers=passengers, tip=tip, vendor=vendor, payment_type=payment_type,
        distance=distance, fare=fare,
    )  # fmt: skip
    home, beside = taxidask.Lake(settings_of(lake=lake).lake), _beside(store)
    most = 0 if totals or out else limit or sys.maxsize // 2
    answer = ask_trips(asked, lake=home, store=beside, where=where, columns=columns, skip=skip, limit=most)
    if not answer.count and home.sources().empty and (beside is None or not beside.added_days()):
        raise LakeError(
            f"there is no lake at {home.url} yet", f"ingest into it first: {command(_INGEST, lake=home.url)}"
        )
    if out is not None:
        written = save_trips(out, asked, lake=home, store=beside, where=where, columns=columns, limit=limit or None)
        say(f"{written} rows written to {out}")
        if written < answer.count:
            say(f"{answer.count:,} trips match: {answer.count - written:,} are left out (--limit 0 for all)")
        return DONE
    if totals:
        figures = {name: getattr(answer, name) for name in ("count", "added", "average_fare", "total_tip")}
        output(dumps(figures) if json else answer.summary.partition(";")[0])
        return DONE
    table(answer.rows, json)
    if answer.count:
        say(answer.summary)
    return DONE


def _with_columns(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command one option for each column of trips."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, Parameter(allow_leading_hyphen=True, help=_FIELDS.get(name, "Optional."))],
        )
        for name in TRIP_SCHEMA.names
    ]
    function.__signature__ = inspect.Signature(options + own)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in options + own}
    return function


_FIELDS = {
    "pickup_datetime": "New York time, e.g. `2016-02-01 18:30`.",
    "dropoff_datetime": "At most a day later.",
    "trip_distance": "Miles.",
    "fare_amount": "USD.",
    "pickup_longitude": "Degrees; all four, or both zones.",
    "pickup_location_id": "Taxi zone, 1 to 263.",
    "payment_type": "Code or name, e.g. `1` or `cash`.",
}


@trips_app.command
@_with_columns
def add(*, store: Store = None, json: Json = False, **fields: Any) -> int:
    """Add one trip: it is in every answer at once, and in the lake and its counts with the next run.

    Example: `taxidask trips add --pickup-datetime '2016-02-01 18:30' --dropoff-datetime '2016-02-01 18:45'
    --trip-distance 2.5 --fare-amount 12 --pickup-location-id 161 --dropoff-location-id 237`
    """
    from taxidask.runs.stages import rules_of

    settings = settings_of(store=store)
    found = taxidask.open_store(settings.store)
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        trip = read_form(given, rules=rules_of(settings))
    except FormError as error:
        if json:
            print(dumps({"added": False, "errors": error.fields}))
        raise SettingsError(error.message, error.remedy) from error
    if settings.store.startswith("sqlite"):
        found.create()
    added = found.add_trip(trip, who=_me())
    if json:
        print(dumps({"added": added, "trip": trip}))
    else:
        output(f"trip of {trip['pickup_datetime']} {'added' if added else 'was there before: nothing added'}")
    return DONE


@trips_app.command
def load(
    file: str,
    /,
    *,
    lake: Lake = None,
    store: Store = None,
    month: str | None = None,
    rejects: str | None = None,
    json: Json = False,
) -> int:
    """Add a file of trips: up to 50,000 rows into the store, a larger file into the lake. The same file counts once.

    Example: `taxidask trips load yellow_tripdata_2015-01.csv --rejects rejects.csv`

    Parameters
    ----------
    file
        A path or s3:// URL: CSV (plain, gzip, zstd) or Parquet of any TLC layout.
    month
        The month that pickups must lie in, YYYY-MM; by default the one in the name.
    rejects
        Write the rows that were set aside, with their reasons, to this .csv or .parquet file.
    """
    from taxidask.runs.stages import rules_of

    check_out(rejects, "--rejects")
    settings = settings_of(lake=lake, store=store)
    found = taxidask.open_store(settings.store)
    if settings.store.startswith("sqlite"):
        found.create()
    found.check()
    with Progress(label="load") as show:
        result = load_file(
            file,
            store=found,
            lake=taxidask.Lake(settings.lake),
            who=_me(),
            month=month,
            rules=rules_of(settings),
            progress=lambda block: show(block) if "bytes" in block else None,
        )
    names = ("name", "content", "place", "rows", "kept", "rejected", "unreadable", "note", "url")
    output(dumps({name: getattr(result, name) for name in names}) if json else result.summary)
    notes = [f"{count:,} rows: {reason}" for reason, count in result.rejected.items()]
    notes += [f"{count:,} unreadable values of {name} became null" for name, count in result.unreadable.items()]
    for note in notes:
        say(f"left out: {note}")
    if rejects is not None and len(result.rejects):
        table(result.rejects, False, rejects)
    if result.rows and not result.kept:
        return FAILED
    return LEFT_OUT if notes or not result.place else DONE
