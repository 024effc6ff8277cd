"""What is compared between regions: of each thing, by region, what stands there and since when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from taxidask.words import escaped

MISSING, OLDER, DIFFERS, DAMAGED, LOST = "missing", "older", "differs", "damaged", "lost"
Say = Callable[[str], object]

PART, FILE, CLAIM, MANIFEST, ITEM = "part", "file", "claim", "manifest", "item"


def silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class There:
    """What a region has of one thing: what equal ones share, and when it was written, if that is known."""

    seal: str
    at: float | None = None
    whole: bool = True
    version: str = ""
    body: bytes | None = field(default=None, repr=False)  # where it had to be read


@dataclass(frozen=True)
class Difference:
    """One thing that a region has otherwise than another.

    Attributes
    ----------
    kind : str
        part, file, claim, manifest or item.
    name : str
        Its path below the lake, or its keys in the table.
    how : str
        missing, older, damaged, differs (which of them is newer is not known), or lost (no region has it whole).
    region : str
        Where.
    like : str
        The region that has it as it should be; empty if none is known to.
    of : str
        The source that it belongs to, if it does.
    mended : bool
        Whether it was copied.
    note : str
        Why it was not.
    version, at : str and float or None
        Which version stood there, and when the one of `like` was written.
    key : tuple of str
        The keys of an item.
    """

    kind: str
    name: str
    how: str
    region: str
    like: str = ""
    of: str = ""
    mended: bool = False
    note: str = ""
    version: str = ""
    at: float | None = None
    key: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.how} in {self.region}" + (f", {self.like} has it" if self.like else "")
        text = f"{self.kind} {escaped(self.name)}{f' of {escaped(self.of)}' if self.of else ''}: {where}"
        return text + ("; copied" if self.mended else f"; {self.note}" if self.note else "")

    def told(self) -> dict[str, object]:
        """What is worth telling a program."""
        names = ("kind", "name", "how", "region", "like", "of", "mended", "note")
        return {name: getattr(self, name) for name in names}

    def copied(self) -> Difference:
        """The same, mended."""
        return replace(self, mended=True, note="")

    def left(self, note: str) -> Difference:
        """The same, with the reason why it was not mended."""
        return replace(self, note=note)


def differing(
    kind: str, name: str, there: Mapping[str, There | None], *, of: str = "", either: bool = False
) -> list[Difference]:
    """What regions have otherwise than the one that has the newest.

    Parameters
    ----------
    there : dict
        By region; None where there is nothing.
    either : bool
        Whether those that are whole say the same in other bytes, as parts of one source, version and range do.

    Examples
    --------
    >>> east, west = There("a", 2.0), There("b", 1.0)
    >>> [str(one) for one in differing("item", "k", {"east": east, "west": west})]
    ['item k: older in west, east has it']
    >>> [str(one) for one in differing("item", "k", {"east": None, "west": west})]
    ['item k: missing in east, west has it']
    """
    good = {region: one for region, one in there.items() if one is not None and one.whole}
    if not good:
        return [
            Difference(kind, name, LOST if one is None else DAMAGED, region, of=of) for region, one in there.items()
        ]
    times = {region: one.at or 0.0 for region, one in good.items()}
    best = max(times, key=lambda region: times[region])  # the first of those that are as new
    found = []
    for region, one in there.items():
        if one is None:
            how = MISSING
        elif not one.whole:
            how = DAMAGED
        elif either or one.seal == good[best].seal:
            continue
        else:
            how = OLDER if times[region] < times[best] else DIFFERS
        version, like = "" if one is None else one.version, "" if how == DIFFERS else best
        found.append(Difference(kind, name, how, region, like, of, version=version, at=good[best].at))
    return found
