"""The whole job, and what is told of it afterwards: its run, its report, its store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import taxidask
from taxidask.cli.base import (
    DONE,
    Folder,
    Json,
    Lake,
    Store,
    again,
    app,
    dumps,
    finish,
    output,
    runs_app,
    settings_of,
    store_app,
    store_of,
    table,
    with_settings,
)
from taxidask.errors import SettingsError
from taxidask.progress import Progress, say
from taxidask.settings import Settings
from taxidask.words import command


@app.command
@with_settings
def run(
    *,
    resume: str | None = None,
    refit: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    **given: Any,
) -> int:
    """The whole job: read trips into the lake, count demand, fit, publish and report.

    Example: `taxidask run --sources 'trips/*.csv' --lake lake --resume last`

    Parameters
    ----------
    resume
        Go on with this run, or with `last`: the newest unfinished run of the same settings, else a new one.
    refit
        Fit and publish also where lake, settings and versions are those of the run that published last.
    """
    try:
        finished = taxidask.run(settings_of(**given), resume=resume, refit=refit)
    except KeyboardInterrupt as stop:
        if not getattr(stop, "__notes__", None):  # before there was a run, which would have said how to go on with it
            line = again("taxidask run --sources", given, "lake", "store", resume="last")
            say(f"run interrupted; go on with: {line}{' --refit' if refit else ''}")
        raise
    return finish(finished, json)


@app.command
def demo(
    folder: Folder = Path("taxidask-demo"),
    *,
    trips: Annotated[int, Parameter(help="Trips in the made month.")] = 300_000,
    json: Json = False,
) -> int:
    """Make a month of trips and run the whole job on it: local files, SQLite, a local cluster.

    Example: `taxidask demo`

    Parameters
    ----------
    folder
        Where everything goes; run it again and what is there is used.
    """
    from distributed import fire_and_forget

    from taxidask.cli.ahead import compile_ahead

    if trips < 1:
        raise SettingsError(f"--trips {trips} is no number of trips", "give a whole number from 1")
    folder = folder.absolute()
    source = folder / "trips" / "yellow_tripdata_2015-03.csv"
    settings = Settings(
        sources=[str(source)],
        lake=str(folder / "lake"),
        store=f"sqlite:///{folder / 'taxidask.db'}",
        report=str(folder / "report.pdf"),
    )
    there = source.exists()
    if there:
        say(f"using the trips made before: {source}")
    else:
        say(f"making {trips:,} trips of March 2015, one in a hundred of them faulty …")
        source.parent.mkdir(parents=True, exist_ok=True)
    with taxidask.connect(settings) as client:
        if not there:
            fire_and_forget(client.submit(compile_ahead, pure=False))
            with Progress(label="sample"):
                taxidask.make_sample(str(source.parent), start="2015-03", trips_per_month=trips, seed=1)
        finished = taxidask.run(settings, client=client, resume="last")
    code = finish(finished, json)
    if not json:
        print(
            f"\nreport   {settings.report}\nlake     {settings.lake}"
            f"\napp      {command('taxidask app', store=settings.store, lake=settings.lake)}"
            "   (then open the address it prints)"
        )
    return code


@runs_app.command(name="list")
def list_runs(*, store: Store = None, limit: int = 20, json: Json = False) -> int:
    """The newest runs, with their states.

    Example: `taxidask runs list`
    """
    from taxidask.runs.look import runs_table

    if limit < 1:
        raise SettingsError(f"--limit {limit} shows nothing", "give a whole number from 1")
    return table(runs_table(store_of(store).list_runs(limit=limit)), json)


@runs_app.command
def show(id: str, *, store: Store = None, json: Json = False) -> int:  # noqa: A002
    """One run: its stages, figures and error.

    Example: `taxidask runs show 20150301T120000Z-0a1b2c`

    Parameters
    ----------
    id
        The run's id, or `last` for the newest.
    """
    from taxidask.runs.look import describe, find

    item = find(store_of(store), id)
    output(dumps(item) if json else describe(item))
    return DONE


@runs_app.command
def resume(id: str, *, store: Store = None, json: Json = False) -> int:  # noqa: A002
    """Go on with a run that was interrupted, cancelled or whose driver died.

    Example: `taxidask runs resume 20150301T120000Z-0a1b2c`

    Parameters
    ----------
    id
        The run's id, or `last` for the newest.
    """
    from taxidask.runs.look import find

    if id == "last":
        id = find(store_of(store), id)["id"]  # noqa: A001
    return finish(taxidask.run(settings_of(store=store), resume=id), json)


@runs_app.command
def cancel(id: str, *, store: Store = None) -> int:  # noqa: A002
    """Ask a run's driver to stop before its next block.

    Example: `taxidask runs cancel 20150301T120000Z-0a1b2c`

    Parameters
    ----------
    id
        The run's id, or `last` for the newest.
    """
    from taxidask.runs.look import request_cancel

    output(request_cancel(store_of(store), id))
    return DONE


@store_app.command
def create(*, store: Store = None) -> int:
    """Create the store's table, if it is not there.

    A DynamoDB table is made with on-demand capacity (nothing to pay at rest but storage; each write unit and read unit
    is billed), table class STANDARD, and time-to-live on the attribute expires_at.

    Example: `taxidask store create --store dynamodb://taxidask`
    """
    opened = taxidask.open_store(settings_of(store=store).store)
    made = opened.create()
    output(f"{opened.url} {'is made' if made else 'was there already'} ({opened.cost_class})")
    return DONE


@app.command
def report(*, run: str | None = None, lake: Lake = None, store: Store = None, out: str | None = None) -> int:
    """Build the PDF report of a run.

    Example: `taxidask report --out report.pdf`

    Parameters
    ----------
    run
        A run's id, or `last`, as by default: the latest that was published.
    out
        The PDF to write, a path or an s3:// URL [settings: report].
    """
    from taxidask.report import build

    settings = settings_of(lake=lake, store=store, report=out)
    say("building the report …")
    path = build(store=store_of(settings.store), lake=taxidask.Lake(settings.lake), run_id=run, out=settings.report)
    output(path)
    return DONE
