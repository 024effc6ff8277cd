"""Whether a lake is what its manifests say: parts are there in their sizes, sums hold, and a sample reads."""

from __future__ import annotations

import contextlib
import random
from concurrent.futures import ThreadPoolExecutor

from taxidask.storage import Storage, join
from taxidask.words import command

from .layout import load_space, read_layout
from .manifest import Manifest, Manifests, Part, cube_url
from .parts import DamagedError, GoneError, mend, read_part
from .tally import read_tally

SAMPLE = 8
SHOWN = 3


def check_lake(lake: str, storage: Storage, *, sample: int = SAMPLE) -> tuple[int, int]:
    """Look at every manifest and the sizes of all parts, and read some of them, chosen anew each time.

    Parameters
    ----------
    lake : str
        URL of the lake; there need not be one.
    storage : Storage
        Where it is.
    sample : int
        Parts that are read whole, checksums and all, with the counts of their sources.

    Returns
    -------
    tuple of int
        How many parts there are, and how many were read.

    Raises
    ------
    LakeError
        Something is missing or damaged: which files, and how they are mended.
    """
    layout = read_layout(lake, storage)
    if layout is None:
        return 0, 0
    space = load_space(lake, layout.space_key, storage)
    manifests = Manifests(lake, storage)
    every = manifests.all()
    sizes = {stat.url: stat.size for folder in ("trips", "rejects") for stat in storage.list(join(lake, folder))}
    wrong = [(one, text) for one in every if (text := _wrong(one, lake, sizes))]
    # What was replaced since it was listed is another driver's work, and no damage.
    wrong = [(one, text) for one, text in wrong if manifests.get(one.url) == one]
    if wrong:
        listed = "; ".join(text for _, text in wrong[:SHOWN])
        more = f"; and {len(wrong) - SHOWN:,} more sources" if len(wrong) > SHOWN else ""
        raise DamagedError(f"{listed}{more}", mend(lake, wrong[0][0].url))
    if lost := _lost(manifests, every):
        raise DamagedError(
            f"the manifest of {lost} is not there, and its trips count nowhere",
            f"restore {manifests.path(lost)} from a copy, or read the source again: "
            f"{command('taxidask ingest', lost, lake=lake)}",
        )
    parts = [(one, part) for one in every for part in (*one.parts, *one.rejects)]
    chosen = random.sample(parts, min(sample, len(parts)))

    def read(one: Manifest, part: Part) -> None:
        try:
            with read_part(lake, storage, part, one.url) as reader:
                for group in range(reader.num_row_groups):
                    reader.read_row_group(group)
        except GoneError:
            if manifests.get(one.url) == one:
                raise

    def counts(one: Manifest) -> None:
        with contextlib.suppress(GoneError):  # they are made of the trips then
            read_tally(
                storage, cube_url(lake, layout.count_key, one.id), one.url,
                kept=one.kept, slot_seconds=layout.slot_seconds, cells=space.cells,
            )  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: read(*pair), chosen))
        list(pool.map(counts, {one.url: one for one, _ in chosen}.values()))
    return len(parts), len(chosen)


def _wrong(one: Manifest, lake: str, sizes: dict[str, int]) -> str:
    for part in (*one.parts, *one.rejects):
        url = join(lake, part.path)
        if url not in sizes:
            return f"{url} of {one.url} is not there"
        if sizes[url] != part.bytes:
            return f"{url} of {one.url} has {sizes[url]:,} bytes of {part.bytes:,}"
    rejected = sum(one.rejected.values())
    found = tuple(sum(part.rows for part in parts) for parts in (one.parts, one.rejects))
    if (one.kept, rejected, one.rows) != (*found, sum(found)):
        return (
            f"the manifest of {one.url} says {one.rows:,} rows, {one.kept:,} kept, {rejected:,} rejected; parts {found}"
        )
    return ""


def _lost(manifests: Manifests, every: list[Manifest]) -> str | None:
    """URL of a source that claims a content and has no manifest, nor one that says it was removed."""
    known = {one.content for one in every}
    folder = join(manifests.lake, "manifests", "by-content")
    claims = (stat.url.rpartition("/")[2].removesuffix(".json") for stat in manifests.storage.list(folder))
    for content in claims:
        url = None if content in known else manifests.claimant(content)
        if url is not None and manifests.at(url) is None:
            return url
    return None
