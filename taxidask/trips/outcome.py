"""What reading sources came to: rows kept and rejected, source by source."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import pandas as pd

from taxidask.errors import TaxidaskError
from taxidask.space import Choice
from taxidask.words import escaped, quantity

from .schema import REASONS
from .sources import raise_unusable

LIKELY = {
    "malformed": "rows lack a field or a value that a rule needs: is it cut, or of another layout than its header?",
    "bad_datetime": "its times are written in a way that is not known",
    "outside_month": "is it another month's file? Its name says {month}; if so, taxidask lake remove it, rename it and "
    "ingest it again",
    "negative_duration": "are its pickup and drop-off times exchanged?",
    "duration_over_24h": "are its drop-off times wrong, or is max_duration_hours too small?",
    "non_positive_distance": "it gives no distances",
    "distance_over_100mi": "are its distances in another unit, or is max_distance_miles too small?",
    "fare_out_of_range": "are its fares in another unit, or is max_fare too small?",
    "passenger_count": "it gives no or other numbers of passengers than min_passengers to max_passengers",
    "outside_city": "are longitude and latitude exchanged, or are west, east, south and north those of another city?",
}
"""What may be behind it when most rows of a source are rejected for one reason."""

NO_ROWS = "it has a header and no rows"


@dataclass(frozen=True)
class SourceIngest:
    """What became of one source.

    Attributes
    ----------
    url : str
    month : str or None
        None: `outside_month` was not checked, and the note says so.
    rows, kept : int
        Rows in the file and rows kept; both 0 for a second name of a content that counts elsewhere.
    rejected : dict of int
        Rows set aside, by reason. kept + rejected = rows.
    unreadable : dict of int
        Values that could not be read and became null, by column; their rows are kept.
    outside : tuple of int
        Kept pickups and drop-offs that lie in no cell of the lake's space.
    bytes : int
        Size of the file.
    seconds : float
        Work it took, of all its blocks together.
    skipped : bool
        It was in the lake already and unchanged: nothing was read but its head.
    note : str
        What is worth knowing, else empty.
    duplicate_of : str or None
        The source with the same content that counts instead.
    error : TaxidaskError or None
        Why it could not be read.
    zoned : dict of int
        Times marked UTC (`utc`), which were taken as they stand, and of other zones (`converted`); dates with slashes
        that are of the one order only (`month_first`, which is read, `day_first`) or may be of either.
    examples : dict of str
        By reason, a text that could not be read.
    left_out : int
        Rejected rows that are counted only, as there were too many of too short lines; `lake.rejects` has the others.
    """

    url: str
    month: str | None = None
    rows: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    outside: tuple[int, int] = (0, 0)
    bytes: int = 0
    seconds: float = 0.0
    skipped: bool = False
    note: str = ""
    duplicate_of: str | None = None
    error: TaxidaskError | None = None
    zoned: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    left_out: int = 0

    @property
    def empty(self) -> bool:
        """Whether the file has a header and nothing else."""
        return not self.rows and self.duplicate_of is None and self.error is None

    @property
    def mostly_rejected(self) -> str:
        """That more than half of its rows were rejected for one reason, and what may be behind it; else empty."""
        reason = max(self.rejected, key=lambda one: self.rejected[one], default="")
        count = self.rejected.get(reason, 0)
        if 2 * count <= self.rows:
            return ""
        cause = LIKELY[reason].format(month=self.month)
        return f"MOST ROWS REJECTED: {count:,} of {self.rows:,} as {reason} ({cause})"


@dataclass(frozen=True)
class Ingest:
    """What an ingest did, source by source in the order given.

    Attributes
    ----------
    sources : list of SourceIngest
    seconds : float
    space : Choice
        The space that trips were counted in, and the reason where it was chosen for a new lake.
    """

    sources: list[SourceIngest]
    seconds: float
    space: Choice

    @property
    def rows(self) -> int:
        """Rows in the files."""
        return sum(source.rows for source in self.sources)

    @property
    def kept(self) -> int:
        """Rows kept."""
        return sum(source.kept for source in self.sources)

    @property
    def rejected(self) -> dict[str, int]:
        """Rows set aside, by reason; kept + rejected = rows."""
        total = dict.fromkeys(REASONS, 0)
        for source in self.sources:
            for reason, count in source.rejected.items():
                total[reason] = total.get(reason, 0) + count
        return {reason: count for reason, count in total.items() if count}

    @property
    def bytes(self) -> int:
        """Size of the files that were read; those skipped are not among them."""
        return sum(source.bytes for source in self.sources if not source.skipped)

    @property
    def failed(self) -> list[SourceIngest]:
        """Sources that could not be read."""
        return [source for source in self.sources if source.error is not None]

    def to_pandas(self) -> pd.DataFrame:
        """One row per source, with a column for each reason."""
        rows = []
        for source in self.sources:
            row = {one.name: getattr(source, one.name) for one in fields(source)}
            rejected, outside = row.pop("rejected"), row.pop("outside")
            del row["zoned"], row["examples"]  # the note says them
            row["rejected"] = sum(rejected.values())
            row |= {reason: rejected.get(reason, 0) for reason in REASONS}
            row["unreadable"] = sum(row["unreadable"].values())
            row |= {"outside_pickups": outside[0], "outside_dropoffs": outside[1]}
            row["error"] = str(row["error"] or "")
            rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        new = [source for source in self.sources if not source.skipped and not source.error]
        rate = f", {self.bytes / 2**20 / self.seconds:,.0f} MiB/s" if self.seconds and self.bytes else ""
        lines = [
            f"Ingest: {quantity(len(self.sources), 'source')}, {len(new)} read, "
            f"{self.rows:,} rows, {self.kept:,} kept, {self.rows - self.kept:,} rejected, {self.seconds:,.1f} s{rate}"
        ]
        lines += [f"  {self.space}"]
        lines += [f"  rejected {count:,}: {reason}" for reason, count in self.rejected.items()]
        lines += [
            f"  {escaped(source.url)}: {source.error or escaped(source.note)}"
            for source in self.sources
            if source.error or source.note
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html

        table = self.to_pandas().drop(columns=["error"], errors="ignore")
        head, *rest = repr(self).splitlines()
        listed = "".join(f"<li>{html.escape(line.strip())}</li>" for line in rest)
        return f"<p>{html.escape(head)}</p><ul>{listed}</ul>{table._repr_html_()}"  # type: ignore[operator]


def remarks(zoned: dict[str, int], examples: dict[str, str], left_out: int = 0, month: str | None = "") -> list[str]:
    """What is worth knowing of a source's times and rejects; with a month of None nothing says where they must lie."""
    said = []
    if month is None and (either := zoned.get("either_order")):
        month_first, day_first = zoned.get("month_first", 0), zoned.get("day_first", 0)
        if not month_first:
            said.append(
                f"{either:,} times are like 1/4/2018 and none tells the order: they were taken as month/day/year"
            )
        elif day_first:
            said.append(
                f"{month_first:,} times are like 1/13/2018 and {day_first:,} like 13/1/2018, which are not read: the "
                f"{either:,} that may be either were taken as month/day/year"
            )
    if utc := zoned.get("utc"):
        said.append(f"{utc:,} times are marked UTC and were taken as they stand, as New York's clock")
    if converted := zoned.get("converted"):
        said.append(f"{converted:,} times of other zones were converted to New York's clock")
    if (text := examples.get("bad_datetime")) is not None:
        said.append(f"there are times that cannot be read, like {text!r}")
    if left_out:
        said.append(f"{left_out:,} of the rejected rows are counted only, the others are in lake.rejects()")
    return said


def raise_failures(result: Ingest) -> None:
    """Raise what kept sources from being read, after the others are in the lake."""
    failed = [source.error for source in result.failed if source.error is not None]
    remedy = "the rest is in the lake" if len(failed) < len(result.sources) else "mend them or name others"
    raise_unusable(failed, len(result.sources), remedy)
