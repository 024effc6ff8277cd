from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import taxidask as td


@pytest.fixture(scope="session")
def fares(data: Path) -> pd.DataFrame:
    """Every twenty-fifth of 1.1 million real fares of 2009 to 2015, in order of time, raw."""
    return pd.read_parquet(data / "fares" / "fares_2009_2015H1.parquet").iloc[::25].reset_index(drop=True)


@pytest.fixture(scope="session")
def march(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Made-up trips of 2015-03, with tolls."""
    [path] = td.make_sample(tmp_path_factory.mktemp("march"), start="2015-03", trips_per_month=20_000)
    return td.read_trips(path)[0]


@pytest.fixture(scope="session")
def zoned(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Made-up trips of 2018-05, with zone ids."""
    [path] = td.make_sample(tmp_path_factory.mktemp("zoned"), start="2018-05", trips_per_month=20_000)
    return td.read_trips(path)[0]


@pytest.fixture(scope="session")
def model(march: pd.DataFrame) -> td.FareModel:
    return td.FareModel(rounds=60, num_threads=1).fit(march)


@pytest.fixture(scope="session")
def zones(data: Path) -> td.Zones:
    return td.Zones(data / "zones" / "taxi_zones.geojson")
