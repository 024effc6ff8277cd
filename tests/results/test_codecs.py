"""Properties of keys, values and items, for any input; and their round trip through both stores."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taxidask.errors import StoreError
from taxidask.results import items as codec
from taxidask.results import keys, wire
from taxidask.results.values import item_bytes, plain, same, six_digits, value_bytes

TEXT = st.text(max_size=20)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-130 <= abs(x) <= 1e125),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXT.filter(bool), inner, max_size=5)),
    max_leaves=20,
)
CARDS = st.dictionaries(TEXT.filter(bool), VALUES, max_size=6)
over_stores = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


# -- values and their sizes --------------------------------------------------------------------------------------------


@given(VALUES)
def test_plain_values_equal_what_went_in(value):
    assert same(plain(value), json.loads(json.dumps(plain(value))))
    assert plain(value) == value
    assert plain(plain(value)) == plain(value)


@given(VALUES)
def test_the_wire_gives_back_what_went_in(value):
    there = plain(value)
    back = wire.decode(wire.encode(there))
    assert same(back, there)
    assert repr(_ordered(back)) == repr(_ordered(there))  # also int or float


def _ordered(value):
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(entry) for entry in value] if isinstance(value, list) else value


@given(CARDS)
def test_the_wire_is_what_boto3_writes_and_reads(card):
    there = wire.encode(plain(card))

    def decimals(value):
        if isinstance(value, dict):
            return {name: decimals(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [decimals(entry) for entry in value]
        return Decimal(repr(value)) if type(value) in (int, float) else value

    expected = TypeSerializer().serialize(decimals(plain(card)))
    assert TypeDeserializer().deserialize(there) == TypeDeserializer().deserialize(expected)


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1)))
def test_sizes_are_never_too_small(number):
    try:
        kept = plain(number)
    except StoreError:
        return
    digits = Decimal(repr(kept)).normalize().as_tuple().digits
    least = 1 if kept == 0 else (len(digits) + 1) // 2 + 1
    assert least <= value_bytes(kept) <= least + 3


def test_sizes_of_the_published_examples():
    assert item_bytes({"pk": "ab", "sk": "é"}) == 2 + 2 + 2 + 2
    assert item_bytes({"flag": True, "none": None}) == 4 + 1 + 4 + 1
    assert item_bytes({"list": []}) == 4 + 3
    assert item_bytes({"map": {"a": "b"}}) == 3 + 3 + 1 + 1 + 1


@given(st.lists(st.floats(), min_size=1, max_size=50))
def test_six_digits(values):
    for before, after in zip(values, six_digits(values).tolist(), strict=True):
        if not math.isfinite(before):
            assert math.isnan(after)
        elif abs(before) < 1e-9:
            assert after == 0
        elif abs(before) < 1e15:
            assert after == pytest.approx(before, rel=5.1e-6)
            assert len(Decimal(repr(after)).normalize().as_tuple().digits) <= 7
    again = six_digits(six_digits(values))
    np.testing.assert_array_equal(again, six_digits(values))


def test_deep_values_are_refused():
    value: list = []
    for _ in range(40):
        value = [value]
    with pytest.raises(StoreError, match="nested deeper"):
        plain(value)


def test_text_that_is_no_utf8_is_kept_readable():
    assert plain(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\udce9"


# -- keys --------------------------------------------------------------------------------------------------------------


@given(TEXT.filter(bool), TEXT.filter(bool), TEXT.filter(bool), TEXT.filter(bool))
def test_different_names_have_different_keys(a, b, c, d):
    assert (keys.metrics_key(a, b, 0) == keys.metrics_key(c, d, 0)) == ((a, b) == (c, d))
    assert (keys.card_key(a, b) == keys.card_key(c, d)) == ((a, b) == (c, d))
    assert not keys.metrics_key(a, b, 0).sk.startswith(keys.metrics_prefix(d)) or b == d


@given(st.text(min_size=1, max_size=3000), st.text(min_size=1, max_size=3000))
def test_keys_are_within_dynamodb_s_limits(a, b):
    for key in (keys.metrics_key(a, b, 9999), keys.card_key(a, b), keys.ingest_key(a, b), keys.run_key(a)):
        assert 1 <= len(key.pk.encode()) <= 2048
        assert 1 <= len(key.sk.encode()) <= 1024


def test_empty_names_are_refused():
    with pytest.raises(StoreError, match="empty"):
        keys.card_key("")


def test_run_time():
    assert keys.run_time("20261123T081500Z-ab12cd").year == 2026
    assert keys.run_time("20269923T081500Z-ab12cd") is None
    assert keys.run_time("mine") is None


# -- items -------------------------------------------------------------------------------------------------------------


@st.composite
def spans(draw):
    slot = draw(st.sampled_from(["5min", "15min", "30min", "60min", "6h", "1D", "7min"]))
    start = draw(st.datetimes(pd.Timestamp("2009-01-01"), pd.Timestamp("2026-12-31")))
    start = pd.Timestamp(start).floor("min")
    return pd.date_range(start, periods=draw(st.integers(1, 120)), freq=slot), pd.Timedelta(slot)


@given(spans(), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_forecasts_come_back(span, cells, seed):
    times, slot = span
    random = np.random.default_rng(seed)
    bands = [random.gamma(0.3, 10, (len(times), cells, 2)) for _ in range(3)]
    bands[0][random.random(bands[0].shape) < 0.1] = np.nan
    total, made = codec.forecast_items(times, bands, slot=slot, space_key="s", cells=range(cells), model="m", run="r")
    made = list(made)
    assert total == len(made)
    assert len({(item["pk"], item["sk"]) for item in made}) == len(made)
    assert max(map(item_bytes, made)) < 400 * 1024
    for cell in range(cells):
        mine = [json.loads(json.dumps(item)) for item in made if item["pk"] == keys.forecast_pk("s", slot, cell)]
        frame = codec.forecast_frame(mine, None, None)
        assert (frame["time"].to_numpy() == np.repeat(times.to_numpy(), 2)).all()
        for name, band in zip(("mean", "low", "high"), bands, strict=True):
            np.testing.assert_array_equal(frame[name], six_digits(band[:, cell]).ravel())


@given(spans(), st.data())
@settings(deadline=None, max_examples=50)
def test_demand_comes_back_in_any_span(span, data):
    times, slot = span
    counts = np.arange(len(times) * 2, dtype=np.int32).reshape(-1, 1, 2)
    missing = np.array(data.draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times))))
    _, made = codec.demand_items(times, counts, slot=slot, space_key="s", cells=["city"], missing=missing)
    a, b = (data.draw(st.integers(0, len(times))) for _ in range(2))
    ends = [*times, times[-1] + slot]
    frame = codec.demand_frame(made, ends[a], ends[b])
    days = pd.Series(times.date)
    bare = pd.Series(missing).groupby(days).transform("all").to_numpy()
    # of days without data, between others, the first slot stands for all
    data_days = np.flatnonzero(~bare)
    shown = ~bare
    if len(data_days):
        shown |= bare & np.r_[False, ~bare[:-1]] & (np.arange(len(times)) < data_days[-1])
    expected = counts[:, 0].astype(float)
    expected[missing] = np.nan
    expected = expected[a:b][shown[a:b]]
    np.testing.assert_array_equal(frame[["pickups", "dropoffs"]].to_numpy(), expected.reshape(-1, 2))


COLUMNS = st.one_of(
    st.tuples(st.just("float64"), st.lists(st.floats(-1e100, 1e100), min_size=3, max_size=3)),
    st.tuples(st.just("int64"), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3)),
    st.tuples(st.just("bool"), st.lists(st.booleans(), min_size=3, max_size=3)),
    st.tuples(st.just("str"), st.lists(st.one_of(st.none(), TEXT), min_size=3, max_size=3)),
    st.tuples(
        st.just("datetime64[us]"),
        st.lists(st.datetimes(pd.Timestamp("1970-01-01"), pd.Timestamp("2100-01-01")), min_size=3, max_size=3),
    ),
    st.tuples(
        st.just("datetime64[ns]"),
        st.lists(st.integers(0, 2**62).map(lambda n: np.datetime64(n, "ns")), min_size=3, max_size=3),
    ),
    st.tuples(
        st.just("timedelta64[ns]"),
        st.lists(st.integers(-(2**60), 2**60).map(lambda n: np.timedelta64(n, "ns")), min_size=3, max_size=3),
    ),
)
TABLES = st.dictionaries(TEXT, COLUMNS, min_size=1, max_size=5).map(
    lambda made: pd.DataFrame({name: pd.Series(values, dtype=kind) for name, (kind, values) in made.items()})
)


@given(TABLES)
@settings(deadline=None, max_examples=50)
def test_tables_come_back(table):
    bodies = json.loads(json.dumps(codec.table_bodies(table)))
    pd.testing.assert_frame_equal(codec.table_frame(bodies[::-1], "it"), _tiny_is_zero(table))


def _tiny_is_zero(table):
    small = table.select_dtypes("float").abs() < 1e-130
    return table.assign(**{name: table[name].mask(small[name], 0.0) for name in small.columns})


def test_a_table_with_a_part_missing_is_not_silently_short():
    bodies = codec.table_bodies(pd.DataFrame({"x": np.random.default_rng(0).normal(size=50_000)}))
    assert len(bodies) > 2
    with pytest.raises(StoreError, match="partly there"):
        codec.table_frame(bodies[:-1], "it")
    with pytest.raises(StoreError, match="partly there"):
        codec.table_frame(bodies[1:], "it")
    other = [{**body, "digest": "other"} for body in bodies]
    with pytest.raises(StoreError, match="partly there"):
        codec.table_frame([bodies[0], *other[1:]], "it")


def test_tables_that_cannot_be_kept():
    with pytest.raises(StoreError, match="two columns called 'a'"):
        codec.table_bodies(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_column_of_times_of_a_zone_becomes_new_york_s():
    table = pd.DataFrame({"t": pd.date_range("2016-07-01 03:30", periods=2, freq="h", tz="UTC")})
    back = codec.table_frame(codec.table_bodies(table), "it")
    assert list(back["t"]) == [pd.Timestamp("2016-06-30 23:30"), pd.Timestamp("2016-07-01 00:30")]


def test_city_totals_in_any_order():
    table = pd.DataFrame(
        {
            "time": pd.to_datetime(["2016-01-01 00:30", "2016-01-01 00:00", "2016-01-01 00:00"]),
            "direction": ["pickup", "dropoff", "pickup"],
            "mean": [3.0, 2.0, 1.0],
            "low": 0.0,
            "high": 9.0,
        }
    )
    times, (mean, _, _) = codec.total_bands(table)
    assert times.is_monotonic_increasing
    np.testing.assert_array_equal(mean[:, 0], [[1.0, 2.0], [3.0, np.nan]])
    with pytest.raises(StoreError, match="no column high"):
        codec.total_bands(table.drop(columns="high"))
    with pytest.raises(StoreError, match="direction 'up'"):
        codec.total_bands(table.assign(direction="up"))


# -- through the stores ------------------------------------------------------------------------------------------------


@given(card=CARDS)
@over_stores
def test_cards_come_back_from_a_store(store, card):
    store.put_card("demand", card)
    back = store.get_card("demand")
    assert back == card
    assert repr(_ordered(back)) == repr(_ordered(plain(card)))


@given(table=TABLES)
@over_stores
def test_metrics_come_back_from_a_store(store, table):
    store.put_metrics("r", "demand", table)
    pd.testing.assert_frame_equal(store.get_metrics("r", "demand"), _tiny_is_zero(table))


@given(span=spans(), seed=st.integers(0, 2**32 - 1))
@over_stores
def test_forecasts_come_back_from_a_store(store, make_forecast, span, seed):
    times, slot = span
    forecast = make_forecast(cells=1, slots=len(times), seed=seed)
    forecast.times, forecast.slot, forecast.space.key = times, slot, f"space-{seed}-{times[0]}-{slot}"
    store.put_forecast(forecast, model="m", run="r")
    frame = store.get_forecast(forecast.space.key, 0, times[0], times[-1] + slot, slot=slot)
    assert (frame["time"].to_numpy() == np.repeat(times.to_numpy(), 2)).all()
    np.testing.assert_array_equal(frame["mean"], six_digits(forecast.mean[:, 0]).ravel())
    np.testing.assert_array_equal(frame["high"], six_digits(forecast.high[:, 0]).ravel())
