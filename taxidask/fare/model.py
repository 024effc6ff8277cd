"""The fare model: fitted on trips, asked what a trip will cost before it begins."""

from __future__ import annotations

import html
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from taxidask.errors import ModelError
from taxidask.fare.bands import Band
from taxidask.fare.doubts import doubts
from taxidask.fare.features import feature_names
from taxidask.fare.naive import naive_fare
from taxidask.fare.rides import (
    IDS,
    MOST_PASSENGERS,
    POINTS,
    Centers,
    Rides,
    as_frame,
    given,
    read_rides,
    where_given,
    zones_of,
)
from taxidask.fare.surcharges import surcharges_of
from taxidask.fare.tasks import Lessons, Past, ask, fit_pasts, load_boosters, load_forests
from taxidask.fare.training import Learned, Options, spread
from taxidask.fare.why import parts_of
from taxidask.tariff import FIRST_DAY
from taxidask.units import is_whole

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.fare.quote import Quote
    from taxidask.models.forest import Forest
    from taxidask.space import Space, Zones

_NEAR = pd.Timedelta(days=92)  # of the trips fitted on: no word of how old they are
_TEXTS = ("fare", "median", "low", "high")
COLUMNS = ["fare", "tolls", "price", "low", "high"]


class FareModel:
    """Tells what a trip will cost from where, where to and when; never from its distance or duration.

    Parameters
    ----------
    interval : float
        Share of prices the band is made to hold.
    space : Zones, optional
        The zones of trips with zone ids, and of places given by id or name: their centres tell how far apart zones
        are, and are saved with the model. By default the TLC's. A lake's space may be given as it is: a Grid is not
        needed, as its trips have points.
    rounds : int
        Trees of a booster at most; how many are of use is found on held-out trips.
    learning_rate, leaves : float, int
        LightGBM's.
    max_rows : int
        Trips to learn from, evenly spread over time: bounds time and memory whatever the table's size.
    seed : int
        The same seed and trips give the same model.
    num_threads : int, optional
        LightGBM's threads in each fit; by default the cores that fits at the same time leave.

    Notes
    -----
    Prices are USD; `fare` is what the meter shows, or the flat fare of Kennedy Airport, and `price` is fare and tolls,
    without surcharges, taxes and tip. `tolls` is what such trips paid on average; where the trips fitted on had no
    tolls_amount it is 0. It takes 1,000 usable trips at least.

    Examples
    --------
    >>> import tempfile, taxidask as td
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path] = td.make_sample(folder, start="2015-03", trips_per_month=4000)
    ...     trips, _ = td.read_trips(path)
    >>> model = td.FareModel(rounds=40, num_threads=1).fit(trips)
    >>> quote = model.quote(pickup=(-73.985, 40.758), dropoff=(-73.782, 40.644), at="2015-03-30 09:00")
    >>> 40 < quote.fare < 60 and quote.low <= quote.price <= quote.high
    True
    """

    def __init__(
        self,
        *,
        interval: float = 0.8,
        space: Space | None = None,
        rounds: int = 200,
        learning_rate: float = 0.1,
        leaves: int = 255,
        max_rows: int = 1_500_000,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        self.options = Options(interval, rounds, learning_rate, leaves, max_rows, seed, num_threads)
        self.space = _checked(space)
        self._centers: Centers | None = None
        self._card: dict[str, Any] | None = None
        self._texts: dict[str, str] = {}
        self._forests: dict[str, Forest] | None = None
        self._boosters: list[Any] | None = None

    @property
    def card(self) -> dict[str, Any]:
        """What it was fitted on, rows set aside by reason, metrics beside the tariff's; ModelError before `fit`."""
        if self._card is None:
            raise ModelError("this FareModel is not fitted", "call fit(trips) first")
        return self._card

    @property
    def metrics(self) -> pd.DataFrame:
        """Metrics on the newest trips, held out, beside the tariff's; errors and width in USD."""
        return pd.DataFrame([self.card["metrics"]])

    def unfitted(self) -> FareModel:
        """A model of the same options that has learned nothing."""
        return FareModel(**self.options.to_dict(), space=self.space)

    def lessons(self, trips: Any) -> Lessons:
        """What `fit` makes of trips."""
        frame = as_frame(trips)
        places = where_given(frame)
        zones = zones_of(self.space) if places == "zones" else None
        centers = Centers.from_zones(zones) if zones is not None else None
        rides = read_rides(frame, places, space=zones, centers=centers, target=True)
        good = np.flatnonzero(rides.usable)
        good = good[np.argsort(rides.time[good], kind="stable")]
        return Lessons(places, zones, rides.take(good), len(frame), rides.reasons)

    def fit(self, trips: Any, *, client: Client | None = None, created: str | None = None) -> FareModel:
        """Learn from trips.

        Parameters
        ----------
        trips : DataFrame or pyarrow.Table
            With pickup_datetime (New York time), pickup_longitude … dropoff_latitude (degrees) or pickup_location_id
            and dropoff_location_id, passenger_count, fare_amount (USD) and, where known, tolls_amount (USD). Rows that
            cannot be used are set aside and counted by reason in `card`.
        client : distributed.Client, optional
            Whose worker fits it.
        created : str, optional
            When and by whom, for the card.

        Returns
        -------
        FareModel
            Itself.
        """
        lessons = self.lessons(trips)
        lessons.check_enough()
        rides = lessons.rides.take(spread(np.arange(len(lessons.rides)), self.options.max_rows))
        [(learned, _)] = fit_pasts(client, rides, lessons.places, self.options, [Past(len(rides), len(rides))])
        return self.adopt(lessons, learned, created)

    def adopt(self, lessons: Lessons, learned: Learned, created: str | None = None) -> FareModel:
        """Be the model that learned this of all lessons."""
        zones, time = lessons.zones, spread(lessons.rides.time, self.options.max_rows)
        self._centers = Centers.from_zones(zones) if zones is not None else None
        self._texts, self._forests, self._boosters = learned.texts, None, None
        self._card = {
            "created": created,
            "data": {
                "rows": lessons.rows,
                "usable": len(lessons.rides),
                "fitted_on": len(time),
                "set_aside": lessons.set_aside,
                "start": str(time[0]),
                "end": str(time[-1]),
                "places": lessons.places,
                "zones": zones.key if zones is not None else None,
                "tolls_known": "tolls" in learned.texts,
            },
            "settings": self.options.to_dict(),
            "features": feature_names(lessons.places),
            "rounds": learned.rounds,
            "band": asdict(learned.band),
            "centers": self._centers.to_dict() if self._centers is not None else None,
            "metrics": {key: _plain(value) for key, value in learned.metrics.items()},
            "versions": {name: version(name) for name in ("taxidask", "lightgbm", "numpy")},
        }
        return self

    def predict(self, trips: Any) -> pd.DataFrame:
        """Expected fare, tolls and price of each trip, and the band of its price.

        Parameters
        ----------
        trips : DataFrame, pyarrow.Table, polars or Dask DataFrame
            With pickup_datetime, the places as points or as zone ids, and passenger_count, which is 1 where it is
            missing or odd. Other columns are not looked at. A model fitted on zones takes a row's zones, else looks up
            its points; one fitted on points takes a row's points, else a point in the middle of its zones
            (`Zones.center`).

        Returns
        -------
        DataFrame
            Columns fare, tolls, price = fare + tolls, low and high in USD; one row per row of `trips`, in its order and
            with its index; NaN for a row whose time or place is missing, unreadable or outside the city. A place in no
            taxi zone, or a ride that ends at the very point where it begins, has a band as wide as any ride's. Of a
            Dask DataFrame a Dask DataFrame, which asks partition by partition.
        """
        if hasattr(trips, "map_partitions"):
            return trips.map_partitions(self.predict, meta=pd.DataFrame(columns=COLUMNS, dtype=np.float64))
        frame = as_frame(trips)
        rides = self._rides(frame)
        out = np.full((len(frame), len(COLUMNS)), np.nan)
        out[rides.usable] = self._ask(rides.take(rides.usable))
        return pd.DataFrame(out, columns=COLUMNS, index=frame.index)

    def _rides(self, trips: pd.DataFrame) -> Rides:
        """Trips to be asked about, with whatever the model needs of places that were given otherwise."""
        places, space, centers = self.card["data"]["places"], None, self._centers
        if places == "zones" and given(trips, POINTS):
            space = self._zones()
        if places == "points" and given(trips, IDS):
            centers = Centers.from_zones(zones_of(self.space))
        return read_rides(trips, places, space=space, centers=centers, target=False)

    def _zones(self) -> Zones | None:
        """The zones that places are looked up in; of a model fitted on others than the TLC's, None if not given."""
        data = self.card["data"]
        if data["places"] == "zones" and data.get("zones") is None:  # saved before the TLC's came with the package
            return self.space
        zones = zones_of(self.space)
        return zones if data["places"] == "points" or zones.key == data["zones"] else None

    def _ask(self, rides: Rides) -> NDArray[np.float64]:
        from dask.system import CPU_COUNT

        if self._forests is None:
            self._forests = load_forests(self._texts)
        band, threads = Band(**self.card["band"]), self.options.num_threads or CPU_COUNT
        return ask(self._forests, self.card["features"], band, rides, threads)

    def _fare_boosters(self) -> list[Any]:
        if self._boosters is None:
            texts = {name: self._texts[name] for name in ("fare", "median")}
            self._boosters = list(load_boosters(texts, self.card["features"], "the fitted model").values())
        return self._boosters

    def quote(self, *, pickup: Any, dropoff: Any, at: Any, passengers: int = 1) -> Quote:
        """The price of one trip, before it.

        Parameters
        ----------
        pickup, dropoff : (longitude, latitude), str or int
            In degrees, or a taxi zone's name or LocationID. A model fitted on points takes a point in the middle of a
            zone (`Zones.center`), one fitted on zones the zone that a point lies in.
        at : str or Timestamp
            Pick-up, New York time.
        passengers : int
            1 to 9.

        Returns
        -------
        Quote
        """
        from taxidask.fare.quote import Quote, moment_of, place_columns

        card = self.card
        moment = moment_of(at)
        if not (is_whole(passengers) and passengers <= MOST_PASSENGERS):
            raise ModelError(f"passengers={passengers!r} do not fit into a taxi", f"give 1 to {MOST_PASSENGERS}")
        row: dict[str, Any] = {"pickup_datetime": moment, "passenger_count": passengers}
        names = {}
        for end, place in (("pickup", pickup), ("dropoff", dropoff)):
            columns, names[end] = place_columns(end, place, zoned=card["data"]["places"] == "zones", zones=self._zones)
            row |= columns
        rides = self._rides(pd.DataFrame([row]))
        if "bad_datetime" in rides.reasons:
            raise ModelError(f"no quote at {moment}", "give New York time between 2000 and 2100")
        if not rides.usable[0]:
            raise ModelError(
                f"no quote from {pickup!r} to {dropoff!r}: {next(iter(rides.reasons))}",
                "give zones, or points inside the city (longitude -74.3 to -73.7, latitude 40.5 to 41)",
            )
        fare, tolls, price, low, high = (float(value) for value in self._ask(rides)[0])
        notes = [f"{doubt}: the band is that of any ride" for doubt, is_so in doubts(rides).items() if is_so[0]]
        if not card["data"]["tolls_known"]:
            notes.append("tolls come on top: the trips fitted on did not tell them")
        first, last = (pd.Timestamp(card["data"][name]) for name in ("start", "end"))
        if not first - _NEAR < moment < last + _NEAR:
            notes.append(f"fitted on trips from {first:%Y-%m-%d} to {last:%Y-%m-%d}; the tariff is that of the day")
        if moment < pd.Timestamp(FIRST_DAY):
            notes.append(f"no tariff before {FIRST_DAY} is known: it is that of then")
        return Quote(
            fare,
            tolls,
            price,
            low,
            high,
            float(naive_fare(rides)[0]),
            moment,
            names["pickup"],
            names["dropoff"],
            int(passengers),
            self.options.interval,
            "; ".join(notes),
            parts_of(self._fare_boosters(), card["features"], rides, fare, tolls),
            surcharges_of(rides),
        )

    def save(self, url: str) -> str:
        """Write the model to a folder, local or s3://: LightGBM's own text and card.json, never a pickle."""
        from taxidask.models.files import save_texts

        return save_texts(url, self.card, self._texts, kind="fare")

    @classmethod
    def load(cls, url: str, *, space: Space | None = None) -> FareModel:
        """Read a saved model; ModelError if it is none, of another format, or any byte of it was changed.

        `space`, as in the constructor, is needed for names and points on a model fitted on zones of one's own; the
        TLC's are known, and the zones' centres are in the model.
        """
        from taxidask.models.files import load_texts

        card, texts = load_texts(url, kind="fare")
        damaged = f"the card at {url} is damaged"
        try:
            model = cls(**{field.name: card["settings"][field.name] for field in fields(Options)}, space=space)
            if card["centers"] is not None:
                model._centers = Centers.from_dict(card["centers"])
            expected = feature_names(card["data"]["places"])
            Band(**card["band"])
            names, data = card["features"], card["data"]
            missing = [name for name in (*_TEXTS, *(["tolls"] if data["tolls_known"] else [])) if name not in texts]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{damaged}: {error!r}", "save the model again") from error
        if missing:
            raise ModelError(f"{damaged}: it names no file for {', '.join(missing)}", "save the model again")
        if names != expected:
            raise ModelError(
                f"the model at {url} looks at {len(names)} features and this taxidask makes other ones",
                "fit and save the model with this version",
            )
        key = data.get("zones")
        if model.space is not None and key not in (None, model.space.key):
            raise ModelError(
                f"the model at {url} was fitted on other zones ({key}) than {model.space!r} ({model.space.key})",
                "give the zones that it was fitted on",
            )
        model._card, model._texts = card, texts
        load_boosters(texts, names, url)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_forests": None, "_boosters": None}

    def __repr__(self) -> str:
        if self._card is None:
            return "FareModel(), not fitted"
        data, score = self.card["data"], self.card["metrics"]
        text = (
            f"FareModel fitted on {data['fitted_on']:,} trips from {data['start'][:10]} to {data['end'][:10]} "
            f"({data['rows'] - data['usable']:,} set aside); mean absolute error {score['mae']:.2f} USD"
        )
        if score["tariff_mae"] is not None:
            text += f" (tariff on the straight line {score['tariff_mae']:.2f} USD)"
        return f"{text}, {score['coverage']:.1%} of prices inside the {self.options.interval:.0%} band"

    def _repr_html_(self) -> str:
        if self._card is None:
            return f"<p>{html.escape(repr(self))}</p>"
        table = self.metrics.to_html(index=False, float_format="{:,.2f}".format, border=0)
        aside = self.card["data"]["set_aside"]
        rows = ", ".join(f"{count:,} {html.escape(reason)}" for reason, count in aside.items()) or "none"
        return f"<p>{html.escape(repr(self))}</p>{table}<p>Rows set aside: {rows}</p>"


def _checked(space: Any) -> Zones | None:
    """The Zones a space is, if it is."""
    from taxidask.space import Space, Zones

    if space is not None and not isinstance(space, Space):
        raise ModelError(f"space is a {type(space).__name__}", "give td.Zones(url), or nothing for trips with points")
    return space if isinstance(space, Zones) else None


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
