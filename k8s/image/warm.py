"""Compile the kernels for the image: read and count a few rows of every era, with a grid and with zones; walk a tree.

numba keeps what it compiles under NUMBA_CACHE_DIR, by the path and content of the source and by the processor that it
compiles for (NUMBA_CPU_NAME). Prints how many kernels came from there and how many had to be compiled.
"""

from __future__ import annotations

import gc
import gzip
import sys
import tempfile
from pathlib import Path

import numpy as np
from numba.core.dispatcher import Dispatcher

from taxidask.models.forest import Forest, walk
from taxidask.sample import make_sample
from taxidask.space import Grid, Zones
from taxidask.storage import default_storage
from taxidask.trips import read_trips
from taxidask.trips.read import count_block
from taxidask.trips.sources import find_sources

MONTHS = ("2009-01", "2012-01", "2014-01", "2015-01", "2016-01", "2016-08", "2017-01", "2019-06")
"""One of each layout."""


def work(folder: Path) -> None:
    """What a worker does to a source, for every kind there is."""
    zones, grid, storage = Zones(), Grid.new_york(), default_storage()
    zones.neighbours(0)
    for month in MONTHS:
        [file] = make_sample(str(folder), start=month, trips_per_month=2000, faults=0.05)
        Path(f"{file}.gz").write_bytes(gzip.compress(Path(file).read_bytes()))
        text = Path(file).read_text().splitlines(keepends=True)
        text[2:] = [line.replace(",", ',"', 1).replace(",", '",', 2).replace('",', ",", 1) for line in text[2:]]
        quoted = folder / f"quoted_{month}.csv"
        quoted.write_text("".join(text))
        trips, _ = read_trips(file)
        for space in (zones, grid)[: 2 if trips["pickup_longitude"].notna().any() else 1]:
            for url in (file, f"{file}.gz", str(quoted)):
                for source in find_sources(url, storage=storage, month=month):
                    for block in source.blocks():
                        count_block(block, storage=storage, space=space, slot_seconds=1800)
        for url in (f"{file}.gz", str(quoted)):
            read_trips(url, month=month)
    leaf = [np.zeros(1, kind) for kind in (np.int32, np.int32, np.float32, np.int32, np.int8, np.int32, np.float64)]
    walk([Forest(*leaf, np.zeros(1, np.int32), np.empty(0, np.uint32))], np.zeros((8, 1), np.float32), 1)


def counts() -> tuple[int, int]:
    """Signatures of this package's kernels that were loaded, and that were compiled."""
    kernels = [
        one for one in gc.get_objects() if isinstance(one, Dispatcher) and one.__module__.startswith("taxidask.")
    ]
    stats = [kernel.stats for kernel in kernels]
    return sum(sum(one.cache_hits.values()) for one in stats), sum(sum(one.cache_misses.values()) for one in stats)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        work(Path(scratch))
    loaded, compiled = counts()
    print(f"{loaded} kernels loaded, {compiled} compiled")
    sys.exit("--all-loaded" in sys.argv and (compiled > 0 or loaded == 0))
