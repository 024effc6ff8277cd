from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from taxidask.cli import main


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(fields: dict[str, str]) -> list[str]:
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", value)]


def test_add_load_query(form, line, write, capsys):
    assert call("trips", "add", *options(form), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["added"] is True
    assert told["trip"]["pickup_longitude"] == -73.98
    assert call("trips", "add", *options(form)) == 0
    assert "nothing added" in capsys.readouterr().out
    path = write("a.csv", [line(fare=20), line("2013-02-04 10:00:00", fare=30), line(fare=900)])
    assert call("trips", "load", path, "--rejects", "rejects.csv", "--json") == 3
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["place"], told["rows"], told["kept"]) == ("store", 3, 2)
    assert "left out: 1 rows: fare_out_of_range" in said.err
    assert pd.read_csv("rejects.csv")["reason"].tolist() == ["fare_out_of_range"]
    assert call("trips", "load", path) == 3
    assert "nothing added: the same content was added at" in capsys.readouterr().out
    assert call("trips", "query", "--fare", "20..", "--json", "--limit", "1") == 0
    said = capsys.readouterr()
    assert [row["fare_amount"] for row in json.loads(said.out)] == [20]
    assert "2 trips, 2 of them added and not in the lake yet: average fare 25.00 USD, total tip 2.00 USD" in said.err
    assert "1 are left out" in said.err
    asked = ("--passengers", "2", "--payment-type", "cash", "--vendor", "CMT", "--distance", "2..3", "--tip", "..2")
    assert call("trips", "query", *asked, "--totals", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"count": 1, "added": 1, "average_fare": 12.0, "total_tip": 2.0}
    assert call("trips", "query", "--out", "all.csv", "--limit", "2") == 0
    assert "3 trips match: 1 are left out" in capsys.readouterr().err
    assert len(pd.read_csv("all.csv")) == 2
    assert call("trips", "query", "--limit", "0", "--skip", "1", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_what_cannot_be_added_is_told_by_field(form, capsys):
    assert call("trips", "add", *options(form | {"fare_amount": "900", "pickup_latitude": "x"}), "--json") == 2
    said = capsys.readouterr()
    assert set(json.loads(said.out)["errors"]) == {"fare_amount", "pickup_latitude"}
    assert "pickup_latitude is 'x', which is no number" in said.err
    assert not Path("taxidask.db").exists()


@pytest.mark.parametrize(
    ("code", "word", "arguments"),
    [
        (2, "'cheap' is not; write fare as", ["query", "--fare", "cheap"]),
        (2, "fare is from 9 to 1: no trip is in it; exchange its ends", ["query", "--fare", "9..1"]),
        (2, "tip is from 1 to -1", ["query", "--tip", "1..-1"]),
        (2, "no payment_type 'gold'", ["query", "--payment-type", "gold"]),
        (2, "start '2015-02-31' is no time", ["query", "--start", "2015-02-31"]),
        (2, "is before start", ["query", "--start", "2015-03-02", "--end", "2015-03-01"]),
        (2, "there is no column 'fare'", ["query", "--columns", "fare"]),
        (2, "there is no column 'fare'", ["query", "--where", "fare > 20"]),
        (2, "cannot be read", ["query", "--where", "fare_amount >"]),
        (1, "there is no lake at", ["query"]),
        (1, "there is no store at", ["query", "--store", "sqlite:///none.db"]),
        (2, "--skip is -1", ["query", "--skip=-1"]),
        (1, "does not exist", ["load", "none.csv"]),
        (2, "--rejects a.txt is neither .csv nor .parquet", ["load", "none.csv", "--rejects", "a.txt"]),
        (2, "month is '2015-13'; write it as YYYY-MM", ["load", "none.csv", "--month", "2015-13"]),
    ],
)
def test_wrong_use_is_told(code, word, arguments, capsys):
    assert call("trips", *arguments) == code
    assert word in capsys.readouterr().err


def test_a_file_of_no_rows_is_named_as_by_ingest(write, capsys):
    assert call("trips", "load", write("b.csv", [])) == 3
    assert "it has a header and no rows" in capsys.readouterr().out


def test_a_file_without_a_valid_row_is_a_failure(line, write, capsys):
    path = write("a.csv", [line(fare=900)])
    assert call("trips", "load", path) == 1
    assert "none of its 1 row can be kept" in capsys.readouterr().out
    assert call("trips", "query", "--totals") == 1


def test_hostile_names_are_printed_as_text(form, write, line, capsys):
    assert call("trips", "add", *options(form | {"vendor_id": "\x1b[31m<b>"})) == 0
    capsys.readouterr()
    assert call("trips", "query", "--columns", "vendor_id") == 0
    assert "\x1b" not in capsys.readouterr().out
