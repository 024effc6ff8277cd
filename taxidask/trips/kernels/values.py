"""Texts that lie one after another, as Arrow has them, read as the fields of a CSV are."""

from __future__ import annotations

from taxidask.compiled import kernel

from .columns import payment_code
from .numbers import parse_any
from .times import parse_any_time, slash_order


@kernel
def numbers_of(text, offsets, out, states):
    """Each text as a float64, and its state as of `parse_any`."""
    for i in range(len(out)):
        out[i], states[i] = parse_any(text, offsets[i], offsets[i + 1])


@kernel
def payments_of(text, offsets, out):
    """Each text as a payment type's code; -1 where empty, -2 where it is none."""
    for i in range(len(out)):
        out[i] = payment_code(text, offsets[i], offsets[i + 1])


@kernel
def times_of(text, offsets, out, forms, orders):
    """Each text as microseconds of New York's clock, its form as of `parse_any_time` and its order of `slash_order`."""
    for i in range(len(out)):
        out[i], forms[i] = parse_any_time(text, offsets[i], offsets[i + 1])
        orders[i] = slash_order(text, offsets[i], offsets[i + 1])
