"""How fast trips are read, beside general readers on the same file in the same run.

Makes a month of the size of a real one once (about 480 MB, 3 million rows) and measures, each reader in a process of
its own, warmed on a small file, best of three:

* CSV to cube: trips counted by half hour, cell of the New York grid and direction, where they pass the row rules
  (month, duration, distance, fare, passengers, box). Every reader applies the rules, as none knows beforehand that the
  month was made without faults; what taxidask does with rows that cannot be parsed is not asked of the others. Every
  answer is compared with taxidask's, slot by slot and cell by cell.
* CSV to lake: the whole file as zstd Parquet. taxidask checks rows, sorts by pickup time, counts the cube and commits;
  the others copy. Every output is read back and its rows and fares compared.
* The floor: counting the line ends of the file.

    python benchmarks/read.py [FOLDER]

FOLDER keeps the month between runs (default: taxidask-bench in the folder for temporary files). Prints Markdown tables.
Processor seconds (of all threads and processes of a reader, of its best run) tell more than seconds where other work
keeps the machine busy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 3_100_000
WEST, SOUTH, X_CELLS, Y_CELLS = -74.05, 40.63, 25 / 0.3, 24 / 0.22
EAST, NORTH, ROWS_OF_GRID, COLS_OF_GRID = -73.75, 40.85, 24, 25
START, SLOT = 1_420_070_400, 1800  # 2015-01-01
SLOTS, CELLS = 31 * 48, 600
NOWHERE = 32 * 48 * CELLS  # the key of an end in no cell; trips may end a day after the month
TIMES = ("tpep_pickup_datetime", "tpep_dropoff_datetime")
POINTS = ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude")
JUDGED = ("trip_distance", "fare_amount", "passenger_count")
BOUNDS = {"trip_distance": (0, 100), "fare_amount": (0, 500), "passenger_count": (1, 9)} | {
    name: (-74.3, -73.7) if name.endswith("longitude") else (40.5, 41.0) for name in POINTS
}
WHOLE = ("VendorID", "passenger_count", "RateCodeID", "payment_type")
NAMES = [
    "VendorID",
    "tpep_pickup_datetime",
    "tpep_dropoff_datetime",
    "passenger_count",
    "trip_distance",
    "pickup_longitude",
    "pickup_latitude",
    "RateCodeID",
    "store_and_fwd_flag",
    "dropoff_longitude",
    "dropoff_latitude",
    "payment_type",
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "total_amount",
]
Contender = Callable[[str], Any]


def key(seconds: Any, lon: Any, lat: Any) -> np.ndarray:
    """slot * CELLS + cell of arrays of times and places."""
    inside = (lon >= WEST) & (lon < EAST) & (lat >= SOUTH) & (lat < NORTH)
    cell = ((lat - SOUTH) * Y_CELLS).astype(np.int64) * COLS_OF_GRID + ((lon - WEST) * X_CELLS).astype(np.int64)
    return np.where(inside, (seconds - START) // SLOT * CELLS + cell, NOWHERE)


def from_keys(keys: list[np.ndarray]) -> np.ndarray:
    """The cube of every pickup's and every dropoff's slot * CELLS + cell."""
    ends = [np.bincount(key, minlength=NOWHERE + 1)[: SLOTS * CELLS] for key in keys]
    return np.stack(ends, axis=1).reshape(SLOTS, CELLS, 2)


def cube_taxidask(path: str) -> np.ndarray:
    """One call."""
    import taxidask as td

    return td.count_trips(path).counts


def _polars(path: str, engine: str) -> np.ndarray:
    import polars as pl

    types = {name: pl.Datetime("us") for name in TIMES} | dict.fromkeys(POINTS, pl.Float64)
    declared = {name: types.get(name, pl.Int64 if name in WHOLE else pl.Float64) for name in NAMES}
    declared["store_and_fwd_flag"] = pl.String
    columns = [*TIMES, *POINTS, *JUDGED]
    if engine == "eager":
        frame = pl.read_csv(path, columns=columns, schema_overrides=declared).lazy()
    else:
        frame = pl.scan_csv(path, schema=declared)
    begin, end = (pl.col(name) for name in TIMES)
    month = (begin >= datetime(2015, 1, 1)) & (begin < datetime(2015, 2, 1))
    rules = month & (end >= begin) & (end - begin <= timedelta(hours=24))
    for name, (low, high) in BOUNDS.items():
        above = pl.col(name) > low if name in ("trip_distance", "fare_amount") else pl.col(name) >= low
        rules = rules & above & (pl.col(name) <= high)
    keys = []
    for time_name, (lon_name, lat_name) in zip(TIMES, (POINTS[:2], POINTS[2:]), strict=True):
        lon, lat = pl.col(lon_name), pl.col(lat_name)
        slot = (pl.col(time_name).dt.epoch("s") - START) // SLOT
        cell = ((lat - SOUTH) * Y_CELLS).cast(pl.Int64) * COLS_OF_GRID + ((lon - WEST) * X_CELLS).cast(pl.Int64)
        inside = (lon >= WEST) & (lon < EAST) & (lat >= SOUTH) & (lat < NORTH)
        keys.append(pl.when(inside).then(slot * CELLS + cell).otherwise(NOWHERE).alias(time_name))
    found = frame.filter(rules).select(keys).collect(engine="streaming" if engine == "streaming" else "in-memory")
    return from_keys([found[name].to_numpy() for name in TIMES])


def cube_polars_streaming(path: str) -> np.ndarray:
    """scan_csv with declared types; both directions share one pass."""
    return _polars(path, "streaming")


def cube_polars_eager(path: str) -> np.ndarray:
    """read_csv with declared types, of the columns needed."""
    return _polars(path, "eager")


def _duckdb_source(path: str) -> str:
    kinds = dict.fromkeys(TIMES, "TIMESTAMP") | dict.fromkeys(WHOLE, "SMALLINT") | {"store_and_fwd_flag": "VARCHAR"}
    columns = ", ".join(f"'{name}': '{kinds.get(name, 'DOUBLE')}'" for name in NAMES)
    return (
        f"read_csv('{path}', header=true, auto_detect=false, delim=',', quote='', escape='', new_line='\\r\\n', "
        f"timestampformat='%Y-%m-%d %H:%M:%S', columns={{{columns}}})"
    )


def cube_duckdb(path: str) -> np.ndarray:
    """read_csv with declared types and nothing to detect; numpy counts the keys (grouping in SQL is slower)."""
    import duckdb

    begin, end = TIMES
    rules = f"{begin} >= TIMESTAMP '2015-01-01' AND {begin} < TIMESTAMP '2015-02-01' AND {end} >= {begin}"
    rules += f" AND {end} - {begin} <= INTERVAL 24 HOURS"
    for name, (low, high) in BOUNDS.items():
        above = ">" if name in ("trip_distance", "fare_amount") else ">="
        rules += f" AND {name} {above} {low} AND {name} <= {high}"
    keys = []
    for t, x, y in ((TIMES[0], *POINTS[:2]), (TIMES[1], *POINTS[2:])):
        row, column = f"floor(({y} - {SOUTH}) * {Y_CELLS!r})::BIGINT", f"floor(({x} - ({WEST})) * {X_CELLS!r})::BIGINT"
        slot = f"(epoch({t})::BIGINT - {START}) // {SLOT} * {CELLS}"
        inside = f"{x} >= {WEST} AND {x} < {EAST} AND {y} >= {SOUTH} AND {y} < {NORTH}"
        keys.append(f"CASE WHEN {inside} THEN {slot} + {row} * {COLS_OF_GRID} + {column} ELSE {NOWHERE} END AS {t}")
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    query = f"SELECT {', '.join(keys)} FROM {_duckdb_source(path)} WHERE {rules}"
    found = connection.execute(query).fetchnumpy()
    return from_keys([found[name] for name in TIMES])


def _of_frame(frame: Any) -> np.ndarray:
    begin, end = (frame[name].to_numpy().astype("datetime64[s]").astype(np.int64) for name in TIMES)
    good = (begin >= START) & (begin < START + SLOTS * SLOT) & (end >= begin) & (end - begin <= 86_400)
    for name, (low, high) in BOUNDS.items():
        values = frame[name].to_numpy()
        good &= (values > low if name in ("trip_distance", "fare_amount") else values >= low) & (values <= high)
    seconds = [begin[good], end[good]]
    lon1, lat1, lon2, lat2 = (frame[name].to_numpy()[good] for name in POINTS)
    return from_keys([key(seconds[0], lon1, lat1), key(seconds[1], lon2, lat2)])


def cube_pandas(path: str) -> np.ndarray:
    """read_csv(engine="pyarrow") of the columns needed, declared types; numpy counts."""
    import pandas as pd

    types = dict.fromkeys([*POINTS, *JUDGED], "float64")
    columns = [*TIMES, *POINTS, *JUDGED]
    return _of_frame(pd.read_csv(path, engine="pyarrow", usecols=columns, dtype=types, parse_dates=list(TIMES)))


def cube_dask(path: str) -> np.ndarray:
    """dask.dataframe with declared types, in processes (its parser holds the GIL)."""
    import dask
    import dask.dataframe as dd

    types = dict.fromkeys([*POINTS, *JUDGED], "float64")
    with dask.config.set({"dataframe.convert-string": False}):
        frame = dd.read_csv(
            path,
            usecols=[*TIMES, *POINTS, *JUDGED],
            dtype=types,
            parse_dates=list(TIMES),
            date_format="%Y-%m-%d %H:%M:%S",
        )
        parts = [dask.delayed(_of_frame)(part) for part in frame.to_delayed()]
        return dask.delayed(sum)(parts).compute(scheduler="processes", num_workers=os.cpu_count())


def scan_newlines(path: str) -> int:
    """The file read in pieces of 1 MiB, line ends counted by the C library's search; one thread."""
    count = 0
    with Path(path).open("rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            count += piece.count(b"\n")
    return count


def scan_newlines_in_threads(path: str) -> int:
    """The same with numpy's vectorised comparison, a half of the file for each thread."""

    def part(start: int, stop: int) -> int:
        count, buffer = 0, np.empty(1 << 20, np.uint8)
        with Path(path).open("rb", buffering=0) as file:
            file.seek(start)
            while start < stop and (size := file.readinto(buffer[: stop - start].data)):
                count += int(np.count_nonzero(buffer[:size] == 10))
                start += size
        return count

    size, threads = Path(path).stat().st_size, os.cpu_count() or 1
    cuts = [size * k // threads for k in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(part, cuts[:-1], cuts[1:]))


def lake_taxidask(path: str) -> Any:
    """ingest: rules, rejects, sorted parts, cube, manifest."""
    import taxidask as td

    folder = tempfile.mkdtemp(dir=Path(path).parent)
    lake = td.Lake(folder)
    began, busy = time.perf_counter(), processor_seconds()
    lake.ingest(path)
    seconds, busy = time.perf_counter() - began, processor_seconds() - busy
    fares = lake.trips(columns=["fare_amount"])["fare_amount"]
    return _done(folder, (seconds, busy), len(fares), float(fares.sum()))


def _done(folder: str, seconds: tuple[float, float], rows: int, fares: float) -> Any:
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return {"seconds": seconds[0], "busy": seconds[1], "rows": rows, "fares": round(fares, 2), "bytes": size}


def lake_duckdb(path: str) -> Any:
    """COPY … TO Parquet, zstd, declared types."""
    import duckdb

    folder = tempfile.mkdtemp(dir=Path(path).parent)
    out = f"{folder}/month.parquet"
    began, busy = time.perf_counter(), processor_seconds()
    duckdb.connect().execute(
        f"COPY (SELECT * FROM {_duckdb_source(path)}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
    )
    seconds, busy = time.perf_counter() - began, processor_seconds() - busy
    return _read_back(folder, out, (seconds, busy))


def lake_polars(path: str) -> Any:
    """scan_csv with declared types, sink_parquet, zstd."""
    import polars as pl

    folder = tempfile.mkdtemp(dir=Path(path).parent)
    out = f"{folder}/month.parquet"
    types = dict.fromkeys(TIMES, pl.Datetime("us")) | dict.fromkeys(WHOLE, pl.Int16) | {"store_and_fwd_flag": pl.String}
    began, busy = time.perf_counter(), processor_seconds()
    schema = {name: types.get(name, pl.Float64) for name in NAMES}
    pl.scan_csv(path, schema=schema).sink_parquet(out, compression="zstd", compression_level=1)
    seconds, busy = time.perf_counter() - began, processor_seconds() - busy
    return _read_back(folder, out, (seconds, busy))


def _read_back(folder: str, out: str, seconds: tuple[float, float]) -> Any:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    fares = pq.read_table(out, columns=["fare_amount"])["fare_amount"]
    return _done(folder, seconds, len(fares), pc.sum(fares).as_py())


CUBE: dict[str, Contender] = {
    "taxidask": cube_taxidask,
    "Polars, streaming": cube_polars_streaming,
    "Polars, eager": cube_polars_eager,
    "DuckDB": cube_duckdb,
    "pandas, pyarrow engine": cube_pandas,
    "dask.dataframe": cube_dask,
}
LAKE: dict[str, Contender] = {
    "taxidask (rules, sorted, cube)": lake_taxidask,
    "DuckDB COPY": lake_duckdb,
    "Polars sink_parquet": lake_polars,
}
FLOOR: dict[str, Contender] = {
    "line ends, bytes.count, 1 thread": scan_newlines,
    "line ends, numpy, all threads": scan_newlines_in_threads,
}
ALL = CUBE | LAKE | FLOOR


def month(folder: Path, rows: int) -> str:
    """A faultless sample month of so many rows, made once."""
    import taxidask as td

    folder = folder / f"{rows}"
    path = folder / "yellow_tripdata_2015-01.csv"
    if not path.exists():
        td.make_sample(folder, start="2015-01", trips_per_month=rows, faults=0.0)
    return str(path)


def processor_seconds() -> float:
    """What this process and its finished children have used."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def alone(name: str, path: str, small: str, answer: str) -> None:
    """What a process of its own does: warm up, measure three times, leave the answer."""
    contender = ALL[name]
    contender(small)
    best, result = (float("inf"), 0.0), None
    for _ in range(3):
        began, busy = time.perf_counter(), processor_seconds()
        result = contender(path)
        seconds, busy = time.perf_counter() - began, processor_seconds() - busy
        if isinstance(result, dict):
            seconds, busy = result.pop("seconds"), result.pop("busy")
        best = min(best, (seconds, busy))
    if isinstance(result, np.ndarray):
        np.save(answer, result.astype(np.int64))
        result = None
    print(json.dumps({"seconds": best, "result": result}))


def measure(name: str, path: str, small: str, folder: Path) -> tuple[tuple[float, float], Any]:
    """Seconds, processor seconds and answer of a contender in a fresh process."""
    answer = str(folder / "answer.npy")
    command = [sys.executable, __file__, "--alone", name, path, small, answer]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{name}: {said['seconds'][0]:.2f} s", file=sys.stderr)
    return tuple(said["seconds"]), np.load(answer) if name in CUBE else said["result"]


def table(title: str, seconds: dict[str, tuple[float, float]], size: int) -> None:
    """Print one Markdown table, ratios to its first line."""
    first, first_busy = next(iter(seconds.values()))
    print(f"\n| {title} | seconds | MB/s | times taxidask | processor seconds | times taxidask |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (value, busy) in seconds.items():
        speed = f"{size / value / 1e6:,.0f}"
        print(f"| {name} | {value:.2f} | {speed} | {value / first:.2f} | {busy:.2f} | {busy / first_busy:.2f} |")


def main(arguments: list[str]) -> None:
    """Run all contenders and print the tables."""
    folder = Path(arguments[0] if arguments else Path(tempfile.gettempdir()) / "taxidask-bench")
    folder.mkdir(parents=True, exist_ok=True)
    path, small = month(folder, ROWS), month(folder, 20_000)
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:  # into the page cache
        while file.read(16 << 20):
            pass
    print(f"{ROWS:,} rows, {size / 1e6:,.0f} MB, {os.cpu_count()} processors, best of three")
    cubes = {name: measure(name, path, small, folder) for name in CUBE}
    reference = cubes["taxidask"][1]
    for name, (_, cube) in cubes.items():
        different = np.argwhere(cube != reference)
        if len(different):
            raise SystemExit(f"{name} counts {len(different)} slots and cells otherwise, first {different[0]}")
    floors = {name: measure(name, path, small, folder)[0] for name in FLOOR}
    table("CSV to cube", {name: value for name, (value, _) in cubes.items()} | floors, size)
    print(f"\nAll {len(cubes)} answers are equal in every slot and cell ({int(reference.sum()):,} ends counted).")
    lakes = {name: measure(name, path, small, folder) for name in LAKE}
    table("CSV to lake", {name: value for name, (value, _) in lakes.items()}, size)
    answers = {(answer["rows"], answer["fares"]) for _, answer in lakes.values()}
    if len(answers) > 1:
        raise SystemExit(f"the lakes differ: {answers}")
    sizes = ", ".join(f"{name} {answer['bytes'] / 1e6:,.0f} MB" for name, (_, answer) in lakes.items())
    print(f"\nAll hold the same {ROWS:,} rows; sizes: {sizes}.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        alone(*sys.argv[2:])
    else:
        main(sys.argv[1:])
