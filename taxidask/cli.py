"""The `taxidask` command.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done with something left out (named on standard error). Results go to
standard output, everything said on the way to standard error.
"""

from __future__ import annotations

import inspect
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter

import taxidask
from taxidask._storage_errors import explained
from taxidask.errors import LakeError, SettingsError, SourceError, TaxidaskError
from taxidask.settings import Settings, resolve

DONE, FAILED, WRONG_USE, LEFT_OUT = 0, 1, 2, 3

app = App(name="taxidask", version=taxidask.__version__, help=taxidask.__doc__, help_format="markdown")
runs_app = App(name="runs", help="List, show, resume and cancel runs.")
trips_app = App(name="trips", help="Look at the trips of a lake.")
store_app = App(name="store", help="Create and check the store that results are published to.")
cluster_app = App(name="cluster", help="Start, look at and stop clusters of worker pods on Kubernetes.")
for _sub in (runs_app, trips_app, store_app, cluster_app):
    app.command(_sub)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]
Lake = Annotated[str | None, Parameter(help="Folder or s3:// URL of the lake [settings: lake].")]
Store = Annotated[str | None, Parameter(help="sqlite:///FILE or dynamodb://TABLE [settings: store].")]


def with_settings(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command one option per settings field; they arrive as keyword arguments, None where not given."""
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = []
    for name, field in Settings.model_fields.items():
        many = name == "sources"
        default = "" if field.default in (None, []) else f" [{field.default}]"
        help_ = Parameter(
            help=f"{field.description}{default}", consume_multiple=many, negative="", allow_leading_hyphen=not many
        )
        annotation: Any = Annotated[list[str] | None if many else str | None, help_]
        options.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    function.__signature__ = inspect.Signature(own + options)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in own + options}
    return function


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _settings(**overrides: Any) -> Settings:
    return resolve(overrides)[0]


def _store(url: str | None) -> Any:
    store = taxidask.open_store(_settings(store=url).store)
    store.check()
    return store


def _finish(run: taxidask.Run, as_json: bool) -> int:
    if as_json:
        print(json.dumps({name: getattr(run, name) for name in run.__dataclass_fields__}, default=str))
        for item in run.left_out:
            _say(f"left out: {item}")
    else:
        print(run)
    return LEFT_OUT if run.left_out else DONE


def _table(frame: Any, as_json: bool, out: Path | None = None) -> int:
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".parquet":
            frame.to_parquet(out, index=False)
        else:
            frame.to_csv(out, index=False)
        _say(f"{len(frame)} rows written to {out}")
    elif as_json:
        print(frame.to_json(orient="records", date_format="iso"))
    elif len(frame):
        print(frame.to_string(index=False))
    else:
        _say("no rows")
    return DONE


def _out(path: Path | None) -> None:
    """Refuse a file of a kind that is not written, before the work that would go into it."""
    if path is not None and path.suffix not in (".csv", ".parquet"):
        raise SettingsError(f"--out {path} is neither .csv nor .parquet", "name a file that ends in one of them")


def _terminate(*_: object) -> None:
    raise KeyboardInterrupt


@app.command
@with_settings
def run(*, resume: str | None = None, json: Json = False, **given: Any) -> int:
    """The whole job: read trips into the lake, count demand, fit, publish and report.

    Example: `taxidask run --sources 'trips/*.csv' --lake lake --resume last`

    Parameters
    ----------
    resume
        Go on with this run, or with `last`: the newest unfinished run of the same settings, else a new one.
    """
    # Kubernetes ends a pod with SIGTERM: the run is left as resumable as after Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    return _finish(taxidask.run(_settings(**given), resume=resume), json)


@app.command
def demo(
    folder: Path = Path("taxidask-demo"),
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
    signal.signal(signal.SIGTERM, _terminate)
    folder = folder.absolute()
    source = folder / "trips" / "yellow_tripdata_2015-03.csv"
    if source.exists():
        _say(f"using the trips made before: {source}")
    else:
        _say(f"making {trips:,} trips of March 2015, one in a hundred of them faulty …")
        source.parent.mkdir(parents=True, exist_ok=True)
        taxidask.make_sample(str(source.parent), start="2015-03", trips_per_month=trips, seed=1)
    settings = Settings(
        sources=[str(source)],
        lake=str(folder / "lake"),
        store=f"sqlite:///{folder / 'taxidask.db'}",
        report=str(folder / "report.pdf"),
    )
    finished = taxidask.run(settings, resume="last")
    code = _finish(finished, json)
    if not json:
        print(
            f"\nreport   {settings.report}\nlake     {settings.lake}"
            f"\napp      taxidask app --store {settings.store}   (then open the address it prints)"
        )
    return code


@app.command
def sample(
    folder: Path,
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
    files = taxidask.make_sample(
        str(folder), start=start, months=months, trips_per_month=trips_per_month, seed=seed, faults=faults
    )
    print(_dumps(files) if json else "\n".join(files))
    return DONE


def _dumps(value: Any) -> str:
    return json.dumps(value, default=str)


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
    from taxidask.runs.stages import left_out, rules_of, space_of
    from taxidask.settings import parse_bytes

    settings, origin = resolve(given | ({"sources": list(files)} if files else {}))
    if not settings.sources:
        raise SettingsError("there is nothing to ingest", "name files, e.g. taxidask ingest 'trips/*.csv'")
    with taxidask.connect(settings) as client:
        result = taxidask.Lake(settings.lake).ingest(
            settings.sources,
            # what nobody set is the lake's own
            space=None if origin["space"] == "default" else space_of(settings),
            slot=None if origin["slot"] == "default" else settings.slot,
            client=client,
            block_size=parse_bytes(settings.block_size),
            rules=rules_of(settings),
            progress=True,
            errors="report",
        )
    if len(result.failed) == len(result.sources):
        raise result.failed[0].error or SourceError("no source could be read")
    print(result.to_pandas().to_json(orient="records") if json else result)
    notes = left_out(result)
    for note in notes:
        _say(f"left out: {note}")
    return LEFT_OUT if notes else DONE


@app.command
def fit(model: Literal["demand", "fare", "both"] = "both", *, lake: Lake = None, json: Json = False) -> int:
    """Fit models on the lake and save them in it.

    Example: `taxidask fit demand --lake lake`
    """
    from taxidask.runs.stages import fare_trips
    from taxidask.storage import join

    settings = _settings(lake=lake)
    home = taxidask.Lake(settings.lake)
    cards = {}
    if model in ("demand", "both"):
        _say("fitting the demand model …")
        demand_model = taxidask.DemandModel(horizon=settings.horizon).fit(home.cube())
        demand_model.save(join(home.url, "models", "demand"))
        cards["demand"] = demand_model.card
    if model in ("fare", "both"):
        _say("fitting the fare model …")
        fare_model = taxidask.FareModel(space=home.space).fit(fare_trips(home))
        fare_model.save(join(home.url, "models", "fare"))
        cards["fare"] = fare_model.card
    if json:
        print(_dumps(cards))
    else:
        for kind in cards:
            print(f"{kind:<8} {join(home.url, 'models', kind)}")
    return DONE


@app.command
def forecast(
    *,
    lake: Lake = None,
    horizon: int | None = None,
    cell: int | None = None,
    out: Path | None = None,
    json: Json = False,
) -> int:
    """Forecast the slots after the lake's last one, with the demand model saved in it.

    Example: `taxidask forecast --lake lake --horizon 48 --out forecast.csv`

    Parameters
    ----------
    cell
        Only this cell; default: the city as a whole on the screen, every cell in a file.
    out
        Write every cell to this .csv or .parquet file.
    """
    from taxidask.storage import join

    _out(out)
    settings = _settings(lake=lake, horizon=horizon)
    home = taxidask.Lake(settings.lake)
    model = taxidask.DemandModel.load(join(home.url, "models", "demand"))
    cube = home.cube()
    if cell is not None and not 0 <= cell < cube.space.cells:
        raise SettingsError(f"--cell {cell} is no cell of {home.url}", f"give one from 0 to {cube.space.cells - 1}")
    result = model.forecast(cube, horizon=settings.horizon)
    if cell is None and out is None:
        return _table(result.total(), json)
    frame = result.to_pandas()
    return _table(frame if cell is None else frame[frame["cell"] == cell], json, out)


def _point(text: str, name: str) -> tuple[float, float]:
    try:
        lon, lat = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--{name} {text!r} is no point", "write LON,LAT in degrees, e.g. -73.99,40.75") from None
    return lon, lat


@app.command
def quote(
    *,
    pickup: Annotated[str, Parameter(allow_leading_hyphen=True)],
    dropoff: Annotated[str, Parameter(allow_leading_hyphen=True)],
    at: str,
    passengers: int = 1,
    lake: Lake = None,
    json: Json = False,
) -> int:
    """The fare to expect of a trip, before it is made.

    Example: `taxidask quote --pickup -73.99,40.75 --dropoff -73.78,40.64 --at '2015-06-01 08:00'`

    Parameters
    ----------
    pickup
        LON,LAT in degrees.
    dropoff
        LON,LAT in degrees.
    at
        New York wall-clock time.
    """
    from taxidask.storage import absolute, join

    ends = {"pickup": _point(pickup, "pickup"), "dropoff": _point(dropoff, "dropoff")}
    model = taxidask.FareModel.load(join(absolute(_settings(lake=lake).lake), "models", "fare"))
    result = model.quote(**ends, at=at, passengers=passengers)
    print(_dumps(vars(result)) if json else result)
    return DONE


@trips_app.command
def query(
    *,
    lake: Lake = None,
    start: str | None = None,
    end: str | None = None,
    where: str | None = None,
    columns: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    limit: int | None = 20,
    out: Path | None = None,
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
        Conditions joined by `and`, e.g. `fare_amount > 50 and passenger_count == 1`.
    limit
        Rows at most; 0 for all.
    out
        Write to this .csv or .parquet file.
    """
    _out(out)
    home = taxidask.Lake(_settings(lake=lake).lake)
    frame = home.trips(start=start, end=end, where=where, columns=columns, limit=limit or None)
    if frame.empty and home.sources().empty:
        raise LakeError(f"there is no lake at {home.url} yet", "ingest into it first: taxidask ingest 'trips/*.csv'")
    return _table(frame, json, out)


@app.command
def report(*, run: str | None = None, lake: Lake = None, store: Store = None, out: str | None = None) -> int:
    """Build the PDF report of a run.

    Example: `taxidask report --out report.pdf`

    Parameters
    ----------
    run
        A run's id; default: the latest that was published.
    out
        The PDF to write, a path or an s3:// URL [settings: report].
    """
    from taxidask.report import build

    settings = _settings(lake=lake, store=store, report=out)
    _say("building the report …")
    path = build(store=_store(settings.store), lake=taxidask.Lake(settings.lake), run_id=run, out=settings.report)
    print(path)
    return DONE


@app.command(name="app")
def serve_app(
    *,
    store: Store = None,
    port: int = 5006,
    address: str = "127.0.0.1",
    allow_origin: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> int:
    """Serve the app until Ctrl-C.

    Example: `taxidask app --store sqlite:///taxidask.db --port 5006`

    Parameters
    ----------
    address
        Where to listen; beyond this machine only if asked.
    allow_origin
        A further HOST:PORT that browsers reach the app by, as behind a load balancer; may be repeated.
    """
    from taxidask.app import serve

    signal.signal(signal.SIGTERM, _terminate)  # in a pod this is process 1, which SIGTERM ends only if it is handled
    serve(_settings(store=store).store, port=port, address=address, allow_origins=allow_origin or [])
    return DONE


@runs_app.command(name="list")
def list_runs(*, store: Store = None, limit: int = 20, json: Json = False) -> int:
    """The newest runs, with their states.

    Example: `taxidask runs list`
    """
    from taxidask.runs.look import runs_table

    return _table(runs_table(_store(store), limit=limit), json)


@runs_app.command
def show(id: str, *, store: Store = None, json: Json = False) -> int:  # noqa: A002
    """One run: its stages, figures and error.

    Example: `taxidask runs show 20150301T120000Z-0a1b2c`
    """
    from taxidask.runs.look import describe, find

    item = find(_store(store), id)
    print(_dumps(item) if json else describe(item))
    return DONE


@runs_app.command
def resume(id: str, *, store: Store = None, json: Json = False) -> int:  # noqa: A002
    """Go on with a run that was interrupted, cancelled or whose driver died.

    Example: `taxidask runs resume 20150301T120000Z-0a1b2c`
    """
    signal.signal(signal.SIGTERM, _terminate)
    return _finish(taxidask.run(_settings(store=store), resume=id), json)


@runs_app.command
def cancel(id: str, *, store: Store = None) -> int:  # noqa: A002
    """Ask a run's driver to stop before its next block.

    Example: `taxidask runs cancel 20150301T120000Z-0a1b2c`
    """
    from taxidask.runs.look import request_cancel

    print(request_cancel(_store(store), id))
    return DONE


@store_app.command
def create(*, store: Store = None) -> int:
    """Create the store's table, if it is not there.

    A DynamoDB table is made with on-demand capacity (nothing to pay at rest but storage; each write unit and read unit
    is billed), table class STANDARD, and time-to-live on the attribute expires_at.

    Example: `taxidask store create --store dynamodb://taxidask`
    """
    opened = taxidask.open_store(_settings(store=store).store)
    opened.create()
    print(f"{opened.url} is there ({opened.cost_class})")
    return DONE


Namespace = Annotated[str | None, Parameter(help="Kubernetes namespace [settings: namespace].")]


@cluster_app.command
def up(
    name: str | None = None,
    *,
    workers: int | None = None,
    worker_memory: str | None = None,
    worker_cpus: float | None = None,
    image: str | None = None,
    idle_timeout: str | None = None,
    namespace: Namespace = None,
    adapt: Annotated[tuple[int, int] | None, Parameter(negative="")] = None,
    timeout: float = 300.0,
    json: Json = False,
) -> int:
    """Start a cluster, or find it by name; it stays until it is stopped or has been idle for too long.

    Example: `taxidask cluster up anna --workers 4 --adapt 1 8`

    Parameters
    ----------
    name
        What it is called [settings: cluster_name]; default: a name is made up and printed.
    adapt
        Fewest and most workers: the number follows the load.
    timeout
        Seconds until scheduler and workers have to be ready.
    """
    from taxidask.compute.kubernetes import look
    from taxidask.compute.kubernetes.cluster import check_limits
    from taxidask.compute.kubernetes.status import Status, show

    if adapt is not None:
        check_limits(*adapt)
    signal.signal(signal.SIGTERM, _terminate)
    given = {"worker_memory": worker_memory, "worker_cpus": worker_cpus, "image": image, "idle_timeout": idle_timeout}
    settings = _settings(compute="kubernetes", cluster_name=name, workers=workers, namespace=namespace, **given)
    show(status := Status(), sys.stderr)
    cluster = look.up(settings, timeout=timeout, status=status)
    if adapt is not None:
        cluster.adapt(minimum=adapt[0], maximum=adapt[1])
    elif workers is not None and not cluster.mine:
        cluster.scale(workers)
    told = look.describe(cluster, settings.prices)
    print(_dumps(told) if json else look.text(told))
    return DONE


@cluster_app.command
def status(name: str | None = None, *, namespace: Namespace = None, json: Json = False) -> int:
    """Pods, workers, memory, cost so far and dashboard address of one cluster, or of all in the namespace.

    Example: `taxidask cluster status anna`

    Parameters
    ----------
    name
        Which; default: all.
    """
    from taxidask.compute.kubernetes import look
    from taxidask.compute.kubernetes import start as clusters
    from taxidask.compute.kubernetes.api import Kube

    settings = _settings(namespace=namespace)
    kube = Kube(settings.namespace)
    found = [clusters.find(name, kube)] if name else clusters.all_clusters(kube)
    told = [look.describe(cluster, settings.prices) for cluster in found]
    if json:
        print(_dumps(told[0] if name else told))
    elif told:
        print("\n\n".join(map(look.text, told)))
    else:
        _say(f"no clusters in namespace {settings.namespace}")
    return DONE


@cluster_app.command
def down(
    *names: str,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    anyones: Annotated[bool, Parameter(negative="")] = False,
    namespace: Namespace = None,
    json: Json = False,
) -> int:
    """Stop clusters and wait until their pods are gone.

    Example: `taxidask cluster down --all`

    Parameters
    ----------
    names
        Which.
    every
        All that this user started.
    anyones
        All in the namespace, whoever started them.
    """
    from taxidask.compute.kubernetes import look
    from taxidask.compute.kubernetes.api import Kube

    if bool(names) == (every or anyones):
        raise SettingsError("which clusters?", "name some, e.g. taxidask cluster down anna, or give --all")
    kube = Kube(_settings(namespace=namespace).namespace)
    gone = look.down(kube, list(names), every=every, anyones=anyones, say=_say)
    if json:
        print(_dumps(gone))
    else:
        _say(f"removed: {', '.join(gone)}" if gone else "there was nothing to remove")
    return DONE


@app.command
@with_settings
def doctor(*, json: Json = False, **given: Any) -> int:
    """Check settings, store, lake, sources and Dask; print what is wrong and the remedy.

    Example: `taxidask doctor --lake lake`
    """
    from taxidask.doctor import examine

    findings = examine(given)
    if json:
        print(_dumps([vars(finding) for finding in findings]))
    else:
        for finding in findings:
            print(finding)
    return DONE if all(finding.ok for finding in findings) else FAILED


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command; ends the process with the exit code."""
    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
    except cyclopts.CycloptsError:
        sys.exit(WRONG_USE)  # cyclopts has printed what was wrong
    except SettingsError as error:
        _say(f"error: {error}")
        sys.exit(WRONG_USE)
    except TaxidaskError as error:
        _say(f"error: {error}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(FAILED)
    except BrokenPipeError:
        # the reader of a pipe, e.g. head, has what it wanted
        sys.stderr.close()
        sys.exit(DONE)
    except OSError as error:
        # what the package reads and writes is explained where it happens; this is what a command does besides
        told = explained(error, "use", str(error.filename or "a file"), needs=0, attempts=1)
        _say(f"error: {told}")
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else DONE)
