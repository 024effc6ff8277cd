"""Quotes for visitors: the run's fare model out of the lake, and what a visitor typed made into a question to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taxidask.app.farecharts import Outlines, outlines
from taxidask.clock import wall_clock
from taxidask.errors import SettingsError, TaxidaskError
from taxidask.fare import FareModel, Quote
from taxidask.lake import Lake
from taxidask.space import Zones, as_point, find_zone, zone_at, zone_name
from taxidask.storage import absolute, join
from taxidask.trips.rules import Rules

if TYPE_CHECKING:
    from taxidask.settings import Settings

_MOST = Rules().max_passengers
FIELDS = ("from", "to", "at", "passengers")


@dataclass(frozen=True)
class Loaded:
    """What is needed for quotes, the same for all visitors of a run.

    Attributes
    ----------
    model : FareModel
    zones : Zones
        Where places are looked up, and what the map shows.
    shapes : dict
        The zones' outlines.
    names : dict of str to int
        LocationIDs by what people are offered.
    """

    model: FareModel
    zones: Zones
    shapes: Outlines = field(repr=False)
    names: dict[str, int] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What became of a question.

    Attributes
    ----------
    quote : Quote or None
        None where something is missing or wrong.
    wrong : dict of str to str
        What is wrong, by field.
    ends : dict
        Points by "pickup" and "dropoff"; None where there is none.
    places : dict of str to str
        What the fields "from" and "to" mean, as it is offered.
    """

    quote: Quote | None = None
    wrong: dict[str, str] = field(default_factory=dict)
    ends: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)


def load_fares(lakes: list[str]) -> Loaded:
    """The fare model of the first of these lakes that can be read; TaxidaskError of the first if none can."""
    refused: list[TaxidaskError] = []
    for place in lakes:
        try:
            url = absolute(place)
            space = Lake(url).space
            model = FareModel.load(join(url, "models", "fare"), space=space)
        except TaxidaskError as error:
            refused.append(error)
            continue
        zones = space if isinstance(space, Zones) else Zones()
        names = {zone_name(zone, zones): zone for zone in zones.ids.tolist()}
        return Loaded(model, zones, outlines(zones), dict(sorted(names.items())))
    raise refused[0]


def lakes_of(latest: Mapping[str, Any], settings: Settings) -> list[str]:
    """Where a run's fare model may be: in its lake, or in the server's, which may be the same by another name."""
    return list(dict.fromkeys(filter(None, [latest.get("lake"), settings.lake])))


def ask(fares: Loaded, asked: Mapping[str, str]) -> Answer:
    """Quote a ride, or say which field is in the way.

    Parameters
    ----------
    fares : Loaded
    asked : mapping
        Texts by the names in `FIELDS`: places are points as "LON,LAT", or zones by name or id.
    """
    wrong: dict[str, str] = {}
    places: dict[str, tuple[Any, tuple[float, float]]] = {}
    for name in ("from", "to"):
        try:
            if asked[name]:
                places[name] = _place(asked[name], fares)
        except TaxidaskError as error:
            wrong[name] = _words(error)
    ends = {end: places[name][1] if name in places else None for end, name in (("pickup", "from"), ("dropoff", "to"))}
    if len(places) == 2 and places["from"] == places["to"] and as_point(places["to"][0]) is not None:
        wrong["to"] = "this is the very point where the ride begins"
    try:
        if not 1 <= int(asked["passengers"]) <= _MOST:
            raise ValueError
    except ValueError:
        wrong["passengers"] = f"give a number from 1 to {_MOST}"
    try:
        wall_clock(asked["at"])
    except (ValueError, TypeError):
        wrong["at"] = 'give New York time, as in "2015-06-01 17:30"'
    labels = {
        name: asked[name] if isinstance(place, tuple) else zone_name(place, fares.zones)
        for name, (place, _) in places.items()
    }
    if wrong or len(places) < 2:
        return Answer(None, wrong, ends, labels)
    try:
        quote = fares.model.quote(
            pickup=places["from"][0],
            dropoff=places["to"][0],
            at=asked["at"],
            passengers=int(asked["passengers"]),
        )
    except TaxidaskError as error:  # of places and passengers there is nothing left to say
        return Answer(None, {"at": _words(error)}, ends, labels)
    return Answer(quote, {}, ends, labels)


def _place(text: str, fares: Loaded) -> tuple[Any, tuple[float, float]]:
    """A place as the model takes it, and its point; SpaceError for what is none, or lies in no zone."""
    point = as_point(text)
    if point is not None:
        zone_at(*point, fares.zones)  # the sea has none, and neither has New Jersey
        return point, point
    zone = fares.names[text] if text in fares.names else find_zone(text, fares.zones)
    return zone, fares.zones.center(int(fares.zones.locate_ids([zone])[0]))


def _words(error: TaxidaskError) -> str:
    return f"{error.message}: {error.remedy}" if error.remedy else error.message


def no_model(error: TaxidaskError, lakes: list[str]) -> TaxidaskError:
    """Why there are no quotes, and what to do."""
    return SettingsError(
        f"No quotes, as the fare model cannot be read: {error.message}",
        error.remedy
        if len(lakes) == 1
        else f"serve the app where {' or '.join(lakes)} can be read, or with --lake; or run taxidask run",
    )
