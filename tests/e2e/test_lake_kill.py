"""A driver that is killed at any storage call, and two drivers at once: readers see whole sources, each once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from taxidask.sample import make_sample

SERVER = Path(__file__).with_name("kill_server.py")


@pytest.fixture
def files(tmp_path):
    """Two sources, of two blocks and of one."""
    two = make_sample(tmp_path / "two", start="2015-01", trips_per_month=100, faults=0.2)
    return two + make_sample(tmp_path / "one", start="2015-02", trips_per_month=40, faults=0.2)


@pytest.fixture(params=["file", "s3"])
def base(request, tmp_path):
    if request.param == "s3":
        yield request.getfixturevalue("bucket")
        return
    # In memory if possible: hundreds of lakes need not reach a disk.
    home = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    folder = home / f"taxidask-{uuid.uuid4().hex}"
    yield str(folder)
    shutil.rmtree(folder, ignore_errors=True)


def serve(what: str, base: str, files: list[str]) -> list[dict]:
    done = subprocess.run([sys.executable, SERVER, what, base, *files], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_killed_at_every_storage_call(base, files):
    kills = serve("kill", base, files)
    assert [kill["n"] for kill in kills] == list(range(1, len(kills) + 1))
    assert len(kills) > 40
    assert {kill["signal"] for kill in kills[:-1]} == {9}
    assert kills[-1]["signal"] == 0, "the last run was not killed: every call had its turn"
    for kill in kills:
        assert "failed" not in kill, kill
        assert kill["whole"], f"after {kill['n']} calls a reader sees something else than whole sources: {kill}"
        assert kill["resumed"], f"after {kill['n']} calls a second run ends differently: {kill}"
        assert kill["read_again"] == [], f"after {kill['n']} calls finished blocks are read again: {kill}"
    assert {kill["seen"] for kill in kills} >= {0, 1, 2}
    assert max(kill["finished"] for kill in kills) >= 2
    assert {kill["blocks_read"] for kill in kills} >= {0, 1, 3}


def test_two_drivers_at_once(base, files):
    for race in serve("6", base, files):
        assert race["same"]
        one, other = ({source["url"]: source for source in driver} for driver in race["drivers"])
        for url in files:
            won = [
                not driver[url]["skipped"] and "another driver" not in driver[url]["note"] for driver in (one, other)
            ]
            assert won.count(True) == 1, race
            assert one[url]["kept"] == other[url]["kept"] > 0
