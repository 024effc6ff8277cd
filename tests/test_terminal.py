"""What a terminal is escaped holds no control characters of names, wherever they come from."""

from __future__ import annotations

import os
import pickle
import re

import pytest

import taxidask as td
from taxidask.cli import main
from taxidask.errors import ComputeError, SourceError
from taxidask.words import escaped

NAME = "a\x1b]0;owned\x07\x1b[2J\r\n\u202e\x9b31m-2015-01.csv"
ESCAPED = r"a\x1b]0;owned\x07\x1b[2J\r\n\u202e\x9b31m-2015-01.csv"


def clean(text: str) -> str:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text), text
    return text


def test_names_are_shown_with_escapes():
    assert escaped(NAME) == ESCAPED
    assert escaped(ESCAPED) == ESCAPED
    assert escaped("Zürich, 東京 – 1\u00a0½") == "Zürich, 東京 – 1\u00a0½"
    error = SourceError(f"{NAME} is empty", f"rename {NAME}")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == f"{ESCAPED} is empty; rename {ESCAPED}"
    assert str(ComputeError(f"{chr(27)}, for 2 reasons:\n  one")) == "\\x1b, for 2 reasons:\n  one"


def run(capsys, *arguments) -> str:
    with pytest.raises(SystemExit):
        main(list(arguments))
    out, err = capsys.readouterr()
    return clean(out + err)


@pytest.mark.parametrize("name", [NAME, os.fsdecode(b"\xff\x1b[31m-2015-01.csv")], ids=["controls", "not UTF-8"])
def test_the_command_shows_them_so(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    files = td.make_sample(tmp_path / "made", start="2015-01", trips_per_month=300, faults=0.1)
    sources, lake = tmp_path / "sources", str(tmp_path / "lake")
    sources.mkdir()
    os.rename(files[0], sources / name)
    (sources / f"empty{name}").touch()
    assert r"\x1b" in run(capsys, "ingest", str(sources), "--lake", lake)
    run(capsys, "ingest", str(sources / name), "--lake", lake)
    run(capsys, "ingest", str(sources / f"missing{name}"), "--lake", lake)
    run(capsys, "lake", "sources", "--lake", lake)
    run(capsys, "lake", "remove", str(sources / name), "--lake", lake)
    clean(repr(td.Lake(str(tmp_path / name))))
    clean(repr(td.Lake(lake).ingest(str(sources), errors="report")))
