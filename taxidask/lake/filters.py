"""``where`` of a query: typed conditions on the columns of trips, read from tuples or from an expression in text."""

from __future__ import annotations

import ast
import datetime
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from functools import reduce
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from taxidask.clock import wall_clock
from taxidask.errors import QuestionError
from taxidask.words import shortened

_WORDS = re.compile(r"""("[^"]*"|'[^']*')|\b(?:AND|OR|NOT|IN|IS|NULL)\b""")

Where = str | Sequence[Any] | None

COMPARE: dict[str, Callable[[Any, Any], pc.Expression]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_AST = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_FLIP = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
CHAIN = 100  # conditions that are joined directly
MOST = 10_000  # conditions of a query: each row is asked all of them
_EXAMPLE = 'write like "fare_amount > 20 and passenger_count == 1"'


def check_columns(names: Iterable[str], schema: pa.Schema) -> None:
    """Raise for a column that is not there, naming its neighbours."""
    for name in names:
        if not isinstance(name, str) or name not in schema.names:
            near = get_close_matches(str(name), schema.names, n=3, cutoff=0.6)
            near += [one for one in schema.names if str(name) and str(name).lower() in one and one not in near][:3]
            remedy = f"did you mean {' or '.join(near)}?" if near else f"columns are {', '.join(schema.names)}"
            raise QuestionError(f"there is no column {shown(name)}", remedy)


def parse_where(where: Where, schema: pa.Schema) -> tuple[pc.Expression | None, set[str]]:
    """Turn conditions into an expression and the columns that it looks at.

    Parameters
    ----------
    where : str or list of (column, op, value)
        Tuples all of which must hold, op one of ``== != < <= > >= in, not in, is, is not``; or text with comparisons,
        ``and``, ``or``, ``not``, ``in (…)`` and ``is null``, which may also stand among the tuples. Text is parsed,
        never evaluated. As in SQL a null fulfils neither a condition nor its negation: ``is null`` and ``is not null``
        ask for it.
    schema : pyarrow.Schema
        The columns and their types: values are read as their column's type.

    Examples
    --------
    >>> from taxidask.trips.schema import TRIP_SCHEMA
    >>> parse_where("fare_amount > 20", TRIP_SCHEMA)
    (<pyarrow.compute.Expression (fare_amount > 20)>, {'fare_amount'})
    """
    if where is None:
        return None, set()
    if isinstance(where, str):
        parser = _Text(where, schema)
        return parser.expression(), parser.columns
    if not isinstance(where, (list, tuple)):
        raise QuestionError(f"where is {shown(where)}, neither text nor a list of conditions", _EXAMPLE)
    if len(where) == 0:
        return None, set()
    conditions = [where] if isinstance(where, tuple) and len(where) == 3 and isinstance(where[1], str) else where
    columns: set[str] = set()
    parts: list[pc.Expression] = []
    _check_number(len(conditions))
    for condition in conditions:
        if isinstance(condition, str):
            parser = _Text(condition, schema)
            parts.append(parser.expression())
            columns |= parser.columns
            continue
        if not isinstance(condition, (tuple, list)) or len(condition) != 3:
            raise QuestionError(
                f"the condition {shown(condition)} is no (column, op, value)", 'like ("fare_amount", ">", 20)'
            )
        name, op, value = condition
        check_columns([name], schema)
        columns.add(name)
        if not isinstance(op, str):
            raise QuestionError(f"the condition {shown(condition)} has no op", 'like ("fare_amount", ">", 20)')
        parts.append(_condition(name, "==" if op == "=" else op, value, schema))
    return _balanced(operator.and_, parts), columns


def _check_number(conditions: int) -> None:
    if conditions > MOST:
        remedy = "name many values in one condition: passenger_count in (1, 2, …)"
        raise QuestionError(f"where has more than {MOST:,} conditions", remedy)


def _balanced(join: Callable[[Any, Any], pc.Expression], parts: list[pc.Expression]) -> pc.Expression:
    """Join conditions into a shallow tree: Arrow walks an expression by recursion, and a deep one overflows its stack.

    It also makes one long chain again of joins within joins, but for those behind a negation.
    """
    while len(parts) > CHAIN:
        parts = [~~reduce(join, parts[at : at + CHAIN]) for at in range(0, len(parts), CHAIN)]
    return reduce(join, parts)


def _condition(name: str, op: str, value: Any, schema: pa.Schema) -> pc.Expression:
    column, kind = pc.field(name), schema.field(name).type
    if op in ("in", "not in"):
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise QuestionError(f"{name} {op} {shown(value)}: that is no list of values", f"like {name} {op} (1, 2)")
        found = [literal(name, one, kind) for one in value]
        # A number that the column's type cannot hold is in none of its rows; cast to that type it would be another.
        inside = column.isin(pa.array([one.as_py() for one in found if one.type == kind], kind))
        return inside if op == "in" else ~inside & column.is_valid()
    if op not in (*COMPARE, "is", "is not"):
        raise QuestionError(
            f"{name} {shown(op)} {shown(value)}: there is no such op",
            f"use {' '.join(COMPARE)}, in, not in, is or is not",
        )
    if value is None or value is pd.NA or value is pd.NaT:
        if op not in ("==", "!=", "is", "is not"):
            raise QuestionError(f"{name} {op} null has no meaning", f"use {name} is null or {name} is not null")
        return column.is_null() if op in ("==", "is") else column.is_valid()
    if op not in COMPARE:
        raise QuestionError(f"{name} {op} {shown(value)}: only null follows {op}", f"write {name} {op} null")
    return COMPARE[op](column, literal(name, value, kind))


def literal(name: str, value: Any, kind: pa.DataType) -> pa.Scalar:
    """A value as its column's type; as a float where it is a number that a column of whole numbers cannot hold."""
    what = _what(kind)
    try:
        if what == "a time" and isinstance(value, (str, datetime.date, np.datetime64)):
            moment = naive(name, value)
            if moment.nanosecond:
                raise QuestionError(f"{name} holds whole microseconds; {value!r} is finer", "round it")
            return pa.scalar(int(moment.as_unit("us").to_numpy().astype("int64")), kind)
        if what == "text" and isinstance(value, (str, int, np.integer)) and not isinstance(value, bool):
            return pa.scalar(str(value), kind)
        if what == "a number":
            number = _number(value)
            whole = isinstance(number, int) or number.is_integer()
            if pa.types.is_integer(kind) and whole and abs(number) < 2 ** (kind.bit_width - 1):
                return pa.scalar(int(number), kind)
            if float(number) == number:
                return pa.scalar(float(number), pa.float64())
            raise QuestionError(f"{name} holds no number as fine as {value!r}", "round it to 15 digits")
    except (ValueError, ArithmeticError, TypeError):
        pass
    hint = {"a time": '"2015-01-31 18:00"', "text": '"CMT"', "a number": "20"}[what]
    remedy = f"compare it with {what} like {hint}, or ask for {name} is null"
    raise QuestionError(f"{name} is {what}; {shown(value)} is not", remedy)


def _what(kind: pa.DataType) -> str:
    return "a time" if pa.types.is_timestamp(kind) else "text" if pa.types.is_string(kind) else "a number"


def _number(value: Any) -> int | float:
    """A number, or one in plain digits; ValueError for all else, NaN among it: nothing is equal to that."""
    if isinstance(value, str):
        if re.fullmatch(r"\s*[+-]?\d+\s*", value, re.ASCII):
            return int(value)
        if not re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", value, re.ASCII):
            raise ValueError
        return float(value)
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (Real, Decimal)) or value != value:
        raise ValueError
    return int(value) if isinstance(value, Integral) else float(value)


def shown(value: Any) -> str:
    """A value as it was given, cut where it is long."""
    return shortened(repr(value), 100)


def naive(name: str, value: Any) -> pd.Timestamp:
    """A moment as New York's clocks show it."""
    try:
        return wall_clock(value)
    except (ValueError, TypeError) as error:
        remedy = 'write it like "2015-01-31" or "2015-01-31 18:00"'
        raise QuestionError(f"{name} {shown(value)} is no time", remedy) from error


def _is_null(node: ast.expr) -> bool:
    return (isinstance(node, ast.Constant) and node.value is None) or (
        isinstance(node, ast.Name) and node.id.lower() == "null"
    )


def _is_column(node: ast.expr) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and not _is_null(node)


def _lower_words(text: str) -> str:
    """AND, OR, NOT, IN, IS and NULL as Python writes them; texts in quotes stay."""
    return _WORDS.sub(lambda found: found[1] or found[0].lower(), text)


class _Text:
    """Conditions in text: a small part of Python's grammar, walked by hand."""

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self.text = text
        self.schema = schema
        self.columns: set[str] = set()
        self.number = 0

    def expression(self) -> pc.Expression:
        try:
            tree = ast.parse(_lower_words(self.text.strip()), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            remedy = "compare with ==" if " = " in self.text else _EXAMPLE
            raise QuestionError(
                f"where {shown(self.text)} cannot be read: {getattr(error, 'msg', error)}", remedy
            ) from None
        try:
            return self._logic(tree.body, True)
        except RecursionError:
            raise QuestionError(f"where {shown(self.text)} is nested too deep", _EXAMPLE) from None

    def _fail(self, node: ast.expr) -> QuestionError:
        part = ast.get_source_segment(self.text.strip(), node) or ""
        return QuestionError(f"where {shown(self.text)}: {shown(part)} is not a condition on a column", _EXAMPLE)

    def _logic(self, node: ast.expr, holds: bool) -> pc.Expression:
        """Where a condition holds, or where it does not: negation goes down to the comparisons.

        There each leaves nulls out itself: Arrow's `isin` knows no third value, its inverse would let them in.
        """
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) is holds else operator.or_
            return _balanced(join, [self._logic(value, holds) for value in node.values])  # noqa: PD011 - no frame
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self._logic(node.operand, not holds)
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            pairs = zip(operands[:-1], node.ops, operands[1:], strict=True)
            comparisons = [self._compare(left, op, right, node, holds) for left, op, right in pairs]
            return _balanced(operator.and_ if holds else operator.or_, comparisons)
        raise self._fail(node)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, node: ast.expr, holds: bool) -> pc.Expression:
        self.number += 1
        _check_number(self.number)
        if isinstance(op, (ast.In, ast.NotIn)):
            if not _is_column(left) or not isinstance(right, (ast.Tuple, ast.List, ast.Set)):
                raise self._fail(node)
            values = [self._value(element) for element in right.elts]
            word = "in" if isinstance(op, ast.In) is holds else "not in"
            return _condition(self._column(left), word, values, self.schema)
        if isinstance(op, (ast.Is, ast.IsNot)):
            if not _is_column(left) or not _is_null(right):
                raise self._fail(node)
            expression = _condition(self._column(left), "is" if isinstance(op, ast.Is) else "is not", None, self.schema)
        elif _is_column(left) and _is_column(right):
            one, other = self._column(left), self._column(right)
            kinds = [_what(self.schema.field(name).type) for name in (one, other)]
            if kinds[0] != kinds[1]:
                what = f"{one} is {kinds[0]}, {other} is {kinds[1]}"
                raise QuestionError(
                    f"{what}: they do not compare", "compare columns of one kind, or a column with a value"
                )
            expression = COMPARE[_AST[type(op)]](pc.field(one), pc.field(other))
        elif _is_column(left):
            expression = _condition(self._column(left), _AST[type(op)], self._value(right), self.schema)
        elif _is_column(right):
            expression = _condition(self._column(right), _FLIP[_AST[type(op)]], self._value(left), self.schema)
        else:
            raise self._fail(node)
        return expression if holds else ~expression  # null stays null

    def _column(self, node: ast.Name) -> str:
        check_columns([node.id], self.schema)
        self.columns.add(node.id)
        return node.id

    def _value(self, node: ast.expr) -> Any:
        if _is_null(node):
            return None
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._value(node.operand)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        raise self._fail(node)
