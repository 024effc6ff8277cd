"""`taxidask doctor`: what a run needs, tried one by one; in a pod, what that pod's work needs."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxidask.credentials import hidden
from taxidask.errors import TaxidaskError
from taxidask.settings import Settings, resolve
from taxidask.words import quantity

if TYPE_CHECKING:
    from taxidask.storage import Storage


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
    from taxidask.storage import absolute, default_storage

    _probe(default_storage(), settings.lake)
    return f"{absolute(settings.lake)} takes writes; {_holds(settings)}"


def _holds(settings: Settings) -> str:
    """What is in the lake, opened; writes nothing."""
    from taxidask.lake import Lake
    from taxidask.lake.checking import check_lake

    lake = Lake(settings.lake)
    parts, read = check_lake(lake.url, lake.storage)
    sources = lake.sources()
    kept = int(sources["kept"].sum()) if len(sources) else 0
    looked = f"; {quantity(parts, 'part')}, {'all' if read == parts else f'{read:,}'} read" if parts else ""
    return f"{quantity(len(sources), 'source')}, {kept:,} trips{looked}"


def _probe(storage: Storage, lake: str) -> None:
    """An object is written where the lake is or will be, read and deleted."""
    from taxidask.storage import absolute, join

    place = absolute(lake)
    while "://" not in place and not Path(place).exists():  # what is not there yet is made by what writes a lake
        place = str(Path(place).parent)
    probe = join(place, f"doctor-{uuid.uuid4().hex}.json")
    storage.write(probe, b"{}")
    try:
        if storage.read(probe) != b"{}":
            raise TaxidaskError(f"{probe} does not hold what was written to it", "is something else writing there?")
    finally:
        storage.delete(probe)


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
    from taxidask.runs.stages import try_report
    from taxidask.storage import default_storage

    store = open_store(settings.store)
    if (path := getattr(store, "path", None)) and not path.exists():  # a run makes it; asking does not
        try_report(str(path), default_storage())
        return f"{store.url} is not there yet; the first run makes it"
    store.look_over()
    return f"{store.url}; {len(store.list_runs(limit=100))} runs of the newest 100"


def _report(settings: Settings) -> str:
    from taxidask.runs.stages import try_report
    from taxidask.storage import absolute, default_storage

    path = absolute(settings.report)
    try_report(path, default_storage())
    return f"{path} can be written"


def _dask(settings: Settings) -> str:
    from taxidask.compute import connect

    if settings.compute == "kubernetes":
        return _kubernetes(settings)
    with connect(settings) as client:
        answer = client.submit(sum, [1, 2], pure=False).result(timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        threads = sum(worker["nthreads"] for worker in workers.values())
        if answer != 3:
            raise TaxidaskError(f"a task that adds 1 and 2 gave {answer}", "start the cluster again")
    return f"{settings.compute}: {len(workers)} workers, {threads} threads, a task came back"


def _kubernetes(settings: Settings) -> str:
    """What holds before a cluster is started, and that the schedulers there are can be reached; starts none."""
    from taxidask.compute.kubernetes.api import Kube
    from taxidask.compute.kubernetes.preflight import image_of, preflight, require
    from taxidask.compute.kubernetes.spec import COMM_PORT, Shape
    from taxidask.compute.kubernetes.start import all_clusters

    kube = Kube(settings.namespace)
    checks = preflight(kube, Shape.of(settings, "doctor", image=image_of(settings.image)))
    require(checks, "no cluster could be started")
    running = [cluster for cluster in all_clusters(kube) if cluster.alive()]
    if _component():
        for cluster in running:
            _reach(cluster.host, COMM_PORT, f"the scheduler of {cluster.name}")
    return f"{len(checks)} conditions for starting a cluster hold; {len(running)} clusters run"


# -- in a pod --------------------------------------------------------------------------------------------------------


def _component() -> str:
    """What the pod is that this process runs in, as its label says; empty outside of pods."""
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return ""
    return os.environ.get("POD_COMPONENT") or ("worker" if os.environ.get("DASK_SCHEDULER_ADDRESS") else "driver")


def _reach(host: str, port: int, what: str, *, seconds: float = 5.0) -> None:
    import socket

    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        raise TaxidaskError(
            f"{what} does not answer at {host}:{port} within {seconds:.0f} s: {error}",
            "is its pod running, and has this one the labels that the NetworkPolicies ask for?",
        ) from error


def _identity(settings: Settings) -> str:  # noqa: ARG001 - all checks are called alike
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    limits = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2})
    session = boto3.Session()
    try:
        found = session.get_credentials()
        if found is None:
            raise TaxidaskError(
                "there are no AWS credentials in this pod",
                "annotate its ServiceAccount with eks.amazonaws.com/role-arn, and start the pod anew",
            )
        if found.method == "env":
            return "AWS keys from variables"
        arn = session.client("sts", config=limits).get_caller_identity()["Arn"]
    except (BotoCoreError, ClientError) as error:
        role = os.environ.get("AWS_ROLE_ARN", "the role")
        raise TaxidaskError(
            f"AWS does not let this pod be {role}: {error}",
            "does the role's trust policy name this ServiceAccount, and may the pod reach STS on port 443?",
        ) from error
    return f"{arn}, by {found.method}"


def _regions(settings: Settings) -> str:
    """An object beside the lake in every region, and wherever else the lake is; all are tried, whichever fails."""
    from taxidask.replicas import lake_in
    from taxidask.storage import Storage

    places = [
        (f"{region.name}: ", Storage(endpoint=region.s3_endpoint, region=region.name), lake_in(settings, region))
        for region in settings.regions
    ]
    if settings.lake not in [lake for *_, lake in places]:
        places.insert(0, ("", Storage(), settings.lake))
    well, wrong = [], []
    for name, storage, lake in places:
        try:
            _probe(storage, lake)
            well.append(f"{name}{lake}")
        except TaxidaskError as error:
            wrong.append((f"{name}{error.message}", error.remedy))
    done = f"written, read and deleted in {', '.join(well)}" if well else ""
    if not wrong:
        return done
    said = [text for text, _ in wrong] + ([done] if done else [])
    remedies = dict.fromkeys(remedy for _, remedy in wrong if remedy)
    raise TaxidaskError("; ".join(said), "; ".join(remedies) or None)


def _states(settings: Settings) -> str:
    """Whether each region answers, as breakers have it once all were asked; all are told, whichever fails."""
    from taxidask.results import open_store
    from taxidask.storage import Storage, join, regions_of

    regions = regions_of(settings)
    if regions is None:
        return "none set"
    for ask in (
        lambda: Storage(regions=regions).exists(join(settings.lake, "lake.json")),
        lambda: open_store(settings.store, regions=regions).look_over(),
    ):
        with contextlib.suppress(TaxidaskError):  # what else is wrong with lake and store is told of these
            ask()
    told = "; ".join(map(str, regions.status()))
    if any(one.state != "closed" for one in regions.status()):
        raise TaxidaskError(told, "runs and the app go on in the others; see also: taxidask regions")
    return told


def _operated(settings: Settings) -> str:
    from taxidask.compute.kubernetes.api import Kube

    kube = Kube(settings.namespace)
    return f"Kubernetes {kube.version()}; {len(kube.list('daskclusters'))} clusters in {settings.namespace}"


def _scheduler(settings: Settings) -> str:  # noqa: ARG001
    import logging

    from distributed import Client

    from taxidask.compute.kubernetes.spec import COMM_PORT

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is told below
    own = f"tls://127.0.0.1:{COMM_PORT}" if _component() == "scheduler" else ""
    address = own or os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not address:
        raise TaxidaskError("no scheduler is named", "set DASK_SCHEDULER_ADDRESS to its tls:// address")
    try:
        with Client(address, timeout=10, set_as_default=False) as client:
            return f"{address} answers; {quantity(len(client.nthreads()), 'worker')}"
    except (OSError, TimeoutError) as error:
        raise TaxidaskError(
            f"the scheduler at {address} does not answer within 10 s: {error}",
            "is its pod running, are the certificates mounted, do the NetworkPolicies know this pod's labels?",
        ) from error


def _kernels(settings: Settings) -> str:  # noqa: ARG001
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path.home())
    found = len(list(folder.glob("*/*.nbc")))
    if not found:
        raise TaxidaskError(
            f"no compiled kernels in {folder}: each process compiles them anew, for half a minute",
            "start the pod through the image's entrypoint: give `args`, not `command`",
        )
    return f"{found} compiled kernels in {folder}"


CHECKS: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("sources", _settings_sources),
    ("disk", _disk),
    ("lake", _lake),
    ("store", _store),
    ("report", _report),
    ("dask", _dask),
)

POD_CHECKS: dict[str, tuple[tuple[str, Callable[[Settings], str]], ...]] = {
    "driver": (
        *(("identity", _identity), ("kernels", _kernels), ("s3", _regions)),
        *(dict(CHECKS) | {"lake": _holds}).items(),  # that it takes writes, `s3` has said
    ),
    "worker": (("identity", _identity), ("kernels", _kernels), ("s3", _regions), ("scheduler", _scheduler)),
    "scheduler": (("scheduler", _scheduler),),
    "app": (("identity", _identity), ("store", _store)),
    "operator": (("clusters", _operated),),
}
"""What each kind of pod needs for its work; the others' it is not even allowed."""


def examine(overrides: dict[str, Any]) -> list[Finding]:
    """Look at everything a run, or in a pod that pod, needs; one finding each, none raises."""
    try:
        settings, origin = resolve(overrides)
    except TaxidaskError as error:
        return [Finding("settings", False, error.message, error.remedy or "")]
    given = [f"{name} from {where}" for name, where in origin.items() if where != "default"]
    findings = [
        Finding("python", True, _python()),
        Finding("settings", True, ", ".join(given) or "all defaults"),
    ]
    component = _component()
    if component:
        findings.append(Finding("pod", True, f"{component} {platform.node()}, user {os.getuid()}"))
    checks = POD_CHECKS.get(component, CHECKS)
    if settings.regions and component in ("", "driver", "app"):
        checks = (*checks, ("regions", _states))
    for subject, check in checks:
        try:
            findings.append(Finding(subject, True, check(settings)))
        except TaxidaskError as error:
            findings.append(Finding(subject, False, error.message, error.remedy or "see the message"))
        except Exception as error:
            findings.append(
                Finding(subject, False, hidden(f"{type(error).__name__}: {error}"), "this should not happen: report it")
            )
    return findings
