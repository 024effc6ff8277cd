from __future__ import annotations

import sys
from pathlib import Path

import pytest

import taxidask as td
from taxidask.errors import StoreError
from taxidask.results.dynamodb import DynamoDBStore
from taxidask.results.sqlite import SQLiteStore


def test_paths_follow_the_slashes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = td.open_store("sqlite:///results.db")
    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path / "results.db"
    assert store.url == f"sqlite:///{tmp_path}/results.db"
    assert td.open_store(store.url).path == store.path
    assert td.open_store("sqlite:////data/results.db").path == Path("/data/results.db")
    assert td.open_store("sqlite:///~/results.db").path == Path.home() / "results.db"


def test_odd_letters_in_a_path(tmp_path):
    store = td.open_store(f"sqlite:///{tmp_path}/a%20b%3F%23é.db")
    assert store.path.name == "a b?#é.db"
    with store:
        store.put_latest({"n": 1})
    with td.open_store(store.url) as again:
        assert again.get_latest() == {"n": 1}


def test_options_of_a_table():
    store = td.open_store("dynamodb://My_table.v-2?region=us-west-2&ttl_days=90", endpoint="http://127.0.0.1:8101")
    assert isinstance(store, DynamoDBStore)
    assert (store.table, store.region, store.ttl_days) == ("My_table.v-2", "us-west-2", 90.0)
    assert store.url == "dynamodb://My_table.v-2?region=us-west-2&ttl_days=90&endpoint=http://127.0.0.1:8101"
    assert td.open_store(store.url).endpoint == "http://127.0.0.1:8101"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("taxidask.db", "'taxidask.db' is no store; write it as sqlite:///taxidask.db"),
        ("postgres://x", "is no store"),
        ("sqlite://results.db", "too few slashes; three begin a relative path: sqlite:///results.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a.db?region=us-east-1", "unknown option 'region'"),
        ("dynamodb://", "no name of a table"),
        ("dynamodb://a b", "no name of a table"),
        ("dynamodb://table?regoin=us-east-1", "unknown option 'regoin'; did you mean region?"),
        ("dynamodb://table?ttl_days=soon", "ttl_days in .* is 'soon'"),
        ("dynamodb://table?ttl_days=nan", "ttl_days"),
        ("sqlite:///a.db?ttl_days=-1", "ttl_days is -1"),
    ],
)
def test_what_is_no_store_is_said(url, said):
    with pytest.raises(StoreError, match=said):
        td.open_store(url)


def test_an_endpoint_does_not_belong_to_a_file():
    with pytest.raises(StoreError, match="endpoint does not belong"):
        td.open_store("sqlite:///a.db", endpoint="http://x")


def test_opening_does_not_load_the_other_store():
    import subprocess

    code = (
        "import sys, taxidask; taxidask.open_store('sqlite:///x.db');"
        "assert not {'boto3', 'botocore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
