from __future__ import annotations

import io
import itertools
import os
import pty
import subprocess
import sys

import pytest

from taxidask.compiled import tell
from taxidask.progress import COMPILING, Progress, _Screen

BLOCK = {"rows": 1000, "rejected": {"malformed": 4, "bad_datetime": 6}, "bytes": 10_000_000, "total_bytes": 100_000_000}


def lines(blocks: int, step: float, **options) -> list[str]:
    file = io.StringIO()
    with Progress(file=file, clock=itertools.count(0.0, step).__next__, **options) as show:
        for _ in range(blocks):
            show(BLOCK)
    return file.getvalue().splitlines()


def test_plain_lines_every_few_seconds_and_a_last_word():
    assert lines(10, 2.0, every=7.0) == [
        "ingest: 40% of 100.0 MB, 4,000 rows, 40 rejected, 5.0 MB/s, 12 s left",
        "ingest: 80% of 100.0 MB, 8,000 rows, 80 rejected, 5.0 MB/s, 4 s left",
        "ingest: 100.0 MB, 10,000 rows, 100 rejected, 4.5 MB/s, done in 22 s",
    ]


def test_nothing_if_not_wanted_or_nothing_read():
    assert lines(5, 10.0, enabled=False) == []
    assert lines(0, 10.0) == []


def test_it_tells_of_what_was_done_before_an_error():
    file = io.StringIO()
    with pytest.raises(KeyError), Progress(file=file, label="count") as show:  # noqa: PT012
        show(BLOCK)
        raise KeyError
    assert file.getvalue().startswith("count: 10.0 MB, 1,000 rows, 10 rejected, ")
    assert "stopped after 0 s" in file.getvalue()


def test_a_slow_start_does_not_haunt_the_time_left():
    times = iter([0.0, 60.0, *range(61, 200)])
    with Progress(file=io.StringIO(), clock=times.__next__) as show:
        for _ in range(40):
            show({**BLOCK, "total_bytes": 500_000_000})
        assert show.speed == pytest.approx(10e6)
        assert show.seconds_left == pytest.approx(10)


def test_a_terminal_gets_a_bar():
    script = f"from taxidask.progress import Progress\nwith Progress() as show:\n    for _ in range(9): show({BLOCK})"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    subprocess.run([sys.executable, "-c", script], stderr=theirs, check=True, timeout=60, env=environment)
    os.close(theirs)
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "━" in text
    assert "90.0 MB, 9,000 rows, 90 rejected" in text
    assert "done in" in text


def test_a_notebook_gets_one_line_that_is_replaced(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    monkeypatch.setattr("taxidask.progress._in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: Handle())
    with Progress() as show:
        show(BLOCK)
    assert shown[0].startswith("ingest: 10% of 100.0 MB, 1,000 rows")
    assert "done in" in shown[-1]


def test_it_tells_while_a_worker_compiles(monkeypatch):
    shown = []

    class Screen(_Screen):
        def show(self, text, share):
            shown.append(text)

        def close(self, text):
            shown.append(text)

    monkeypatch.setattr("taxidask.progress._screen", lambda *_: Screen())
    with Progress(file=io.StringIO(), clock=itertools.count(0.0, 1.0).__next__) as show:
        tell("a worker", True)
        tell("another", True)
        show(BLOCK)
        tell("a worker", False)
        tell("another", False)
    tell("a worker", True)
    assert shown[:2] == [COMPILING] * 2
    assert [COMPILING in text for text in shown] == [True, True, True, True, False, False]


LOCATE = """
import sys, taxidask as td
from taxidask.compute import executor
from taxidask.compiled import tell
from taxidask.progress import COMPILING, Progress, _Screen

def locate(lon):
    return int(td.Grid.new_york().locate(lon, 40.75))

with td.connect() if sys.argv[1] == "workers" else __import__("contextlib").nullcontext() as client:
    with Progress(label="look"):
        print(executor(client).submit(locate, -73.98).result())
"""


@pytest.mark.parametrize("where", ["threads", "workers"])
def test_what_is_compiled_is_told_and_what_is_kept_is_not(where, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LOCATE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    told = []
    for _ in range(2):
        command = [sys.executable, str(script), where]
        done = subprocess.run(command, check=True, timeout=120, env=environment, capture_output=True, text=True)
        assert int(done.stdout) > 0
        told.append([line for line in done.stderr.splitlines() if "compiling" in line])
    assert told == [["look: compiling, once"], []]


def test_nothing_is_told_on_stdout_where_stderr_is_closed():
    script = (
        "import sys; sys.stderr = None\n"
        "from taxidask.progress import Progress, say\nsay('a')\n"
        f"with Progress() as show:\n    show({BLOCK})\nprint('result')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
