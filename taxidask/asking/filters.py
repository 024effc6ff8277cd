"""Which trips are asked for: the six filters and the dates, read from what people type into typed conditions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from taxidask.errors import QuestionError
from taxidask.lake.filters import literal, naive
from taxidask.trips.schema import TRIP_SCHEMA
from taxidask.trips.typed import column
from taxidask.words import shortened

Condition = tuple[str, str, Any]

RANGES = {
    "passengers": "passenger_count",
    "tip": "tip_amount",
    "distance": "trip_distance",
    "fare": "fare_amount",
}
"""Filters that take a number or a range of them, and their columns."""
WORDS = {"vendor": "vendor_id", "payment_type": "payment_type"}
"""Filters that take one value or several."""
PAYMENTS = {1: "credit card", 2: "cash", 3: "no charge", 4: "dispute", 5: "unknown", 6: "voided trip", 0: "flex fare"}
"""Codes of payment_type, as the TLC's data dictionary names them."""
_MOST = 1e125  # what a store's numbers reach to
_LISTED = 50


@dataclass(frozen=True)
class Question:
    """Trips with a pickup in ``[start, end)`` that meet all conditions.

    Attributes
    ----------
    start, end : Timestamp or None
    conditions : tuple of (column, op, value)
        op one of ``>= <= in``, values of their column's type.
    """

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    conditions: tuple[Condition, ...] = ()


def question(
    *,
    start: Any = None,
    end: Any = None,
    passengers: Any = None,
    tip: Any = None,
    vendor: Any = None,
    payment_type: Any = None,
    distance: Any = None,
    fare: Any = None,
) -> Question:
    """The question that filters ask; a filter that is None or empty is not asked.

    Parameters
    ----------
    start, end : str or Timestamp, optional
        New York wall-clock time; `end` is left out.
    passengers, tip, distance, fare : str, number or (low, high), optional
        One value, or a range with both its ends: ``2``, ``"1..3"``, ``"20.."``, ``"..5"``. Miles and USD. A trip that
        does not say is in no range.
    vendor : str or list of str, optional
        As the file wrote it: ``"CMT"`` or ``"1"``; several are joined by commas.
    payment_type : str, int or list, optional
        The code, or its name in the TLC's data dictionary: ``1`` or ``"credit card"``.

    Examples
    --------
    >>> question(fare="20..50", vendor="CMT, VTS").conditions
    (('fare_amount', '>=', 20.0), ('fare_amount', '<=', 50.0), ('vendor_id', 'in', ('CMT', 'VTS')))
    """
    given = {"passengers": passengers, "tip": tip, "distance": distance, "fare": fare}
    conditions: list[Condition] = []
    for name, value in given.items():
        conditions += _range(name, RANGES[name], value)
    conditions += _vendors(vendor)
    conditions += _payments(payment_type)
    first, last = (None if _empty(value) else naive(name, value) for name, value in (("start", start), ("end", end)))
    if first is not None and last is not None and last < first:
        raise QuestionError(f"end {last} is before start {first}", "exchange them")
    return Question(first, last, tuple(conditions))


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, tuple, list)) and not value) or (
        isinstance(value, str) and not value.strip()
    )  # fmt: skip


def _range(name: str, at: str, value: Any) -> list[Condition]:
    if _empty(value):
        return []
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = value
    elif isinstance(value, str) and ".." in value:
        # the dots of "1...5" may belong to either number
        found = re.fullmatch(r"\s*([^\s.]*(?:\.\d+)?)\s*\.\.\s*(\S*)\s*", value)
        if found is None:
            raise QuestionError(f"{name} is {shortened(repr(value), 100)}, which is no range", f"write {name} as 1..3")
        low, high = found[1], found[2]
    else:
        low = high = value
    conditions: list[Condition] = []
    for op, bound in ((">=", low), ("<=", high)):
        if not _empty(bound):
            try:
                number = literal(name, bound, TRIP_SCHEMA.field(at).type).as_py()
            except QuestionError as error:
                raise QuestionError(error.message, f"write {name} as 2, 1..3, 20.. or ..5") from error
            conditions.append((at, op, max(-_MOST, min(_MOST, number)) if isinstance(number, float) else number))
    if len(conditions) == 2 and conditions[1][2] < conditions[0][2]:
        raise QuestionError(
            f"{name} is from {conditions[0][2]:g} to {conditions[1][2]:g}: no trip is in it", "exchange its ends"
        )
    return conditions


def _several(name: str, value: Any) -> list[Any]:
    if _empty(value):
        return []
    if isinstance(value, str):
        value = [one.strip() for one in value.split(",")]
    elif not isinstance(value, Sequence):
        value = [value]
    if len(value) > _LISTED:
        raise QuestionError(f"{name} names {len(value)} values", f"name {_LISTED} at most")
    return [one for one in value if not _empty(one)]


def _vendors(value: Any) -> list[Condition]:
    kind = TRIP_SCHEMA.field("vendor_id").type
    named = [literal("vendor", one, kind).as_py() for one in _several("vendor", value)]
    return [("vendor_id", "in", tuple(dict.fromkeys(named)))] if named else []


def _payments(value: Any) -> list[Condition]:
    codes = [payment_code(one) for one in _several("payment_type", value)]
    return [("payment_type", "in", tuple(dict.fromkeys(codes)))] if codes else []


def payment_code(value: Any) -> int:
    """The code of a kind of payment, from itself or its name as files have written it.

    Examples
    --------
    >>> payment_code("Credit card"), payment_code("CSH"), payment_code(4)
    (1, 2, 4)
    """
    text = str(value).strip()
    for code, name in PAYMENTS.items():
        if text.lower() in (name, str(code)):
            return code
    read, strange = column(pa.array([text]), TRIP_SCHEMA.field("payment_type"), "payment_type")
    if strange or read[0].as_py() is None:
        names = ", ".join(f"{code} ({name})" for code, name in sorted(PAYMENTS.items()))
        raise QuestionError(f"there is no payment_type {shortened(repr(value), 100)}", f"they are {names}")
    return int(read[0].as_py())
