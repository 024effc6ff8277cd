"""The Cluster page: workers, memory and tasks of whatever does the work, and Dask's own pages about it."""

from __future__ import annotations

import html
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from taxidask.app import style
from taxidask.app.shell import AppPage
from taxidask.compute.dashboard import Scheduler, ask, dashboard_of
from taxidask.errors import TaxidaskError
from taxidask.results.summary import volume
from taxidask.runs.ledger import LIVELY
from taxidask.runs.look import runs_table

LOOK_SECONDS = 4  # what one visitor was told serves the others
SILENT_SECONDS = 30  # the same, where somebody did not answer: waiting for them takes a thread that others need
ASK_SECONDS = 3.0


@dataclass(frozen=True)
class Place:
    """Somewhere work is done: what it is, what its scheduler and the API server say of it, or what is wrong."""

    title: str
    scheduler: Scheduler | None = None
    pods: dict[str, Any] | None = None
    error: TaxidaskError | None = None


class Cluster(AppPage):
    """Who does the work."""

    path = "/cluster"
    refresh_ms = 5_000

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.numbers, self.told = style.pane(), style.pane(inset=True)
        self.which = style.choice("Workers of", {"All": ""}, width=340)
        self.which.param.watch(self.refresh, "value")
        self.card = style.card("Workers", self.which, self.told)
        self._linked = self._silent = False

    def cards(self) -> list[Any]:
        return [self.numbers, self.card]

    def asked(self) -> str:
        return self.which.value or ""

    def read(self, asked: str) -> list[Place]:
        places = self.app.shared("cluster", self._places, seconds=SILENT_SECONDS if self._silent else LOOK_SECONDS)
        self._silent = any(place.error is not None for place in places)
        self._titles = [place.title for place in places]
        return [place for place in places if asked in ("", place.title)]

    def _places(self) -> list[Place]:
        settings, found = self.app.settings, []
        if settings.compute.startswith(("tcp://", "tls://")):
            found.append(_asked(f"the scheduler {settings.compute}", dashboard_of(settings.compute)))
        elif settings.compute == "kubernetes":
            found += _pods(settings)
        items = self.app.store.list_runs(limit=20)
        for item, state in zip(items, runs_table(items)["state"], strict=True):
            dashboard = item.get("dashboard")
            if dashboard and state in LIVELY and _is_here(item, dashboard):
                found.append(_asked(f"run {item['id']}", dashboard))
        return found

    def show(self, found: list[Place]) -> None:
        self.say(None)
        options = {"All": "", **{title: title for title in self._titles}}
        if self.which.value and self.which.value not in options.values():
            options[f"{self.which.value} (not at work)"] = self.which.value
        if self.which.options != options:
            self.which.options = options
        if not self._linked:
            self._linked = True
            self.link(self.which, "of")
        self.which.visible = len(options) > 2
        style.put(self.numbers, numbers_html(found))
        text = "".join(place_html(place) for place in found) or nothing_html(self.app.settings.compute, self.theme)
        style.put(self.told, text)


def _asked(title: str, dashboard: str) -> Place:
    try:
        return Place(title, ask(dashboard, seconds=ASK_SECONDS))
    except TaxidaskError as error:
        return Place(title, error=error)


def _is_here(item: dict[str, Any], dashboard: str) -> bool:
    """Whether a run's dashboard is one of this machine, that of a run which is driven here: no other address that a
    store may hold is asked."""
    driver = str(item.get("owner", "")).partition(":")[0]
    return driver == socket.gethostname() and urlsplit(dashboard).hostname in ("127.0.0.1", "localhost", "::1")


def _pods(settings: Any) -> list[Place]:
    from taxidask.compute.kubernetes import look
    from taxidask.compute.kubernetes import start as clusters
    from taxidask.compute.kubernetes.api import Kube

    try:
        kube = Kube(settings.namespace)
        name = settings.cluster_name
        found = [clusters.find(name, kube)] if name else clusters.all_clusters(kube)
        asked = [(one, look.ask(one, seconds=ASK_SECONDS)) for one in found]
        return [
            Place(f"the cluster {one.name}", told, pods=look.describe(one, settings.prices, told))
            for one, told in asked
        ]
    except TaxidaskError as error:
        return [Place(f"the clusters of namespace {settings.namespace}", error=error)]


def numbers_html(places: list[Place]) -> str:
    """What all of them have together."""
    told = [place.scheduler for place in places if place.scheduler]
    workers = [worker for one in told for worker in one.workers]
    tasks = sum((Counter(one.tasks) for one in told), Counter[str]())
    pods = [place.pods for place in places if place.pods]
    silent = [place.pods for place in places if place.pods and not place.scheduler]  # known by their pods alone
    if not (workers or pods):
        return ""
    count = len(workers) + sum(one["workers"] for one in silent)
    used = sum(worker["memory"] for worker in workers)
    limit = sum(worker["memory_limit"] for worker in workers) + sum(one["memory"] for one in silent)
    scale = [f"{sum(one['workers_wanted'] for one in pods):,} asked for"] if pods else []
    scale += [f"the load would keep {sum(one.wanted for one in told):,} busy"] if told else []
    return style.numbers(
        [
            ("Workers", f"{count:,}", ", ".join(scale)),
            ("Threads", f"{sum(worker['threads'] for worker in workers):,}" if workers else "–", "of all workers"),
            ("Memory", volume(used), f"of {volume(limit)}"),
            ("Tasks at work", f"{tasks.get('processing', 0):,}", f"{tasks.get('waiting', 0):,} wait"),
            ("Results held", f"{tasks.get('memory', 0):,}", f"{tasks.get('erred', 0):,} tasks failed"),
        ]
    )


def place_html(place: Place) -> str:
    """One place's workers, or what is wrong with it."""
    text = f"<h3>{html.escape(place.title[0].upper() + place.title[1:])}</h3>"
    if place.error is not None:
        return text + style.notice("error", place.error.message, place.error.remedy or "")
    one = place.scheduler
    if place.pods is not None:
        return text + _pods_html(place.pods) + (f"<p></p>{_workers_html(one)}" if one is not None else "")
    assert one is not None  # noqa: S101 - else there is an error
    text += (
        f"<p><code>{html.escape(one.address)}</code> · <a href='{html.escape(one.dashboard)}' target='_blank' "
        "rel='noopener noreferrer'>Dask’s dashboard</a> (opens where its address can be reached)</p>"
    )
    return text + _workers_html(one)


def _workers_html(one: Scheduler) -> str:
    rows = [
        [worker["name"], worker["host"], f"{worker['threads']:,}", f"{worker['executing']:,}", f"{worker['cpu']:.0f}%",
         style.Markup(_meter(worker["memory"], worker["memory_limit"])), volume(worker["spilled"])]
        for worker in one.workers[:200]
    ]  # fmt: skip
    heads = ["Worker", "Host", "Threads", "Tasks", "CPU", "Memory", "On disk"]
    text = style.table(heads, rows, numeric=["Threads", "Tasks", "CPU", "On disk"])
    if len(one.workers) > len(rows):
        text += f"<p>{len(one.workers) - len(rows):,} more workers are not listed here.</p>"
    return text


def _meter(used: int, limit: int) -> str:
    told = f"{volume(used)} of {volume(limit)}" if limit else volume(used)
    if not limit:
        return html.escape(told)
    return f"<meter min='0' max='1' high='0.8' value='{min(1.0, used / limit):.3f}' aria-label='Memory'></meter> {told}"


def _pods_html(one: dict[str, Any]) -> str:
    used = f", {volume(one['memory_used'])} used" if one["memory_used"] is not None else ""
    text = (
        f"<p>{html.escape(one['state'])}, {one['workers']:,} workers ready of {one['workers_wanted']:,} wanted, "
        f"{volume(one['memory'])} of memory{used}; {one['cost']:.4f} USD so far, {one['cost_hour']:.4f} USD an hour</p>"
        f"<p>Dask’s dashboard: <code>{html.escape(one['dashboard'])}</code>; from outside the cluster "
        "<a href='http://localhost:8787/status' target='_blank' rel='noopener noreferrer'>http://localhost:8787</a> "
        f"after <code>kubectl -n {html.escape(one['namespace'])} port-forward "
        f"service/{html.escape(one['name'])}-scheduler 8787</code></p>"
    )
    rows = [
        [pod["name"], pod["state"], f"{pod['cpus']:g}", volume(pod["memory"]), f"{pod['restarts']:,}", pod["node"]]
        for pod in one["pods"]
    ]
    heads = ["Pod", "State", "Cores", "Memory", "Restarts", "Node"]
    text += style.table(heads, rows, numeric=["Cores", "Memory", "Restarts"])
    return text + "".join(style.notice("error", problem) for problem in one["problems"])


def nothing_html(compute: str, theme: str = "") -> str:
    """That nothing works at the moment, and when something will."""
    if compute == "kubernetes":
        return (
            "<p>No cluster is up. A run starts its own and removes it; <code>taxidask cluster up</code> starts one "
            "that stays.</p>"
        )
    start = style.link("/runs", "Start a run", theme=theme)
    return (
        "<p>Nothing is at work on this machine. With <code>compute = local</code> a run starts its own workers and "
        f"ends them with itself: they are shown here while it lasts. {start}</p>"
    )


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Cluster(settings_state()).served().servable()
