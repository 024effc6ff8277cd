from __future__ import annotations

import numpy as np

from taxidask.demand.bands import Bands


def draw(seed: int, scatter: float = 0.2):
    rng = np.random.default_rng(seed)
    mean = np.geomspace(0.3, 300, 40, dtype=np.float32)[None] * np.ones((800, 1), np.float32)
    return rng.poisson(mean * np.exp(rng.normal(0, scatter, mean.shape))).astype(np.float32), mean


def test_they_hold_the_stated_share_at_every_size():
    bands = Bands.calibrate(*draw(0), share=0.8)
    actual, mean = draw(1)
    low, high = bands.around(mean)
    held = ((actual >= low) & (actual <= high)).mean(0)
    busy = mean[0] >= 5
    assert np.abs(held[busy] - 0.8).max() < 0.07
    # Whole counts cannot be split: where one more or less is a big step, bands hold more rather than less.
    assert held.mean() > 0.79
    assert held[~busy].min() > 0.65
    assert (low >= 0).all()
    assert (low <= mean).all()
    assert (mean <= high).all()


def test_the_city_has_a_band_of_its_own():
    actual, mean = draw(0)
    bands = Bands.calibrate(actual, mean, share=0.8)
    total = mean.reshape(800, -1, 2).sum(1)
    low, high = bands.around_total(total)
    sums = actual.reshape(800, -1, 2).sum(1)
    assert abs(((sums >= low) & (sums <= high)).mean() - 0.8) < 0.02
    cells_low, cells_high = bands.around(mean)
    assert (high - low).mean() < 0.5 * (cells_high - cells_low).sum(1).mean() / 2


def test_they_are_written_and_read_alike():
    bands = Bands.calibrate(*draw(0), share=0.8)
    again = Bands(**bands.to_dict())
    mean = draw(1)[1]
    for a, b in zip(bands.around(mean), again.around(mean), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_nothing_at_all_still_has_a_band():
    zero = np.zeros((500, 4), np.float32)
    bands = Bands.calibrate(zero, zero + np.float32(1e-4), share=0.8)
    low, high = bands.around(zero)
    assert (low == 0).all()
    assert (high < 0.1).all()


def test_they_can_be_widened():
    actual, mean = draw(0)
    as_found, wide = Bands.calibrate(actual, mean, share=0.8), Bands.calibrate(actual, mean, share=0.8, widen=2)
    assert wide.low == [2 * limit for limit in as_found.low]
    assert wide.total_high == [2 * limit for limit in as_found.total_high]
