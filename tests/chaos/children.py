"""Drivers and readers as processes: forks of a warm one, alive, killed or ended with words of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos import world

import taxidask as td

HERE = Path(__file__).parent


class Nursery:
    """A warm process and the drivers and readers that are forks of it."""

    def __init__(self, folder: Path) -> None:
        source = folder / "trips" / world.names(folder)[-1]
        self._log = (folder / "nursery.log").open("w")
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.nursery", str(source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(Path(td.__file__).parents[1])])},
        )
        self.warm = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the warm process ended with code {self._process.wait(10)}; see {self._log.name}")
        return json.loads(line)

    def fork(self, order: dict[str, Any], base: Path) -> Child:
        assert self._process.stdin is not None
        child = Child(0, base.with_suffix(".log"), base.with_suffix(".end"))
        line = {"order": order, "log": str(child.log), "end": str(child.end)}
        with self._asking:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
            child.pid = self._answer()["pid"]
        return child

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended before
            self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()


@dataclass
class Child:
    """A fork: alive, killed, or ended with words of its own."""

    pid: int
    log: Path
    end: Path
    killed: bool = False

    @property
    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    @property
    def ended(self) -> dict[str, Any] | None:
        return json.loads(self.end.read_text()) if self.end.exists() else None

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> bool:
        """Whether there was something to kill."""
        if not self.alive:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            self.killed = True
        return self.killed

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
