"""A run in several regions: its active one is noted in the ledger; when that goes dark, the run goes over to another.

What it did before counts as far as it is visible there, as for a run that is resumed; the ledger's item goes along. Of
two drivers on either side of a cut each owns the run in its own region and finishes it; what they publish is equal, and
of the two items the later one stays. Where copies go through while both are at work, whoever finds the other's later
word in its own region lets go.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from taxidask.errors import RegionDarkError, StoreError, TaxidaskError
from taxidask.results import Store
from taxidask.runs.ledger import Ledger, _stamp
from taxidask.storage import Regions

MOST_FAULTS = 20  # that the run's item names
MOST_MOVES = 20
PATIENCE = 30.0  # seconds for which the last region that is left may be busy


class MovingLedger(Ledger):
    """The ledger of a run whose store has regions.

    Attributes
    ----------
    region : str
        The run's active region.
    """

    def __init__(self, store: Store, item: dict[str, Any], timeout: float, spent: Any, regions: Regions) -> None:
        super().__init__(store, item, timeout, spent)
        self.regions = regions
        self.region = self.regions.active.name
        self._since = float(item["heartbeat"])  # from when on the run is this driver's
        self._moved: RegionDarkError | None = None  # what the stages have yet to heed
        self._dark: set[tuple[str, str]] = set()
        self._moves = 0

    def __enter__(self) -> Ledger:
        super().__enter__()
        self.note(region=self.region, faults=self._faults())
        return self

    def _faults(self, *more: str) -> list[str]:
        """What the item names: each region that was dark and was survived, and each move."""
        found = list(self.item.get("faults") or [])
        dark = {(one.region, one.service): one for one in self.regions.status() if one.state != "closed"}
        now = _stamp(time.time())
        found += [
            f"{now} {key[0]}: {key[1]} went dark, went on without it: {dark[key].error}"
            for key in sorted(dark.keys() - self._dark)
        ]
        self._dark = set(dark)
        return [*found, *more][-MOST_FAULTS:]

    def should_stop(self) -> bool:
        return self._moved is not None or super().should_stop()

    def check(self) -> None:
        """Raise RunError when this driver has to stop; RegionDarkError when the run has moved and its stage has not."""
        super().check()
        if self._moved is not None:
            raise self._moved

    def _lost(self) -> None:
        self._write({})  # what is read may be of another region, and old: the active one decides

    def end_stage(self, name: str, *, left_out: Sequence[str] = (), **values: Any) -> None:
        if self._moved is not None:  # some of what it wrote is in the one region, some in the other
            raise self._moved
        super().end_stage(name, left_out=left_out, **values)

    def _write(self, changes: dict[str, Any]) -> None:
        with self._writing:
            while True:
                faults = self._faults()
                more = {"faults": faults} if faults != (self.item.get("faults") or []) else {}
                self.item.update(more)
                try:
                    if self.regions.active.name != self.region:  # something else of this process has gone over
                        raise RegionDarkError(f"{self.region} was left", region=self.region)
                    super()._write({**changes, **more})
                except RegionDarkError as dark:
                    self._go_over(dark)
                else:
                    return

    def has_moved(self) -> RegionDarkError | None:
        with contextlib.suppress(TaxidaskError):  # what it is asked about counts
            self.note()  # a worker may know what this process has yet to find out
        return self._moved

    def moved_on(self, dark: RegionDarkError) -> str:
        """Go over to the next region, if that has not been done yet; what to say of it.

        Raises
        ------
        RegionDarkError
            If there is no other.
        """
        with self._writing:
            if self._moved is None:
                self._go_over(dark)
            self._moved = None
            super().check()
            return f"run {self.id}: {dark.message}; goes on in {self.region}"

    def _go_over(self, dark: RegionDarkError) -> None:
        self._moves += 1
        if self._moves > MOST_MOVES:
            raise dark
        left = self.region
        try:
            if self.regions.active.name == left:
                self.regions.go_over(dark)
        except RegionDarkError as nowhere:
            self._wait(nowhere)
            moved = f"waited until {left}, the last that was left, answered again"
        else:
            self.region = self.regions.active.name
            moved = f"went over from {left} to {self.region}"
        self._moved = dark
        self.item.update(region=self.region, faults=self._faults(f"{_stamp(time.time())} {moved}: {dark.message}"))
        try:
            self._come_in()
        except RegionDarkError as too:
            self._go_over(too)

    def _wait(self, nowhere: RegionDarkError) -> None:
        """Wait until the active region takes a word again: it may have been busy, and there is no other to go on in."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._come_in()
                return
            except (RegionDarkError, StoreError):
                if time.monotonic() > until:
                    raise nowhere from None
            time.sleep(0.5)

    def _come_in(self) -> None:
        """Write the run into the region, as this driver knows it, unless another has taken it over there since."""
        there = self.store.get_run(self.id)
        beat = time.time()
        whole = {**self.item, **self._cost(), "progress": dict(self._progress), "heartbeat": beat}
        if there is None:
            mine = self.store.create_run(whole)
        elif there["owner"] != self._owner and float(there["heartbeat"]) > self._since:
            mine = False
        else:
            expect = {"owner": there["owner"]}
            mine = self.store.update_run(self.id, {k: v for k, v in whole.items() if k != "id"}, expect=expect)
        if mine:
            self._leased(beat)
        else:
            self._let_go("taken over")


def ledger_of(
    store: Store, item: dict[str, Any], timeout: float, spent: Callable[[], dict[str, Any]], regions: Regions | None
) -> Ledger:
    """A driver's hold on a run, with regions or without."""
    if regions is None:
        return Ledger(store, item, timeout, spent)
    return MovingLedger(store, item, timeout, spent, regions)
