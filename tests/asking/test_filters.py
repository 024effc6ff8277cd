from __future__ import annotations

import pytest

from taxidask.asking import question
from taxidask.errors import LakeError


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("2", [(">=", 2.0), ("<=", 2.0)]),
        ("1..3", [(">=", 1.0), ("<=", 3.0)]),
        (" 1.5 .. 2.25 ", [(">=", 1.5), ("<=", 2.25)]),
        ("20..", [(">=", 20.0)]),
        ("..5", [("<=", 5.0)]),
        ("-3..-1", [(">=", -3.0), ("<=", -1.0)]),
        (".5...75", [(">=", 0.5), ("<=", 0.75)]),
        ((None, 9), [("<=", 9.0)]),
        (1e300, [(">=", 1e125), ("<=", 1e125)]),
        ("", []),
        ("..", []),
    ],
)
def test_a_range_is_read(text, conditions):
    assert question(fare=text).conditions == tuple(("fare_amount", *one) for one in conditions)


@pytest.mark.parametrize(
    "asked",
    [
        {"fare": "cheap"}, {"fare": "5..1"}, {"fare": "1..2..3"}, {"passengers": "two"}, {"payment_type": "9"},
        {"payment_type": "gold"}, {"start": "soon"},
        {"start": "2015-02-01", "end": "2015-01-01"}, {"tip": float("nan")},
        {"vendor": [str(one) for one in range(51)]}, {"distance": True},
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_with_its_name(asked):
    with pytest.raises(LakeError, match=list(asked)[-1]):
        question(**asked)


def test_words_are_typed():
    asked = question(vendor="1, CMT,1", payment_type="cash,1,Credit Card,CRD")
    assert asked.conditions == (("vendor_id", "in", ("1", "CMT")), ("payment_type", "in", (2, 1)))
