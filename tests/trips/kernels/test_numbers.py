from __future__ import annotations

import math
import re
import struct
from decimal import Context, Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taxidask.trips.kernels.numbers import parse_any, parse_float

DIGITS = st.text("0123456789", max_size=30)


def parse(text: str, parser=parse_float) -> tuple[float, int]:
    raw = np.frombuffer(text.encode() + b",\n" + b"7" * 64, np.uint8)
    return parser(raw.ctypes.data, 0, len(text))


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def check(text: str) -> None:
    value, state = parse(text)
    finite = math.isfinite(float(text))
    assert state == (1 if finite else -1)
    assert bits(value) == bits(float(text) if finite else 0.0), text


@st.composite
def decimals(draw: st.DrawFn) -> str:
    before, after = draw(DIGITS), draw(DIGITS)
    if not before + after:
        before = "0"
    point = "." if after else draw(st.sampled_from(["", "."]))
    exponent = draw(st.sampled_from(["", "e", "E"]))
    if exponent:
        exponent += draw(st.sampled_from(["", "+", "-"])) + str(draw(st.integers(0, 400)))
    return draw(st.sampled_from(["", "-", "+"])) + before + point + after + exponent


@settings(max_examples=1000, deadline=None)
@given(decimals())
@example("4.9e-324")
@example("2.4703282292062327e-324")
@example("2.4703282292062328e-324")
@example("1.7976931348623158e308")
@example("1.7976931348623159e308")
@example("9007199254740993")
@example("9007199254740993.00000000000000000000000000000000000001")
@example("-0")
@example("0e999999999999999999999")
@example("1e999999999999999999999")
@example("1e-999999999999999999999")
@example("-73.994415283203125")
@example("." + "0" * 400 + "1e400")
def test_any_decimal_text_is_what_float_makes_of_it(text):
    check(text)


@settings(max_examples=500, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_shortest_and_17_digit_forms(value):
    for text in (repr(value), f"{value:.17g}", f"{value:.25e}"):
        check(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, (0x7FE << 52) - 1), st.sampled_from(["", "0" * 900 + "1", "0"]))
def test_middles_between_two_floats_and_a_hair_beside(word, tail):
    low, high = (struct.unpack("<d", struct.pack("<Q", word + k))[0] for k in (0, 1))
    exact = Context(prec=1200)
    middle = exact.divide(exact.add(Decimal(low), Decimal(high)), Decimal(2))
    mantissa, _, exponent = format(middle, "e").partition("e")
    mantissa += "" if "." in mantissa else "."
    check(f"{mantissa}{tail}e{exponent}")
    check(f"{mantissa[:-1]}{'4' if mantissa[-1] != '.' else ''}e{exponent}")


@pytest.mark.parametrize("text", [" 1.5", "1.5 ", "\t-1.5e3\t", '"2.5"', '" 2.5 "'])
def test_blanks_and_quotes_around(text):
    assert bits(parse(text)[0]) == bits(float(text.strip('" \t')))


@pytest.mark.parametrize("text", ["", " ", '""', '" "', "\t"])
def test_nothing_there(text):
    assert parse(text)[1] == 0


@pytest.mark.parametrize(
    "text",
    ["-", "+", ".", "-.", "e5", "1e", "1e+", "1.2.3", "1 2", "nan", "inf", "-Infinity", "1_0", "0x1", "١", "1,", "--1",
     "1.5f", "12345678x", "1234567.x", "40.7501106262x7031", "40.75011062620703x", '"1', '1""2'],
)  # fmt: skip
def test_something_else(text):
    assert parse(text) == (0.0, -1)


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789.+-eE _x", min_size=1, max_size=24))
def test_two_ways_agree_on_anything(text):
    expected = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text.strip(" "))
    for parser in (parse_float, parse_any):
        value, state = parse(text, parser)
        expected = expected if expected and math.isfinite(float(text)) else None
        assert state == (1 if expected else -1 if text.strip(" ") else 0)
        assert bits(value) == bits(float(text.strip(" ")) if expected else 0.0)


def test_every_value_of_the_real_files(data: Path):
    values = set()
    for folder in ("trips-head", "headers"):
        for path in (data / folder).glob("*.csv"):
            for line in path.read_text("latin-1").splitlines():
                values.update(field for field in line.split(",") if re.fullmatch(r"-?\d*\.?\d+", field))
    assert len(values) > 10_000
    text = ",".join(values).encode() + b"," + b"7" * 64
    raw = np.frombuffer(text, np.uint8)
    at = 0
    for value in values:
        found, state = parse_float(raw.ctypes.data, at, at + len(value))
        assert state == 1
        assert bits(found) == bits(float(value)), value
        at += len(value) + 1
