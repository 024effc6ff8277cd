"""`taxidask doctor`: what a run needs, tried one by one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taxidask.errors import TaxidaskError
from taxidask.settings import Settings, resolve
from taxidask.words import quantity


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is well, what was found and what to do."""

    subject: str
    ok: bool
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{'ok ' if self.ok else 'BAD'}  {self.subject:<10} {self.found}"
        return f"{text}\n{'':16}remedy: {self.remedy}" if self.remedy else text


def _python() -> str:
    import dask
    import pandas

    return f"{sys.version.split()[0]}, dask {dask.__version__}, pandas {pandas.__version__}"


def _settings_sources(settings: Settings) -> str:
    from taxidask.storage import default_storage
    from taxidask.trips import find_sources

    if not settings.sources:
        return "none named; a run needs some"
    found = find_sources(settings.sources, storage=default_storage())
    size = sum(source.size for source in found)
    eras = ", ".join(sorted({source.era.name for source in found}))
    return f"{quantity(len(found), 'file')}, {size / 1e6:,.1f} MB, {eras}"


def _lake(settings: Settings) -> str:
    from taxidask.storage import default_storage, join
    from taxidask.trips import Lake

    lake = Lake(settings.lake)
    probe = join(lake.url, "doctor.tmp.json")
    storage = default_storage()
    storage.write(probe, b"{}")
    storage.delete(probe)
    sources = lake.sources()
    kept = int(sources["kept"].sum()) if len(sources) else 0
    return f"{lake.url} takes writes; {quantity(len(sources), 'source')}, {kept:,} trips"


def _disk(settings: Settings) -> str:
    if settings.lake.startswith("s3://"):
        return "the lake is on S3"
    folder = Path(settings.lake).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < 1 << 30:
        raise TaxidaskError(f"{free / 1e9:.2f} GB free at {folder}", "free some space or put the lake elsewhere")
    return f"{free / 1e9:.1f} GB free at {folder}"


def _store(settings: Settings) -> str:
    from taxidask.results import open_store

    store = open_store(settings.store)
    if settings.store.startswith("sqlite"):
        store.create()
    store.check()
    return f"{store.url}; {len(store.list_runs(limit=100))} runs of the newest 100"


def _report(settings: Settings) -> str:
    from taxidask.runs.stages import try_report
    from taxidask.storage import absolute, default_storage

    path = absolute(settings.report)
    try_report(path, default_storage())
    return path if "://" in path else f"{path} can be written"


def _dask(settings: Settings) -> str:
    from taxidask.compute import connect

    with connect(settings) as client:
        answer = client.submit(sum, [1, 2], pure=False).result(timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        threads = sum(worker["nthreads"] for worker in workers.values())
        if answer != 3:
            raise TaxidaskError(f"a task that adds 1 and 2 gave {answer}", "start the cluster again")
    return f"{settings.compute}: {len(workers)} workers, {threads} threads, a task came back"


CHECKS: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("sources", _settings_sources),
    ("disk", _disk),
    ("lake", _lake),
    ("store", _store),
    ("report", _report),
    ("dask", _dask),
)


def examine(overrides: dict[str, Any]) -> list[Finding]:
    """Look at everything a run needs; one finding each, none raises."""
    try:
        settings, origin = resolve(overrides)
    except TaxidaskError as error:
        return [Finding("settings", False, error.message, error.remedy or "")]
    given = [f"{name} from {where}" for name, where in origin.items() if where != "default"]
    findings = [
        Finding("python", True, _python()),
        Finding("settings", True, ", ".join(given) or "all defaults"),
    ]
    for subject, check in CHECKS:
        try:
            findings.append(Finding(subject, True, check(settings)))
        except TaxidaskError as error:
            findings.append(Finding(subject, False, error.message, error.remedy or "see the message"))
        except Exception as error:
            findings.append(
                Finding(subject, False, f"{type(error).__name__}: {error}", "this should not happen: report it")
            )
    return findings
