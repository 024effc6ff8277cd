"""Whatever happens to sources and drivers, in any order: readers see whole sources, each content once."""

from __future__ import annotations

import os

import pandas as pd
import pytest
import xxhash
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taxidask.compute.executors import ThreadExecutor
from taxidask.lake import Lake
from taxidask.lake.manifest import Manifests, named
from taxidask.lake.names import source_key
from taxidask.sample import make_sample
from taxidask.space import Grid
from taxidask.storage import Storage, join
from taxidask.trips import read_trips

NAMES = ["a-2015-01.csv", "b-2015-01.csv", "c-2015-01.csv"]
SPACE = Grid(2, 2, west=-74.05, south=40.6, east=-73.75, north=40.9)


class Killed(BaseException):
    """Not an Exception: nothing in the package may catch it."""


class Mortal(Storage):
    """A process whose storage calls end with its life."""

    left = 10**9

    def _call(self, op, url, fn, *, needs=0):
        type(self).left -= 1
        if type(self).left < 0:
            raise Killed
        return super()._call(op, url, fn, needs=needs)


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """By content hash: bytes of a small file and the trips in it."""
    found = {}
    for seed in range(4):
        folder = tmp_path_factory.mktemp("content")
        (file,) = make_sample(folder, start="2015-01", trips_per_month=12, seed=seed, faults=0.3)
        with open(file, "rb") as opened:
            data = opened.read()
        content = xxhash.xxh3_128_hexdigest(xxhash.xxh3_128_digest(data))
        found[content] = (data, *read_trips(file))
    return found


def machine(contents):
    keys = sorted(contents)

    class Lakes(RuleBasedStateMachine):
        @initialize()
        def begin(self):
            base = f"memory://property-{os.urandom(6).hex()}"
            self.storage = Storage()
            self.lake = Lake(join(base, "lake"))
            self.names = {name: join(base, name) for name in NAMES}
            self.now: dict[str, str] = {}  # content of each file
            self.possible: dict[str, set[str]] = {}  # contents a reader may see under its name

        @rule(name=st.sampled_from(NAMES), content=st.sampled_from(keys))
        def write(self, name, content):
            self.storage.write(self.names[name], contents[content][0])
            self.now[name] = content

        @precondition(lambda self: self.now)
        @rule(data=st.data(), life=st.one_of(st.none(), st.integers(1, 70)))
        def ingest(self, data, life):
            names = data.draw(st.lists(st.sampled_from(sorted(self.now)), min_size=1, unique=True))
            for name in names:
                self.possible.setdefault(name, set()).add(self.now[name])
            Mortal.left = 10**9 if life is None else life
            try:
                result = Lake(self.lake.url, storage=Mortal()).ingest(
                    [self.names[name] for name in names], space=SPACE, client=ThreadExecutor(1)
                )
            except Killed:
                return
            finally:
                Mortal.left = 10**9
            seen = set(self.lake.sources().query("rows > 0")["content"])
            assert {self.now[name] for name in names} <= seen, "everything asked for is there"
            for source, name in zip(result.sources, names, strict=True):
                assert source.duplicate_of or source.kept + sum(source.rejected.values()) == source.rows == 12
                self.possible[name] = {self.now[name]}
                assert self.files_of(self.names[name]) == self.seen_of(self.names[name]), "nothing is left behind"

        def files_of(self, url):
            """All files of a source, wherever they are."""
            listed = [stat.url.removeprefix(self.lake.url + "/") for stat in self.storage.list(self.lake.url)]
            folders = "trips/", "rejects/", "cube/", "blocks/"
            return {path for path in listed if path.startswith(folders) and source_key(url) in path}

        def seen_of(self, url):
            """Files of a source that readers look at."""
            manifest = Manifests(self.lake.url, self.storage).get(url)
            if manifest.duplicate_of:
                return set()
            return named(manifest) | {f"cube/{manifest.count_key}/{manifest.id}.parquet"}

        @precondition(lambda self: self.now)
        @rule(data=st.data(), life=st.one_of(st.none(), st.integers(1, 12)))
        def remove(self, data, life):
            listed = self.lake.sources()["url"]
            if listed.empty:
                return
            url = data.draw(st.sampled_from(sorted(listed)))
            Mortal.left = 10**9 if life is None else life
            try:
                Lake(self.lake.url, storage=Mortal()).remove(url)
            except Killed:
                return
            finally:
                Mortal.left = 10**9
            assert url not in set(self.lake.sources()["url"])
            assert self.files_of(url) == set(), "nothing is left behind"

        @rule()
        def look(self):
            listed = self.lake.sources()
            counted = listed[listed["rows"] > 0]
            assert counted["content"].is_unique, "each content once"
            for url, content in zip(counted["url"], counted["content"], strict=True):
                name = url.rpartition("/")[2]
                assert content in self.possible[name], "a whole version of the source"
            expected = [contents[content] for content in counted["content"]]
            trips = self.lake.trips(columns=["pickup_datetime", "fare_amount"])
            frames = [trips for _, trips, _ in expected]
            if frames:
                wanted = pd.concat(frames).sort_values("pickup_datetime", kind="stable", ignore_index=True)
                assert trips["fare_amount"].tolist() == wanted["fare_amount"].tolist()
                assert self.lake.cube().total().pickups <= len(trips)
            else:
                assert len(trips) == 0
            lines = [line for _, _, rejects in expected for line in rejects["line"]]
            assert self.lake.rejects()["line"].tolist() == lines

        @invariant()
        def nothing_is_half_there(self):
            if hasattr(self, "lake"):
                listed = self.lake.sources()
                assert (listed["kept"] + listed["rejected"] == listed["rows"]).all()
                assert set(listed["rows"]) <= {0, 12}

    return Lakes


def test_whatever_happens(contents):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine(contents), settings=settings(max_examples=25, stateful_step_count=12, deadline=None)
    )
