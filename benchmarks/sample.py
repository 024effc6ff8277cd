"""How fast sample months are made, beside pandas writing the same rows.

For one month of each layout: best of three of `td.make_sample`, and of `DataFrame.to_csv` on a table of the file's rows
that is in memory already, which has only to write what the generator has to invent as well. Prints a Markdown table.

    python benchmarks/sample.py [ROWS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import taxidask as td

MONTHS = ("2009-03", "2010-03", "2014-03", "2015-03", "2016-03", "2016-09", "2017-03", "2019-03")


def best(call: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def main(rows: int) -> None:
    print("| month | MB | make_sample, MB/s | pandas.to_csv, MB/s | ratio |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        td.make_sample(folder, start=MONTHS[0], trips_per_month=100)  # compiles
        for month in MONTHS:
            path = Path(folder) / f"yellow_tripdata_{month}.csv"

            def make(month: str = month) -> None:
                td.make_sample(folder, start=month, trips_per_month=rows, overwrite=True)

            ours = best(make)
            size = path.stat().st_size / 1e6
            table = pd.read_csv(path, on_bad_lines="skip", engine="pyarrow", header=None, skiprows=2)

            def write(table: pd.DataFrame = table, path: Path = path) -> None:
                table.to_csv(path.with_suffix(".pandas"), index=False)

            theirs = best(write, 1)
            written = path.with_suffix(".pandas").stat().st_size / 1e6
            path.unlink()
            path.with_suffix(".pandas").unlink()
            print(
                f"| {month} | {size:.0f} | {size / ours:.0f} | {written / theirs:.0f} "
                f"| {size / ours / (written / theirs):.1f} × |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
