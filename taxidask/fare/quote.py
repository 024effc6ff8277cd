"""What one ride will cost, told before it."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.clock import wall_clock
from taxidask.errors import ModelError
from taxidask.fare.why import in_cents
from taxidask.space import as_point, find_zone, point_name, zone_at, zone_name

if TYPE_CHECKING:
    from taxidask.space import Zones


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
    parts : dict
        What the price is made of; `why` gives it as a table.
    surcharges : dict
        What is owed on top by the rules of that date and hour, USD by name; `total` is the price with them, before a
        tip.
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
    parts: dict[str, float] = field(default_factory=dict, repr=False, compare=False)
    surcharges: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """What is to be paid, in USD, before a tip: the price and the surcharges."""
        return self.price + sum(self.surcharges.values())

    def why(self) -> pd.DataFrame:
        """What the price is made of, in USD: the parts add up to it.

        Returns
        -------
        DataFrame
            part, usd. First the flag fall, and what the meter adds for an average ride among those the model was fitted
            on; then by how much this ride's distance, places, time, date and passengers raise or lower the fare from
            there (Shapley values of the model's features); last the tolls.

        Examples
        --------
        >>> import tempfile, taxidask as td
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path] = td.make_sample(folder, start="2015-03", trips_per_month=4000)
        ...     trips, _ = td.read_trips(path)
        >>> model = td.FareModel(rounds=40, num_threads=1).fit(trips)
        >>> quote = model.quote(pickup="Midtown Center", dropoff="JFK Airport", at="2015-03-30 09:00")
        >>> why = quote.why()
        >>> why["part"].tolist()[:3]
        ['flag fall', 'average ride', 'distance and direction']
        >>> abs(sum(why["usd"]) - quote.price) < 0.005
        True
        """
        return pd.DataFrame({"part": list(self.parts), "usd": list(self.parts.values())})

    def __repr__(self) -> str:
        parts = f"fare {self.fare:.2f}" + (f" + tolls {self.tolls:.2f}" if self.tolls >= 0.005 else "")
        text = (
            f"Quote: {self.price:.2f} USD ({parts}), {self.interval:.0%} of such rides between {self.low:.2f} and "
            f"{self.high:.2f} USD; {self.pickup} to {self.dropoff}, {self.at:%a %Y-%m-%d %H:%M}"
        )
        if self.surcharges:
            named = ", ".join(f"{name} {usd:.2f}" for name, usd in self.surcharges.items())
            text += f"; {self.total:.2f} USD with surcharges ({named})"
        if self.tariff == self.tariff:
            text += f"; tariff on the straight line {self.tariff:.2f} USD"
        return text + (f"; {self.note}" if self.note else "")

    def _repr_html_(self) -> str:
        rows = [
            ("Price", f"<b>{self.price:.2f} USD</b>"),
            (f"{self.interval:.0%} of such rides", f"{self.low:.2f} to {self.high:.2f} USD"),
            ("Fare", f"{self.fare:.2f} USD"),
            ("Tolls", f"{self.tolls:.2f} USD"),
            *((f"Surcharge: {html.escape(name)}", f"{usd:.2f} USD") for name, usd in self.surcharges.items()),
            ("Total", f"{self.total:.2f} USD"),
            ("Tariff on the straight line", f"{self.tariff:.2f} USD" if self.tariff == self.tariff else "unknown"),
            ("From", html.escape(self.pickup)),
            ("To", html.escape(self.dropoff)),
            ("At", f"{self.at:%A %Y-%m-%d %H:%M}"),
            ("Passengers", str(self.passengers)),
        ]
        if self.note:
            rows.append(("Note", html.escape(self.note)))
        body = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in rows)
        if self.parts:
            shown = zip(self.parts, in_cents(self.parts), strict=True)
            listed = "".join(f"<tr><td>{html.escape(part)}</td><td>{usd:+.2f}</td></tr>" for part, usd in shown)
            body += f"<tr><th style='text-align:left'>Made of</th><td><table>{listed}</table></td></tr>"
        return f"<table>{body}</table>"


def moment_of(at: Any) -> pd.Timestamp:
    """A time as given to `FareModel.quote`, as New York wall-clock time."""
    try:
        return wall_clock(at)
    except (ValueError, TypeError) as error:
        raise ModelError(f"at={at!r} is no time", 'give New York time, as in at="2015-06-01 17:30"') from error


def place_columns(
    end: str, place: Any, *, zoned: bool, zones: Callable[[], Zones | None]
) -> tuple[dict[str, Any], str]:
    """Columns of one end of a trip as the model was fitted, on zones or points, and the place's name for people.

    `zones` are looked up only where they are needed; None are those of one's own that are not at hand.
    """
    point = as_point(place)
    if point is not None and not zoned:
        return _columns(end, point), point_name(*point)
    known = zones()
    if known is None:
        if not isinstance(place, bool) and str(place).strip().isdecimal():
            return _columns(end, zone=int(place)), f"zone {int(place)}"
        raise ModelError(
            f"{end}={place!r} is no zone id, and the zones that the model was fitted on are not those of the TLC",
            "give a LocationID, or load the model with its zones: FareModel.load(url, space=td.Zones(…))",
        )
    if point is not None:
        zone = zone_at(*point, known)
        return _columns(end, zone=zone), f"{point_name(*point)} in {zone_name(zone, known)}"
    zone = find_zone(place, known)
    return _columns(end, zone=zone), zone_name(zone, known)


def _columns(end: str, point: tuple[float, float] = (np.nan, np.nan), zone: int | None = None) -> dict[str, Any]:
    return {f"{end}_longitude": point[0], f"{end}_latitude": point[1], f"{end}_location_id": zone}
