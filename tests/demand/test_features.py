from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.demand.calendar import holiday_days, slots_per_day
from taxidask.demand.features import History, feature_names, neighbour_table
from taxidask.demand.tasks import pack
from taxidask.demand.training import Options
from taxidask.demand.weather import COLUMNS, align_weather


def history(cube: td.Cube, **options) -> History:
    return History(
        cube.counts,
        missing=cube.missing,
        start=cube.start,
        slot=cube.slot,
        neighbours=neighbour_table(cube.space),
        **options,
    )


def changed(cube: td.Cube, *, at: slice, missing=None) -> td.Cube:
    counts = cube.counts.copy()
    counts[at] = np.random.default_rng(9).integers(0, 500, counts[at].shape)
    return td.Cube(counts, start=cube.start, slot=cube.slot, space=cube.space, missing=missing)


@pytest.mark.parametrize("lead", [1, 5, 24, 168, 200])
def test_nothing_after_the_origin_is_looked_at(month, lead):
    origin = np.arange(420, 460)
    for last in (419 + 1, 440):
        before, after = history(month), history(changed(month, at=slice(last + 1, None)))
        known = origin[origin <= last]
        for a, b in zip(
            before.block(known, np.full(len(known), lead)), after.block(known, np.full(len(known), lead)), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_the_future_need_not_be_there(month):
    whole, part = history(month), history(month.between(month.start, month.times[500]), ahead=24)
    lead = np.arange(1, 25)
    for a, b in zip(whole.block(np.full(24, 499), lead), part.block(np.full(24, 499), lead), strict=True):
        np.testing.assert_array_equal(a, b)


def test_counts_of_missing_slots_mean_nothing(month):
    missing = np.zeros(len(month), bool)
    missing[300:330] = missing[500:503] = True
    same = td.Cube(month.counts, start=month.start, slot=month.slot, space=month.space, missing=missing)
    other = changed(changed(month, at=slice(300, 330)), at=slice(500, 503), missing=missing)
    origin, lead = np.arange(400, 640), np.full(240, 3)
    for a, b in zip(history(same).block(origin, lead), history(other).block(origin, lead), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


def test_a_missing_month_does_not_leave_it_blind(month):
    """Earlier weeks stand in: after 5 empty weeks the base still knows night from day."""
    counts = np.concatenate([month.counts, np.zeros((5 * 168, *month.counts.shape[1:]), np.int32), month.counts[:48]])
    missing = np.zeros(len(counts), bool)
    missing[len(month) : len(month) + 5 * 168] = True
    base = history(td.Cube(counts, start=month.start, slot="60min", space=month.space, missing=missing)).base(1)
    day = base[-48:-24, -1]
    assert day.max() > 3 * day.min()


def test_names_are_those_of_the_columns(month):
    weather = np.zeros((len(month), 5), np.float32)
    assert history(month).names == feature_names(weather=False, weekly=True)
    with_weather = history(month, weather=weather)
    assert with_weather.names == feature_names(weather=True, weekly=True)
    features, base = with_weather.block(np.array([400]), np.array([1]))
    assert features.shape == (1, 24, len(with_weather.names))
    assert base.shape == (1, 24)


def test_base_is_the_mean_of_the_same_slots(month):
    """In a busy cell; a quiet one leans on the city's profile."""
    of = history(month, calendar=None)
    of.weight[:] = 1
    of._bases.clear()
    target = np.arange(3 * 168 + 24, len(month))
    mean = np.mean([of.y[target - 168 * k] for k in (1, 2, 3)], axis=0)
    np.testing.assert_allclose(of.base(1)[target][:, -1], mean[:, -1], rtol=0.15)
    assert of.base(1)[target][:, 0].std() < mean[:, 0].std()


def test_holidays_and_clocks(month):
    days = pd.DatetimeIndex(["2015-07-03", "2015-07-04", "2015-07-05", "2015-11-26"])
    assert holiday_days(days, "US-NY").tolist() == [True, True, False, True]
    assert not holiday_days(days, None).any()
    with pytest.raises(td.TaxidaskError, match="'XX'"):
        holiday_days(days, "XX")
    spring = td.Cube(month.counts, start="2015-03-01", slot="60min", space=month.space)
    assert history(spring).seen[7 * 24 + 2] == 0  # 2 o'clock on 8 March never was
    assert history(spring, timezone=None).seen.all()
    autumn = history(td.Cube(month.counts, start="2015-10-25", slot="60min", space=month.space))
    np.testing.assert_array_equal(autumn.y[7 * 24 + 1] * 2, month.counts[7 * 24 + 1].ravel())
    with pytest.raises(td.TaxidaskError, match="Nowhere/City"):
        history(month, timezone="Nowhere/City")


def test_a_slot_must_divide_a_day():
    assert slots_per_day(pd.Timedelta("15min")) == 96
    with pytest.raises(td.TaxidaskError, match="does not divide a day"):
        slots_per_day(pd.Timedelta("7min"))


@pytest.fixture
def weather() -> pd.DataFrame:
    times = pd.date_range("2015-01-01", periods=48, freq="h")
    columns = ("temp_F", "liq_precp_1hr", "snow_depth_in", "wind_spd", "visib_mile")
    return pd.DataFrame({"pickup_dt": times, **{name: np.arange(48.0) for name in columns}, "dew_point": 1.0})


def test_weather_is_brought_to_the_slots(weather):
    times = pd.date_range("2015-01-01", periods=96, freq="30min")
    found = align_weather(weather, times)
    assert found.shape == (96, 5)
    np.testing.assert_array_equal(found[:, 0], np.repeat(np.arange(48), 2))
    np.testing.assert_array_equal(align_weather(weather.drop(index=[5, 6]), times)[10:14, 0], 4)  # carried on
    np.testing.assert_array_equal(align_weather(weather.set_index("pickup_dt"), times), found)


def test_weather_that_is_not_there(weather):
    times = pd.date_range("2015-01-01", periods=96, freq="30min")
    with pytest.raises(
        td.TaxidaskError, match="weather is missing for 5 of 96 slots, from 2015-01-01 08:30:00 to 2015-01-01 10:30:00"
    ):
        align_weather(weather.drop(index=range(6, 14)).assign(pickup_dt=lambda d: d.pickup_dt), times)
    with pytest.raises(td.TaxidaskError, match=r"no column temp_F; its columns must be temp_F \(°F\)"):
        align_weather(weather.drop(columns="temp_F"), times)
    with pytest.raises(td.TaxidaskError, match="has no times"):
        align_weather(weather.drop(columns="pickup_dt"), times)
    with pytest.raises(td.TaxidaskError, match="is a list"):
        align_weather([1], times)
    with pytest.raises(td.TaxidaskError, match=r"no number: .*'30\.0s'"):
        align_weather(weather.assign(temp_F="30.0s"), times)
    with pytest.raises(td.TaxidaskError, match="more than one column temp_F"):
        align_weather(pd.concat([weather, weather[["temp_F"]]], axis=1), times)
    with pytest.raises(td.TaxidaskError, match="missing for 96 of 96 slots"):
        align_weather(weather.assign(pickup_dt="2300-01-01 00:00:00"), times)
    with pytest.raises(td.TaxidaskError, match="has a time 'noon', which is none"):
        align_weather(weather.assign(pickup_dt="noon"), times)


@pytest.mark.parametrize(
    ("name", "value"),
    [("temp_F", 1e30), ("temp_F", -999), ("wind_spd", np.inf), ("visib_mile", 9999), ("liq_precp_1hr", -1)],
)
def test_weather_far_from_any_is_refused(weather, name, value):
    times = pd.date_range("2015-01-01", periods=96, freq="30min")
    weather = weather.astype({name: "float64"})
    weather.loc[7, name] = value
    with pytest.raises(
        td.TaxidaskError, match=rf"{name} {value:g} at 2015-01-01 07:00:00 and 1 such".replace("+", "\\+")
    ):
        align_weather(weather, times)


def test_weather_with_a_zone_becomes_new_yorks(weather):
    times = pd.date_range("2015-01-01", periods=96, freq="30min")
    there = align_weather(weather, times)
    local = weather["pickup_dt"].dt.tz_localize("America/New_York")
    written = local.dt.tz_convert("UTC").map(pd.Timestamp.isoformat)
    for given in (local, local.dt.tz_convert("UTC"), local.dt.tz_convert("Asia/Tokyo"), written, written.astype("str")):
        np.testing.assert_array_equal(align_weather(weather.assign(pickup_dt=given), times), there)
    np.testing.assert_array_equal(align_weather(weather.set_index(pd.DatetimeIndex(local)), times), there)


@pytest.mark.parametrize("name", ["temp_F", "visib_mile"])
def test_no_column_is_carried_further_than_three_hours(weather, name):
    times = pd.date_range("2015-01-01", periods=96, freq="30min")
    short = weather.copy()
    short.loc[10:14, name] = np.nan  # nothing from 10:00 until 15:00
    found = align_weather(short, times)[:, list(COLUMNS).index(name)]
    np.testing.assert_array_equal(found[18:26], [9] * 7 + [15])  # 12:00 is three hours on, 12:30 is not
    np.testing.assert_array_equal(found[26:32], [15] * 6)
    short.loc[10:18, name] = np.nan
    with pytest.raises(
        td.TaxidaskError,
        match=rf"missing for 7 of 96 slots, from 2015-01-01 12:30:00 to 2015-01-01 15:30:00 \({name}\)",
    ):
        align_weather(short, times)
    short.loc[:18, name] = np.nan
    with pytest.raises(td.TaxidaskError, match=rf"from 2015-01-01 00:00:00 to 2015-01-01 15:30:00 \({name}\)"):
        align_weather(short, times)


def test_only_holidays_that_change_the_traffic_count():
    ordinary = ["2014-11-11", "2014-11-04", "2015-02-12", "2015-02-15", "2012-02-13"]
    quiet = ["2015-01-01", "2015-01-19", "2015-02-16", "2015-05-25", "2015-07-03", "2015-09-07", "2015-10-12"]
    quiet += ["2015-11-26", "2015-12-25", "2010-02-15"]
    assert not holiday_days(pd.DatetimeIndex(ordinary), "US-NY").any()
    assert holiday_days(pd.DatetimeIndex(quiet), "US-NY").all()


def apart(month: td.Cube, weeks: int) -> td.Cube:
    """The month, its second half `weeks` weeks later."""
    half, gap = len(month) // 2 // 7 * 7, weeks * 7 * round(pd.Timedelta("1D") / month.slot)
    counts = np.insert(month.counts, [half] * gap, 0, axis=0)
    missing = np.zeros(len(counts), bool)
    missing[half : half + gap] = True
    return td.Cube(counts, start=month.start, slot=month.slot, space=month.space, missing=missing)


@pytest.mark.parametrize("weekly", [True, False])
def test_a_gap_that_is_shortened_changes_nothing_that_is_looked_at(month, weekly):
    cube, day, horizon = apart(month, 40), slots_per_day(month.slot), 30
    whole = history(cube, weekly=weekly, ahead=horizon)
    parcel, options = pack(cube, None), Options(horizon=horizon)
    short = parcel.history(options, slots=len(cube), weekly=weekly, ahead=horizon)
    removed = whole.slots - short.slots
    assert removed % (7 * day) == 0
    assert removed >= 28 * 7 * day
    assert len(parcel.counts) == len(month)  # slots without data are not carried along
    gap = np.flatnonzero(cube.missing)
    target = np.concatenate([np.arange(gap[0]), np.arange(gap[-1] + 1, len(cube) + horizon)])
    for lead in (1, 7, horizon):
        origin = target - lead
        near = np.where(
            target > gap[-1], origin - removed, origin
        )  # an origin in the gap too, of what is asked after it
        ok = whole.usable(origin, np.full(len(origin), lead))
        assert (ok == short.usable(near, np.full(len(near), lead))).all()
        assert ok.sum() > len(month) // 3
        for a, b in zip(
            whole.block(origin[ok], np.full(ok.sum(), lead)),
            short.block(near[ok], np.full(ok.sum(), lead)),
            strict=True,
        ):
            a, b = a.copy(), b.copy()
            if a.ndim == 3:
                crossed = a[:, :, 0] != b[:, :, 0]  # the lead itself: how long the gap is
                assert (target[ok][crossed.any(1)] - gap[-1] <= horizon).all()
                a[:, :, 0] = b[:, :, 0] = 0
            np.testing.assert_array_equal(a, b)
    # of what is asked from the middle of a gap on, nothing is left out
    asked = parcel.history(options, slots=len(cube), weekly=weekly, since=gap[len(gap) // 2])
    assert 0 < whole.slots - asked.slots < removed
