"""What one ride will cost, told before it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from taxidask.clock import wall_clock
from taxidask.errors import ModelError


@dataclass(frozen=True)
class Quote:
    """A price for a ride before it begins, in USD.

    Attributes
    ----------
    fare, tolls, price : float
        Expected fare, expected tolls, and their sum; surcharges, taxes and tip are not part of it.
    low, high : float
        The band in which `interval` of such rides' prices lie.
    tariff : float
        What the published tariff gives on the straight line; NaN if it cannot be told.
    at : Timestamp
        Pick-up, New York time.
    pickup, dropoff : str
        From where to where.
    passengers : int
    interval : float
    note : str
        What to keep in mind, if anything.
    """

    fare: float
    tolls: float
    price: float
    low: float
    high: float
    tariff: float
    at: pd.Timestamp
    pickup: str
    dropoff: str
    passengers: int = 1
    interval: float = 0.8
    note: str = ""

    def __repr__(self) -> str:
        parts = f"fare {self.fare:.2f}" + (f" + tolls {self.tolls:.2f}" if self.tolls >= 0.005 else "")
        text = (
            f"Quote: {self.price:.2f} USD ({parts}), {self.interval:.0%} of such rides between {self.low:.2f} and "
            f"{self.high:.2f} USD; {self.pickup} to {self.dropoff}, {self.at:%a %Y-%m-%d %H:%M}"
        )
        if self.tariff == self.tariff:
            text += f"; tariff on the straight line {self.tariff:.2f} USD"
        return text + (f"; {self.note}" if self.note else "")

    def _repr_html_(self) -> str:
        rows = [
            ("Price", f"<b>{self.price:.2f} USD</b>"),
            (f"{self.interval:.0%} of such rides", f"{self.low:.2f} to {self.high:.2f} USD"),
            ("Fare", f"{self.fare:.2f} USD"),
            ("Tolls", f"{self.tolls:.2f} USD"),
            ("Tariff on the straight line", f"{self.tariff:.2f} USD" if self.tariff == self.tariff else "unknown"),
            ("From", html.escape(self.pickup)),
            ("To", html.escape(self.dropoff)),
            ("At", f"{self.at:%A %Y-%m-%d %H:%M}"),
            ("Passengers", str(self.passengers)),
        ]
        if self.note:
            rows.append(("Note", html.escape(self.note)))
        body = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in rows)
        return f"<table>{body}</table>"


def moment_of(at: Any) -> pd.Timestamp:
    """A time as given to `FareModel.quote`, as New York wall-clock time."""
    try:
        return wall_clock(at)
    except (ValueError, TypeError) as error:
        raise ModelError(f"at={at!r} is no time", 'give New York time, as in at="2015-06-01 17:30"') from error


def place_columns(end: str, place: Any, *, zoned: bool, locatable: bool) -> dict[str, Any]:
    """Columns of one end of a trip: a zone's id, or a point where the model can make use of one."""
    if isinstance(place, (int, np.integer)) and not isinstance(place, bool):
        if not zoned:
            raise ModelError(f"{end}={place!r} is a zone and the model was fitted on points", "give (lon, lat)")
        return {f"{end}_location_id": place}
    try:
        lon, lat = (float(value) for value in place)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{end}={place!r} is no place", "give (longitude, latitude), or a zone id") from error
    if not locatable:
        raise ModelError(
            f"{end}={place!r} is a point and the model was fitted on zone ids",
            "give a LocationID (1 to 263), or fit or load it with space=td.Zones(url)",
        )
    if 40 <= lon <= 42 and -75 <= lat <= -73:
        raise ModelError(f"{end}={place!r} has its latitude first", f"give (longitude, latitude): {(lat, lon)}")
    return {f"{end}_longitude": lon, f"{end}_latitude": lat, f"{end}_location_id": 0}


def place_name(place: Any) -> str:
    """How a quote names a place.

    Examples
    --------
    >>> place_name(132), place_name((-73.98, 40.75))
    ('zone 132', '(-73.9800, 40.7500)')
    """
    if isinstance(place, (int, np.integer)):
        return f"zone {place}"
    lon, lat = place
    return f"({float(lon):.4f}, {float(lat):.4f})"
