"""Clean trips, rejects and counts of many sources as one table that never shows half of anything.

Only for itself: copies, cube, ingest, lake, listing, sampling, sweeping, tally, tasks. Tests: tests/lake.

With several regions (`taxidask.storage.Regions`) the rule is the same, and what AWS promises is less: copies between
regions lag and come in any order, of each key the last write wins, and a conditional write holds in one region only.
Why nothing is lost and nothing counts twice all the same, also when two drivers go on either side of a cut:

1. *Parts and counts* are named by source, version, rules and byte range. Two drivers that read the same bytes write
   equal objects under equal names, so that it does not matter which copy wins; with other blocks they write other
   names, and a manifest names those of one driver only.
2. *A manifest* makes a source visible, one key for each source: whichever driver's wins, it names a whole reading of
   the source. It may come before its parts. A reader that finds parts of it in no region that answers leaves the
   source out, says so, and has it again once they are there; an ingest reads it again, and replaces the manifest.
3. *A content* is claimed by a conditional write, so on either side of a cut another name may hold it. Of two names of
   a content only the one that comes later in order may become the other's second name, which has no rows. So no two
   can each become the other's, whichever of their manifests win: the first in order among those that hold a content
   always keeps its rows. Where the later one had the claim, both keep theirs, and readers count the one that the
   claim names; it is one key, and so the same everywhere once it is copied. Before, each reader sees one claim, and
   counts one name. What a second name refers to may have been removed, or have got other content, on the other side:
   that is as if it had happened after, and `Lake.sources` says that this content counts nowhere until its second name
   is ingested again.
4. *The layout* is one key too. Counts that were made in another space or slot than the one that wins are made again
   from the trips when they are asked for. A lake that is begun on both sides of a cut has the space of the later one.
5. *Nothing is deleted* that a manifest still to be copied may name: no sweep and no removal clears files unless all
   regions answer and have the same manifests, nor a file of the last day. A removal hides a source at once by its
   manifest. Summaries of blocks may be deleted, or come back: parts are compared with them before they are trusted.
6. *A driver* whose region ends begins anew in the next: what is visible there counts, what is not is read again. What
   its tasks still write to the former one are files that nobody names, or equal ones. A task never goes elsewhere by
   itself.
7. *A source* is known by its ETag. Where a copy has another than the original (of an upload in parts that was not
   copied part by part), a file that is asked for there is a new version: it is read again, its content is the same,
   and its manifest replaces the former. Bytes of two versions are never mixed: a region that has another one is
   passed over.

The last write of a key wins by S3's clock, to the second; of two writes within a second that are not copied yet
a driver takes its own region's. So a manifest of an older version of a source can win over that of the newer; the
next ingest sees the version, and reads the source again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taxidask.lazy import lazy

if TYPE_CHECKING:
    from .lake import Lake

_MODULE = {
    "Lake": "lake",
}

__all__ = ["Lake"]
__getattr__, __dir__ = lazy(__name__, _MODULE)
