"""What is held out of the rides learned from."""

from __future__ import annotations

import numpy as np
import pytest

from taxidask.fare.training import held_out


@pytest.mark.parametrize(("days", "rides"), [(1, 3_000), (31, 20_000), (60, 6_000), (450, 40_000), (2_370, 600_000)])
def test_held_out(days: int, rides: int) -> None:
    day = np.datetime64("2013-01-01") + np.sort(np.random.default_rng(0).integers(0, days, rides))
    order, first, half, late = held_out(day)
    assert sorted(order) == list(range(rides))
    learnt, edged, calibrated, tested = np.split(order, [first, half, late])
    held = min(rides // 5, 60_000)
    assert rides - first == pytest.approx(held, rel=0.15)
    assert len(edged) == pytest.approx(held / 2, rel=0.25)
    assert len(calibrated) > held / 5
    assert (tested == np.arange(late, rides)).all()  # the newest
    for part in (learnt, edged, calibrated):
        assert (np.diff(part) > 0).all()
    if days < 60:
        assert (order == np.arange(rides)).all()
        return
    newest = rides - held // 3
    early = [set(day[part[part < newest]]) for part in (learnt, edged, calibrated)]
    border = {day[newest - 1]}
    assert not (early[0] & early[1] | early[0] & early[2] | early[1] & early[2]) - border  # whole days
    assert learnt.max() < newest
    assert min(early[1]) < day[0] + np.timedelta64(40, "D")  # from all over the time
