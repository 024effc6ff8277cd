"""Items as DynamoDB's protocol writes them: each value with its kind, numbers as decimal text.

A float travels as the shortest text that reads back as the same float, so that no `Decimal` is rounded on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_MAX_INT = 2**63


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


def filter_of(where: Iterable[tuple[str, str, Any]], values: dict[str, Any]) -> dict[str, Any]:
    """A query's filter of (attribute, op, value), op one of ``>= <= in``; an attribute that lacks meets none of them.

    `values` are those that the query has already.

    Examples
    --------
    >>> filter_of([("fare_amount", ">=", 20)], {})["FilterExpression"]
    '#f0 >= :f0'
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
        "FilterExpression": " AND ".join(conditions),
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


def _number(text: str) -> int | float:
    try:
        number = int(text)
    except ValueError:
        value = float(text)
        return int(value) if value.is_integer() and -_MAX_INT <= value < _MAX_INT else value
    return number if -_MAX_INT <= number < _MAX_INT else float(text)
