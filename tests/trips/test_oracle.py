"""The parser against the independent, slow reader of oracle.py."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from oracle import COLUMN, assert_same, judge, slow_cube, slow_read

from taxidask.space import Grid
from taxidask.trips import REASONS, count_block, find_sources, read_block


def names_in(folder):
    here = Path(__file__).resolve().parents[3] / "shared" / "data" / folder
    return sorted(path.name for path in here.glob("*.csv")) or ["absent"]


@pytest.mark.parametrize(
    "name", [f"{folder}/{name}" for folder in ("trips", "trips-head") for name in names_in(folder)]
)
def test_real_files(data, name):
    source = find_sources(data / name)[0]
    expected = slow_read((data / name).read_bytes(), source.month)
    assert len(expected[0]) > 1000
    [block] = source.blocks()
    assert_same(list(read_block(block)), expected)
    counted = count_block(block, space=Grid.new_york(), slot_seconds=1800)
    found = Counter()
    for slot, cell, direction in np.argwhere(counted.counts):
        moment = datetime(1970, 1, 1) + timedelta(seconds=1800 * (counted.first_slot + int(slot)))
        found[moment, int(cell), int(direction)] = int(counted.counts[slot, cell, direction])
    assert found == slow_cube(expected[0])
    assert len(counted.stray_slots) == 0
    assert (counted.rows, counted.kept) == (len(expected[0]) + len(expected[1]), len(expected[0]))
    assert +Counter(counted.rejected) == Counter(reason for _, _, reason in expected[1])


@pytest.mark.parametrize("name", names_in("recent"))
def test_recent_variants(data, name):
    source = find_sources(data / "recent" / name)[0]
    assert_same(list(read_block(*source.blocks())), slow_read((data / "recent" / name).read_bytes(), source.month))


def test_every_header(data):
    paths = sorted((data / "headers").glob("*.csv"))
    assert len(paths) == 138
    rows = 0
    for path in paths:
        source = find_sources(path)[0]
        results = list(read_block(*source.blocks()))
        assert_same(results, slow_read(path.read_bytes(), source.month))
        rows += results[0].kept
    assert rows > 500


def test_parquet(data):
    path = data / "recent" / "green_tripdata_2023-01.parquet"
    kept, rejects = [], []
    for number_, row in enumerate(pq.read_table(path).to_pylist()):
        names = {COLUMN.get(name.lower(), name): value for name, value in row.items()}
        texts = {name: "" if value is None else str(value) for name, value in names.items()}
        reason, value = judge(texts, "2023-01", zones=True)
        if reason:
            rejects.append((number_, reason))
        else:
            kept.append(
                (value["pickup_datetime"], texts["vendor_id"], value["passenger_count"], names["congestion_surcharge"])
            )
    source = find_sources(path)[0]
    for result_bytes in (1 << 30, 2_000_000):
        results = list(read_block(*source.blocks(), result_bytes=result_bytes))
        assert (len(results) == 1) == (result_bytes == 1 << 30)
        trips = pa.concat_tables([result.trips for result in results])
        found = pa.concat_tables([result.rejects for result in results])
        assert list(zip(found["offset"].to_pylist(), found["reason"].to_pylist(), strict=True)) == rejects
        columns = ("pickup_datetime", "vendor_id", "passenger_count", "congestion_surcharge")
        assert list(zip(*(trips[name].to_pylist() for name in columns), strict=True)) == kept
        assert [range_ for result in results for range_ in result.content] == results[-1].content
        assert set(results[0].rejected) == set(REASONS)
