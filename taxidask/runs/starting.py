"""Commands as processes of their own: started from the app, ended by nobody's leaving, each with a log to be read.

A process is told its settings by variables, which hold no secret, as `Settings` refuses them; what AWS and others need
to know is inherited. The ledger is where a run is known: what is lost with the app is the right to wait for its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taxidask.errors import RunError
from taxidask.results import Store
from taxidask.runs.ledger import LOG, WHERE, placed
from taxidask.runs.look import find
from taxidask.settings import PREFIX, Settings
from taxidask.words import command, escaped

AT_ONCE = 4
"""Processes of one app that may be at work at the same time."""

TAIL_BYTES = 16_384
_KEPT = 100  # logs
_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}\.log")
_NOT_PASSED_ON = (PREFIX, "PANEL_", "BOKEH_")  # settings are told anew; the app's own secrets are the app's


def logs_folder() -> Path:
    """Where the logs of started processes are: this user's, whatever the store."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "taxidask" / "logs"


def in_a_pod() -> RunError | None:
    """Why nothing is started here, where that is so: pods of the app come and go, and who may make Jobs may do all."""
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return None
    namespace = os.environ.get("TAXIDASK_NAMESPACE", "taxidask")
    return RunError(
        "in this installation the CronJob starts runs, goes on with unfinished ones and builds reports, not the app: "
        "a right to start Jobs would be one to run anything",
        f"now: {command('kubectl create job run-now --from cronjob/run', namespace=namespace)}",
    )


@dataclass
class Started:
    """A process that was started.

    Attributes
    ----------
    what : str
        What it does, for a person.
    log : str
        The name of its log.
    process : subprocess.Popen
    begun : float
        Seconds since 1970.
    command : str
        ``run`` or ``report``.
    overdue : bool
        Whether it was ended because its time was over.
    """

    what: str
    log: str
    process: subprocess.Popen[bytes]
    begun: float = field(default_factory=time.time)
    command: str = "run"
    overdue: bool = False

    @property
    def code(self) -> int | None:
        """How it ended; None while it is at work."""
        return self.process.poll()

    def run(self, store: Store) -> str | None:
        """The id of the run that it drives or drove; None before there is one."""
        return next((item["id"] for item in store.list_runs(limit=20) if item.get("log") == self.log), None)


class Starter:
    """Starts processes and remembers them for as long as the app lives.

    Parameters
    ----------
    folder : Path, optional
        Where their logs go.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or logs_folder()
        self.started: list[Started] = []
        self._lock = threading.Lock()

    def run(self, settings: Settings) -> Started:
        """Start a run of these settings.

        Raises
        ------
        RunError
            In a pod, or where too much is at work already.
        """
        return self._start("a new run", ["run"], placed(settings))

    def resume(self, store: Store, run: str) -> Started:
        """Go on with a run, on the workers it was begun with.

        Raises
        ------
        RunError
            The same; there is no such run, or it lives or is done.
        """
        item = find(store, run)
        if item["state"] not in ("dead", "failed", "interrupted", "cancelled"):
            raise RunError(f"run {run} is {item['state']}: there is nothing to resume")
        known = {name: value for name, value in item["settings"].items() if name in (*WHERE, "lake", "report")}
        settings = placed(Settings(**{**known, "store": store.url}))
        return self._start(f"run {run} resumed", ["run", "--resume", item["id"]], settings)

    def report(self, store: Store, run: str, *, seconds: float) -> Started:
        """Build the report of a run again, at its place, within so many seconds.

        Raises
        ------
        RunError
            In a pod, where there is no such run, where its report is being built, or too much is at work.
        """
        kept = find(store, run)["settings"]
        settings = placed(Settings(lake=kept["lake"], report=kept["report"], store=store.url))
        what = f"the report {settings.report}"
        if any(one.what == what and one.code is None for one in self.started):
            raise RunError(f"{what} is being built at this moment", "wait for it")
        return self._start(what, ["report", "--run", run], settings, seconds=seconds)

    def at_work(self) -> list[Started]:
        """Those that have not ended."""
        return [one for one in self.started if one.code is None]

    def ended(self) -> list[Started]:
        """The last few runs that ended otherwise than well."""
        return [one for one in self.started if one.command == "run" and one.code not in (None, 0)][-3:]

    def tail(self, log: str | None, most: int = TAIL_BYTES) -> str | None:
        """The end of a log, as text that acts on nothing; None where there is no such log here."""
        if not log or not _NAME.fullmatch(log):
            return None
        try:
            with (self.folder / log).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - most))
                text = file.read(most).decode(errors="replace")
        except OSError:
            return None
        if size > most:
            text = "…\n" + text.partition("\n")[2]
        return escaped(text.replace("\r", "\n"), lines=True)

    def _start(self, what: str, words: Sequence[str], settings: Settings, *, seconds: float | None = None) -> Started:
        if refusal := in_a_pod():
            raise refusal
        with self._lock:
            if len(self.at_work()) >= AT_ONCE:
                raise RunError(f"{AT_ONCE} processes that were started here are at work", "wait for one to end")
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.log"
            try:
                self._tidy()
                with (self.folder / name).open("xb") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-m", "taxidask.cli", *words],
                        cwd=self.folder,  # no settings file is there: those that were checked hold
                        env=_environment(settings, name),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # it outlives the app, and Ctrl-C is not meant for it
                    )
            except (OSError, ValueError) as error:
                raise RunError(
                    f"{what} could not be started: {error}", f"logs go to {self.folder}; many sources: name a folder"
                ) from error
            begun = Started(what, name, process, command=words[0])
            self.started = [*self.started[-_KEPT:], begun]
        threading.Thread(target=_wait, args=(begun, seconds), name=f"waits-{process.pid}", daemon=True).start()
        return begun

    def _tidy(self) -> None:
        """Make room for one more log."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs = sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
        for old in logs[: max(0, len(logs) - _KEPT + 1)]:
            old.unlink(missing_ok=True)


def _wait(started: Started, seconds: float | None) -> None:
    """Let the system forget the process when it has ended; end it when its time is over."""
    try:
        started.process.wait(seconds)
    except subprocess.TimeoutExpired:
        started.overdue = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait()


def _environment(settings: Settings, log: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    told: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
    return kept | {PREFIX + name.upper(): value for name, value in values.items()} | {LOG: log}
