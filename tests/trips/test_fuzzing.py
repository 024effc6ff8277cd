"""Files that lie are read as the slow reader reads them, or refused: a thousand mutations of real heads."""

from __future__ import annotations

import fuzzing
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLACES = st.floats(0, 1, exclude_max=True)
STEPS = st.lists(st.tuples(st.sampled_from(sorted(fuzzing.MUTATIONS)), PLACES, PLACES), max_size=5).map(tuple)


def test_a_thousand_inputs(data):
    """In a process of their own, with a limit of memory: a crash or a hang is told with the input's number."""
    became, findings, grown = fuzzing.run(0, 1000)
    assert not findings
    assert became["read"] > 600
    assert became["damaged"] > 10
    assert sum(became.values()) == 1000
    assert grown < fuzzing.MEMORY


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_what_is_found_is_found_as_its_least_example(data, tmp_path_factory, drawn):
    """The same, drawn so that hypothesis makes a failing input small."""
    one = fuzzing.Input(
        drawn.draw(st.integers(0, len(fuzzing.bases()) - 1)), drawn.draw(PLACES), drawn.draw(st.integers(1, 8)),
        drawn.draw(STEPS), drawn.draw(st.sampled_from(sorted(set(fuzzing.PACKINGS)))), drawn.draw(STEPS),
        tuple(drawn.draw(st.lists(PLACES, max_size=4))), drawn.draw(st.sampled_from([64, 1 << 20])),
    )  # fmt: skip
    fuzzing.check(one, tmp_path_factory.mktemp("fuzzing"))


def test_the_harness_finds_what_is_wrong(data, tmp_path, monkeypatch):
    """A reader that loses rows is found out, else the thousand inputs would say nothing."""
    monkeypatch.setattr(fuzzing, "slow_read", lambda text, month: ([], [], {}))
    plain = next(one for one in map(fuzzing.drawn, range(100)) if one.packing == "plain" and one.rows)
    with pytest.raises(AssertionError):
        fuzzing.check(plain, tmp_path)


@pytest.mark.parametrize("number", [3084, 20434, 24124])
def test_what_was_found(data, tmp_path, number):
    """Parquet: texts that are no UTF-8, and the number of a value that a dictionary does not have."""
    assert fuzzing.check(fuzzing.drawn(number), tmp_path) in ("read", "damaged")
