"""The file: threads, processes, and what is said when it cannot be used."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taxidask.errors import StoreError
from taxidask.results import open_store

WRITER = """
import sys
from taxidask.results import open_store
store, me, rounds = open_store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for i in range(rounds):
    store.put_ingest("/lake", [{"url": f"{me}-{j}", "round": i} for j in range(20)])
    won = store.create_run({"id": f"run-{i}", "owner": me})
    rows = store.get_ingest("/lake")
    mine = rows[rows["url"].str.startswith(me + "-")]
    assert mine["round"].tolist() == [i] * 20, "half a publication was read"
    while not store.update_run("counter", {"n": (n := store.get_run("counter")["n"]) + 1}, expect={"n": n}):
        pass
store.close()
"""


def test_several_processes_write_at_once(tmp_path):
    url = f"sqlite:///{tmp_path}/new/folder/results.db"
    with open_store(url) as store:
        store.create_run({"id": "counter", "n": 0})
        processes = [
            subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, url, name, "10"], stderr=subprocess.PIPE)
            for name in "abc"
        ]
        for process in processes:
            _, error = process.communicate(timeout=120)
            assert process.returncode == 0, error.decode()
        assert store.get_run("counter") == {"id": "counter", "n": 30}
        assert len(store.get_ingest("/lake")) == 60
        assert {run["owner"] for run in store.list_runs(100) if run["id"] != "counter"} <= set("abc")


CREATOR = """
import sys
from taxidask.results import open_store
open_store(sys.argv[1]).create()
"""


def test_several_processes_create_at_once(tmp_path):
    url = f"sqlite:///{tmp_path}/results.db"
    processes = [subprocess.Popen([sys.executable, "-c", CREATOR, url], stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    open_store(url).check()


VISITOR = """
import sys
from taxidask.results import open_store
with open_store(sys.argv[1]) as store:
    print(store.get_run("run")["n"])
"""


def test_the_journal_stays_while_a_thread_of_another_process_uses_it(tmp_path):
    """A process that closes the file by itself loses SQLite's locks; the last one to leave then removes the journal."""

    def visit() -> str:
        command = [sys.executable, "-c", VISITOR, url]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    url = f"sqlite:///{tmp_path}/results.db"
    with open_store(url) as store:
        store.create()
        store.create_run({"id": "run", "n": 0})
        first_write = threading.Thread(target=store.update_run, args=("run", {"n": 1}), kwargs={"expect": {}})
        first_write.start()
        first_write.join()
        for n in range(2, 5):
            assert visit() == str(n - 1)
            assert (tmp_path / "results.db-wal").exists()
            assert store.update_run("run", {"n": n}, expect={})
        assert visit() == "4"
    with sqlite3.connect(tmp_path / "results.db") as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


KILLED = """
import os, signal, sys
from taxidask.results import open_store
store = open_store(sys.argv[1])
def sources():
    for i in range(10_000):
        yield {"url": f"u{i:05d}", "round": 2}
items = list(sources())
original = store._put
def put(items, total, progress=None):
    def dying():
        for i, item in enumerate(items):
            if i == 5_000:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item
    return original(dying(), total, progress)
store._put = put
store.put_ingest("/lake", items)
"""


def test_a_killed_publication_leaves_what_was_there(sqlite):
    sqlite.put_ingest("/lake", [{"url": f"u{i:05d}", "round": 1} for i in range(10)])
    done = subprocess.run([sys.executable, "-c", KILLED, sqlite.url], timeout=120, check=False)
    assert done.returncode == -9
    assert sqlite.get_ingest("/lake")["round"].tolist() == [1] * 10


def test_a_publication_that_fails_midway_leaves_what_was_there(sqlite):
    sqlite.put_ingest("/lake", [{"url": "a", "round": 1}])
    with pytest.raises(StoreError, match="an item may have 400 KB"):
        sqlite.put_ingest("/lake", [{"url": "a", "round": 2}, {"url": "b", "text": "x" * 450_000}])
    assert sqlite.get_ingest("/lake")["round"].tolist() == [1]


def test_an_update_may_not_make_an_item_too_large(store, run_item):
    store.create_run(run_item)
    with pytest.raises(StoreError, match=r"400 KB|maximum"):
        store.update_run(run_item["id"], {"error": "x" * 450_000}, expect={})
    assert store.get_run(run_item["id"]) == run_item


def test_threads_have_connections_of_their_own_and_leave_none_behind(sqlite):
    def use() -> None:
        sqlite.put_latest({"n": 1})
        assert sqlite.get_latest() == {"n": 1}

    for _ in range(20):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(30)
    gc.collect()
    assert len(sqlite._open) <= 1


def test_a_forked_child_opens_a_connection_of_its_own(sqlite):
    sqlite.put_latest({"n": 1})
    here = sqlite._local.connection
    here.pid = -1  # as a forked child sees it
    assert sqlite.get_latest() == {"n": 1}
    assert sqlite._local.connection is not here
    here.pid = os.getpid()


def test_a_file_that_was_removed_or_replaced_is_noticed(sqlite):
    sqlite.put_latest({"n": 1})
    for suffix in ("", "-wal", "-shm"):
        sqlite.path.with_name(sqlite.path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(StoreError, match="there is no store at"):
        sqlite.get_latest()
    sqlite.put_latest({"n": 2})
    assert sqlite.get_latest() == {"n": 2}


def test_missing_file(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/none.db") as store:
        for use in (store.check, store.get_latest, store.list_runs):
            with pytest.raises(
                StoreError, match=r"there is no store at .*create it: taxidask store create --store sqlite"
            ):
                use()
        assert not store.path.exists()
        store.put_latest({"n": 1})  # the first write makes it
        store.check()


def test_reading_makes_no_file(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(StoreError):
        store.get_latest()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "empty.db").touch()
    with open_store(f"sqlite:///{tmp_path}/empty.db") as store:
        with pytest.raises(StoreError, match="there is no store at"):
            store.check()
        store.create()
        store.check()


@pytest.mark.parametrize("use", ["check", "create"])
def test_a_file_that_is_no_store(tmp_path, use):
    (tmp_path / "text.db").write_text("<html>" * 1000)
    with open_store(f"sqlite:///{tmp_path}/text.db") as store, pytest.raises(StoreError, match="no SQLite file"):
        getattr(store, use)()
    assert (tmp_path / "text.db").read_text() == "<html>" * 1000
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    with open_store(f"sqlite:///{tmp_path}/other.db") as store, pytest.raises(StoreError, match="no store of results"):
        getattr(store, use)()
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_store_of_a_newer_version(sqlite):
    sqlite.close()
    other = sqlite3.connect(sqlite.path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    for use in (sqlite.check, sqlite.create, lambda: sqlite.put_latest({})):
        with pytest.raises(StoreError, match=r"newer taxidask \(layout 99"):
            use()


def test_a_folder(tmp_path):
    with open_store(f"sqlite:///{tmp_path}") as store:
        for use in (store.check, store.create):
            with pytest.raises(StoreError, match="is a folder"):
                use()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        open_store(f"sqlite:///{tmp_path}/file/results.db") as store,
        pytest.raises(StoreError, match="cannot be made"),
    ):
        store.create()


@pytest.fixture
def nobody() -> Iterator[Callable[[], None]]:
    """Become a user who may not write everywhere, as root may."""

    def become() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)

    yield become
    os.seteuid(os.getuid())


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_store_in_a_folder_that_cannot_be_written_is_not_said_to_be_missing(nobody, mode):
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        folder = Path(made) / "mounted"
        folder.mkdir()
        open_store(f"sqlite:///{folder}/s.db").create()
        folder.chmod(mode)
        nobody()
        store = open_store(f"sqlite:///{folder}/s.db")
        for use in (store.check, store.create, lambda: store.list_runs(limit=1)):
            with pytest.raises(StoreError, match=r"is there, but its folder is read-only|cannot be reached"):
                use()
        os.seteuid(os.getuid())
        folder.chmod(0o755)


def test_a_file_locked_for_long(sqlite, monkeypatch):
    sqlite.put_latest({"n": 1})
    sqlite._connect().execute("PRAGMA busy_timeout = 100")
    other = sqlite3.connect(sqlite.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="was locked by another process"):
            sqlite.put_latest({"n": 2})
        assert sqlite.get_latest() == {"n": 1}  # readers do not wait
    finally:
        other.execute("ROLLBACK")
        other.close()
    sqlite.put_latest({"n": 2})


def test_a_full_disk(sqlite):
    sqlite.put_latest({"n": 1})
    connection = sqlite._connect()
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreError, match="is full"):
        sqlite.put_ingest("/lake", [{"url": f"u{i}", "text": "x" * 10_000} for i in range(50)])
    assert sqlite.get_ingest("/lake").empty
    assert sqlite.get_latest() == {"n": 1}


def test_what_has_run_out_is_removed_by_the_next_publication(sqlite, run_item):
    sqlite.ttl_days = 1
    sqlite.create_run({**run_item, "id": "20160101T000000Z-aaaaaa"})
    sqlite.create_run({**run_item, "id": f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-aaaaaa"})
    sqlite.put_latest({})
    assert sqlite._connect().execute("SELECT count(*) FROM items WHERE pk = 'runs'").fetchone() == (1,)


def test_readers_and_writers_do_not_wait_for_each_other(sqlite):
    assert sqlite._connect().execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert sqlite._connect().execute("PRAGMA busy_timeout").fetchone() == (30_000,)


def test_reads_use_the_primary_key(sqlite):
    plan = sqlite._connect().execute(
        "EXPLAIN QUERY PLAN SELECT sk, item FROM items WHERE pk = 'runs' AND sk <= 'x' ORDER BY sk DESC"
    )
    assert "SEARCH items USING INDEX" in str(plan.fetchall())
