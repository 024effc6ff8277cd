"""`td.run`: the whole job, from CSVs to the report, resumable at every stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from taxidask.compute import connect
from taxidask.compute.workers import repeated
from taxidask.credentials import hidden
from taxidask.errors import RegionDarkError, RunError, SettingsError, TaxidaskError
from taxidask.lake import Lake
from taxidask.progress import say as say_line
from taxidask.results import Store, open_store
from taxidask.results.notes import whole
from taxidask.runs import cost
from taxidask.runs.drift import hold, look_for_drift, publish_counts
from taxidask.runs.former import Former, former_run, held, is_there, unchanged
from taxidask.runs.ledger import STAGES, WHERE, Ledger, open_run, placed, resume_line, unknown_run
from taxidask.runs.meter import Meter, cores_of
from taxidask.runs.moving import ledger_of
from taxidask.runs.stages import PIPELINE, Job, open_job
from taxidask.settings import Settings, resolve
from taxidask.storage import Storage, regions_of
from taxidask.storage.regions import in_use
from taxidask.storage.requests import take
from taxidask.trips import Source
from taxidask.units import parse_bytes
from taxidask.words import escaped, quantity

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Run:
    """What a run did.

    Attributes
    ----------
    id : str
        Its id in the store; ``taxidask runs show ID``.
    state : str
        ``done``, or what ended it.
    stages : dict
        For each stage: state, started, ended, rows, bytes, detail.
    lake, store, report : str
        Where the results are.
    left_out : list of str
        What was passed over, named: sources that cannot be read, duplicate sources, sources without a valid row,
        unreadable values.
    cost : dict
        Counted quantities and USD; see :class:`taxidask.runs.cost.Cost`.
    """

    id: str
    state: str
    stages: dict[str, dict[str, Any]]
    lake: str
    store: str
    report: str
    cost: dict[str, Any]
    left_out: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        lines = [f"Run {self.id}: {self.state}"]
        for name in STAGES:
            record = self.stages.get(name, {})
            lines.append(f"  {name:<8} {record.get('state', 'not begun'):<10} {record.get('detail') or ''}".rstrip())
        lines += [f"  lake     {self.lake}", f"  store    {self.store}", f"  report   {self.report}"]
        lines += [f"  left out {escaped(item)}" for item in self.left_out]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def _to_run(store: Store, item: dict[str, Any]) -> Run:
    item = whole(store, item)
    settings = item["settings"]
    return Run(
        id=item["id"],
        state=item["state"],
        stages=item["stages"],
        lake=settings["lake"],
        store=settings["store"],
        report=settings["report"],
        cost=item.get("cost") or {},
        left_out=[note for record in item["stages"].values() for note in record.get("left_out") or []],
    )


def _adopt(store: Store, settings: Settings, given: set[str], resume: str) -> Settings:
    """The settings to resume run `resume` with: its own job, where the caller wants it.

    What the caller gave must be that job's; what was left to the defaults is taken from it.
    """
    item = store.get_run(resume)
    if item is None:
        raise unknown_run(store, resume)
    theirs = Settings(**whole(store, item)["settings"])
    differ = [
        f"{name} was {getattr(theirs, name)!r}, is {getattr(settings, name)!r}"
        for name in Settings.model_fields
        if name in given and name not in WHERE and getattr(theirs, name) != getattr(settings, name)
    ]
    if differ:
        raise RunError(
            f"run {resume} did another job: {'; '.join(differ)}", "start a new run, or resume without other settings"
        )
    return theirs.model_copy(update={name: getattr(settings, name) for name in WHERE})


def _dashboard(client: Client | None) -> str | None:
    """Where Dask's own pages about a run's workers are, for those who look at the run."""
    try:
        return client.dashboard_link if client is not None else None
    except (KeyError, ValueError):  # a scheduler may have none
        return None


def _say_nothing(_: str) -> None:
    pass


def run(
    settings: Settings | None = None,
    *,
    client: Client | None = None,
    resume: str | None = None,
    refit: bool | Literal["drift"] = False,
    progress: bool = True,
    without: Collection[str] = (),
) -> Run:
    """The whole job: ingest, cube, fit, publish, report.

    Parameters
    ----------
    settings : Settings, optional
        Default: what ``TAXIDASK_*`` variables and taxidask.toml say.
    client : distributed.Client, optional
        Where tasks run. Default: :func:`taxidask.connect` with these settings, closed again at the end.
    resume : str, optional
        None starts anew, and is refused while a run of the same settings lives. An id, or ``"last"`` (the newest
        unfinished run of the same settings, else a new one), goes on: stages whose output is there for the same inputs
        are skipped, finished blocks are not read again.
    refit : bool
        Fit and publish also where lake, settings and versions are those of the run that published last. Such a run
        with nothing new writes its own record only, and says so. With ``"drift"`` models are kept over new data as long
        as what they last forecast was about as good as in their backtest, and better than last week's counts; what was
        counted is published before anything is fitted.
    progress : bool
        Say on standard error what is being done.
    without : collection of str
        URLs of sources that are left for another time.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        Refused, cancelled, taken over, or no source has a valid row.
    SourceError
        None of the sources can be read as trips; before any work is done, and before there is a run. Where some can,
        the others are left out, named.
    StorageError, ReportError
        The report's place takes no file; likewise.
    """
    if settings is None:
        settings = resolve({})[0]
    if not isinstance(settings, Settings):
        raise SettingsError(f"run takes Settings, not {settings!r:.100}", "write td.load_settings(sources=…)")
    given = settings.model_fields_set
    settings = placed(settings)
    if resume in (None, "last") and not settings.sources:
        raise SettingsError("the settings name no sources", "pass sources, e.g. taxidask run --sources 'trips/*.csv'")
    say: Callable[[str], None] = say_line if progress else _say_nothing
    regions = regions_of(settings)
    store = open_store(settings.store, regions=regions)
    new = settings.store.startswith("sqlite") and resume in (None, "last")
    if not new:
        store.check()
    if resume not in (None, "last"):
        settings = _adopt(store, settings, given, str(resume))
    take()  # what this process has asked S3 for until now is not the run's
    # Whatever can be wrong is found before there is a run: one without a driver would hold up the next attempt.
    lake, storage, found = open_job(settings, without, Storage(regions=regions, moves=True) if regions else None)
    sources = [one for one in found if isinstance(one, Source)]
    cells = lake.choose_space(settings.space, sources).space.cells
    if new:
        store.create()
        store.check()
    cores = cores_of(settings, client)
    blocks = sum(len(source.blocks(parse_bytes(settings.block_size))) for source in sources)
    size = sum(source.size for source in sources)
    months = len({source.month or source.url for source in sources})
    guess = cost.estimate(
        settings,
        bytes_to_read=size,
        blocks=blocks,
        sources=len(sources),
        months=months,
        cells=cells,
        cores=cores,
    )
    item, mine = open_run(store, settings, resume, say)
    if not mine:
        say(f"run {item['id']} is done: nothing to do")
        return _to_run(store, item)
    beside = f" and {len(found) - len(sources):,} that cannot be used" if len(sources) < len(found) else ""
    started = time.monotonic()
    with ExitStack() as stack:
        if regions is not None:  # from here on the ledger goes over, and the stages with it
            stack.enter_context(in_use(regions))
            store, storage = store.staying(), storage.staying()
            lake = Lake(lake.url, storage=storage)
        meter = Meter(settings, store, item.get("cost") or {})
        ledger = ledger_of(store, item, settings.heartbeat_timeout, lambda: meter.cost().to_dict(), regions)
        stack.enter_context(ledger)
        job = Job(settings, store, lake, storage, found, ledger, client, progress, say, meter.read)
        if client is not None:
            stack.enter_context(meter.follow(client))
        try:
            refit = refit or item.get("refit") or False
            former = None if refit is True else former_run(store, settings)
            kept = unchanged(job, former, also_held=refit == "drift") if former else set()
            head = f"run {item['id']}: {quantity(len(sources), 'source')}{beside}, {size / 1e6:,.1f} MB"
            if former and kept >= {stage.name for stage in PIPELINE}:
                say(f"{head}; lake, settings and versions are those of run {former.id}: nothing new (--refit)")
                guess = cost.price(settings, core_seconds=0.0, bytes_read=0, puts=0, gets=0, writes=0)
            else:
                say(f"{head}; estimate: {guess}")
            ledger.note(estimate=guess.to_dict(), refit=refit, dashboard=_dashboard(client))
            moved = False
            while True:
                try:
                    if moved:
                        job.renew(without)
                    _stages(job, former, kept, stack, meter, cores, hold_models=refit == "drift")
                    break
                except TaxidaskError as error:
                    # what failed for a region that is dark may not fail where the run is now
                    dark = error if isinstance(error, RegionDarkError) else ledger.has_moved()
                    if dark is None:
                        raise
                    say(ledger.moved_on(dark))
                    moved = True
            total = meter.cost()
            ledger.close("done", cost=total.to_dict())
            say(f"run {item['id']}: done in {time.monotonic() - started:.1f} s; cost: {total}")
        except KeyboardInterrupt as stop:
            ledger.interrupt()
            _close(ledger, "interrupted", "interrupted from the keyboard")
            stop.add_note(f"run {item['id']} interrupted; go on with: {resume_line(item)}")
            say(stop.__notes__[-1])
            raise
        except BaseException as error:
            _close(ledger, "cancelled" if ledger.reason == "cancelled" else "failed", hidden(str(error)))
            raise
    return _to_run(store, ledger.item)


def _stages(
    job: Job, former: Former | None, kept: set[str], stack: ExitStack, meter: Meter, cores: float, *, hold_models: bool
) -> None:
    """Do each stage that is not there yet, in order."""
    holding: set[str] = set()
    for number, stage in enumerate(PIPELINE, 1):
        job.ledger.check()
        head = f"[{number}/{len(PIPELINE)}] {stage.title}"
        inputs = stage.inputs(job)
        if is_there(job, stage, inputs) or (hold_models and is_there(job, stage, held(inputs))):
            job.say(f"{head}: already there ({job.ledger.stage(stage.name).get('detail')})")
            if former and stage.name == "ingest" and "publish" not in kept:  # it ended before that was judged, or after
                holding = _judge(job, former, hold_models=hold_models)
            continue
        if former and stage.name in kept | holding:
            record = former.stage(stage.name)
            job.ledger.keep_stage(
                stage.name,
                {**record, "inputs": held(inputs)} if stage.name in holding else record,
                record.get("unchanged_since") or former.id,
            )
            job.say(f"{head}: as in run {former.id} ({job.ledger.stage(stage.name).get('detail')})")
            continue
        if job.client is None and stage.name != "report":
            if job.settings.compute == "kubernetes":
                meter.hold(cores)  # also while they start
            job.client = stack.enter_context(connect(job.settings))
            job.ledger.note(dashboard=_dashboard(job.client))
            stack.enter_context(meter.follow(job.client))
        job.say(f"{head} …")
        job.ledger.start_stage(stage.name, inputs)
        begun, repeated_before = time.monotonic(), repeated(job.client)
        result = stage.make(job)
        again = max(0, repeated(job.client) - repeated_before)
        job.ledger.end_stage(stage.name, state="done", repeated=again, **result)
        lost = f"; {quantity(again, 'task')} ran again, as workers were lost" if again else ""
        job.say(f"{head}: {result['detail']} in {time.monotonic() - begun:.1f} s{lost}")
        if former and stage.name == "ingest":
            kept = unchanged(job, former, also_held=hold_models)
            if "publish" not in kept:
                holding = _judge(job, former, hold_models=hold_models)


def _judge(job: Job, former: Former, *, hold_models: bool) -> set[str]:
    """Say what became of what was last forecast; the stages that are spared where the models are kept for it."""
    if hold_models:
        publish_counts(job)
    drift = look_for_drift(job.store, job.cube, job.store.get_metrics(former.id, "demand"))
    if drift is None:
        return set()
    job.ledger.note(drift=drift.to_dict())
    job.say(str(drift))
    return hold(job, former) if hold_models and drift.earns else set()


def _close(ledger: Ledger, state: str, error: str) -> None:
    """Note how a run ended, unless it is no longer this driver's; the first error is the one to show."""
    if ledger.reason == "taken over":
        return
    try:
        ledger.close(state, error=error)
    except Exception as second:
        say_line(f"could not note the end of run {ledger.id} in the store: {second}")
