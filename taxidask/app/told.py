"""Runs as HTML: in a table, one of them stage by stage, its log, and the metrics of two; what is known of regions."""

from __future__ import annotations

import contextlib
import html
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from taxidask.app import style
from taxidask.errors import TaxidaskError
from taxidask.results.summary import lasted, seconds_between, volume
from taxidask.runs.cost import Cost
from taxidask.runs.ledger import STAGES
from taxidask.runs.look import is_watching
from taxidask.runs.starting import Started
from taxidask.storage import default_storage, join
from taxidask.storage.regions import SERVICES

if TYPE_CHECKING:
    from taxidask.app.state import AppState
    from taxidask.storage import Regions

LISTED = 50
"""Runs that are offered; older ones are in `taxidask runs list`."""

_WORDS = {
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "mape": "mean absolute error, %",
    "coverage": "share in the band",
    "width": "width of the band",
}
_WATCH = {
    "looking": "looks for new files",
    "waiting": "waits for files",
    "running": "runs",
    "stopped": "stopped",
    "dead": "silent: start it again with taxidask watch",
}
_BETTER_LOW = ("mae", "rmse", "mape", "width")


def runs_html(
    runs: pd.DataFrame, chosen: str | None = None, *, ended: Sequence[tuple[Started, str]] = (), theme: str = ""
) -> str:
    """Runs as a table, newest first, each a link to itself; and what was started here and came to none."""
    rows = [
        [
            _run_link(run["id"], theme, current="true" if run["id"] == chosen else ""),
            style.Markup(style.state(run["state"])),
            run["created"][:16].replace("T", " "),
            run["took"],
            run["stage"],
            f"{run['trips']:,}",
            run["error"],
        ]
        for run in runs.to_dict("records")
    ]
    heads = ["Run", "State", "Started (UTC)", "Took", "Stage", "Trips", "Error"]
    text = style.table(heads, rows, numeric=["Took", "Trips"])
    if len(runs) >= LISTED:
        text += f"<p>The newest {LISTED}; <code>taxidask runs list --limit 500</code> shows more.</p>"
    for one, words in ended:
        text += (
            f"<details><summary>Came to no run: {html.escape(one.what)}, ended with code {one.code}</summary>"
            f"<pre tabindex='0'>{html.escape(words.strip() or 'It said nothing.')}</pre></details>"
        )
    return text


def _run_link(run: str, theme: str, *, current: str = "") -> style.Markup:
    return style.link("/runs", run, theme=theme, current=current, run=run)


def watches_html(watches: Sequence[dict[str, Any]], theme: str = "") -> str:
    """What is watched for new files, and how far each watch is."""
    rows = []
    for one in watches:
        lives = is_watching(one)
        state = str(one["state"]) if lives or one["state"] == "stopped" else "dead"
        waiting = [name.rpartition("/")[2] for name in one.get("waiting") or []]
        detail = f"waiting until {', '.join(waiting)} stay as they are" if waiting else one.get("error") or ""
        run = str(one.get("run") or "")
        link = _run_link(run, theme) if run else "none yet"
        heard = f"{_WATCH[state]}, heard of {lasted(max(0.0, time.time() - float(one['heartbeat'])))} ago"
        often = f"{float(one['every']):g} s{', and after S3 events' if one.get('listens') else ''}"
        rows.append([", ".join(one.get("sources") or []), heard, often, link, detail])
    return style.table(["Sources", "State", "A look every", "Last run", "Detail"], rows)


def run_html(run: dict[str, Any]) -> str:
    """One run: where it stands, stage by stage, its cost, its settings."""
    text = f"<p>{style.state(run['state'])} · <code>{html.escape(run['id'])}</code>"
    if run.get("cancel"):
        text += " · asked to stop, which it does before its next block"
    text += f" · driven by {html.escape(str(run.get('owner', '')))}</p>"
    if run.get("error"):
        text += style.notice("error" if run["state"] in ("failed", "dead") else "info", str(run["error"]))
    text += _progress(run) + _stages(run) + _costs(run)
    if run.get("region"):
        text += f"<p>In region {html.escape(str(run['region']))}.</p>"
    if run.get("faults"):
        items = "".join(f"<li>{html.escape(str(fault))}</li>" for fault in run["faults"])
        text += f"<details><summary>Regions that went dark ({len(run['faults'])})</summary><ul>{items}</ul></details>"
    notes = [note for name in STAGES for note in ((run.get("stages") or {}).get(name) or {}).get("left_out") or []]
    if notes:
        items = "".join(f"<li>{html.escape(str(note))}</li>" for note in notes)
        text += f"<details><summary>Left out ({len(notes):,})</summary><ul>{items}</ul></details>"
    settings = json.dumps(run.get("settings") or {}, indent=1, ensure_ascii=False)
    return text + f"<details><summary>Settings</summary><pre tabindex='0'>{html.escape(settings)}</pre></details>"


def _progress(run: dict[str, Any]) -> str:
    """How far a living run is: stages done, and of the reading bytes, as they were counted beforehand."""
    if run["state"] not in ("starting", "running"):
        return ""
    stages = run.get("stages") or {}
    done = sum((stages.get(name) or {}).get("state") == "done" for name in STAGES)
    now = next((name for name in STAGES if (stages.get(name) or {}).get("state") == "running"), "")
    text = f"{done} of {len(STAGES)} stages done" + (f", now: {now}" if now else "")
    share = float(done)
    figures = run.get("progress") or {}
    total = (run.get("estimate") or {}).get("bytes") or 0
    if now == "ingest" and figures.get("bytes"):
        share += min(1.0, figures["bytes"] / total) if total else 0.0
        text += f" – {figures.get('rows', 0):,} rows, {volume(figures['bytes'])}" + (
            f" of {volume(total)}" if total else ""
        )
    return (
        f"<p><progress aria-label='Progress of the run' max='{len(STAGES)}' value='{share:.2f}'></progress> "
        f"<span role='status'>{html.escape(text)}</span></p>"
    )


def _stages(run: dict[str, Any]) -> str:
    rows = []
    for name in STAGES:
        one = (run.get("stages") or {}).get(name)
        if not one:
            rows.append([name, "–", "", "", "", ""])
            continue
        begun = str(one.get("started") or "")
        detail = str(one.get("detail") or "")
        if one.get("unchanged_since"):
            detail += f" (as in run {one['unchanged_since']})"
        rows.append(
            [
                name,
                style.Markup(style.state(str(one.get("state", "")))),
                begun[11:19],
                lasted(seconds_between(begun or None, one.get("ended"))),
                f"{one['rows']:,}" if one.get("rows") is not None else "",
                detail,
            ]
        )
    heads = ["Stage", "State", "Started (UTC)", "Took", "Rows", "What it did"]
    return style.table(heads, rows, numeric=["Took", "Rows"])


def _costs(run: dict[str, Any]) -> str:
    rows = [
        [word, f"{cost.usd:.4f}", f"{cost.core_seconds:,.0f}", volume(cost.bytes), f"{cost.puts:,}", f"{cost.gets:,}",
         f"{cost.writes:,}"]
        for word, name in (("Estimated", "estimate"), ("So far" if not _over(run) else "Counted", "cost"))
        if run.get(name)
        for cost in [Cost(**run[name])]
    ]  # fmt: skip
    if not rows:
        return ""
    heads = ["Cost", "USD", "Core seconds", "Read", "S3 puts", "S3 gets", "DynamoDB writes"]
    return "<p></p>" + style.table(heads, rows, numeric=heads[1:])


def _over(run: dict[str, Any]) -> bool:
    return run["state"] not in ("starting", "running")


def log_html(run: dict[str, Any], log: str | None) -> str:
    """The end of a run's log, if it is kept here."""
    if log is None:
        return (
            "<p>Its log is where it was started: "
            f"{html.escape(str(run.get('owner', 'elsewhere')).partition(':')[0])}, not with this app.</p>"
        )
    text = html.escape(log.strip() or "Nothing has been said yet.")
    return f"<pre tabindex='0' aria-label='End of the log'>{text}</pre>"


def compared_html(compared: pd.DataFrame | None, one: str, other: str | None) -> str:
    """Two runs' metrics side by side; what became better or worse is said, not only coloured."""
    if not other:
        return "<p>Choose another run to see both runs' metrics side by side.</p>"
    if other == one:
        return "<p>That is the same run.</p>"
    if compared is None:
        return "<p>Reading …</p>"
    if compared.empty:
        return "<p>Neither run has published metrics.</p>"
    rows = []
    for line in compared.to_dict("records"):
        measure, difference = str(line["measure"]), line["difference"]
        better = ""
        if difference == difference and measure.split("_")[-1] in _BETTER_LOW and abs(difference) > 1e-12:
            better = " (lower)" if difference < 0 else " (higher)"
        rows.append([line["model"], _measure(measure), *(_number(line[name]) for name in ("one", "other")),
                     _number(difference, sign=True) + better])  # fmt: skip
    heads = ["Model", "Measure", one, str(other), "Difference"]
    return style.table(heads, rows, numeric=heads[2:], caption="Means over the folds of the backtests")


def _measure(name: str) -> str:
    for short, word in _WORDS.items():
        if name == short:
            return word
        if name.endswith(f"_{short}"):
            return f"{word}, {name.removesuffix(f'_{short}').replace('_', ' ')}"
    return name.replace("_", " ")


def _number(value: float, *, sign: bool = False) -> str:
    if value != value:
        return "–"
    return f"{value:+,.4g}" if sign else f"{value:,.4g}"


def banner(app: AppState) -> str:
    """From which region is read, how old that is, and where forms write to; empty where the chosen one does it all.

    To be called in a thread: it asks the store, once for all visitors. As nothing else on some pages asks S3, it tries
    a dark one again whose time has come, and goes back to the chosen region when that answers.
    """
    regions = app.store.regions
    if regions is None:
        return ""
    status = regions.status()
    if any(one.service == "s3" and one.next_trial == 0 for one in status):
        with contextlib.suppress(TaxidaskError):  # what comes of it is the region's state
            place = join(app.settings.lake, "lake.json")
            app.shared("trial", lambda: default_storage(regions).exists(place), seconds=5)
        status = regions.status()
    dark = {service: [one.region for one in status if one.service == service and one.state != "closed"]
            for service in SERVICES}  # fmt: skip
    if regions.go_back() and not any(dark.values()):
        return ""
    silent = dark["dynamodb"] + [f"S3 in {name}" for name in dark["s3"] if name not in dark["dynamodb"]]
    told = f"{' and '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer. "
    try:
        name, newest = app.shared("newest", app.store.newest, seconds=5)
    except TaxidaskError:
        return style.notice("error", f"{told}No region can be read.", "the pages show what they read last")
    age = f", whose newest item is {lasted(max(0.0, time.time() - newest))} old" if newest else ""
    return style.notice(
        "info",
        f"{told}This page is read from {name}{age}.",
        f"what is entered here is written to {regions.active.name}",
    )


def regions_html(regions: Regions) -> str:
    """What this process knows of each region's services."""
    rows = [
        [
            one.region + (" (home)" if one.region == regions.home.name else ""),
            one.service,
            one.state,
            f"{one.since:%Y-%m-%d %H:%M:%S}" if one.since else "–",
            "writes go here" if one.active else "",
            one.error,
        ]
        for one in regions.status()
    ]
    return style.table(["Region", "Service", "State", "Since (UTC)", "Active", "Last error"], rows)
