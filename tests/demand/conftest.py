from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import taxidask as td

QUICK = {"rounds": 30, "max_rows": 40_000, "num_threads": 1}
GRID = td.Grid(3, 4, west=-74.0, south=40.7, east=-73.96, north=40.73)


def made_up(days: float = 28, *, slot: str = "60min", seed: int = 0, missing=None, start="2015-03-10") -> td.Cube:
    """Days of counts with a daily and weekly rhythm, and weather of their own that lasts half a day."""
    rng = np.random.default_rng(seed)
    n = round(days * (pd.Timedelta(days=1) / pd.Timedelta(slot)))
    times = pd.date_range(start, periods=n, freq=slot)
    hour = times.hour + times.minute / 60
    rhythm = 1.2 + np.sin((hour - 9) / 24 * 2 * np.pi) + 0.3 * (times.day_of_week >= 5)
    mood = np.repeat(np.exp(rng.normal(0, 0.25, n // 8 + 2)), 8)[:n]
    level = np.geomspace(0.05, 80, GRID.cells * 2).reshape(GRID.cells, 2)
    counts = rng.poisson(np.asarray(rhythm * mood)[:, None, None] * level)
    return td.Cube(counts, start=start, slot=slot, space=GRID, missing=missing)


@pytest.fixture(scope="session")
def month() -> td.Cube:
    return made_up()


@pytest.fixture(scope="session")
def fitted(month) -> td.DemandModel:
    return td.DemandModel(horizon=24, **QUICK).fit(month)


@pytest.fixture(scope="session")
def make_cube():
    return made_up


@pytest.fixture(scope="session")
def quick() -> dict:
    """Options with which a fit takes no time; what is learned is little."""
    return QUICK
