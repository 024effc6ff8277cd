"""A lake in two regions: one goes dark while it is written or read, drivers go on beside a cut, copies come."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from links import Link
from replica import Pair

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import RegionDarkError
from taxidask.lake import Lake, sweeping
from taxidask.sample import make_sample
from taxidask.space import Grid
from taxidask.storage import Storage, absolute, join
from taxidask.storage import regions as module
from taxidask.trips import sources, streams
from taxidask.trips.rules import Rules

RANGE = 4096
SPACE = Grid(3, 3, west=-74.05, south=40.6, east=-73.75, north=40.9)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(sources, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(streams, "RANGE_BYTES", RANGE)


@pytest.fixture(scope="module")
def months(tmp_path_factory) -> list[str]:
    """Two months of three blocks each."""
    return make_sample(tmp_path_factory.mktemp("months"), start="2015-01", months=2, trips_per_month=70, faults=0.1)


@pytest.fixture(scope="module")
def again(months, tmp_path_factory) -> list[str]:
    """The same files under other names, which come after those of `months`."""
    folder = Path(months[0]).parent.with_name("months-again")
    shutil.copytree(Path(months[0]).parent, folder)
    return [str(folder / Path(name).name) for name in months]


def ingest(lake: Lake, files, **options):
    return lake.ingest(
        files, space=SPACE, slot="3h", block_size=RANGE, client=ThreadExecutor(1), errors="report", **options
    )


@pytest.fixture
def undisturbed(months, tmp_path):
    lake = Lake(tmp_path / "undisturbed")
    ingest(lake, months)
    return lake


def answers(lake: Lake) -> tuple[str, str, bytes]:
    cube = lake.cube()
    rejects = lake.rejects().sort_values("line")[["offset", "line", "reason"]]  # whatever name of a file they came from
    return lake.trips().to_csv(), rejects.to_csv(index=False), cube.counts.tobytes() + cube.missing.tobytes()


def digest(lake: Lake) -> tuple[object, ...]:
    """Everything queries give, but the seconds it took."""
    return *answers(lake), lake.rejects().to_csv(), lake.sources().drop(columns="seconds").to_csv(), lake.fingerprint()


def whole(lake: Lake, expected: dict[str, int]) -> bool:
    """Every source that a reader sees is whole, and there once."""
    seen = lake._manifests.counted()
    months = [one.month for one in seen]
    assert len(set(months)) == len(months)
    assert all(one.kept == expected[one.month] for one in seen)
    assert len(lake.trips()) == sum(one.kept for one in seen)
    return len(seen) == len(expected)


def kept(lake: Lake) -> dict[str, int]:
    return {one.month: one.kept for one in lake._manifests.counted()}


def back() -> None:
    """The waits of regions that are dark are over."""
    for breaker in module._process.of.values():
        breaker.until = 0.0


@pytest.mark.parametrize("blocks", [0, 1, 4])
def test_the_active_region_ends_while_it_is_written(pair: Pair, months, undisturbed, blocks, caplog):
    lake = Lake(join(pair.url, "lake"), storage=pair.storage(moves=True))
    seen = []

    def end(block) -> None:
        seen.append(block)
        if len(seen) == blocks:
            pair.east.off()

    if blocks == 0:
        pair.east.off()
    result = ingest(lake, months, on_block=end)
    assert not result.failed
    assert lake.storage.regions.active.name == "us-west-2"
    assert "gone over from us-east-1 to us-west-2" in caplog.text
    assert answers(lake) == answers(undisturbed)
    pair.east.on()
    back()
    assert answers(lake) == answers(undisturbed)
    for number, _ in enumerate(pair.copy(seed=blocks)):
        if number % 10 == 0:
            assert whole(Lake(lake.url, storage=pair.storage()), kept(undisturbed))
    ends = [Lake(lake.url, storage=pair.only(side)) for side in ("east", "west")]
    assert digest(ends[0]) == digest(ends[1]) == digest(undisturbed)


def test_a_run_is_told_and_goes_over_itself(pair: Pair, months, undisturbed):
    storage = pair.storage()
    lake = Lake(join(pair.url, "lake"), storage=storage)
    with pytest.raises(RegionDarkError) as error:
        ingest(lake, months, on_block=lambda block: pair.east.off())
    assert error.value.region == "us-east-1"
    storage.regions.go_over(error.value)
    ingest(lake, months)
    assert answers(lake) == answers(undisturbed)


def test_readers_leave_out_what_is_not_whole_and_an_ingest_reads_it_again(pair: Pair, months, undisturbed, caplog):
    home = Lake(join(pair.url, "lake"), storage=pair.storage())
    ingest(home, months)
    first = {part.path for part in home._manifests.get(absolute(months[0])).parts}
    for _ in pair.copy(seed=0, only=lambda side, key: key.removeprefix("lake/") not in first):
        pass
    assert answers(home) == answers(undisturbed)  # what is not copied is read at home
    pair.east.off()
    reader = Lake(home.url, storage=pair.storage(active="west"))
    assert len(reader.trips()) == kept(undisturbed)["2015-02"]
    assert kept(reader) == {"2015-02": kept(undisturbed)["2015-02"]}
    told = f"{absolute(months[0])} is left out: {len(first)} parts not copied yet"
    assert told in caplog.text
    listed = reader.sources().set_index("url")
    assert listed.loc[absolute(months[0]), "rows"] == 0
    assert "left out" in listed.loc[absolute(months[0]), "note"]
    result = ingest(reader, months)
    assert [one.skipped for one in result.sources] == [False, True]
    assert answers(reader) == answers(undisturbed)
    pair.east.on()
    back()
    pair.settle(seed=1)
    for side in ("east", "west"):
        assert answers(Lake(home.url, storage=pair.only(side))) == answers(undisturbed)


@contextmanager
def cut(pair: Pair) -> Iterator[tuple[Storage, Storage]]:
    """Storages of two drivers, each of which sees one region only."""
    links = [Link(f"http://{link.behind}") for link in (pair.east, pair.west, pair.east, pair.west)]
    try:
        links[1].off()
        links[2].off()
        here = pair.regions(between=(links[0], links[1]))
        there = pair.regions(between=(links[2], links[3]), active="west")
        yield Storage(regions=here, attempts=2), Storage(regions=there, attempts=2)
    finally:
        for link in links:
            link.__exit__()


@pytest.mark.parametrize("seed", range(3))
def test_two_drivers_on_either_side_of_a_cut(pair: Pair, months, again, undisturbed, seed):
    """Each finishes; whatever is copied first, a reader sees whole sources, each content once, and in the end all."""
    drawn = random.Random(seed)
    url = join(pair.url, "lake")
    if seed % 2:  # there was a lake before
        ingest(Lake(url, storage=pair.storage()), months[:1])
        pair.settle()
    with cut(pair) as storages:
        steps = [(side, files) for side in (0, 1) for files in (months, again)]
        drawn.shuffle(steps)
        for side, files in steps:
            lake = Lake(url, storage=storages[side])
            assert not ingest(lake, files, rules=Rules(max_fare=499.99) if seed == 2 and side else None).failed
            assert whole(lake, kept(undisturbed))
        for storage in storages:
            assert answers(Lake(url, storage=storage)) == answers(undisturbed)
    expected = kept(undisturbed)
    views = [pair.only("east"), pair.only("west"), pair.storage(), pair.storage(active="west")]
    for number, _ in enumerate(pair.copy(seed=seed)):
        if number % 10 == seed:
            whole(Lake(url, storage=drawn.choice(views[2:])), expected)
    pair.settle(seed=seed)
    ends = [Lake(url, storage=view) for view in views]
    assert len({digest(lake) for lake in ends}) == 1
    assert answers(ends[0]) == answers(undisturbed)
    for storage in views[2:]:
        result = ingest(Lake(url, storage=storage), [*months, *again])
        assert not result.failed
        assert answers(Lake(url, storage=storage)) == answers(undisturbed)


def test_nothing_is_cleared_that_a_manifest_to_be_copied_may_name(pair: Pair, months, monkeypatch):
    lake = Lake(join(pair.url, "lake"), storage=pair.storage())

    def parts() -> set[str]:
        return {stat.url for stat in lake.storage.list(join(lake.url, "trips"))}

    ingest(lake, months)
    before = parts()
    pair.settle()
    ingest(lake, months, rules=Rules(max_fare=20))
    assert before < parts()  # they are of this day
    monkeypatch.setattr(sweeping, "SAFE_AGE", -60)
    ingest(lake, months, rules=Rules(max_fare=20))
    assert before < parts()  # the manifests differ
    pair.settle()
    ingest(lake, months, rules=Rules(max_fare=20))
    east = pair.only("east")
    there = {stat.url[len(lake.url) + 1 :] for stat in east.list(join(lake.url, "trips"))}
    assert there == {part.path for one in lake._manifests.all() for part in one.parts}
    lake.remove(months[1])
    assert list(kept(lake)) == ["2015-01"]
    assert len(east.list(join(lake.url, "trips"))) == len(there)  # its manifest differs
