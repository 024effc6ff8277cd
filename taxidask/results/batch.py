"""Many writes: batches of 25, paced below what a partition takes, repeated until the table has taken them all.

A month's forecasts, the largest thing published: 263 zones × 31 days = 8,153 items. At 48 slots a day an item holds
48 × 2 directions × 3 = 288 numbers, of at most 5 bytes and one more as a list's entry, 1,728 bytes, and with names and
keys up to 1,950 bytes: 2 write units of 1 KiB. All in all 16,306 write units, 31 × 2 = 62 in each zone's partition key.

DynamoDB takes 1,000 write units a second on a partition. Three things keep each partition under that:

- a zone has a partition key of its own, and items come day by day, within a day zone by zone, so that 263 keys take
  turns: in any second a key gets 1/263 of the writes;
- a `Pacer` counts the write units of every second and lets no partition key have more than 1,000;
- several keys share one physical partition. A new on-demand table has 4 partitions and takes 4,000 write units a
  second; the pacer gives all keys together at most 2,000. Of 263 keys, spread by a hash, 66 ± 7 lie in one of 4
  partitions, which so gets about 500 a second; more than 1,000 would take half of the keys, 9 standard deviations off.

So a month takes 16,306 / 2,000 × 1.1 = 9 s or longer.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from taxidask.errors import StoreError
from taxidask.results.keys import Key
from taxidask.words import quantity

BATCH = 25
PARTITION_UNITS = 1000.0
TABLE_UNITS = 2000.0
_LATER = "write again: what is there stays the same. If it goes on, look at the table's throttled requests"


@dataclass(frozen=True)
class Write:
    """One write: its key, the request as the server takes it, and its write units."""

    key: Key
    request: dict[str, Any]
    units: float


class UnwrittenError(StoreError):
    """Writes a table did not take; `keys` names them."""

    def __init__(self, message: str, remedy: str, keys: list[Key]) -> None:
        super().__init__(message, remedy)
        self.keys = keys


class Refusal(Exception):  # noqa: N818 - not an error yet: the batch is sent again
    """The server took nothing of a batch for now: too many writes, or it is not well."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Pacer:
    """Holds writes back so that no second takes more than its write units.

    Parameters
    ----------
    partition, table : float
        Write units that one partition key, and all together, may have in `window`.
    window : float
        Seconds; a tenth over one, since writes sent a second apart may arrive a little closer.
    """

    def __init__(
        self,
        *,
        partition: float = PARTITION_UNITS,
        table: float = TABLE_UNITS,
        window: float = 1.1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.partition = min(partition, table)
        self.table = table
        self.window = window
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._sent: deque[tuple[float, dict[str, float]]] = deque()
        self._now: defaultdict[str, float] = defaultdict(float)  # units by partition key within the window

    def wait(self, writes: list[Write]) -> None:
        """Return when `writes` may be sent."""
        units: dict[str, float] = {}
        for write in writes:
            units[write.key.pk] = units.get(write.key.pk, 0.0) + write.units
        with self._lock:  # writers take their turns
            self._wait(units)

    def _wait(self, units: dict[str, float]) -> None:
        while True:
            now = self._clock()
            while self._sent and self._sent[0][0] <= now - self.window:
                for pk, old in self._sent.popleft()[1].items():
                    self._now[pk] -= old
            if not self._sent:
                self._now.clear()
                break
            full = any(self._now[pk] + more > self.partition for pk, more in units.items())
            if not full and sum(self._now.values()) + sum(units.values()) <= self.table:
                break
            self._sleep(max(0.001, self._sent[0][0] + self.window - now))
        self._sent.append((self._clock(), units))
        for pk, more in units.items():
            self._now[pk] += more

    def fits(self, writes: list[Write], more: Write) -> bool:
        """Whether `more` can be in one batch with `writes` without that batch alone being too much for a second."""
        own = sum(write.units for write in writes if write.key.pk == more.key.pk)
        return own + more.units <= self.partition and sum(write.units for write in writes) + more.units <= self.table


def write_all(
    writes: Iterable[Write],
    send: Callable[[list[dict[str, Any]]], list[Key]],
    *,
    table: str,
    pacer: Pacer,
    deadline: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
    written: Callable[[int], None] | None = None,
) -> int:
    """Write everything, in batches, repeating what the server left unprocessed.

    Before it repeats, it waits a random time up to 50 ms, doubling with every batch in a row that was not taken whole,
    up to 5 s.

    Parameters
    ----------
    send : callable
        Sends one batch and returns the keys the server left unprocessed; raises `Refusal` when it took none for now.
    deadline : float
        Seconds from a write's first attempt after which it counts as failed.
    written : callable, optional
        Called with the number of items written so far.

    Returns
    -------
    int
        Items written.

    Raises
    ------
    UnwrittenError
        Something was still unprocessed after `deadline`; it names the keys.
    """
    fresh = _Ahead(iter(writes))
    left: list[tuple[float, Write]] = []  # when it was first tried, and what
    done = failures = 0
    reason = remedy = ""
    while left or fresh.more():
        batch = _fill(left, fresh, pacer)
        chosen = [write for _, write in batch]
        pacer.wait(chosen)
        now = clock()
        batch = [(now if first < 0 else first, write) for first, write in batch]
        try:
            unprocessed = set(send([write.request for write in chosen]))
            reason, remedy = "the table left them unprocessed", _LATER
        except Refusal as refusal:
            unprocessed = {write.key for write in chosen}
            reason, remedy = refusal.reason, refusal.remedy or _LATER
        again = [entry for entry in batch if entry[1].key in unprocessed]
        left = again + left
        done += len(batch) - len(again)
        if written:
            written(done)
        failures = failures + 1 if again else 0
        if not again:
            continue
        over = min(first for first, _ in left) + deadline
        if clock() >= over:
            raise _unwritten([write.key for _, write in left], table, deadline, done, reason, remedy)
        sleep(min(uniform(0.0, min(5.0, 0.05 * 2 ** min(failures - 1, 20))), max(0.0, over - clock())))
    return done


class _Ahead:
    """An iterator that can be asked whether it has more, without losing it."""

    def __init__(self, source: Iterator[Write]) -> None:
        self._source = source
        self._next: Write | None = None

    def more(self) -> bool:
        if self._next is None:
            self._next = next(self._source, None)
        return self._next is not None

    def peek(self) -> Write:
        assert self._next is not None  # noqa: S101 - `more` was asked
        return self._next

    def take(self) -> Write:
        write, self._next = self.peek(), None
        return write


def _fill(left: list[tuple[float, Write]], fresh: _Ahead, pacer: Pacer) -> list[tuple[float, Write]]:
    """The next batch: what was left first, then what is new. The server refuses a key twice in one batch."""
    batch: list[tuple[float, Write]] = []
    chosen: list[Write] = []
    taken: set[Key] = set()

    def room(write: Write) -> bool:
        return len(batch) < BATCH and write.key not in taken and (not batch or pacer.fits(chosen, write))

    def add(first: float, write: Write) -> None:
        batch.append((first, write))
        chosen.append(write)
        taken.add(write.key)

    while left and room(left[0][1]):
        add(*left.pop(0))
    waiting = {write.key for _, write in left}
    # a newer write of a key must not overtake an older one that still waits
    while fresh.more() and room(fresh.peek()) and fresh.peek().key not in waiting:
        add(-1.0, fresh.take())
    return batch


def _unwritten(keys: list[Key], table: str, deadline: float, done: int, reason: str, remedy: str) -> UnwrittenError:
    named = "; ".join(str(key) for key in keys[:5]) + (f"; and {len(keys) - 5} more" if len(keys) > 5 else "")
    return UnwrittenError(
        f"{quantity(len(keys), 'item')} could not be written to {table} within {deadline:g} s "
        f"({reason}): {named} ({done} others were written)",
        remedy,
        keys,
    )
