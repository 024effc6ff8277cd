from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taxidask.app.state import AppState
from taxidask.errors import AccessError, StoreError
from taxidask.settings import Settings


def state(**access: Any) -> AppState:
    return AppState(None, Settings(), **access)  # type: ignore[arg-type]


def test_what_all_ask_for_at_once_is_read_once() -> None:
    app, reads, begun = state(), [], threading.Barrier(5)

    def ask() -> None:
        begun.wait()
        assert app.shared("a", lambda: reads.append(1) or len(reads), seconds=60) == 1

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1


def test_an_error_is_not_kept_and_what_was_written_is_read_anew() -> None:
    app = state()

    def away() -> int:
        raise StoreError("it is gone", "bring it back")

    with pytest.raises(StoreError):
        app.shared("a", away, seconds=60)
    assert app.shared("a", lambda: 1, seconds=60) == 1
    assert app.shared("a", lambda: 2, seconds=60) == 1
    assert app.shared("a", lambda: 2, seconds=0) == 2
    app.forget("a")
    assert app.shared("a", lambda: 3, seconds=60) == 3


def test_who_asks_for_what_is_so_now_gets_nothing_that_was_begun_before() -> None:
    app, written, reading, go_on = state(), [1], threading.Event(), threading.Event()

    def read() -> int:
        seen = len(written)
        reading.set()
        assert go_on.wait(30)
        return seen

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(app.shared, "a", read, seconds=0)
        assert reading.wait(30)
        written.append(2)
        later = [pool.submit(app.shared, "a", read, seconds=0) for _ in range(4)]
        go_on.set()
        assert first.result(30) == 1
        assert [one.result(30) for one in later] == [2] * 4
    assert app.shared("a", read, seconds=60) == 2


def test_a_server_that_runs_for_long_keeps_what_was_asked_for_last() -> None:
    app = state()
    for number in range(1000):
        app.shared(number, lambda: 1, seconds=60)
        app.shared("often", lambda: 1, seconds=60)
    assert len(app._kept) <= 201
    assert app.shared("often", lambda: 2, seconds=60) == 1


def test_who_writes_stands_in_the_log_and_who_may_not_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taxidask.audit")
    app = state(signed_in=True, operators=frozenset({"ann"}))
    app.write("ann", "start a run\nforged line")
    with pytest.raises(AccessError, match="only operators may do this"):
        app.write("bob", "cancel a run")
    assert [record.getMessage() for record in caplog.records] == [
        "ann did 'start a run\\nforged line'",
        "bob was refused 'cancel a run'",
    ]
    with pytest.raises(AccessError, match="this app only reads"):
        state(local=False).write(None, "start a run")
    state().write(None, "start a run")
    assert caplog.messages[-1] == "local did 'start a run'"
