from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxidask.cube import MAX_COUNT, Cube, add_counts
from taxidask.errors import CubeError
from taxidask.space import Grid
from taxidask.units import parse_slot, slot_name

settings.register_profile("steady", deadline=None)  # compiling and a busy machine make single examples slow
settings.load_profile("steady")

GRID = Grid(1, 2, west=0, south=0, east=2, north=1)
SLOTS = ["1min", "15min", "30min", "60min", "1D"]


def make(slots: int = 4, start: str = "2015-01-01", slot: str = "30min", seed: int = 0, missing=None) -> Cube:
    counts = np.random.default_rng(seed).integers(0, 9, (slots, 2, 2)).astype(np.int32)
    return Cube(counts, start=start, slot=slot, space=GRID, missing=missing)


@st.composite
def cubes(draw, slot: str | None = None) -> Cube:
    slot = slot or draw(st.sampled_from(SLOTS))
    first = draw(st.integers(0, 60))
    slots = draw(st.integers(0, 12))
    start = pd.Timestamp("2015-01-01") + first * pd.Timedelta(slot)
    counts = draw(st.lists(st.integers(0, 1000), min_size=slots * 4, max_size=slots * 4))
    missing = draw(st.lists(st.booleans(), min_size=slots, max_size=slots))
    array = np.array(counts, np.int32).reshape(slots, 2, 2)
    return Cube(array, start=start, slot=slot, space=GRID, missing=np.array(missing, bool))


def as_dict(cube: Cube) -> dict:
    """The slow obvious cube: time -> (counts, missing)."""
    return {t: (c, m) for t, c, m in zip(cube.times, cube.counts.tolist(), cube.missing.tolist(), strict=True)}


def test_attributes():
    cube = make(3)
    assert cube.start == pd.Timestamp("2015-01-01")
    assert cube.end == pd.Timestamp("2015-01-01 01:30")
    assert cube.slot == pd.Timedelta("30min")
    assert list(cube.times) == list(pd.date_range("2015-01-01", periods=3, freq="30min"))
    assert len(cube) == 3
    assert cube.counts.dtype == np.int32
    assert cube.missing.tolist() == [False] * 3


def test_int32_counts_are_taken_without_a_copy_and_cannot_be_changed_through_the_cube():
    counts = np.zeros((2, 2, 2), np.int32)
    cube = Cube(counts, start="2015-01-01", space=GRID)
    assert np.shares_memory(counts, cube.counts)
    with pytest.raises(ValueError, match="read-only"):
        cube.counts[0, 0, 0] = 1
    counts[0, 0, 0] = 1


@given(cubes("30min"), cubes("30min"))
def test_adding_is_slot_by_slot_over_the_union_of_spans(a, b):
    total = a + b
    assert total == b + a
    x, y = as_dict(a), as_dict(b)
    assert total.start == min(a.start, b.start)
    assert total.end == max(a.end, b.end)
    nothing = ([[0, 0], [0, 0]], True)
    for time, (counts, missing) in as_dict(total).items():
        one, two = x.get(time, nothing), y.get(time, nothing)
        assert counts == (np.array(one[0]) + np.array(two[0])).tolist()
        assert missing == (one[1] and two[1])


@given(st.lists(cubes("30min"), min_size=1, max_size=4))
def test_sum_of_cubes(parts):
    total = sum(parts)
    assert total.total() == tuple(np.sum([part.total() for part in parts], axis=0))


@given(cubes("15min"))
def test_reslot_keeps_totals_and_steps_agree(cube):
    half = cube.reslot("30min")
    hour = cube.reslot("60min")
    assert half.reslot("60min") == hour
    assert cube.total() == half.total() == hour.total()
    slow: dict = {}
    for time, (counts, _) in as_dict(cube).items():
        slow[time.floor("60min")] = slow.get(time.floor("60min"), 0) + np.array(counts)
    covered = {t for t, (_, missing) in as_dict(cube).items() if not missing}
    for time, (counts, missing) in as_dict(hour).items():
        assert counts == np.asarray(slow.get(time, [[0, 0], [0, 0]])).tolist()
        quarters = [time + k * pd.Timedelta("15min") for k in range(4)]
        assert missing == (not covered.issuperset(quarters))


@given(cubes(), st.data())
def test_between_leaves_out_the_end(cube, data):
    n = len(cube)
    if n < 1:
        return
    i = data.draw(st.integers(0, n - 1))
    j = data.draw(st.integers(i + 1, n))
    part = cube.between(cube.start + i * cube.slot, cube.start + j * cube.slot)
    assert np.array_equal(part.counts, cube.counts[i:j])
    assert np.array_equal(part.missing, cube.missing[i:j])
    assert list(part.times) == list(cube.times[i:j])


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("2014-12-31", "2015-01-01 01:00", "start 2014-12-31 00:00 lies outside the cube, which goes from 2015-01-01"),
        ("2015-01-01", "2015-01-01 02:30", "end 2015-01-01 02:30 lies outside"),
        ("2015-01-01 00:10", "2015-01-01 02:00", "use 2015-01-01 00:00 or 2015-01-01 00:30"),
        ("2015-01-01 01:00", "2015-01-01 01:00", "is not before"),
        ("2015-01-01 01:00", "2015-01-01 00:30", "is not before"),
    ],
)
def test_between_outside_or_askew_is_an_error(start, end, says):
    with pytest.raises(CubeError, match=says):
        make(4).between(start, end)


def test_cubes_of_other_spaces_or_slots_do_not_add():
    other = Grid(1, 2, west=0, south=0, east=3, north=1)
    with pytest.raises(CubeError, match="different spaces"):
        make() + Cube(make().counts, start="2015-01-01", space=other)
    with pytest.raises(CubeError, match=r"bring both to the same slots first: cube.reslot\('60min'\)"):
        make() + make(slot="60min")
    with pytest.raises(TypeError):
        make() + 1


def test_overflow_is_an_error_and_names_the_place():
    full = np.zeros((2, 2, 2), np.int32)
    full[1, 0, 1] = MAX_COUNT
    cube = Cube(full, start="2015-01-01", space=GRID)
    with pytest.raises(CubeError, match=r"slot 1, cell 0, dropoffs: the sum is above 2,147,483,647"):
        cube + cube
    both = np.full((2, 2, 2), MAX_COUNT, np.int32)
    with pytest.raises(CubeError, match="above"):
        Cube(both, start="2015-01-01", space=GRID).reslot("60min")
    assert cube.total() == (0, MAX_COUNT)


@pytest.mark.parametrize("bad", [-1, 2**31, 2**40])
def test_counts_outside_int32_are_refused(bad):
    counts = np.zeros((2, 2, 2), np.int64)
    counts[1, 1, 0] = bad
    with pytest.raises(CubeError, match=f"slot 1, cell 1, pickup: a count cannot be {bad:,}"):
        Cube(counts, start="2015-01-01", space=GRID)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"counts": np.zeros((2, 3, 2), np.int32)}, r"shape \(2, 3, 2\) do not fit 2 cells"),
        ({"counts": np.zeros((2, 2), np.int32)}, "do not fit"),
        ({"counts": np.zeros((2, 2, 2))}, "float64 are no whole numbers"),
        ({"start": "2015-01-01 00:15"}, "not the start of a slot of 30min"),
        ({"start": "2015-01-01 00:00:00.000001"}, "not the start of a slot"),
        ({"start": 20150101}, "is no time"),
        ({"start": pd.Timestamp("2015-01-01 00:15", tz="UTC")}, "start 2014-12-31 19:15:00 is not the start of a slot"),
        ({"start": "someday"}, "is no time"),
        ({"start": None}, "is no time"),
        ({"slot": "7min"}, "no whole number of slots"),
        ({"slot": "2D"}, "no whole number of slots"),
        ({"slot": "half an hour"}, "no length of a slot"),
        ({"slot": "0min"}, "no length of a slot"),
        ({"slot": "-30min"}, "no length of a slot"),
        ({"slot": "500ms"}, "no length of a slot"),
        ({"missing": [True]}, r"bools of shape \(2,\)"),
        ({"missing": [0, 1]}, "bools"),
        ({"space": "new_york"}, "space cannot be 'new_york'"),
    ],
)
def test_what_makes_no_cube(change, says):
    good = {"counts": np.zeros((2, 2, 2), np.int32), "start": "2015-01-01", "slot": "30min", "space": GRID}
    with pytest.raises(CubeError, match=says):
        Cube(**(good | change))


def test_times_of_a_zone_become_new_york_s():
    cube = Cube(np.zeros((48, 2, 2), np.int32), start=pd.Timestamp("2015-07-01 04:00", tz="UTC"), space=GRID)
    assert cube.start == pd.Timestamp("2015-07-01")
    part = cube.between("2015-07-01T05:00:00-07:00", pd.Timestamp("2015-07-01 14:00", tz="Europe/London"))
    assert (part.start, part.end) == (pd.Timestamp("2015-07-01 08:00"), pd.Timestamp("2015-07-01 09:00"))


@pytest.mark.parametrize("slot", ["20min", "45min", "15min"])
def test_only_whole_multiples_can_be_made(slot):
    with pytest.raises(CubeError):
        make(slot="30min").reslot(slot)


def test_reslot_pads_what_does_not_begin_on_the_hour():
    cube = make(4, start="2015-01-01 00:30")
    hour = cube.reslot("60min")
    assert hour.start == pd.Timestamp("2015-01-01")
    assert hour.missing.tolist() == [True, False, True]
    assert hour.total() == cube.total()


def test_to_pandas():
    cube = make(3, missing=[False, True, False])
    frame = cube.to_pandas()
    assert frame.columns.tolist() == ["time", "cell", "pickups", "dropoffs", "missing"]
    for row in frame.itertuples():
        slot = cube.times.get_loc(row.time)
        assert (row.pickups, row.dropoffs) == tuple(cube.counts[slot, row.cell])
        assert row.missing == cube.missing[slot]
    assert len(frame) == 6


def test_to_xarray():
    cube = make(3, missing=[False, True, False])
    trips = cube.to_xarray()
    assert trips.dims == ("time", "cell", "direction")
    assert trips.sel(time="2015-01-01 00:30", cell=1, direction="dropoff").item() == cube.counts[1, 1, 1]
    assert trips.where(~trips.missing, drop=True).sizes["time"] == 2
    assert trips.longitude.to_numpy().tolist() == [0.5, 1.5]
    assert trips.attrs == {"slot": "30min", "space": GRID.key, "long_name": "trip ends", "units": "1"}


def test_by_slot_and_by_cell_sum_to_the_total():
    cube = make(5)
    assert tuple(cube.by_slot()[["pickups", "dropoffs"]].sum()) == cube.total()
    assert tuple(cube.by_cell().sum()) == cube.total()
    assert (cube.by_slot().index == cube.times).all()


def test_equality():
    assert make() == make()
    assert make() != make(seed=1)
    assert make() != make(start="2015-01-02")
    assert make() != make(slot="60min")
    assert make() != make(missing=[True, False, False, False])
    assert make() != "cube"
    assert pickle.loads(pickle.dumps(make())) == make()
    with pytest.raises(TypeError):
        hash(make())


def test_repr_says_what_is_in_it():
    assert repr(make(2)) == (
        "Cube: 2 slots of 30min from 2015-01-01 00:00 to 2015-01-01 01:00, 2 cells (Grid 1 × 2), "
        f"{make(2).total().pickups} pickups, {make(2).total().dropoffs} dropoffs"
    )
    assert repr(make(2, missing=[True, False])).endswith(", 1 slot missing")
    assert "<td style='text-align:left'>2 of 30min</td>" in make(2)._repr_html_()


@pytest.mark.parametrize("slot", SLOTS)
def test_slot_names_can_be_read_again(slot):
    assert parse_slot(slot_name(parse_slot(slot))) == pd.Timedelta(slot)


@pytest.mark.parametrize(("shape", "first"), [((2, 2, 2), 2), ((2, 2, 2), -1), ((1, 3, 2), 0)])
def test_add_counts_refuses_what_does_not_fit(shape, first):
    with pytest.raises(CubeError, match="do not fit at slot"):
        add_counts(np.zeros((3, 2, 2), np.int32), np.zeros(shape, np.int32), first)
