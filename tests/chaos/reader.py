"""A reader that asks all the time, and says what it was shown that no reader may see."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def look(lake: Any, store: Any, expected: dict[str, Any]) -> tuple[set[str], list[str]]:
    """The months that were seen, and what was wrong with what was seen."""
    from chaos import world

    wrong: list[str] = []
    seen = world.seen(lake)
    for what in ("trips", "rejects"):
        for name, value in seen[what].items():
            if value != expected["seen"][what].get(name):
                wrong.append(f"{what} of {name} are {value}, whole they are {expected['seen'][what].get(name)}")
    rows: dict[str, list[int]] = {}
    for one in world.listed(lake):
        if one["kept"] + one["rejected"] != one["rows"]:
            wrong.append(f"{one['url']}: {one['kept']} kept + {one['rejected']} rejected is not {one['rows']} rows")
        if one["rows"]:
            rows.setdefault(os.path.basename(one["url"]), []).append(one["rows"])
    for name, found in rows.items():
        if found != [expected["rows"][name][0]]:
            wrong.append(f"the sources of {name} have {found} rows, and should have {expected['rows'][name][0]} once")
    if rows:
        for month, (pickups, missing) in world.counted(lake).items():
            whole = expected["counted"].get(month)
            slots = (28 if month.endswith("02") else 31) * 4
            if whole is None or [pickups, missing] not in (whole, [0, slots]):
                wrong.append(
                    f"the cube has {pickups} pickups of {month} and {missing} slots missing, whole it has {whole}"
                )
    latest = store.get_latest()
    if latest:
        forecast = store.get_forecast(latest["space"], 0, slot=latest["slot"])
        if len(forecast) == 0:
            wrong.append(f"run {latest['run']} is the latest, and has no forecast")
    return set(seen["trips"]), wrong


def read(order: dict[str, Any]) -> dict[str, Any]:
    """Look again and again until the file `stop` is there; a line of JSON for each look goes to `found`."""
    os.environ.update(order.get("environment", {}))
    import taxidask as td
    from taxidask.errors import TaxidaskError

    expected = json.loads(Path(order["expected"]).read_text())
    lake, store = td.Lake(order["lake"]), td.open_store(order["store"])
    looks, parent = 0, os.getppid()
    with open(order["found"], "a") as file:
        while not Path(order["stop"]).exists() and os.getppid() == parent:
            began = time.time()
            line: dict[str, Any] = {"at": began}
            try:
                months, wrong = look(lake, store, expected)
                line |= {"months": sorted(months), "wrong": wrong}
            except TaxidaskError as error:
                line |= {"error": f"{type(error).__name__}: {error}", "remedy": bool(error.remedy)}
            except BaseException as error:
                import traceback

                traceback.print_exc()
                line |= {"wrong": [f"a raw {type(error).__name__}: {error}"]}
            line["took"] = round(time.time() - began, 3)
            file.write(json.dumps(line) + "\n")
            file.flush()
            looks += 1
            time.sleep(0.25)
    return {"looks": looks}
