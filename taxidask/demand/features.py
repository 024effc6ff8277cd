"""From counts to what the demand model looks at: numpy only, nothing from after the forecast's origin.

A forecast is made at an *origin*, the last slot it may look at, for a *target* slot `lead` slots later. Every target
has a *base*: what the same slot of earlier weeks, shrunk towards the cell's level times the city's weekly profile,
lets one expect. Where the data is too short for weeks, days take their place: the *period* is the one or the other. The
model learns by which factor demand differs from its base, so most features are logarithms of such
factors (of the last slots, of the cell's neighbourhood, of the whole city) and mean the same in a busy and a quiet
cell. Slots without data carry no weight anywhere; a factor for which there is no data is neutral (0).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from taxidask.demand.calendar import clock_factor, holiday_days, slots_per_day

PERIODS = 4  # periods that make the base
_SPARE_PERIODS = 5  # more of them, looked at where those hold too little
_ENOUGH = 1.5  # ordinary periods: what is not too little
_SMOOTH = (0.25, 0.5, 0.25)  # weights of the slots before, at and after
_PRIOR = 3.0  # trips: how much evidence the city's profile counts for in a cell's base
_SOFT = 1.0  # trips added above and below in every factor, so that factors of quiet cells stay near 1
_HOLIDAY_WEIGHT = 0.05  # of a past holiday in the base: an ordinary week says more
_ODD = 0.5  # a log factor of the whole city's demand at which a slot counts half in the base of later weeks
_LEVEL_DAYS = 28

CALENDAR = ["lead", "slot_of_day", "weekend", "holiday", "days_since_holiday", "days_to_holiday", "lag1w_holiday"]
CELL = ["cell", "direction", "log_level", "level_trend", "log_base", "base_step"]
SAME_SLOT = ["lag1w", "lag2w", "lag3w", "lag4w", "last_day", "same_day_kind", "last_sunday"]
RECENT = [
    *("own_0", "own_1", "own_2", "own_4", "own_day", "own_0_to_base", "recent_missing"),
    *("other_0", "other_2"),
    *("near_0", "near_1", "near_2", "near_4", "near_day", "near_other_1"),
    *("city_0", "city_1", "city_4", "city_day"),
]
WEATHER = ["temperature", "rain", "snow_depth", "wind", "visibility", "rain_1w", "snow_depth_1w"]


def _factor(y: np.ndarray, base: np.ndarray, soft: float = _SOFT) -> np.ndarray:
    return np.log((y + np.float32(soft)) / (base + np.float32(soft)))


def neighbour_table(space: Any) -> np.ndarray:
    """The cells around each cell as one int32 table, short rows filled with -1."""
    rows = [np.asarray(space.neighbours(cell), np.int32) for cell in range(space.cells)]
    table = np.full((len(rows), max((len(row) for row in rows), default=0)), -1, np.int32)
    for cell, row in enumerate(rows):
        table[cell, : len(row)] = row
    return table


def feature_names(*, weather: bool, weekly: bool) -> list[str]:
    """What the boosters look at, in order; lags are of days where there are no weeks."""
    names = [*CALENDAR, *CELL, *SAME_SLOT, *RECENT, *(WEATHER if weather else [])]
    return names if weekly else [re.sub(r"(\d)w", r"\1d", name) for name in names]


class History:
    """A cube made ready for looking things up: factors, bases, levels, calendar.

    Parameters
    ----------
    counts : array (slots, cells, 2)
    missing : bool array (slots,)
    start : Timestamp
    slot : Timedelta
    at : int array (slots + ahead,), optional
        How many slots after `start` each slot lies; by default they follow each other. What is left out between two of
        them is whole weeks.
    neighbours : int array (cells, k), -1 where there is none
    calendar : str or None
        Whose public holidays count, e.g. "US-NY".
    timezone : str or None
        Whose clock the times are on. On the night it goes back an hour is lived, and counted, twice; when it goes
        forward one is not: counts are taken per real hour, and an hour that is not is missing.
    ahead : int
        How many slots after the last one will be asked for.
    weather : array (slots + ahead, 5), optional
        Aligned weather, see `taxidask.demand.weather`.
    weekly : bool
        Whether a base is made of weeks, or of days.
    """

    def __init__(
        self,
        counts: np.ndarray,
        *,
        missing: np.ndarray | None,
        start: pd.Timestamp,
        slot: pd.Timedelta,
        neighbours: np.ndarray,
        at: np.ndarray | None = None,
        calendar: str | None = "US-NY",
        timezone: str | None = "America/New_York",
        ahead: int = 0,
        weather: np.ndarray | None = None,
        weekly: bool = True,
    ) -> None:
        slots, self.cells, _ = counts.shape
        self.slots, self.series, self.length = slots, self.cells * 2, slots + ahead
        self.day = slots_per_day(slot)
        self.weekly, self.week = weekly, 7 * self.day
        self.period = self.week if weekly else self.day
        self.weather = weather
        self.y = np.zeros((self.length, self.series), np.float32)
        self.y[:slots] = counts.reshape(slots, self.series)
        self.seen = np.zeros(self.length, np.float32)
        self.seen[:slots] = 1.0 if missing is None else ~np.asarray(missing, bool)
        at = np.arange(self.length) if at is None else at
        times = pd.date_range(start, periods=int(at[-1]) + 1 if len(at) else 0, freq=slot)[at]
        self.clock = clock_factor(times, slot, timezone)
        self.seen[self.clock == 0] = 0.0
        self.y[self.seen == 0] = 0.0
        odd = np.flatnonzero((self.clock != 1) & (self.clock != 0))
        self.y[odd] /= self.clock[odd, None]
        self.last_seen = np.maximum.accumulate(np.where(self.seen > 0, np.arange(self.length), -1))
        self.other = np.arange(self.series) ^ 1
        self.city_of = np.arange(self.series) % 2
        self.city = self.y.reshape(self.length, -1, 2).sum(1)
        self._calendar(times, calendar)
        self._doubt()
        self._levels()
        self._bases: dict[int, np.ndarray] = {}
        base = self.base(1)
        self.near = _around(self.y, neighbours)
        self.near_base = _around(base, neighbours)
        self.city_base = base.reshape(self.length, -1, 2).sum(1)
        self.own_day = self._day_factor(self.y, base)
        self.near_day = self._day_factor(self.near, self.near_base)
        self.city_day = self._day_factor(self.city, self.city_base)

    @property
    def names(self) -> list[str]:
        """The features' names, in the order of the columns of `block`."""
        return feature_names(weather=self.weather is not None, weekly=self.weekly)

    def _calendar(self, times: pd.DatetimeIndex, calendar: str | None) -> None:
        slot = pd.Timedelta(days=1) / self.day
        self.slot_of_day = np.asarray((times - times.normalize()) // slot, np.int64)
        self.weekday = np.asarray(times.day_of_week, np.int64)
        days = pd.date_range(times[0].normalize() - pd.Timedelta(days=4), times[-1].normalize() + pd.Timedelta(days=4))
        holiday = holiday_days(days, calendar)
        distance = np.full((2, len(days)), 4.0, np.float32)
        for gap in (3, 2, 1, 0):
            distance[0, gap:][holiday[: len(days) - gap]] = gap
            distance[1, : len(days) - gap][holiday[gap:]] = gap
        at = np.asarray((times.normalize() - days[0]) // pd.Timedelta(days=1), np.int64)
        self.holiday = holiday[at]
        self.since_holiday, self.to_holiday = distance[0, at], distance[1, at]
        self.kind = ((self.weekday >= 5) | self.holiday).astype(np.int8)
        # Past slots' weight in a base.
        self.weight = self.seen * np.where(self.holiday, np.float32(_HOLIDAY_WEIGHT), np.float32(1.0))

    def _doubt(self) -> None:
        """Take weight from slots in which the city was unlike itself (a blizzard): bad witnesses of other weeks.

        Judged over the three hours up to the slot against the weeks before it, so later slots change nothing.
        """
        self.oddity = np.zeros(self.length, np.float32)
        if not self.weekly:  # a Saturday is unlike a Friday, and no odd day for that
            return
        span = max(1, self.day // 8)
        city = self.city.sum(1, dtype=np.float64)
        expected, known = np.zeros(self.length), np.zeros(self.length)
        for lag in range(self.week, min((PERIODS + 1) * self.week, self.length), self.week):
            w = self.weight[:-lag]
            expected[lag:] += w * city[:-lag]
            known[lag:] += w
        ok = (known > 0) * self.seen
        expected = expected / np.maximum(known, 1e-9) * ok
        sums = [np.convolve(x, np.ones(span))[: self.length] for x in (city * ok, expected)]
        factor = np.log((sums[0] + 10.0) / (sums[1] + 10.0))
        self.oddity = factor.astype(np.float32)
        self.weight = self.weight / (1 + (self.oddity / np.float32(_ODD)) ** 2)

    def _levels(self) -> None:
        """Mean trips a slot over the last 28 and 7 whole days before each day, for each series."""
        blocks = self.length // self.day + 1
        padded = blocks * self.day
        sums = np.zeros((blocks, self.series), np.float64)
        seen = np.zeros(padded, np.float64)
        seen[: self.length] = self.seen
        whole = self.length // self.day * self.day
        sums[:-1] = self.y[:whole].reshape(-1, self.day, self.series).sum(1, dtype=np.float64)
        sums[-1] = self.y[whole:].sum(0, dtype=np.float64)
        total = np.vstack([np.zeros((1, self.series)), sums.cumsum(0)])
        count = np.concatenate([[0.0], seen.reshape(blocks, self.day).sum(1).cumsum()])

        def mean(days: int) -> np.ndarray:
            """Row b: the mean over the `days` blocks before block b; over all before it where those hold no data."""
            first = np.maximum(np.arange(blocks + 1) - days, 0)
            first = np.where(count - count[first] > 0, first, 0)
            slots = (count - count[first])[:, None]
            with np.errstate(invalid="ignore"):
                return ((total - total[first]) / np.where(slots > 0, slots, np.nan)).astype(np.float32)

        self.level, self.level7 = mean(_LEVEL_DAYS), mean(7)
        known = np.isfinite(self.level[:, 0])
        self.first_level = int(known.argmax()) if known.any() else len(known)  # the first day with data before it

    def base(self, first: int) -> np.ndarray:
        """What to expect of each slot from the same slot `first` and more periods before (slots, series)."""
        if first in self._bases:
            return self._bases[first]
        num = np.zeros_like(self.y)  # the same slot of four periods, one by one
        den = np.zeros(self.length, np.float32)
        wide = np.zeros_like(self.y)  # with the slots beside it: less exact, less noisy
        wide_den = np.zeros(self.length, np.float32)
        for back in range(first, first + PERIODS + _SPARE_PERIODS):
            # Earlier ones stand in for those that hold little: a month may be missing.
            spare = back >= first + PERIODS
            wanted = np.flatnonzero(den < _ENOUGH) if spare else None
            for shift, smooth in zip((-1, 0, 1), _SMOOTH, strict=True):
                lag = back * self.period - shift
                to: Any = slice(lag, None) if wanted is None else wanted[wanted >= lag]
                at: Any = slice(0, max(0, self.length - lag)) if wanted is None else to - lag
                w = self.weight[at]
                past = self.y[at] * w[:, None]
                if shift == 0:
                    num[to] += past
                    den[to] += w
                past *= np.float32(smooth)
                wide[to] += past
                wide_den[to] += w * np.float32(smooth)
        # The level known at the earliest origin for which this base may be used.
        origin = np.arange(self.length) - first * self.period + 1
        level = self._level_at(origin)
        level[origin < 1] = np.nan
        shape = self._city_shape(wide, wide_den, first, level)
        prior = np.maximum(level * np.maximum(shape[:, self.city_of], np.float32(0.01)), np.float32(1e-4))
        # Gamma-Poisson means: the city's profile holds where a cell has few trips, its own slots where it has many.
        prior = (wide + np.float32(_PRIOR)) / (wide_den[:, None] + np.float32(_PRIOR) / prior)
        base = (num + np.float32(_PRIOR)) / (den[:, None] + np.float32(_PRIOR) / prior)
        # A base of next to nothing would make every factor over it huge.
        np.maximum(base, level * np.float32(0.01), out=base)
        self._bases[first] = base
        return base

    def _city_shape(self, num: np.ndarray, den: np.ndarray, first: int, level: np.ndarray) -> np.ndarray:
        """The city's demand in each slot relative to its level, by direction."""
        city_level = level.reshape(self.length, -1, 2).sum(1)
        total = num.reshape(self.length, -1, 2).sum(1)
        weight = den.copy()
        bare = np.flatnonzero(den < 0.2)
        if len(bare):  # no such slot in all those weeks: the same slot of any day of the fortnight before stands in
            y = self.y.reshape(self.length, -1, 2).sum(1)
            nearest = first * self.period // self.day
            for days in range(nearest + 1, nearest + 15):
                at = bare - days * self.day
                ok = at >= 0
                total[bare[ok]] += y[at[ok]] * self.weight[at[ok], None]
                weight[bare[ok]] += self.weight[at[ok]]
        with np.errstate(invalid="ignore", divide="ignore"):
            shape = total / weight[:, None] / city_level
        return np.where(np.isfinite(shape), shape, np.float32(1.0)).astype(np.float32)

    def _day_factor(self, y: np.ndarray, base: np.ndarray) -> np.ndarray:
        """By which factor the 24 hours up to each slot differed from their base."""
        out = np.empty_like(y)
        for at in range(0, y.shape[1], 256):
            part = slice(at, at + 256)
            known = np.nan_to_num(base[:, part]) * self.seen[:, None]
            sums = [np.cumsum(np.where(known > 0, y[:, part], 0.0), 0, dtype=np.float64), known.cumsum(0, np.float64)]
            for total in sums:
                total[self.day :] -= total[: -self.day].copy()
            out[:, part] = _factor(sums[0], sums[1])
        return out

    def _level_at(self, origin: np.ndarray) -> np.ndarray:
        """The level known at each origin; `usable` ones lie after the first day that has one."""
        return self.level[np.clip((origin + 1) // self.day, self.first_level, len(self.level) - 1)]

    def usable(self, origin: np.ndarray, lead: np.ndarray) -> np.ndarray:
        """Which (origin, lead) pairs have enough before them to be features: a day with data, and a base."""
        origin, lead = np.asarray(origin), np.asarray(lead)
        target = origin + lead
        inside = (origin >= 0) & (target < self.length)
        seen = self.last_seen[np.clip(origin, 0, self.length - 1)]
        ok = inside & (seen >= 0) & (origin + 1 >= self.first_level * self.day)
        # A first day that no level goes before is a poor base, and enough only where there is little else.
        spare = self.day if self.weekly else 0
        return ok & (target - self.first(target - seen) * self.period >= spare)

    def first(self, lead: np.ndarray) -> np.ndarray:
        """How many periods back the nearest same slot is that (with the slot after it) a forecast at `lead` may see."""
        return -(-(np.asarray(lead) + 1) // self.period)

    def blocks(self, origin: np.ndarray, lead: np.ndarray, *, rows: int = 250_000) -> Iterator[tuple[slice, Any, Any]]:
        """`block` over many pairs, about `rows` rows at a time: (which pairs, features, base)."""
        step = max(1, rows // self.series)
        for at in range(0, len(origin), step):
            part = slice(at, min(at + step, len(origin)))
            yield part, *self.block(origin[part], lead[part])

    def block(self, origin: np.ndarray, lead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features and base of every series for each pair of an origin and a lead.

        Returns
        -------
        features : float32 array (pairs, series, features)
        base : float32 array (pairs, series)
        """
        origin, lead = np.asarray(origin, np.int64), np.asarray(lead, np.int64)
        target = origin + lead
        # After a gap the forecast is really made from the last slot seen.
        origin = self.last_seen[origin]
        lead = target - origin
        first = self.first(lead)
        out = np.empty((len(origin), self.series, len(self.names)), np.float32)
        columns = iter(range(out.shape[2]))

        def put(value: np.ndarray, *, pair: bool = False) -> None:
            out[:, :, next(columns)] = value[:, None] if pair else value

        base = self._at(target, first)
        put(lead, pair=True)
        put(self.slot_of_day[target] / self.day, pair=True)
        put(self.weekday[target] >= 5, pair=True)
        put(self.holiday[target], pair=True)
        put(self.since_holiday[target], pair=True)
        put(self.to_holiday[target], pair=True)
        put(self.holiday[target - first * self.period], pair=True)

        put(np.broadcast_to(np.arange(self.series) // 2, base.shape))
        put(np.broadcast_to(self.city_of, base.shape))
        block = np.maximum((origin + 1) // self.day, self.first_level)
        level = self.level[block]
        put(np.log(level + np.float32(0.01)))
        put(_factor(self.level7[block], level, 0.1))
        put(np.log(base))
        put(_factor(base, self._at(np.maximum(target - 1, 0), first)))

        self._same_slot(put, target, lead, first, base)
        self._recent(put, origin, base)
        if self.weather is not None:
            now, before = self.weather[target], self.weather[target - first * self.period]
            for column in range(5):
                put(now[:, column], pair=True)
            put(before[:, 1], pair=True)
            put(before[:, 2], pair=True)
        return out, base

    def bases(self, origin: np.ndarray, lead: np.ndarray) -> np.ndarray:
        """Bases alone, see `block`."""
        target = np.asarray(origin, np.int64) + np.asarray(lead, np.int64)
        return self._at(target, self.first(target - self.last_seen[origin]))

    def _at(self, slots: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The base of each of `slots`, from `first` periods before."""
        out = np.empty((len(slots), self.series), np.float32)
        for back in np.unique(first):
            chosen = first == back
            out[chosen] = self.base(int(back))[slots[chosen]]
        return out

    def _same_slot(self, put: Any, target: np.ndarray, lead: np.ndarray, first: np.ndarray, base: np.ndarray) -> None:
        for back in range(PERIODS):
            at, known = self._past(target - (first + back) * self.period)
            put(_factor(self.y[at], base) * known[:, None])
        days = -(-lead // self.day)  # the nearest day whose same slot is not after the origin
        put(self._own(target - days * self.day))
        total = np.zeros_like(base)
        count = np.zeros(len(target), np.float32)
        for day in range(7):
            at, known = self._past(target - (days + day) * self.day)
            known = known * (self.kind[at] == self.kind[target])
            total += self.y[at] * known[:, None]
            count += known
        mean = total / np.maximum(count, 1)[:, None]
        put(_factor(mean, base) * (count > 0)[:, None])
        sunday = days + (self.weekday[target] - days - 6) % 7
        at, known = self._past(target - sunday * self.day)
        put(_factor(self.y[at], base) * known[:, None])

    def _past(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slots to look at, and which of them (1) hold data or (0) do not or lie before the first."""
        inside = np.maximum(at, 0)
        return inside, self.seen[inside] * (at >= 0)

    def _recent(self, put: Any, origin: np.ndarray, base: np.ndarray) -> None:
        put(self._own(origin))
        put(self._own(origin - 1))
        put(self._window(self.y, self.base(1), origin, 2))
        put(self._window(self.y, self.base(1), origin, 4))
        put(self.own_day[origin])
        put(_factor(self.y[origin], base))
        put(1 - np.mean([self.seen[np.maximum(origin - k, 0)] for k in range(4)], axis=0), pair=True)
        put(self._own(origin)[:, self.other])
        put(self._window(self.y, self.base(1), origin, 2)[:, self.other])
        put(self._window(self.near, self.near_base, origin, 1))
        near = self._window(self.near, self.near_base, origin - 1, 1)
        put(near)
        put(self._window(self.near, self.near_base, origin, 2))
        put(self._window(self.near, self.near_base, origin, 4))
        put(self.near_day[origin])
        put(self._window(self.near, self.near_base, origin, 1)[:, self.other])
        put(self._window(self.city, self.city_base, origin, 1)[:, self.city_of])
        put(self._window(self.city, self.city_base, origin - 1, 1)[:, self.city_of])
        put(self._window(self.city, self.city_base, origin, 4)[:, self.city_of])
        put(self.city_day[origin][:, self.city_of])

    def _own(self, at: np.ndarray) -> np.ndarray:
        return self._window(self.y, self.base(1), at, 1)

    def _window(self, y: np.ndarray, base: np.ndarray, at: np.ndarray, slots: int) -> np.ndarray:
        """By which factor the `slots` slots up to `at` differed from their base; neutral where unknown."""
        total = np.zeros((len(at), y.shape[1]), np.float32)
        expected = np.zeros_like(total)
        for back in range(slots):
            then = np.maximum(at - back, 0)
            known = (self.seen[then] * (at - back >= 0))[:, None]
            b = base[then]
            known = np.where(np.isfinite(b), known, np.float32(0.0))
            total += y[then] * known
            expected += np.nan_to_num(b) * known
        return _factor(total, expected)


def _around(values: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """The sum of each cell and its neighbours, by direction."""
    shaped = values.reshape(len(values), -1, 2)
    out = shaped.copy()
    for column in neighbours.T:
        has = np.flatnonzero(column >= 0)
        out[:, has] += shaped[:, column[has]]
    return out.reshape(values.shape)


def categorical(names: Sequence[str]) -> list[int]:
    """Which columns are names rather than amounts."""
    return [names.index(name) for name in ("cell",)]
