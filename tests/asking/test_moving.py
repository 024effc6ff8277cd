"""Added trips on their way into the lake: each in every answer once, wherever a driver is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import taxidask as td
from taxidask.asking import add_trip, answer, ask_trips, load_file, save_trips
from taxidask.asking.moving import bring, settle, waits
from taxidask.errors import LakeError, SourceError
from taxidask.results.dynamodb import DynamoDBStore
from taxidask.results.sqlite import SQLiteStore
from taxidask.space import Grid
from taxidask.storage import Storage


def move(store, lake) -> list[str]:
    """What a run does with added trips."""
    space = lake.choose_space("auto", []).space
    sources, left = bring(store, lake, space)
    if sources:
        lake.ingest(sources, errors="report")
    settle(store, lake)
    return left


@pytest.fixture
def prepared(lake, line, write, form):
    """A lake of 20 trips, and 30 of a file and 5 from the form that are added."""
    lake.ingest(write("yellow_tripdata_2013-02.csv", [line(f"2013-02-01 10:{i:02d}:00") for i in range(20)]))

    def fill(store):
        lines = [line(f"2013-02-{1 + i % 5:02d} 12:{i:02d}:00", fare=11) for i in range(30)]
        assert load_file(write("more.csv", lines), store=store, lake=lake, who="ann").kept == 30
        for i in range(5):
            assert add_trip(form | {"tip_amount": i}, store=store, who="ann")[1]

    return fill


def count(store, lake) -> int:
    return ask_trips(store=store, lake=td.Lake(lake.url), limit=0).count


def test_trips_move_once_and_are_forgotten(store, lake, prepared, form):
    prepared(store)
    assert count(store, lake) == 55
    assert len(lake.trips()) == 20
    assert waits(store, lake)
    assert move(store, lake) == []
    assert (count(store, lake), len(lake.trips())) == (55, 55)
    assert list(store.added_trips()) == []
    assert not waits(store, lake)
    assert not add_trip(form | {"tip_amount": 3}, store=store, who="bob")[1], "the lake has it"
    assert add_trip(form | {"tip_amount": 9}, store=store, who="bob")[1]
    move(store, lake)
    assert (count(store, lake), len(lake.trips())) == (56, 56)


class Killed(BaseException):
    """What ends a driver here; nothing catches it."""


@pytest.fixture
def kill(monkeypatch) -> Iterator[object]:
    """Have the n-th write, of a store or a storage, from now on end the driver, before or after it was done."""
    state = {"left": -1, "after": False}

    def guard(owner, name):
        real = getattr(owner, name)

        def write(self, *given, **named):
            state["left"] -= 1
            if state["left"] == 0 and not state["after"]:
                raise Killed
            result = real(self, *given, **named)
            if state["left"] == 0:
                raise Killed
            return result

        monkeypatch.setattr(owner, name, write)

    for name in ("_put", "_insert", "_delete", "_update"):
        for owner in (SQLiteStore, DynamoDBStore):
            guard(owner, name)
    for name in ("write", "create", "replace", "delete"):
        guard(Storage, name)

    def arm(left: int, *, after: bool = False) -> None:
        state.update(left=left, after=after)

    yield arm
    state["left"] = -1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_driver_may_be_killed_at_any_write(sqlite, lake, prepared, kill, after):
    prepared(sqlite)
    killed = 0
    for at in range(1, 200):
        kill(at, after=after)
        try:
            move(sqlite, lake)
        except (Killed, td.errors.TaxidaskError):
            killed += 1
        else:
            kill(-1)
            break
        kill(-1)
        assert count(sqlite, lake) == 55, at
    assert killed >= 2, "what was written stays, and others write meanwhile, so that few attempts get it done"
    # each attempt went on where the former was killed: once more from the beginning, killed at every place of it
    assert (count(sqlite, lake), len(lake.trips())) == (55, 55)
    assert list(sqlite.added_trips()) == []


@pytest.mark.parametrize("at", range(1, 26))
def test_a_driver_that_was_killed_is_followed_by_one_that_is_not(sqlite, lake, prepared, kill, at):
    prepared(sqlite)
    kill(at)
    with contextlib.suppress(Killed, td.errors.TaxidaskError):
        move(sqlite, lake)
    kill(-1)
    assert count(sqlite, lake) == 55
    move(sqlite, lake)
    assert (count(sqlite, lake), len(lake.trips())) == (55, 55)
    assert list(sqlite.added_trips()) == []


def test_an_answer_that_is_overtaken_by_a_whole_run_has_each_trip_once(store, lake, prepared, monkeypatch):
    prepared(store)
    real = answer.ask

    def ask(lake, **how):
        move(store, td.Lake(lake.url))
        return real(lake, **how)

    monkeypatch.setattr(answer, "ask", ask)
    assert list(store.added_trips())
    assert ask_trips(store=store, lake=lake).count == 55
    assert list(store.added_trips()) == []


def test_a_driver_that_is_overtaken_by_another_adds_nothing_twice(store, lake, prepared, form, monkeypatch):
    prepared(store)
    kind, real, other = type(store), type(store).begin_batch, td.open_store(store.url)

    def begin(self, number, **how):
        monkeypatch.setattr(kind, "begin_batch", real)
        add_trip(form | {"tip_amount": 7}, store=other, who="bob")
        move(other, td.Lake(lake.url))
        return real(self, number, **how)

    monkeypatch.setattr(kind, "begin_batch", begin)
    move(store, lake)
    move(store, lake)
    assert (count(store, lake), len(lake.trips())) == (56, 56)


def test_a_file_counts_once_whichever_way_it_came_first(store, lake, line, write):
    first, second = (write(f"{name}.csv", [line(f"2013-02-0{i} 10:00:00") for i in (1, 2)]) for name in "ab")
    assert load_file(first, store=store, lake=lake, who="ann").kept == 2
    again = load_file(second, store=store, lake=lake, who="bob")
    assert (again.place, again.kept) == ("", 0)
    assert "by ann as a.csv" in again.note
    lake.ingest(second)
    assert count(store, lake) == 2, "in the store and in the lake"
    move(store, lake)
    assert (count(store, lake), len(lake.trips())) == (2, 2)
    assert list(store.added_trips()) == []
    third = write("c.csv", [line("2013-02-05 10:00:00")])
    lake.ingest(third)
    told = load_file(third, store=store, lake=lake, who="ann")
    assert (told.place, told.note) == ("", f"the lake has the same content as {third}")
    assert load_file(first, store=store, lake=lake, who="ann").note == f"the lake has the same content as {second}"


def test_a_file_moved_from_the_store_is_a_second_name_when_it_is_ingested(store, lake, line, write):
    path = write("yellow_tripdata_2013-02.csv", [line("2013-02-01 10:00:00"), line("2013-03-01 10:00:00")])
    loaded = load_file(path, store=store, lake=lake, who="ann")
    assert loaded.rejected == {"outside_month": 1}
    move(store, lake)
    (source,) = lake.ingest(path).sources
    assert source.duplicate_of.endswith("_2013-02.csv")
    assert (count(store, lake), len(lake.trips())) == (1, 1)
    assert lake.sources()["outside_month"].tolist()[:1] == [1]


def test_a_file_taken_out_of_the_lake_may_be_loaded_again(store, lake, line, write):
    path = write("a.csv", [line()])
    load_file(path, store=store, lake=lake, who="ann")
    move(store, lake)
    lake.remove(lake.sources()["url"][0])
    assert count(store, lake) == 0
    assert load_file(path, store=store, lake=lake, who="ann").kept == 1
    move(store, lake)
    assert (count(store, lake), len(lake.trips())) == (1, 1)


def test_a_larger_file_goes_into_the_lake(store, lake, line, write, monkeypatch):
    monkeypatch.setattr("taxidask.asking.loading.MOST_ROWS", 10)
    path = write("a.csv", [line(f"2013-02-03 10:{i:02d}:00") for i in range(11)] + [line(fare=900)])
    with pytest.raises(td.errors.LakeError, match="more than 10 rows"):
        load_file(path, store=store, who="ann")
    seen: list[dict] = []
    loaded = load_file(path, store=store, lake=lake, who="ann", progress=seen.append)
    assert (loaded.place, loaded.rows, loaded.kept, loaded.rejected) == ("lake", 12, 11, {"fare_out_of_range": 1})
    assert loaded.rejects["reason"].tolist() == ["fare_out_of_range"]
    assert sum(block["rows"] for block in seen) == 12
    assert sum(block["bytes"] for block in seen) == Path(path).stat().st_size
    assert loaded.url.startswith(f"{lake.url}/uploads/")
    assert load_file(path, store=store, lake=lake, who="ann").place == ""
    assert (count(store, lake), len(lake.trips())) == (11, 11)
    (source,) = lake.ingest(path).sources
    assert source.duplicate_of == loaded.url


def test_a_load_that_was_killed_shows_nothing_and_is_done_again(sqlite, lake, line, write, kill):
    path = write("a.csv", [line(f"2013-02-03 10:{i:02d}:00") for i in range(11)])
    for at in range(1, 20):
        kill(at, after=True)
        try:
            load_file(path, store=sqlite, lake=lake, who="ann")
        except Killed:
            kill(-1)
            state = sqlite.loads()
            done = any(load["state"] == "there" for load in state.values())
            assert count(sqlite, lake) == (11 if done else 0)
            if done:
                break
        else:
            break
    kill(-1)
    load_file(path, store=sqlite, lake=lake, who="ann")
    assert count(sqlite, lake) == 11
    move(sqlite, lake)
    assert (count(sqlite, lake), len(lake.trips())) == (11, 11)


def test_what_a_killed_load_left_is_no_part_of_the_next_that_was_told_a_month(store, lake, line, write, kill):
    days = ("2013-02-27", "2013-02-28", "2013-03-01", "2013-03-02")
    path = write("a.csv", [line(f"{day} 10:{minute:02d}:00") for day in days for minute in range(5)])
    kill(4, after=True)  # its load, its bytes, its days, and all its rows
    with pytest.raises(Killed):
        load_file(path, store=store, lake=lake, who="ann")
    kill(-1)
    assert len(list(store.added_trips())) == 20
    loaded = load_file(path, store=store, lake=lake, who="ann", month="2013-02")
    assert (loaded.rows, loaded.kept, loaded.rejected) == (20, 10, {"outside_month": 10})
    assert count(store, lake) == len(list(store.added_trips())) == 10
    move(store, lake)
    assert (count(store, lake), len(lake.trips()), len(list(store.added_trips()))) == (10, 10, 0)


def test_a_load_that_another_overtook_brings_nothing(store, lake, line, write, monkeypatch):
    path = write("a.csv", [line(f"2013-02-03 10:{minute:02d}:00") for minute in range(5)])
    mark, others = type(store)._mark, []

    def overtaken(self, days):
        mark(self, days)
        if not others:
            others.append(1)
            assert load_file(path, store=store, lake=lake, who="bob").place == "store"

    monkeypatch.setattr(type(store), "_mark", overtaken)
    assert load_file(path, store=store, lake=lake, who="ann").place == ""
    assert count(store, lake) == 5
    move(store, lake)
    assert (count(store, lake), len(lake.trips()), len(list(store.added_trips()))) == (5, 5, 0)


@pytest.mark.parametrize("time", ["1950-01-01 10:00:00", "2099-01-01 10:00:00"])
def test_a_file_of_no_month_with_another_century_is_refused(sqlite, lake, line, write, time):
    path = write("a.csv", [line("2013-02-03 10:00:00"), line(time)])
    with pytest.raises(SourceError, match=r"1 trip of 2 did not begin from 2009 to today.*--month"):
        load_file(path, store=sqlite, lake=lake, who="ann")
    assert count(sqlite, lake) == 0
    assert load_file(path, store=sqlite, lake=lake, who="ann", month="2013-02").kept == 1


def test_zones_that_a_grid_cannot_place_stay_in_the_store_and_in_answers(store, lake, prepared, form):
    prepared(store)
    places = {name: "" for name in form if name.endswith("itude")}
    zoned = form | places | {"pickup_location_id": "132", "dropoff_location_id": "1"}
    add_trip(zoned, store=store, who="ann")
    assert isinstance(lake.space, Grid)
    (note,) = move(store, lake)
    assert "cannot place" in note
    assert (count(store, lake), len(lake.trips())) == (56, 55)
    lake.recount(space="zones")
    assert move(store, lake) == []
    assert (count(store, lake), len(lake.trips())) == (56, 56)


def test_single_trips_count_in_the_cube_and_cover_no_days(store, lake, line, write, form):
    lake.ingest(write("a.csv", [line("2013-02-01 10:00:00"), line("2013-02-02 10:00:00")]))
    for day in ("2013-02-01", "2013-02-05", "2019-07-01"):
        times = {"pickup_datetime": f"{day} 18:30", "dropoff_datetime": f"{day} 18:40"}
        add_trip(form | times, store=store, who="ann")
    move(store, lake)
    cube = lake.cube()
    assert str(cube.end) == "2013-02-03 00:00:00"
    assert int(cube.counts[..., 0].sum()) == 3
    assert count(store, lake) == 5


def test_a_lake_that_is_not_there_is_no_empty_one_where_the_store_knows_of_one(store, lake, prepared, form, tmp_path):
    add_trip(form | {"tip_amount": "8"}, store=store, who="ann")
    other = td.Lake(tmp_path / "elsewhere")
    assert ask_trips(store=store, lake=other).count == 1, "nothing has gone into a lake yet"
    prepared(store)
    move(store, lake)
    add_trip(form | {"tip_amount": "9"}, store=store, who="ann")
    for ask in (ask_trips, partial(save_trips, str(tmp_path / "out.csv"))):
        with pytest.raises(LakeError, match=r"there is no lake at .*elsewhere, and .* knows of one at .*lake"):
            ask(store=store, lake=other)
    assert ask_trips(store=store, lake=lake).count == 57
