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
    ],
)
def test_wrong_values_are_named_with_a_remedy(given: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        resolve(given)
    assert "secret" not in str(caught.value)


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
    assert parse_seconds("2h") == 7200
    assert parse_bytes("4G") == 4 * 10**9, "as Dask reads it"
    for nonsense in ("64 potatoes", "", "MiB", "-1", "0.5", "1e400", "nan"):
        with pytest.raises(SettingsError, match="no size in bytes"):
            parse_bytes(nonsense)
