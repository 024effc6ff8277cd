from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import taxidask as td
from taxidask.errors import SettingsError
from taxidask.settings import Settings, resolve
from taxidask.units import parse_bytes, parse_seconds


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_arguments_beat_variables_beat_file_beat_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("taxidask.toml").write_text('lake = "file"\nslot = "60min"\nhorizon = 7\n')
    monkeypatch.setenv("TAXIDASK_LAKE", "variable")
    monkeypatch.setenv("TAXIDASK_SLOT", "15min")
    settings, origin = resolve({"lake": "argument", "store": None})
    assert (settings.lake, settings.slot, settings.horizon) == ("argument", "15min", 7)
    assert settings.store == "sqlite:///taxidask.db"
    assert {name: origin[name] for name in ("lake", "slot", "horizon", "store")} == {
        "lake": "argument",
        "slot": "TAXIDASK_SLOT",
        "horizon": "taxidask.toml",
        "store": "default",
    }


def test_load_settings_prints_where_each_value_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    settings = td.load_settings(sources=["a.csv", Path("b.csv")])
    assert settings.sources == ["a.csv", "b.csv"]
    said = capsys.readouterr().err
    assert all(name in said for name in Settings.model_fields)
    assert "argument" in said
    assert "default" in said


@pytest.mark.parametrize(
    ("given", "sources"),
    [
        ('["a.csv", "b,c.csv"]', ["a.csv", "b,c.csv"]),
        ("trips/a,b.csv", ["trips/a,b.csv"]),
        ("[0-9]*.csv", ["[0-9]*.csv"]),
        ("[0]", "sources"),
        ('{"a": 1}', ['{"a": 1}']),
        ("", []),
    ],
)
def test_a_text_is_one_source_unless_it_is_a_list_in_json(given: str, sources: Any) -> None:
    if isinstance(sources, list):
        assert resolve({"sources": given})[0].sources == sources
    else:
        with pytest.raises(SettingsError, match=sources):
            resolve({"sources": given})
    assert not given or resolve({"sources": [given, "z.csv"]})[0].sources == [given, "z.csv"]
    if given and isinstance(sources, list):
        assert resolve({"sources": [given]})[0].sources == sources  # as the command line has it


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_is_as_if_not_given_an_empty_value_elsewhere_an_error(
    monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"TAXIDASK_{name.upper()}", empty)
    settings, origin = resolve({})
    assert settings == Settings()
    assert set(origin.values()) == {"default"}
    for name in Settings.model_fields:
        if (name, empty) == ("sources", ""):
            continue  # a list of none
        with pytest.raises(SettingsError, match=name):
            resolve({name: empty})
        Path("taxidask.toml").write_text(f'{name} = "{empty}"\n')
        with pytest.raises(SettingsError, match=name):
            resolve({})
        Path("taxidask.toml").unlink()
    for nested in ({"sources": ["a.csv", empty]}, {"regions": [{"name": "us-east-1", "lake": empty}]}):
        with pytest.raises(SettingsError, match="is empty"):
            resolve(nested)


def test_no_call_takes_an_empty_url_for_the_current_folder() -> None:
    from taxidask.report import build
    from taxidask.storage import absolute

    for empty in ("", " "):
        for call in (
            absolute,
            td.Lake,
            td.Zones,
            td.read_trips,
            td.count_trips,
            td.DemandModel.load,
            td.FareModel.load,
            td.open_store,
            lambda url: td.open_store(f"sqlite:///{url}"),
            lambda url: td.open_store("dynamodb://taxidask", endpoint=url),
            lambda url: td.make_sample(url, start="2015-03", trips_per_month=1),
            lambda url: td.Lake("lake").ingest(url),
            lambda url: td.Lake("lake").ingest(["a.csv", url]),
            lambda url: td.Lake("lake").recount(space=url),
            lambda url: build(store="sqlite:///a.db", lake="lake", out=url),
        ):
            with pytest.raises(td.TaxidaskError):
                call(empty)
    with pytest.raises(td.TaxidaskError, match="names no file"):
        td.Lake("file://")
    assert not list(Path().iterdir())


_HOME = {"name": "a"}


def test_regions_that_fit_are_taken() -> None:
    other = {"name": "b", "places": {"s3://e": "s3://w"}}
    for lake in ("s3://e/lake", "s3://e", "lake"):  # one of this machine has no copies
        assert td.Settings(lake=lake, regions=[_HOME, other], active_region="b").regions[1].name == "b"
    same = {"name": "b", "places": {"s3://e": "s3://e"}, "s3_endpoint": "http://127.0.0.1:9102"}
    td.Settings(lake="s3://e/lake", regions=[_HOME, same])
    pair = [{"name": "a", "lake": "s3://e/lake/"}, {"name": "b", "lake": "s3://w/lake"}]
    td.Settings(lake="s3://e/lake", regions=pair)
    with pytest.raises(td.TaxidaskError, match="b has no counterpart of the lake s3://scratch/lake"):
        td.Settings(lake="s3://scratch/lake", regions=pair)


def test_lists_in_variables_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIDASK_SOURCES", '["a.csv", "b.csv"]')
    monkeypatch.setenv("TAXIDASK_REGIONS", '[{"name": "us-east-1", "lake": "s3://east/lake"}]')
    settings, _ = resolve({})
    assert settings.sources == ["a.csv", "b.csv"]
    assert settings.regions[0].lake == "s3://east/lake"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lakes": "x"}, "'lakes' in the arguments is no setting; did you mean 'lake'"),
        ({"slot": "7min"}, "slot: a day is no whole number of slots of '7min'"),
        ({"slot": "1800"}, "slot: '1800' is no length of a slot"),
        ({"slot": "soon"}, "slot: 'soon' is no length of a slot"),
        ({"block_size": "9MiB"}, "no multiple of 8MiB"),
        ({"block_size": "0MiB"}, "no size in bytes"),
        ({"horizon": 0}, "horizon from argument is 0"),
        ({"compute": "yarn"}, "compute 'yarn' is not known"),
        ({"store": "postgres://me:secret@host/db"}, r"…@host/db holds a password"),
        ({"store": "dynamodb://table?endpoint=http://me:secret@host"}, r"…@host holds a password"),
        ({"lake": "s3://AKIA123:secret/more@bucket/lake"}, r"s3://…@bucket/lake holds a password"),
        ({"regions": '[{"name": "us-east-1", "s3_endpoint": "http://me:secret@host"}]'}, "holds a password"),
        ({"worker_memory": "lots"}, "'lots' is no size in bytes"),
        ({"west": -73.0}, "the wrong way round"),
        ({"idle_timeout": "soon"}, "no length of time"),
        ({"regions": "[{"}, "regions from argument"),
        ({"regions": [{"name": "a"}, {"name": "a"}]}, "there are two regions called 'a'"),
        ({"regions": [_HOME, {"name": "b"}], "lake": "s3://e/lake"}, "b has no counterpart of the lake s3://e/lake"),
        (
            {"regions": [_HOME, {"name": "b", "places": {"s3://e/la": "s3://w"}}], "lake": "s3://e/lake"},
            "b has no counterpart of the lake s3://e/lake, only of s3://e/la",
        ),
        (
            {"regions": [_HOME, {"name": "b", "places": {"s3://e": "s3://w"}}], "lake": "s3://w/lake"},
            "the lake s3://w/lake is b's, which is not the first of regions",
        ),
        (
            {"regions": [_HOME, {"name": "b", "places": {"s3://e": "s3://e"}}], "lake": "s3://e/lake"},
            "s3://e of b is a's",
        ),
        ({"regions": [_HOME, {"name": "b", "lake": "s3://w/lake"}], "lake": "s3://e/lake"}, "does not say of which"),
        ({"regions": [_HOME], "active_region": "c"}, "active_region 'c' is none of the regions, which are a"),
        ({"active_region": "c"}, "active_region 'c' is set, and no regions are"),
        ({"worker_memory": "0"}, r"worker_memory: '0' is no size in bytes \(from argument\)"),
        ({"worker_memory": "1B"}, r"worker_memory: no process runs in '1B' of memory \(from argument\)"),
        ({"scheduler_memory": "1PiB"}, "scheduler_memory: no process runs in '1PiB'"),
        ({"block_size": "1PiB"}, "block_size: '1PiB' is more than one task can read"),
        ({"idle_timeout": "0s"}, "idle_timeout: '0s' is not between a second and a year"),
        ({"regions": [{"name": "a", "s3_endpoint": "nonsense"}]}, "regions: 'nonsense' is no address of a service"),
        ({"heartbeat_timeout": "soon"}, "heartbeat_timeout: 'soon' is no length of time"),
        ({"heartbeat_timeout": "inf"}, "heartbeat_timeout: 'inf' is no length of time"),
        ({"workers": 10**9}, "workers from argument is 1000000000"),
        ({"workers": True}, "workers: True is no value"),
        ({"worker_cpus": 1e-9}, "worker_cpus from argument is 1e-09"),
        ({"min_passengers": 5, "max_passengers": 3}, r"min_passengers 5 \(from argument\) is above max_passengers 3"),
        ({"max_passengers": "1.5"}, "max_passengers from argument is '1.5'"),
        ({"max_fare": "nan"}, "max_fare from argument is 'nan'"),
        ({"max_distance_miles": "inf"}, "max_distance_miles from argument is 'inf'"),
        ({"west": -740}, "west from argument is -740"),
        ({"prices": '{"vcpu_hour": -1}'}, "prices.vcpu_hour from argument is -1"),
        ({"prices": '{"thousand_gets": NaN}'}, "prices.thousand_gets from argument is nan"),
        ({"space": "Zones"}, "no space and no file called 'Zones' .*did you mean 'zones'"),
    ],
)
def test_wrong_values_are_named_with_a_remedy(given: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        resolve(given)
    assert "secret" not in str(caught.value)


def test_what_is_wrong_is_said_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIDASK_IDLE_TIMEOUT", "abc")
    with pytest.raises(
        SettingsError, match=r"^idle_timeout: 'abc' is no length of time \(from TAXIDASK_IDLE_TIMEOUT\)"
    ):
        resolve({})
    monkeypatch.setenv("TAXIDASK_IDLE_TIMEOUT", "1h")
    monkeypatch.setenv("TAXIDASK_MAX_PASSENGERS", "2")
    Path("taxidask.toml").write_text("min_passengers = 4\n")
    with pytest.raises(
        SettingsError, match=r"4 \(from taxidask.toml\) is above max_passengers 2 \(from TAXIDASK_MAX_PASSENGERS\)"
    ):
        resolve({})
    with pytest.raises(SettingsError, match=r"^worker_memory: 'lots' is no size in bytes; write"):
        Settings(worker_memory="lots")


def test_sizes_and_times_in_dasks_spellings_and_ours() -> None:
    settings = Settings(worker_memory="4G", block_size="64MiB", idle_timeout="20 minutes", heartbeat_timeout="2min")
    assert settings.heartbeat_timeout == 120
    assert (parse_bytes(settings.worker_memory), parse_seconds(settings.idle_timeout)) == (4 * 10**9, 1200)


def test_a_byte_order_mark_before_the_file_is_no_part_of_it() -> None:
    Path("taxidask.toml").write_bytes(b"\xef\xbb\xbfhorizon = 7\n")
    assert resolve({})[0].horizon == 7


def test_a_space_may_be_a_file_without_an_extension() -> None:
    Path("quarters").write_text("{}")
    assert resolve({"space": "quarters"})[0].space == "quarters"


def test_misspelt_variable_and_file_entry_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIDASK_APP_SERVICE_HOST", "10.0.0.1")  # Kubernetes sets such variables
    resolve({})
    monkeypatch.setenv("TAXIDASK_SORUCES", "a.csv")
    with pytest.raises(SettingsError, match="did you mean 'TAXIDASK_SOURCES'"):
        resolve({})
    monkeypatch.delenv("TAXIDASK_SORUCES")
    Path("taxidask.toml").write_text("horizn = 3\n")
    with pytest.raises(SettingsError, match=r"'horizn' in taxidask.toml is no setting; did you mean 'horizon'"):
        resolve({})
    Path("taxidask.toml").write_text("horizon = \n")
    with pytest.raises(SettingsError, match="no TOML file"):
        resolve({})


def test_sizes_and_times() -> None:
    assert parse_bytes("1.5GiB") == 3 << 29
    assert parse_bytes(8) == 8
    for text in ("2h", "2 hours", "120min", "120 m", "7200", "7200.0 sec", "2H"):
        assert parse_seconds(text) == 7200
    assert parse_seconds(90) == 90
    for nonsense in ("", "min", "-1s", "nan", "inf", "1e400s", "5 potatoes", "1 2 h"):
        with pytest.raises(SettingsError, match="no length of time"):
            parse_seconds(nonsense)
    assert parse_bytes("4G") == 4 * 10**9, "as Dask reads it"
    for nonsense in ("64 potatoes", "", "MiB", "-1", "0.5", "1e400", "nan"):
        with pytest.raises(SettingsError, match="no size in bytes"):
            parse_bytes(nonsense)


def test_of_several_wrong_settings_each_is_told_by_its_name():
    with pytest.raises(SettingsError) as caught:
        Settings(workers="many", slot="7min", lake=" ", prices={"vcpu_hour": -1})
    fields = caught.value.fields
    assert list(fields) == ["lake", "workers", "slot", "prices"]
    assert str(fields["lake"]) == str(caught.value) == "lake: it is empty; give it a value, or leave it out"
    assert fields["workers"].message.startswith("workers is 'many'")
