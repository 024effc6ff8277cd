"""What a New York yellow taxi costs by date: the city's published tariff as one small table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["FIRST_DAY", "STEPS", "Prices", "prices"]

FIRST_DAY = "2009-01-01"


@dataclass(frozen=True)
class Prices:
    """The tariff of one day, in cents.

    A metered fare is the flag and one unit for each fifth of a mile at 12 miles an hour or more (6 until 2012-09-03)
    or each minute below that; `fare_amount` holds it, or the flat fare of Kennedy Airport, and nothing else. Surcharges
    and taxes have columns of their own.

    Attributes
    ----------
    flag, unit : int
        Initial charge and price of a unit.
    jfk, newark : int
        Flat fare between Manhattan and Kennedy Airport; added to the meter for Newark.
    night, rush, jfk_rush : int
        Surcharges: 8 p.m. to 6 a.m.; Monday to Friday 4 to 8 p.m.; the same on the flat fare.
    mta, improvement, congestion : int
        State tax and surcharges of every trip; the last for trips in Manhattan south of 96th Street.
    crossing, hudson : int
        What E-ZPass pays at the city's large bridges and tunnels, and over the Hudson.
    laguardia, access : int
        Surcharge of trips to and from LaGuardia; fee of trips that begin at LaGuardia or Kennedy Airport.
    zone : int
        Charge of trips that touch Manhattan's congestion relief zone, south of 60th Street.
    """

    flag: int = 250
    unit: int = 40
    jfk: int = 4500
    newark: int = 1500
    night: int = 50
    rush: int = 100
    jfk_rush: int = 0
    mta: int = 0
    improvement: int = 0
    congestion: int = 0
    crossing: int = 415
    hudson: int = 800
    laguardia: int = 0
    access: int = 0
    zone: int = 0


# (first day, what it changed). Fares and surcharges: TLC rules on taximeter rates of fare (35 RCNY §58-26), as adopted
# for 2004-05-03 (in force in 2009), 2012-09-04 and 2022-12-19; MTA tax of 2009-11-01; improvement surcharge of
# 2015-01-01; congestion surcharge of 2019-02-02; LaGuardia's with the rules of 2022-12-19. Tolls: MTA Bridges and
# Tunnels and Port Authority, E-ZPass, peak; those over the Hudson since 2024 as announced for 2024-01-07 and 2025-01-05
# (newsday.com) and for 2026-01-04 (shorenewsnetwork.com). Airport access fee: Port Authority, begun 2021-04-05
# (tlcrentalmarketplace.com), raised two years later as its board resolved in 2019 (amny.com), and on 2026-03-15
# (blackcarnews.com). Congestion relief zone: MTA, 0.75 USD for taxis from 2025-01-05 (timeout.com, 2025-01-08).
STEPS: tuple[tuple[str, dict[str, int]], ...] = (
    ("2009-07-12", {"crossing": 457}),
    ("2009-11-01", {"mta": 50}),
    ("2010-12-30", {"crossing": 480}),
    ("2011-09-18", {"hudson": 950}),
    ("2012-09-04", {"unit": 50, "jfk": 5200, "newark": 1750}),
    ("2012-12-02", {"hudson": 1025}),
    ("2013-03-03", {"crossing": 533}),
    ("2013-12-01", {"hudson": 1100}),
    ("2014-12-07", {"hudson": 1175}),
    ("2015-01-01", {"improvement": 30}),
    ("2015-03-22", {"crossing": 554}),
    ("2015-12-06", {"hudson": 1250}),
    ("2016-02-01", {"jfk_rush": 450}),
    ("2017-03-19", {"crossing": 576}),
    ("2019-02-02", {"congestion": 250}),
    ("2019-03-31", {"crossing": 612}),
    ("2020-01-05", {"hudson": 1375}),
    ("2021-04-05", {"access": 125}),
    ("2021-04-11", {"crossing": 655}),
    ("2022-12-19", {"flag": 300, "unit": 70, "jfk": 7000, "newark": 2000, "night": 100, "rush": 250}),
    ("2022-12-19", {"jfk_rush": 500, "improvement": 100, "laguardia": 500}),
    ("2023-01-08", {"hudson": 1475}),
    ("2023-04-05", {"access": 175}),
    ("2023-08-06", {"crossing": 694}),
    ("2024-01-07", {"hudson": 1538}),
    ("2025-01-05", {"hudson": 1606, "zone": 75}),
    ("2026-01-04", {"hudson": 1679}),
    ("2026-03-15", {"access": 200}),
)


@lru_cache(maxsize=4096)
def prices(day: np.datetime64) -> Prices:
    """The tariff in force on a day; before 2009 that of 2009.

    Examples
    --------
    >>> import numpy as np
    >>> prices(np.datetime64("2012-09-03")).jfk, prices(np.datetime64("2012-09-04")).jfk
    (4500, 5200)
    """
    values: dict[str, int] = {}
    for since, changes in STEPS:
        if day >= np.datetime64(since):
            values |= changes
    return Prices(**values)
