"""Items as DynamoDB's protocol writes them: each value with its kind, numbers as decimal text.

A float travels as the shortest text that reads back as the same float, so that no `Decimal` is rounded on the way.

Every item carries a stamp of when it was written. One region needs none; of the copies that several have, the one with
the later stamp is the newer, while they differ. What was written without one is older than all that has one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

STAMP, GONE = "stamp", "gone"
_MAX_INT = 2**63


class Stamps:
    """Nanoseconds since 1970, each later than all that this process has given or seen, whatever its clock does.

    So who reads an item and writes it anew writes a newer one, and of two processes that heed each other's items the
    clocks may differ.

    Examples
    --------
    >>> stamps = Stamps(clock=lambda: 1000)
    >>> stamps.next(), stamps.next(), stamps.see(5000), stamps.next()
    (1000, 1001, None, 5001)
    """

    def __init__(self, clock: Any = time.time_ns) -> None:
        self._clock = clock
        self._last = 0
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    def next(self) -> int:
        """A new stamp."""
        with self._lock:
            self._last = max(self._clock(), self._last + 1)
            return self._last

    def see(self, stamp: int) -> None:
        """From now on give later ones."""
        with self._lock:
            self._last = max(self._last, stamp)


stamps = Stamps()


def stamp_of(item: Mapping[str, Any]) -> int:
    """When an item was written; 0 where it does not say."""
    return int(item.get(STAMP) or 0)


def bare(item: dict[str, Any]) -> dict[str, Any] | None:
    """What was written, without its stamp; None of a mark that there is nothing any more."""
    if GONE in item:
        return None
    item.pop(STAMP, None)
    return item


def encode(value: Any) -> dict[str, Any]:
    """A plain value as an attribute value.

    Examples
    --------
    >>> encode({"rows": 3, "share": 0.25, "note": None})
    {'M': {'rows': {'N': '3'}, 'share': {'N': '0.25'}, 'note': {'NULL': True}}}
    """
    kind = type(value)
    if kind is float or kind is int:
        return {"N": repr(value)}
    if kind is str:
        return {"S": value}
    if value is None:
        return {"NULL": True}
    if kind is bool:
        return {"BOOL": value}
    if kind is list:
        return {"L": [{"N": repr(entry)} if type(entry) is float else encode(entry) for entry in value]}
    return {"M": encode_item(value)}


def encode_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item's attributes."""
    return {name: encode(value) for name, value in item.items()}


def key_condition(pk: str, first: str | None, last: str | None, prefix: str | None) -> tuple[str, dict[str, str]]:
    """A query's condition on its keys, and the values that it names.

    Examples
    --------
    >>> key_condition("runs", None, "2016", None)
    ('pk = :pk AND sk <= :last', {':pk': 'runs', ':last': '2016'})
    """
    if prefix is not None:
        return "pk = :pk AND begins_with(sk, :prefix)", {":pk": pk, ":prefix": prefix}
    bounds = {":first": first, ":last": last}
    values = {":pk": pk} | {name: value for name, value in bounds.items() if value is not None}
    if first is not None and last is not None:
        return "pk = :pk AND sk BETWEEN :first AND :last", values
    bound = " AND sk >= :first" if first is not None else " AND sk <= :last" if last is not None else ""
    return f"pk = :pk{bound}", values


def filter_of(where: Iterable[tuple[str, str, Any]], values: dict[str, Any]) -> dict[str, Any]:
    """A query's filter of (attribute, op, value), op one of ``>= <= in``; an attribute that lacks meets none of them.

    `values` are those that the query has already. Marks of what is gone pass: another region may not know yet.

    Examples
    --------
    >>> filter_of([("fare_amount", ">=", 20)], {})["FilterExpression"]
    '#f0 >= :f0 OR attribute_exists(gone)'
    """
    names, conditions = {}, []
    for number, (name, op, value) in enumerate(where):
        names[f"#f{number}"] = name
        if op == "in":
            marks = {f":f{number}x{i}": encode(one) for i, one in enumerate(value)}
            # IN takes a hundred values
            listed = [", ".join(list(marks)[at : at + 100]) for at in range(0, len(marks), 100)]
            conditions.append("(" + " OR ".join(f"#f{number} IN ({some})" for some in listed) + ")")
        else:
            marks = {f":f{number}": encode(value)}
            conditions.append(f"#f{number} {op} :f{number}")
        values = values | marks
    return {
        "FilterExpression": f"{' AND '.join(conditions)} OR attribute_exists({GONE})",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


def decode(value: Mapping[str, Any]) -> Any:
    """The plain value of an attribute value: a whole number as int, any other as float."""
    ((kind, inner),) = value.items()
    if kind == "N":
        return _number(inner)
    if kind == "L":
        return [decode(entry) for entry in inner]
    if kind == "M":
        return decode_item(inner)
    return None if kind == "NULL" else inner


def decode_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of an item."""
    # the server keeps no order; by name it is at least always the same
    return {name: decode(item[name]) for name in sorted(item)}


def heeded(item: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as the server gave it: what is written from now on is newer."""
    found = decode_item(item)
    stamps.see(stamp_of(found))
    return found


def _number(text: str) -> int | float:
    try:
        number = int(text)
    except ValueError:
        value = float(text)
        return int(value) if value.is_integer() and -_MAX_INT <= value < _MAX_INT else value
    return number if -_MAX_INT <= number < _MAX_INT else float(text)
