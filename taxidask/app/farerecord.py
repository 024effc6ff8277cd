"""How far prices can be trusted: what a run's backtest of its fare model found, and what was paid when it told so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from taxidask.app import style

_GROUPS = (0, 6, 10, 25, 45)  # USD, the lower edges
_ENOUGH, _FAR = 200, 0.25  # trips that show a spread, and how far from a price, as its share, to look for them
_MEASURED = {
    "mae": "Mean error",
    "tariff_mae": "… of the tariff",
    "rmse": "Root mean square error",
    "tariff_rmse": "… of the tariff ",
    "coverage": "In the 80 % band",
    "width": "Its width",
}


@dataclass(frozen=True)
class Spread:
    """What was paid when about one price had been told.

    Attributes
    ----------
    low, high : int
        Told from and to, USD; high is None where all dearer trips are among them.
    paid : DataFrame
        paid (USD, the lower edge of a cell of 1 USD) and trips.
    trips : int
    held : float
        Share of them that were paid within their band.
    middle : float
        Half paid less, USD.
    """

    low: int
    high: int | None
    paid: pd.DataFrame
    trips: int
    held: float
    middle: float

    def words(self) -> str:
        """The spread as a sentence."""
        told = f"{self.low} USD or more" if self.high is None else f"{self.low} to {self.high} USD"
        return (
            f"For {self.trips:,} trips the model had said {told} before it knew what was paid: "
            f"half paid less than {self.middle:.1f} USD, and {self.held:.0%} what lay within their 80 % band."
        )


def spread(prices: pd.DataFrame, price: float) -> Spread | None:
    """What trips paid for which about this price had been told; None where there are too few of them.

    Parameters
    ----------
    prices : DataFrame
        What the run published as ``"fare-prices"``: paid, price, trips, held, in cells of 1 USD.
    price : float
        USD.

    Examples
    --------
    >>> told = pd.DataFrame({"paid": [8, 9, 30], "price": [9, 9, 30], "trips": [150, 50, 9], "held": [120, 40, 9]})
    >>> found = spread(told, 9.4)
    >>> found.low, found.high, found.trips, found.held, round(found.middle, 2)
    (9, 10, 200, 0.8, 8.67)
    >>> spread(told, 30.0) is None
    True
    """
    if prices.empty:
        return None
    last = int(prices["price"].max())  # a cell that holds all above, too
    cell = min(int(price), last)
    for far in range(int(max(1, cell * _FAR)) + 1):
        like = prices[(prices["price"] - cell).abs() <= far]
        trips = int(like["trips"].sum())
        if trips >= _ENOUGH:
            paid = like.groupby("paid")["trips"].sum().reset_index()
            up_to = paid["trips"].cumsum()
            half = int(np.searchsorted(up_to, trips / 2))  # the cell that the trip in the middle lies in
            into = 1 - float(up_to[half] - trips / 2) / float(paid["trips"][half])
            middle = float(paid["paid"][half]) + into
            return Spread(
                max(0, cell - far),
                cell + far + 1 if cell + far < last else None,
                paid,
                trips,
                float(like["held"].sum()) / trips,
                middle,
            )
    return None


def record_html(backtest: pd.DataFrame, prices: pd.DataFrame) -> str:
    """The backtest of a run's fare model beside the tariff, on trips it had not seen, by fold and by the price told."""
    whole: dict[str, Any] = {name: _overall(backtest, name) for name in _MEASURED} | {"rows": backtest["rows"].sum()}
    said = (
        f"Asked about {int(whole['rows']):,} trips later than those it was fitted on, the model was off by "
        f"{whole['mae']:.2f} USD on average, and the tariff on the straight line by "
        f"{_number('mae', whole['tariff_mae'])} USD. {_number('coverage', whole['coverage'])} of the prices lay in "
        "the band that is made to hold 80 %."
    )
    rows = [_row(f"{pd.Timestamp(row['origin']):%-d\u00a0%b\u00a0%Y}", row) for row in backtest.to_dict("records")]
    heads = ["Fitted on trips before", "Asked about", *_MEASURED.values()]
    table = style.table(
        heads,
        [*rows, _row("all", whole)],
        numeric=heads[1:],
        caption="Errors of the fare and width of the band, in USD",
    )
    return f"<p>{said}</p>{groups_html(prices)}{table}"


def groups_html(prices: pd.DataFrame) -> str:
    """What was told beside what was paid, by the price told; nothing where the run published no such counts."""
    if prices.empty:
        return ""
    group = np.searchsorted(_GROUPS, prices["price"].to_numpy(), side="right") - 1
    rows = []
    for number, low in enumerate(_GROUPS):
        part = prices[group == number]
        trips = int(part["trips"].sum())
        if trips:
            told, paid = (float((part["trips"] * (part[name] + 0.5)).sum()) / trips for name in ("price", "paid"))
            high = f"to {_GROUPS[number + 1]}" if number + 1 < len(_GROUPS) else "and more"
            held = f"{part['held'].sum() / trips:.1%}"
            rows.append([f"{low} {high} USD".replace(" ", "\u00a0"), f"{trips:,}", f"{told:.2f}", f"{paid:.2f}", held])
    heads = ["Price told", "Trips", "Told on average", "Paid on average", "In the 80 % band"]
    caption = "Prices told before the trip and paid, fare and tolls in USD"
    return style.table(heads, rows, numeric=heads[1:], caption=caption) + "<p class='below'></p>"


def _overall(backtest: pd.DataFrame, name: str) -> float:
    """The mean of the folds by their trips, of errors that are squared the root of it; of folds that tell."""
    known = backtest[name].notna()
    if not known.any():
        return float("nan")
    power = 2 if "rmse" in name else 1
    return float(np.average(backtest.loc[known, name] ** power, weights=backtest.loc[known, "rows"]) ** (1 / power))


def _row(name: str, row: dict[Any, Any]) -> list[str]:
    return [name, f"{int(row['rows']):,}", *(_number(key, row[key]) for key in _MEASURED)]


def _number(key: str, value: float) -> str:
    if value != value:
        return "–"
    return f"{value:.1%}" if key == "coverage" else f"{value:.2f}"
