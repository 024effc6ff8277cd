from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from taxidask.errors import RunError, StoreError
from taxidask.results import open_store
from taxidask.results.values import item_bytes
from taxidask.runs.ledger import Ledger, driver_state, open_run, settings_key
from taxidask.runs.look import describe, find, request_cancel, runs_table
from taxidask.settings import Settings


@pytest.fixture
def settings() -> Settings:
    return Settings(sources=["trips.csv"], heartbeat_timeout=1.2)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = open_store(f"sqlite:///{tmp_path / 'ledger.db'}")
    store.create()
    return store


def quiet(_: str) -> None: ...


def test_only_what_decides_the_numbers_makes_another_job(settings: Settings) -> None:
    same = settings.model_copy(update={"workers": 7, "block_size": "8MiB", "compute": "tcp://host:1"})
    other = settings.model_copy(update={"slot": "60min"})
    assert settings_key(same) == settings_key(settings) != settings_key(other)


def test_last_is_the_newest_run(store: Any, settings: Settings) -> None:
    with pytest.raises(RunError, match="holds no run yet"):
        find(store, "last")
    open_run(store, settings, None, quiet)
    newest, _ = open_run(store, settings.model_copy(update={"slot": "60min"}), None, quiet)
    assert find(store, "last")["id"] == store.list_runs(limit=1)[0]["id"]
    assert newest["id"] in request_cancel(store, newest["id"])
    assert store.list_runs(limit=1)[0]["id"] in request_cancel(store, "last")


def test_a_living_run_refuses_a_second_driver(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    with pytest.raises(RunError, match=f"run {item['id']} does this job already.*taxidask run --resume"):
        open_run(store, settings, None, quiet)
    # another job is another matter
    assert open_run(store, settings.model_copy(update={"slot": "60min"}), None, quiet)[1]


def test_of_two_drivers_that_start_at_once_one_goes_on(store: Any, settings: Settings) -> None:
    barrier, results = threading.Barrier(4), []

    def start() -> None:
        barrier.wait()
        try:
            results.append(open_run(store, settings, None, quiet)[0]["id"])
        except RunError as error:
            results.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([r for r in results if isinstance(r, str)]) == 1
    assert len([i for i in store.list_runs() if i["state"] == "running"]) == 1


def test_resume_waits_for_a_silent_driver_then_takes_over(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    said: list[str] = []
    begun = time.monotonic()
    taken, mine = open_run(store, settings, "last", said.append)
    assert mine
    assert taken["id"] == item["id"]
    assert taken["owner"] != item["owner"]
    assert time.monotonic() - begun > 0.8
    assert "waiting up to" in said[0]
    # the first driver notices at its next write and lets go
    first = Ledger(store, item, 1.2)
    with pytest.raises(RunError, match="taken over"):
        first.start_stage("ingest", "x")


def test_resume_gives_up_on_a_driver_that_keeps_beating(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    with Ledger(store, item, 1.2), pytest.raises(RunError, match="does this job already"):
        open_run(store, settings, item["id"], quiet)


def test_resume_of_a_finished_run_drives_nothing(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    Ledger(store, item, 1.2).close("done")
    again, mine = open_run(store, settings, item["id"], quiet)
    assert (again["id"], mine) == (item["id"], False)
    # and "last" starts a new one
    assert open_run(store, settings, "last", quiet)[0]["id"] != item["id"]


def test_resume_of_an_unknown_run_names_the_newest(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    with pytest.raises(RunError, match=f"no run 'nonsense'.*{item['id']}"):
        open_run(store, settings, "nonsense", quiet)


def test_heartbeat_keeps_a_run_alive_and_carries_progress(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    with Ledger(store, item, 1.2) as ledger:
        ledger.progress(rows=5)
        time.sleep(1.5)
        now = store.get_run(item["id"])
        assert driver_state(now, 1.2, time.time()) == "running"
        assert now["progress"]["rows"] == 5
    assert driver_state(store.get_run(item["id"]), 1.2, time.time() + 1.5) == "dead"


def test_heartbeats_note_the_cost_so_far_and_none_changes_the_last_figure(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    used = {"core_seconds": 1.0}
    with Ledger(store, item, 1.2, spent=lambda: dict(used)) as ledger:
        used["core_seconds"] = 2.0
        deadline = time.monotonic() + 8
        while store.get_run(item["id"])["cost"] != {"core_seconds": 2.0}:
            assert time.monotonic() < deadline, "no heartbeat noted it"
            time.sleep(0.05)
        ledger.start_stage("ingest", "inputs")
        used["core_seconds"] = 3.0
        ledger.end_stage("ingest", state="done")
        assert store.get_run(item["id"])["cost"] == used
        ledger.close("done", cost={"core_seconds": 4.0})
        used["core_seconds"] = 5.0
        time.sleep(0.5)
        assert store.get_run(item["id"])["cost"] == {"core_seconds": 4.0}


def test_cancel_reaches_the_driver_and_the_run_can_be_resumed_by_id(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    with Ledger(store, item, 1.2) as ledger:
        assert "will stop" in request_cancel(store, item["id"])
        deadline = time.monotonic() + 5
        while not ledger.should_stop():
            assert time.monotonic() < deadline, "the driver did not see the cancellation within 5 s"
            time.sleep(0.05)
        with pytest.raises(RunError, match="was cancelled"):
            ledger.check()
        ledger.close("cancelled")
    assert "nothing to cancel" in request_cancel(store, item["id"])
    assert open_run(store, settings, item["id"], quiet)[1]


def test_cancel_of_a_dead_run_marks_it(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    store.update_run(item["id"], {"heartbeat": time.time() - 100}, expect={})
    assert "no living driver" in request_cancel(store, item["id"])
    assert store.get_run(item["id"])["state"] == "cancelled"


def test_a_driver_out_of_touch_with_the_store_lets_go(
    store: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, _ = open_run(store, settings, None, quiet)

    def unreachable(*_: Any, **__: Any) -> dict:
        raise StoreError("the store does not answer")

    with Ledger(store, item, 1.2) as ledger:
        monkeypatch.setattr(store, "get_run", unreachable)
        monkeypatch.setattr(store, "update_run", unreachable)
        deadline = time.monotonic() + 8
        while not ledger.should_stop():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "out of touch with the store" in str(ledger.reason)
        assert "the store does not answer" in str(ledger.reason)


@pytest.mark.parametrize("call", ["get_run", "update_run"])
def test_a_driver_whose_store_hangs_lets_go_before_another_may_take_over(
    store: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    timeout = 2.0
    item, _ = open_run(store, settings, None, quiet)
    released = threading.Event()
    real = getattr(store, call)

    def hang(*given: Any, **options: Any) -> Any:
        if threading.current_thread().name.startswith("heartbeat"):
            released.wait(30)
        return real(*given, **options)

    with Ledger(store, item, timeout) as ledger:
        monkeypatch.setattr(store, call, hang)
        while not ledger.should_stop():
            beat = float(store.get_run(item["id"])["heartbeat"]) if call == "update_run" else item["heartbeat"]
            assert time.time() - beat < timeout, "another driver may have taken over by now"
            time.sleep(0.02)
        with pytest.raises(RunError, match=r"out of touch with the store for \d+ s"):
            ledger.check()
        released.set()


def test_a_clock_that_is_set_back_does_not_lengthen_the_lease(
    store: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, _ = open_run(store, settings, None, quiet)
    ledger = Ledger(store, item, 60.0)
    assert not ledger.should_stop()
    steady, wall = time.monotonic(), time.time()
    monkeypatch.setattr(time, "monotonic", lambda: steady + 50)
    monkeypatch.setattr(time, "time", lambda: wall - 3600)
    assert ledger.should_stop()


def test_a_driver_that_died_with_its_clock_ahead_holds_up_nobody(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    store.update_run(item["id"], {"heartbeat": time.time() + 3600}, expect={})
    new, mine = open_run(store, settings, None, quiet)
    assert mine
    assert new["id"] != item["id"]
    taken, mine = open_run(store, settings, item["id"], quiet)
    assert mine
    assert taken["owner"] != item["owner"]
    assert float(taken["heartbeat"]) <= time.time()


def test_a_driver_that_lives_with_its_clock_ahead_is_left_alone(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    beating = threading.Event()

    def beat() -> None:
        while not beating.wait(0.2):
            store.update_run(item["id"], {"heartbeat": time.time() + 3600}, expect={})

    store.update_run(item["id"], {"heartbeat": time.time() + 3600}, expect={})
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        for resume in (None, item["id"]):
            with pytest.raises(RunError, match="does this job already"):
                open_run(store, settings, resume, quiet)
    finally:
        beating.set()
        thread.join()


def test_tables_and_descriptions_show_dead_runs(store: Any, settings: Settings) -> None:
    item, _ = open_run(store, settings, None, quiet)
    ledger = Ledger(store, item, 1.2)
    ledger.start_stage("ingest", "inputs")
    ledger.end_stage("ingest", state="done", rows=15, kept=12, detail="1 source")
    store.update_run(item["id"], {"heartbeat": time.time() - 1000}, expect={})
    table = runs_table(store.list_runs())
    assert table.loc[0, ["id", "state", "trips"]].to_list() == [item["id"], "dead", 12]
    text = describe(find(store, item["id"]))
    assert f"taxidask runs resume {item['id']}" in text
    assert "1 source" in text
    with pytest.raises(RunError, match="there is no run"):
        find(store, "x")


@pytest.mark.parametrize("kind", ["sqlite", "dynamodb"])
def test_thousands_of_sources_and_notes_do_not_go_into_a_runs_item(kind: str, request: Any, tmp_path: Path) -> None:
    if kind == "dynamodb":
        request.getfixturevalue("aws")
    store = open_store(f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else f"dynamodb://notes-{tmp_path.name}")
    store.create()
    sources = [f"s3://a-bucket-of-trips/{number:05d}/{'long-' * 25}name.csv" for number in range(3000)]
    notes = [f"{source}: it cannot be read, {'and more ' * 20}" for source in sources]
    job = Settings(sources=sources, heartbeat_timeout=30)
    item, _ = open_run(store, job, None, quiet)
    ledger = Ledger(store, item, 30)
    ledger.start_stage("ingest", "inputs")
    ledger.end_stage("ingest", state="done", left_out=notes)
    ledger.close("failed", error="; ".join(notes))
    kept = store.get_run(item["id"])
    assert kept is not None
    assert item_bytes(kept) < 40_000
    assert len(kept["error"]) < 3000
    found = find(store, "last")
    assert found["settings"]["sources"] == sources
    assert found["stages"]["ingest"]["left_out"] == notes
    assert f"left out {notes[2999]}" in describe(found)
    again, _ = open_run(store, job, "last", quiet)
    assert again["id"] == item["id"], "the same job, told by all of its sources"
    ledger = Ledger(store, again, 30)
    ledger.end_stage("ingest", state="done", left_out=notes[:2])
    assert find(store, "last")["stages"]["ingest"]["left_out"] == notes[:2]
