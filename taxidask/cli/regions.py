"""Regions: whether they answer, how far one is behind another, and what differs between them."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from cyclopts import Parameter

from taxidask.cli.base import DONE, FAILED, LEFT_OUT, Json, Lake, Store, app, dumps, output, settings_of
from taxidask.progress import say

SHOWN = 20  # differences of one kind


@app.command
def regions(
    *,
    check: Annotated[bool, Parameter(negative="")] = False,
    repair: Annotated[bool, Parameter(negative="")] = False,
    wait: float = 60.0,
    lake: Lake = None,
    store: Store = None,
    regions: Annotated[str | None, Parameter(help="The regions as JSON, home first [settings: regions].")] = None,
    json: Json = False,
) -> int:
    """Each region's state, how long what is written in one takes to the others, and what differs between them.

    Exit codes: 0 all answer and, where asked, are the same; 1 one does not answer, or failed; 3 something differs
    still, or was not copied in time.

    Example: `taxidask regions --check --lake s3://my-lake/lake --store dynamodb://taxidask`

    Parameters
    ----------
    check
        Compare manifests, the parts they name, claims of contents, all else beside them, and every item.
    repair
        Copy what is missing or older to where it is, and delete nothing; runs may be at work meanwhile.
    wait
        Seconds for a mark that is written in one region to be seen in the others; 0 writes none.
    """
    from taxidask import replicas

    settings = settings_of(lake=lake, store=store, regions=regions)
    places = replicas.places_of(settings)
    states = replicas.look(places, settings)
    lags = replicas.measure_lag(places, wait=wait, say=say) if wait > 0 else []
    told: dict[str, Any] = {"states": [vars(one) for one in states], "lags": [vars(one) for one in lags]}
    if not json:
        for line in (*states, *lags):
            output(line)
    dark = [one for one in states if not one.reachable]
    if dark and (check or repair):
        say("not compared: of a region that does not answer nothing can be said")
    code = FAILED if dark else LEFT_OUT if any(one.seconds is None for one in lags) else DONE
    if (check or repair) and not dark:
        found = replicas.compare(places, say=say)
        if repair and found.differences:
            found = replicas.repair(places, found, say=say)
        code = LEFT_OUT if found.left else code
        told |= {"compared": found.compared, "unnamed": found.unnamed}
        told["differences"] = [one.told() for one in found.differences]
        if not json:
            for _, some in groupby(found.left, key=lambda one: (one.kind, one.how, one.region)):
                listed = list(some)
                for one in listed[:SHOWN]:
                    output(one)
                if len(listed) > SHOWN:
                    output(f"and {len(listed) - SHOWN:,} more of these; --json names them all")
            output(found)
    if json:
        print(dumps(told))
    return code
