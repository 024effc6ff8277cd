"""Models: fitted on a lake, and asked."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

import taxidask
from taxidask.cli.base import DONE, Json, Lake, app, check_out, dumps, output, settings_of, table
from taxidask.errors import ModelError, SettingsError, SpaceError
from taxidask.progress import say


@app.command
def fit(model: Literal["demand", "fare", "both"] = "both", *, lake: Lake = None, json: Json = False) -> int:
    """Fit models on the lake and save them in it.

    Example: `taxidask fit demand --lake lake`
    """
    from taxidask.runs.stages import fare_trips
    from taxidask.storage import join

    settings = settings_of(lake=lake)
    home = taxidask.Lake(settings.lake)
    cards = {}
    if model in ("demand", "both"):
        say("fitting the demand model …")
        demand_model = taxidask.DemandModel(horizon=settings.horizon).fit(home.cube())
        demand_model.save(join(home.url, "models", "demand"))
        cards["demand"] = demand_model.card
    if model in ("fare", "both"):
        say("fitting the fare model …")
        fare_model = taxidask.FareModel(space=home.space).fit(fare_trips(home))
        fare_model.save(join(home.url, "models", "fare"))
        cards["fare"] = fare_model.card
    if json:
        print(dumps(cards))
    else:
        for kind in cards:
            output(f"{kind:<8} {join(home.url, 'models', kind)}")
        if note := cards.get("demand", {}).get("note"):
            say(f"the demand model: {note}")
    return DONE


@app.command
def forecast(
    *,
    lake: Lake = None,
    horizon: int | None = None,
    cell: int | None = None,
    out: str | None = None,
    json: Json = False,
) -> int:
    """Forecast the slots after the lake's last one, with the demand model saved in it.

    Example: `taxidask forecast --lake lake --horizon 48 --out forecast.csv`

    Parameters
    ----------
    cell
        Only this cell; default: the city as a whole on the screen, every cell in a file.
    out
        Write every cell to this .csv or .parquet file, a path or an s3:// URL.
    """
    from taxidask.storage import join

    check_out(out)
    settings = settings_of(lake=lake, horizon=horizon)
    home = taxidask.Lake(settings.lake)
    model = taxidask.DemandModel.load(join(home.url, "models", "demand"))
    cube = home.cube().trimmed()
    if cell is not None and not 0 <= cell < cube.space.cells:
        raise SettingsError(f"--cell {cell} is no cell of {home.url}", f"give one from 0 to {cube.space.cells - 1}")
    result = model.forecast(cube, horizon=settings.horizon)
    if cell is None and out is None:
        return table(result.total(), json)
    frame = result.to_pandas()
    return table(frame if cell is None else frame[frame["cell"] == cell], json, out)


@app.command
def quote(
    *,
    pickup: Annotated[str, Parameter(allow_leading_hyphen=True)],
    dropoff: Annotated[str, Parameter(allow_leading_hyphen=True)],
    at: str,
    passengers: int = 1,
    why: Annotated[bool, Parameter(negative="")] = False,
    lake: Lake = None,
    json: Json = False,
) -> int:
    """The fare to expect of a trip, before it is made.

    Example: `taxidask quote --pickup 'JFK Airport' --dropoff -73.99,40.75 --at '2015-06-01 08:00'`

    Parameters
    ----------
    pickup
        LON,LAT in degrees, or a taxi zone's name or id: `-73.78,40.64`, `'JFK Airport'` or `132`.
    dropoff
        LON,LAT in degrees, or a taxi zone's name or id: `-73.99,40.75`, `'Midtown Center'` or `161`.
    at
        New York wall-clock time.
    why
        Print what the price is made of, too; with --json it is always there, as `parts`.
    """
    from taxidask.fare.why import in_cents
    from taxidask.storage import absolute, join

    model = taxidask.FareModel.load(join(absolute(settings_of(lake=lake).lake), "models", "fare"))
    try:
        result = model.quote(pickup=pickup, dropoff=dropoff, at=at, passengers=passengers)
    except (ModelError, SpaceError) as error:  # of what was asked: the model is loaded and whole
        raise SettingsError(error.message, error.remedy) from error
    output(dumps(vars(result) | {"total": result.total}) if json else result)
    if why and not json:
        for part, usd in zip(result.parts, in_cents(result.parts), strict=True):
            output(f"  {part:<30} {usd:+8.2f} USD")
    return DONE
