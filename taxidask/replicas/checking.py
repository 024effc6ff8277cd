"""Regions compared, and copies of what is missing or older: parts first, manifests last, nothing is ever deleted.

Safe while runs are at work: what was written less than `YOUNG` seconds ago is on its way by itself and left alone, and
nothing is written over but the very version that was compared and found to be older (a conditional write). Parts are
copied before the manifest that names them, so that whoever reads sees whole sources only. Doing it again changes
nothing; a copy that was killed is gone on with by doing it again.

What was removed in one region while another was dark is there again afterwards: of files that no manifest names nothing
is copied, and a source that was removed keeps a manifest which says so; other files and items come back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby

from taxidask.errors import TaxidaskError
from taxidask.replicas.differences import ITEM, MANIFEST, PART, Difference, Say, silent
from taxidask.replicas.items import compare_items, copy_item
from taxidask.replicas.objects import READERS, compare_objects, copy_object
from taxidask.replicas.places import Place
from taxidask.words import quantity

YOUNG = 60.0


@dataclass
class Comparison:
    """What regions hold, compared.

    Attributes
    ----------
    regions : list of str
    compared : dict
        How many things of each kind there are, in whichever region.
    differences : list of Difference
    unnamed : dict
        By region, files of parts that no manifest names: they are not compared.
    """

    regions: list[str]
    compared: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    unnamed: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> list[Difference]:
        """What still differs."""
        return [one for one in self.differences if not one.mended]

    def __str__(self) -> str:
        compared = ", ".join(quantity(number, kind) for kind, number in self.compared.items())
        text = f"compared in {' and '.join(self.regions)}: {compared}"
        if spare := sum(self.unnamed.values()):
            text += f"; {quantity(spare, 'file')} that no manifest names left out"
        mended = len(self.differences) - len(self.left)
        if mended:
            text += f"\n{quantity(mended, 'thing')} copied"
        if not self.left:
            return f"{text}\nthe same in all regions"
        counts = Counter((one.kind, one.how, one.region) for one in self.left)
        return f"{text}\n" + "\n".join(
            f"{quantity(number, kind)} {how} in {region}" for (kind, how, region), number in counts.items()
        )


def compare(places: Sequence[Place], *, say: Say = silent) -> Comparison:
    """Compare what regions hold: manifests, the parts they name, claims, all else beside them, and items.

    Raises
    ------
    TaxidaskError
        If a region does not answer: of what cannot be seen nothing is said.
    """
    found = Comparison([place.name for place in places])
    if all(place.lake for place in places):
        objects = compare_objects(places)
        found.compared |= objects.compared
        found.differences += objects.differences
        found.unnamed = objects.unnamed
    if all(place.store is not None for place in places):
        found.compared[ITEM], differences = compare_items(places, say=say)
        found.differences += differences
    return found


def repair(
    places: Sequence[Place], comparison: Comparison, *, young: float | None = None, say: Say = silent
) -> Comparison:
    """Copy what is missing or older to where it is; the comparison with what was mended, and why the rest was not.

    Parameters
    ----------
    young : float, optional
        What was written less than so many seconds ago is on its way, and left alone; `YOUNG` by default.
    say : callable
        Told every few seconds how far it is.
    """
    by_name = {place.name: place for place in places}
    after: list[Difference] = []
    unmended: set[str] = set()  # sources with parts that are not in every region
    told, least = time.monotonic(), YOUNG if young is None else young

    def mend(one: Difference) -> Difference:
        if not one.like:
            return one.left(_unknown(one))
        if one.kind == MANIFEST and one.of in unmended:
            return one.left("its parts are not all there")
        if one.kind != PART and one.at and time.time() - one.at < least:
            return one.left(f"written less than {least:g} s ago: on its way, check again")
        copy = copy_item if one.kind == ITEM else copy_object
        try:
            return copy(by_name[one.like], by_name[one.region], one)
        except TaxidaskError as error:
            return one.left(f"not copied: {error.message}")

    with ThreadPoolExecutor(READERS) as pool:
        for kind, some in groupby(comparison.differences, key=lambda one: one.kind):
            for one in pool.map(mend, some):
                after.append(one)
                if kind == PART and not one.mended:
                    unmended.add(one.of)
                if time.monotonic() - told >= 5:
                    told = time.monotonic()
                    say(f"repair: {len(after):,} of {len(comparison.differences):,} looked at")
    return replace(comparison, differences=after)


def _unknown(one: Difference) -> str:
    if one.kind == ITEM or one.how == "differs":
        return "which of them is newer is not known: publish it again"
    return "no region has it whole: taxidask lake check --mend reads its source again"
