"""What regions hold: whether each answers, how far one is behind another, what differs, copies of what is missing.

Only for itself: checking, differences, items, marks, objects, places. Tests: tests/replicas.

Every region is asked by itself here: nothing is looked for elsewhere, so that what one lacks is seen.
"""

from __future__ import annotations

from taxidask.replicas.checking import Comparison, compare, repair
from taxidask.replicas.differences import Difference
from taxidask.replicas.marks import Lag, measure_lag
from taxidask.replicas.places import Place, State, lake_in, look, places_of

__all__ = [
    "Comparison",
    "Difference",
    "Lag",
    "Place",
    "State",
    "compare",
    "lake_in",
    "look",
    "measure_lag",
    "places_of",
    "repair",
]
