"""Results in a file: one SQLite table of (pk, sk, item), with the same keys as in DynamoDB."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from taxidask.errors import StoreError
from taxidask.results.added import Conditions
from taxidask.results.keys import Key
from taxidask.results.store import Item, Progress, Store, look, no_such_place
from taxidask.results.values import same, sized
from taxidask.words import command

_APPLICATION_ID = 0x54585344  # "TXSD"
_VERSION = 1
_BUSY_SECONDS = 30.0
# items of one transaction; more would keep a run's heartbeat waiting
_TOGETHER = 20_000
# DynamoDB counts at most 1.5 bytes for each of JSON's, and JSON has at most 4 for each letter: far under 400 KB
_SURELY_SMALL = 64 * 1024
_MEND = "restore a copy, or move it away and run again: forecasts are published anew, records of former runs are not"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    pk TEXT NOT NULL, sk TEXT NOT NULL, expires_at INTEGER, item TEXT NOT NULL, PRIMARY KEY (pk, sk)
);
CREATE INDEX IF NOT EXISTS items_expires_at ON items (expires_at) WHERE expires_at IS NOT NULL;
"""


class _Connection:
    """A connection that is closed with the thread it belongs to."""

    sql: sqlite3.Connection | None = None

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self._path = path
        # one thread uses it at a time; `close` may come from another
        self.sql = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )

        self._file = self._identity()

    @property
    def opened(self) -> sqlite3.Connection:
        assert self.sql is not None  # noqa: S101 - set by __init__
        return self.sql

    def _identity(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def usable(self) -> bool:
        """Whether it is this process's own, and its file still the one of that name."""
        return self.pid == os.getpid() and self._file == self._identity()

    def close(self) -> None:
        if self.sql is not None and self.pid == os.getpid():  # after a fork it is still the parent's
            self.sql.close()

    __del__ = close


class SQLiteStore(Store):
    """Results in an SQLite file, for one machine; threads and processes may share it.

    A publication, up to 20,000 items, is one transaction: readers see all of it or nothing. The first write makes the
    file.
    """

    cost_class = "a file on this machine, free of charge"

    def __init__(self, path: Path, *, url: str, ttl_days: float | None = None) -> None:
        super().__init__(url, ttl_days=ttl_days)
        self.path = path
        self._local = threading.local()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(SQLiteStore, self.path, url=self.url, ttl_days=self.ttl_days), ()

    def create(self) -> bool:
        """Make the file and its folders if they are not there yet; whether this call made it."""
        there = os.path.exists(self.path)  # noqa: PTH110 - unlike Path's it raises nothing
        self._connect(create=True)
        return not there

    def check(self) -> None:
        """Raise StoreError, with the remedy, when there is no file, or one that is no store of results."""
        with self._errors():
            self._connect().execute("SELECT pk, sk, expires_at, item FROM items LIMIT 1").fetchall()

    def look_over(self) -> None:
        """Raise StoreError, with the remedy, when the file is damaged anywhere."""
        self.check()
        with self._errors():
            told = [row[0] for row in self._connect().execute("PRAGMA quick_check(3)")]
        if told != ["ok"]:
            raise StoreError(f"{self.path} is damaged: {'; '.join(told)}", _MEND)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in list(self._open):
                connection.close()
            self._open.clear()
            self._local = threading.local()

    # -- connections ---------------------------------------------------------------------------------------------------

    def _connect(self, *, create: bool = False) -> sqlite3.Connection:
        held: _Connection | None = getattr(self._local, "connection", None)
        if held is not None and held.usable():
            return held.opened
        with self._errors():
            if create:
                self._make()
            elif not self._exists():
                raise self._is_missing()
            held = _Connection(self.path)
            self._verify(held.opened)
            held.opened.execute("PRAGMA synchronous = NORMAL")
        with self._lock:
            self._local.connection = held
            self._open.add(held)
        return held.opened

    def _exists(self) -> bool:
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StoreError(
                f"the store {self.path} cannot be reached: {error.strerror or error}", "check who owns its folders"
            ) from error
        return True

    def _make(self) -> None:
        try:
            if not self._exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # Only ever a new file: closing one that SQLite has open in this process takes SQLite's locks away, and
                # another process then removes the journal under it.
                with contextlib.suppress(FileExistsError):
                    self.path.open("xb").close()
            if self.path.is_dir():
                raise self._is_folder()
        except OSError as error:
            raise StoreError(
                f"the store {self.path} cannot be made: {error.strerror or error}", "choose a folder you may write to"
            ) from error
        connection = _Connection(self.path)
        sql = connection.opened
        try:
            if sql.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
                return
            if sql.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._verify(sql)
            _patiently(lambda: sql.execute("PRAGMA journal_mode = WAL").fetchone())
            sql.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                sql.execute(statement)
            sql.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            sql.execute(f"PRAGMA user_version = {_VERSION}")
            sql.execute("COMMIT")
        finally:
            connection.close()

    def _verify(self, sql: sqlite3.Connection) -> None:
        # first the tables, then what they are: another process may be making the store
        if not sql.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise self._is_missing()
        (application,) = sql.execute("PRAGMA application_id").fetchone()
        (version,) = sql.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION_ID:
            raise StoreError(
                f"{self.path} is an SQLite file, but no store of results", "name another file, or create a new one"
            )
        if version > _VERSION:
            raise StoreError(
                f"{self.path} was made by a newer taxidask (layout {version}, this one knows {_VERSION})",
                "upgrade taxidask, or name another file",
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _is_missing(self) -> StoreError:
        return StoreError(
            f"there is no store at {self.path}", f"create it: {command('taxidask store create', store=self.url)}"
        )

    def _is_folder(self) -> StoreError:
        return StoreError(f"{self.path} is a folder", f"name a file in it: sqlite:///{self.path}/taxidask.db")

    def _explain(self, error: sqlite3.Error) -> StoreError:
        text = str(error)
        if self.path.is_dir():
            return self._is_folder()
        if "not a database" in text or "malformed" in text:
            return StoreError(f"{self.path} is no SQLite file, or a damaged one: {text}", _MEND)
        if "locked" in text or "busy" in text:
            return StoreError(
                f"{self.path} was locked by another process for {_BUSY_SECONDS:.0f} s",
                "end that process, then try again",
            )
        if "readonly" in text or "unable to open" in text:
            folder = self.path.parent
            if self.path.exists() and not os.access(folder, os.W_OK, effective_ids=True):
                return StoreError(
                    f"{self.path} is there, but its folder is read-only, and SQLite writes beside the file to read it",
                    f"make {folder} writable, or copy the file to a folder that is",
                )
            return StoreError(
                f"{self.path} cannot be opened for writing: {text}", "check who owns the file and its folder"
            )
        if "full" in text:
            return StoreError(
                f"the disk of {self.path} is full; nothing was written", "free some space, then try again"
            )
        return StoreError(f"SQLite could not use {self.path}: {text}", None)

    @contextlib.contextmanager
    def _transaction(self, *, create: bool = True) -> Iterator[sqlite3.Connection]:
        sql = self._connect(create=create)
        with self._errors():
            sql.execute("BEGIN IMMEDIATE")
            try:
                yield sql
                sql.execute("COMMIT")
            except BaseException:
                if sql.in_transaction:
                    sql.execute("ROLLBACK")
                raise

    # -- operations ----------------------------------------------------------------------------------------------------

    def _get(self, key: Key) -> Item | None:
        with self._errors():
            row = self._connect().execute("SELECT item FROM items WHERE pk = ? AND sk = ?", key).fetchone()
        return None if row is None else _decode(key.pk, key.sk, row[0])

    def _query(
        self,
        pk: str,
        *,
        first: str | None = None,
        last: str | None = None,
        prefix: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,  # noqa: ARG002 - one read brings everything
        where: Conditions = (),
    ) -> Iterator[Item]:
        conditions: list[str] = ["pk = ?"]
        values: list[Any] = [pk]
        if first is not None:
            conditions.append("sk >= ?")
            values.append(first)
        if last is not None:
            conditions.append("sk <= ?")
            values.append(last)
        if prefix is not None:
            conditions.append("substr(sk, 1, ?) = ?")
            values += [len(prefix), prefix]
        for name, op, value in where:
            many = value if op == "in" else [value]
            # as what JSON says it is, a number or a text; what is not there meets no condition
            conditions.append(f"json_extract(item, ?) {op.upper()} ({', '.join('?' * len(many))})")
            values += [f"$.{name}", *many]
        order = "DESC" if newest_first else "ASC"
        statement = f"SELECT sk, item FROM items WHERE {' AND '.join(conditions)} ORDER BY sk {order}"  # noqa: S608
        with self._errors():
            rows = self._connect().execute(statement, values).fetchall()
        return (_decode(pk, sk, text) for sk, text in rows)

    def _put(self, items: Iterable[Item], total: int, progress: Progress | None = None) -> int:
        rows = map(_row, items)
        count = 0
        # made before the transaction begins: it locks out other writers
        while chunk := list(itertools.islice(rows, _TOGETHER)):
            with self._transaction() as sql:
                sql.execute("DELETE FROM items WHERE expires_at <= ?", (int(time.time()),))
                sql.executemany("INSERT OR REPLACE INTO items (pk, sk, expires_at, item) VALUES (?, ?, ?, ?)", chunk)
            count += len(chunk)
            if progress:
                progress(count, total)
        return count

    def _delete(self, doomed: Iterable[Key]) -> int:
        named = list(doomed)
        if named:
            with self._transaction(create=False) as sql:
                sql.executemany("DELETE FROM items WHERE pk = ? AND sk = ?", named)
        return len(named)

    def _insert(self, item: Item) -> bool:
        with self._transaction() as sql:
            done = sql.execute("INSERT OR IGNORE INTO items (pk, sk, expires_at, item) VALUES (?, ?, ?, ?)", _row(item))
            return done.rowcount == 1

    def _update(self, key: Key, changes: dict[tuple[str, ...], Any], expect: dict[tuple[str, ...], Any]) -> bool:
        with self._transaction(create=False) as sql:
            row = sql.execute("SELECT item, expires_at FROM items WHERE pk = ? AND sk = ?", key).fetchone()
            if row is None:
                return False
            item = json.loads(row[0])
            if not all(same(look(item, path), value) for path, value in expect.items()):
                return False
            for path, value in changes.items():
                _set(item, path, value, key)
            sized({**key._asdict(), **item})
            text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
            sql.execute("UPDATE items SET item = ? WHERE pk = ? AND sk = ?", (text, *key))
        return True


def _patiently(action: Any) -> None:
    """Changing the journal needs the file for itself and does not wait for it of its own accord."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _row(item: Item) -> tuple[Any, ...]:
    body = {name: value for name, value in item.items() if name not in ("pk", "sk")}
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text) > _SURELY_SMALL:
        sized(item)
    return item["pk"], item["sk"], item.get("expires_at"), text


def _decode(pk: str, sk: str, text: str) -> Item:
    return {"pk": pk, "sk": sk, **json.loads(text)}


def _set(item: Item, path: tuple[str, ...], value: Any, key: Key) -> None:
    inner: Any = item
    for name in path[:-1]:
        inner = inner.get(name) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        raise no_such_place(key)
    inner[path[-1]] = value
