"""Drivers, a remover and a change of the file, their storage calls one by one in any order: a reader always reads."""

from __future__ import annotations

import contextlib
import os
import threading
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import LakeError, SourceError
from taxidask.lake import Lake, layout
from taxidask.sample import make_sample
from taxidask.storage import Storage, join
from taxidask.trips import sources, streams
from taxidask.trips.rules import Rules

RANGE = 4096
OTHER = Rules(max_fare=12)


class Turns:
    """Lets one actor's storage call happen at a time, in the order drawn; whoever is left over goes on in turn."""

    def __init__(self, order: list[int], actors: int) -> None:
        self.order, self.alive = iter(order), list(range(actors))
        self.changed = threading.Condition()
        self.current = self._next()

    def _next(self) -> int | None:
        if not self.alive:
            return None
        return self.alive[next(self.order, 0) % len(self.alive)]

    def take(self, actor: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.current == actor, timeout=60)

    def give(self) -> None:
        with self.changed:
            self.current = self._next()
            self.changed.notify_all()

    def end(self, actor: int) -> None:
        with self.changed:
            self.alive.remove(actor)
            if self.current == actor:
                self.current = self._next()
            self.changed.notify_all()


class OneByOne(Storage):
    def __init__(self, turns: Turns, actor: int) -> None:
        super().__init__()
        self.turns, self.actor, self.lock = turns, actor, threading.Lock()

    def _call(self, op, url, fn, *, needs=0):
        with self.lock:  # an actor's own threads one after the other
            self.turns.take(self.actor)
            try:
                return super()._call(op, url, fn, needs=needs)
            finally:
                self.turns.give()


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """Two files of three blocks each."""
    found = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("content")
        (file,) = make_sample(folder, start="2015-01", trips_per_month=70, seed=seed, faults=0.1)
        with open(file, "rb") as opened:
            found.append(opened.read())
    return found


def read(lake, url, *, blocks=1, **options):
    return lake.ingest(url, client=ThreadExecutor(1), block_size=blocks * RANGE, **options)


def answers(lake):
    return lake.trips().to_csv(), lake.rejects().drop(columns="source").to_csv()


class Given(SimpleNamespace):
    """The files' contents, and what a reader may see: each under each rules, or nothing."""

    def __repr__(self) -> str:
        return "contents"


@pytest.fixture(scope="module")
def given_contents(contents):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "RANGE_BYTES", RANGE)
        patch.setattr(streams, "RANGE_BYTES", RANGE)
        base = f"memory://interleaved-{os.urandom(4).hex()}"
        found = {}
        for number, data in enumerate(contents):
            for rules in (Rules(), OTHER):
                url = join(base, f"{number}-{rules.max_fare:g}", "2015-01.csv")
                Storage().write(url, data)
                lake = Lake(join(base, "lake", f"{number}-{rules.max_fare:g}"))
                read(lake, url, rules=rules)
                found[number, rules.max_fare] = answers(lake)
        yield Given(contents=contents, expected=found)


ACTORS = {
    "reads": lambda lake, url, data: read(lake, url),
    "reads in larger blocks": lambda lake, url, data: read(lake, url, blocks=2),
    "reads under other rules": lambda lake, url, data: read(lake, url, rules=OTHER),
    "removes": lambda lake, url, data: lake.remove(url),
    "writes the other file": lambda lake, url, data: lake.storage.write(url, data[1]),
    "writes the first file": lambda lake, url, data: lake.storage.write(url, data[0]),
}


# Without shrinking: a schedule that fails is told by its seed, and each takes a while.
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    names=st.lists(st.sampled_from(sorted(ACTORS)), min_size=2, max_size=4),
    there=st.booleans(),
    order=st.lists(st.integers(0, 3), max_size=400),
)
def test_in_any_order(given_contents, names, there, order):
    contents, expected = given_contents.contents, given_contents.expected
    base = f"memory://interleaved-{os.urandom(6).hex()}"
    url, lake = join(base, "2015-01.csv"), Lake(join(base, "lake"))
    Storage().write(url, contents[0])
    if there:
        read(lake, url, rules=OTHER)
    turns, failed = Turns(order, len(names)), []

    def act(actor, name):
        try:
            ACTORS[name](Lake(lake.url, storage=OneByOne(turns, actor)), url, contents)
        except (LakeError, SourceError) as error:
            if "please report" in str(error):
                failed.append(error)
        except BaseException as error:
            failed.append(error)
        finally:
            turns.end(actor)

    threads = [threading.Thread(target=act, args=pair) for pair in enumerate(names)]
    # the space is read by one thread at a time, which may wait here for its turn while the others wait for it
    with mock.patch.object(layout, "_lock", contextlib.nullcontext()):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert not failed
    seen = lake.sources()
    if len(seen):
        assert answers(Lake(lake.url)) in expected.values()
        assert int(lake.cube().counts[..., 0].sum()) <= len(lake.trips())
    read(lake, url)
    now = contents.index(Storage().read(url))
    assert answers(lake) == expected[now, Rules().max_fare]
