"""A trip of 1950 or 2099 in a file of no month is told and left out of the cube's span; it keeps nobody from a cube."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import LakeError
from taxidask.lake import Lake
from taxidask.sample import make_sample


@pytest.fixture
def month(tmp_path):
    """A month without faults, and its lines."""
    [file] = make_sample(tmp_path / "in", start="2015-01", trips_per_month=400, faults=0)
    return Path(file), [line for line in Path(file).read_text().splitlines() if line]


def strayed(line, year):
    return line.replace("2015-01-", f"{year}-01-").replace("2015-02-", f"{year}-02-")


def ingest(lake, *files):
    lake.ingest(files, client=ThreadExecutor(1))
    return lake


def test_strays_are_told_and_outside_of_the_span(tmp_path, month, capsys):
    file, lines = month
    path = tmp_path / "trips.csv"
    path.write_text(
        "\n".join([*lines, strayed(lines[5], 1950), strayed(lines[6], 2099), strayed(lines[7], 2099)]) + "\n"
    )
    lake = ingest(Lake(tmp_path / "lake"), path)
    expected = ingest(Lake(tmp_path / "expected"), file).cube()
    capsys.readouterr()
    cube = lake.cube()
    assert len(lake.trips()) == 403
    assert cube.counts[:, :, 0].sum() == expected.counts[:, :, 0].sum()
    assert (cube.start, len(cube.times)) == (expected.start, len(expected.times))
    said = capsys.readouterr().err
    assert f"3 trips of {path} began years from all others, on 1950-01-" in said
    assert len(lake.cube(start="1950-01-01", end="1950-02-01").counts) == 31 * 48
    assert lake.cube(start="1950-01-01", end="1950-02-01").counts[:, :, 0].sum() == 1


def test_a_whole_file_of_another_century_does_not_spoil_the_others(tmp_path, month, capsys):
    file, lines = month
    stray = tmp_path / "one.csv"
    stray.write_text(f"{lines[0]}\n{strayed(lines[5], 1950)}\n")
    lake = ingest(Lake(tmp_path / "lake"), file, stray)
    cube = lake.cube()
    assert cube.start == pd.Timestamp("2015-01-01")
    assert f"1 trip of {stray}" in capsys.readouterr().err
    assert not cube.missing.any()


def test_many_of_both_centuries_are_no_strays(tmp_path, month):
    _, lines = month
    path = tmp_path / "trips.csv"
    path.write_text("\n".join([*lines, *(strayed(line, 1950) for line in lines[1:50])]) + "\n")
    with pytest.raises(LakeError, match="the cube would go from 1950-01-"):
        ingest(Lake(tmp_path / "lake"), path).cube()
