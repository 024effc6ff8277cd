from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.errors import LakeError, ReportError
from taxidask.fare.told import count_errors, count_prices
from taxidask.report import fares, figures, open_run, sections
from taxidask.report.data import RunData
from taxidask.report.display import Figure, Table, Text


@pytest.fixture
def run(published) -> RunData:
    return open_run(store=published.store.url, lake=published.lake.url)


def test_the_latest_run_is_opened_and_said_in_the_header(run: RunData, published) -> None:
    assert run.id == published.run
    header = sections.header(run)
    details = dict(header.details)
    assert details["Run"] == published.run
    assert details["Trips"] == f"{int(published.lake.sources()['kept'].sum()):,} from 1 file"
    assert header.subtitle == "January 2016"
    assert header.created == pd.Timestamp("2016-02-01T08:15:00Z").timestamp()


def test_a_run_that_is_not_there_is_an_error_that_names_those_that_are(published) -> None:
    with pytest.raises(ReportError, match=f"no run nothing .*{published.run}"):
        open_run(store=published.store.url, lake=published.lake.url, run="nothing")
    last = open_run(store=published.store.url, lake=published.lake.url, run="last")
    assert last.id == published.store.get_latest()["run"]


def test_an_empty_store_says_how_to_start(tmp_path) -> None:
    store = td.open_store(f"sqlite:///{tmp_path}/x.db")
    store.create()
    with pytest.raises(ReportError, match=r"there is no run yet .* taxidask run"):
        open_run(store=store.url, lake=str(tmp_path))


def test_an_empty_lake_is_an_error(published, tmp_path) -> None:
    with pytest.raises(LakeError, match="has no source"):
        open_run(store=published.store.url, lake=str(tmp_path / "none"))


def test_kept_and_rejected_rows_add_up_in_every_line_and_in_the_total(run: RunData, published) -> None:
    table = sections.sources_table(run)
    frame = table.frame
    assert (frame["Kept"] + frame["Rejected"] == frame["Rows"]).all()
    assert frame["Source"].iloc[-1] == "All"
    assert frame["Rows"].iloc[-1] == frame["Rows"].iloc[:-1].sum() == published.lake.sources()["rows"].sum()
    assert sum(sections.rejected(run).values()) == frame["Rejected"].iloc[-1] > 0


def test_what_was_left_out_is_named(run: RunData) -> None:
    assert sections.left_out(run) == Text("")
    notes = [f"bad-{number}.csv: it is empty" for number in range(50)]
    stages = {**run.run["stages"], "ingest": {**run.run["stages"]["ingest"], "left_out": notes}}
    table = sections.left_out(RunData(run.store, run.lake, {**run.run, "stages": stages}, run.latest))
    assert table.rows() == [[note] for note in notes[:40]]
    assert f"10 more: taxidask runs show {run.id}" in table.caption


def test_many_sources_are_summed_up_in_one_line(run: RunData) -> None:
    one = run.sources
    run.sources = pd.concat([one.assign(url=f"s3://b/{n:03d}.csv") for n in range(100)], ignore_index=True)
    frame = sections.sources_table(run).frame
    assert len(frame) == 37
    assert frame["Source"].iloc[-2] == "65 more sources"
    assert frame["Rows"].iloc[-1] == frame["Rows"].iloc[:-1].sum() == 100 * one["rows"].sum()


def test_the_summary_holds_the_numbers_of_the_lake_and_the_forecast(run: RunData, published) -> None:
    text = sections.summary(run).markdown
    assert f"**{int(published.lake.sources()['rows'].sum()):,} rows**" in text
    assert f"**{published.cube.total().pickups:,} pickups**" in text
    assert f"**{published.forecast.mean[:, :, 0].sum():,.0f} pickups** are expected" in text


def test_forecasts_of_a_run_that_was_replaced_are_not_shown(run: RunData) -> None:
    later = RunData(run.store, run.lake, run.run, run.latest | {"run": "another"})
    assert isinstance(sections.forecast(later), Text)
    assert "pickups** are expected" not in sections.summary(later).markdown


def test_the_model_stands_beside_its_baselines(run: RunData) -> None:
    table = sections.demand_metrics(run)
    assert isinstance(table, Table)
    assert list(table.frame["Forecast"].unique()) == ["Model", "Same slot last week", "Mean of four weeks"]
    assert table.frame["MAE"].tolist() == [1.5] * 6
    assert table.rows()[0] == ["Pickups", "Model", "1.500", "1.500", "20.0%", "81.0%"]
    assert table.rows()[1][-1] == "–"


def test_the_fare_model_stands_beside_the_tariff(run: RunData) -> None:
    frame = pd.DataFrame(
        {
            "fold": [0, 1],
            "origin": pd.to_datetime(["2016-01-10", "2016-01-20"]),
            "rows": [100, 300],
            "mae": [1.0, 2.0],
            "rmse": [3.0, 3.0],
            "tariff_mae": [4.0, 4.0],
            "tariff_rmse": [6.0, 6.0],
            "coverage": [0.8, 0.8],
            "width": [5.0, 5.0],
        }
    )
    run.store.put_metrics(run.id, "fare", frame)
    table = fares.metrics(run)
    assert isinstance(table, Table)
    assert table.rows()[0] == ["2016-01-10", "100", "1.00", "4.00", "3.00", "6.00", "80.0%", "5.00"]
    assert table.rows()[-1][:4] == ["All", "400", "1.75", "4.00"]


def test_prices_told_are_drawn_as_the_run_counted_them(run: RunData) -> None:
    paid = np.array([8.5] * 60 + [30.0] * 40)
    price = paid + np.tile([-2.0, 0.5], 50)
    run.store.put_metrics(run.id, "fare-prices", count_prices(paid, price, price - 1, price + 1))
    run.store.put_metrics(run.id, "fare-errors", count_errors(paid, price))
    figure = fares.predicted(run)
    assert isinstance(figure, Figure)
    assert "for 100 trips" in figure.caption
    assert "held 50.0% of them" in figure.caption
    assert figure.alt.endswith("histogram of errors within 2 USD")


def test_without_a_backtest_a_sentence_says_so(run: RunData) -> None:
    run.run["id"] = "other"
    assert "no backtest" in sections.demand_metrics(run).markdown
    assert "no comparison of the prices" in fares.predicted(run).markdown


def test_stages_and_settings(run: RunData) -> None:
    table = sections.run_table(run)
    assert table.rows()[0] == ["ingest", "done", "42.0 s", "what ingest did"]
    assert [row[0] for row in table.rows()] == ["ingest", "demand", "fare", "publish"]
    settings = dict(sections.settings_table(run).rows())
    assert settings["lake"] == run.lake.url
    assert settings["horizon"] == "48"


def test_a_sample_of_fares_is_spread_and_repeatable(run: RunData, published) -> None:
    everything = run.fares()
    assert len(everything) == int(published.lake.sources()["kept"].sum())
    some = run.fares(rows=500)
    assert 250 <= len(some) <= 1000
    assert some.equals(run.fares(rows=500))
    assert some["pickup_datetime"].dt.day.nunique() > 15
    assert some["pickup_datetime"].dt.hour.nunique() > 15


def test_every_figure_is_svg_with_text_a_caption_and_words_for_those_who_cannot_see_it(run: RunData) -> None:
    drawn = [
        figures.rejects(sections.rejected(run), rows=6000),
        figures.daily(run.cube),
        figures.rhythm(run.cube),
        figures.demand_map(run.cube),
        sections.forecast(run),
        sections.forecast_cells(run),
    ]
    for figure in drawn:
        assert isinstance(figure, Figure)
        data, told = figure._repr_mimebundle_()
        assert "<text" in data["image/svg+xml"]
        assert told["image/svg+xml"]["caption"].endswith(".")
        assert len(told["image/svg+xml"]["alt"]) > 20
        assert "nan" not in figure.caption


def test_the_same_figure_is_the_same_bytes(run: RunData) -> None:
    assert figures.demand_map(run.cube).svg == figures.demand_map(run.cube).svg


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("slots", "count"), [(3, 1), (48, 0), (100, 2)])
def test_short_empty_and_missing_cubes_are_drawn_or_said(slots: int, count: int, missing: bool) -> None:
    counts, gaps = np.full((slots, 4, 2), count, np.int32), np.full(slots, missing)
    grid = td.Grid(2, 2, west=0, south=0, east=1, north=1)
    cube = td.Cube(counts, start="2015-01-01 05:00", space=grid, missing=gaps)
    for draw in (figures.daily, figures.rhythm, figures.demand_map):
        shown = draw(cube)
        words = shown.markdown if isinstance(shown, Text) else shown.caption + shown.alt
        assert words
        assert "nan" not in words


def test_figures_of_nothing_say_so() -> None:
    nothing = pd.DataFrame({"fare_amount": [], "pickup_datetime": pd.to_datetime([])})
    assert isinstance(fares.distribution(nothing), Text)
    assert isinstance(figures.rejects({}, rows=5), Text)


def test_missing_slots_are_gaps_not_zeros() -> None:
    counts = np.ones((96, 1, 2), np.int32)
    missing = np.zeros(96, bool)
    missing[50] = True
    cube = td.Cube(counts, start="2015-01-01", space=td.Grid(1, 1, west=0, south=0, east=1, north=1), missing=missing)
    days = figures._whole_days(cube)
    assert days["pickups"].iloc[0] == 48
    assert np.isnan(days["pickups"].iloc[1])
    assert "1 slots without data" in figures.daily(cube).caption
    figures.rhythm(cube)
    figures.demand_map(cube)


@pytest.mark.parametrize("slot", ["90s", "7.5min", "30min", "45min", "60min", "120min", "1D"])
def test_a_steady_hundred_an_hour_is_a_hundred_whatever_the_slot(slot: str) -> None:
    length = pd.Timedelta(slot)
    scale = 48  # so that the count of any of these slots is whole
    counts = np.full(
        (round(pd.Timedelta("6D") / length), 1, 2), round(100 * scale * (length / pd.Timedelta("1h"))), np.int32
    )
    grid = td.Grid(1, 1, west=0, south=0, east=1, north=1)
    cube = td.Cube(counts, start="2015-01-01", slot=slot, space=grid)
    hours = figures.hourly(cube)
    assert len(hours) == 6 * 24
    assert np.allclose(hours, 100 * scale)
    gap = np.zeros(len(counts), bool)
    gap[0] = True
    gone = figures.hourly(td.Cube(counts, start="2015-01-01", slot=slot, space=grid, missing=gap))
    assert 6 * 24 - len(gone) == -(-length // pd.Timedelta("1h"))
    assert np.allclose(gone, 100 * scale)


def test_folds_are_weighted_by_the_trips_of_those_that_are_known() -> None:
    nan = float("nan")
    trips = pd.Series([100, 300, 600])
    assert fares.overall(pd.Series([1.0, 2.0, nan]), trips, squared=False) == pytest.approx(1.75)
    assert fares.overall(pd.Series([nan, 3.0, 3.0]), trips, squared=True) == pytest.approx(3.0)
    assert fares.overall(pd.Series([1.0, nan, 2.0]), trips, squared=True) == pytest.approx((2500 / 700) ** 0.5)
    assert pd.isna(fares.overall(pd.Series([nan, nan, nan]), trips, squared=True))


@pytest.mark.parametrize("top", [12.0, 79.0, 81.0, 84.0, 86.0, 500.0])
def test_the_bars_of_fares_hold_every_fare(top: float) -> None:
    paid = pd.Series(np.concatenate([np.linspace(2.5, top, 990), np.full(10, 3 * top)]))
    shown, edges = fares.bars(paid)
    assert np.histogram(shown, edges)[0].sum() == len(paid)
    assert edges[-1] >= paid.quantile(0.99)


def test_zones_are_drawn_too(data) -> None:
    zones = td.Zones(str(data / "zones" / "taxi_zones.geojson"))
    counts = np.arange(48 * zones.cells * 2, dtype=np.int32).reshape(48, zones.cells, 2)
    figure = figures.demand_map(td.Cube(counts, start="2019-01-01", space=zones))
    assert "263 cells" in figure.caption


def test_numbers_are_formatted_and_gaps_shown() -> None:
    table = Table(pd.DataFrame({"a": [1234.5, None], "b": ["<x>", "y"]}), "A & B", {"a": "{:,.1f}"}, total=True)
    assert table.rows() == [["1,234.5", "<x>"], ["–", "y"]]
    assert "&lt;x&gt;" in table._repr_html_()
    assert "<tfoot><tr><td style='text-align: right'>–</td>" in table._repr_html_()
    assert "<caption>A &amp; B</caption>" in table._repr_html_()
