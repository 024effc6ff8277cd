"""Which region is asked: breakers, the order, going over, and what a process has seen caught up."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taxidask.errors import RegionDarkError, SettingsError
from taxidask.settings import Region, resolve
from taxidask.storage import regions as module
from taxidask.storage.regions import BETWEEN_TRIALS, FIRST_WAIT, LONGEST_WAIT, TRIAL, Breakers, Regions, regions_of

HOME, WEST, NORTH = Region(name="us-east-1"), Region(name="us-west-2"), Region(name="ca-central-1")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(*regions: Region, **options) -> tuple[Regions, Clock]:
    clock = Clock()
    return Regions(regions or (HOME, WEST), breakers=Breakers(clock, lambda: 1.0), **options), clock


def names(regions: Regions, service: str = "s3") -> list[str]:
    return [region.name for region in regions.order(service)]


def test_a_dark_region_is_stepped_over_and_then_tried_by_one_caller(caplog):
    regions, clock = made()
    regions.failed(HOME, "s3", "connection refused")
    assert names(regions) == ["us-west-2"]
    assert names(regions, "dynamodb") == ["us-east-1", "us-west-2"]  # another service
    clock.now += FIRST_WAIT
    assert [names(regions) for _ in range(3)] == [["us-east-1", "us-west-2"], ["us-west-2"], ["us-west-2"]]
    regions.answered(HOME, "s3")
    assert names(regions) == ["us-east-1", "us-west-2"]
    said = [record.message for record in caplog.records]
    assert said[0] == "region us-east-1: s3 is dark, stepped over for 10 s: connection refused"
    assert said[1] == "region us-east-1: s3 answers again"
    assert len(said) == 2


def test_the_wait_doubles_up_to_two_minutes():
    regions, clock = made()
    regions.failed(HOME, "s3", "refused")
    waits = []
    for _ in range(6):
        waits.append(regions.status()[0].next_trial)
        clock.now += waits[-1]
        assert regions.allows(HOME, "s3")
        regions.failed(HOME, "s3", "refused")
    assert waits == [10, 20, 40, 80, 120, 120]
    clock.now += LONGEST_WAIT
    assert regions.allows(HOME, "s3")
    regions.answered(HOME, "s3")
    regions.failed(HOME, "s3", "refused")
    assert regions.status()[0].next_trial == FIRST_WAIT


def test_the_trial_of_a_region_that_is_not_active_comes_before_all_others():
    regions, clock = made(active="us-west-2")
    regions.failed(HOME, "s3", "refused")
    clock.now += FIRST_WAIT
    assert names(regions) == ["us-east-1", "us-west-2"]
    assert names(regions) == ["us-west-2"]


def test_a_trial_of_which_nothing_is_heard_is_given_to_another():
    regions, clock = made()
    regions.failed(HOME, "s3", "refused")
    clock.now += FIRST_WAIT
    assert [regions.allows(HOME, "s3") for _ in range(3)] == [True, False, False]
    clock.now += TRIAL
    assert [regions.allows(HOME, "s3") for _ in range(3)] == [True, False, False]


def test_an_answer_to_what_was_sent_before_it_went_dark_does_not_bring_it_back():
    regions, _ = made()
    regions.failed(HOME, "s3", "refused")
    regions.answered(HOME, "s3")
    assert names(regions) == ["us-west-2"]


def test_where_all_are_dark_one_is_tried_every_second():
    regions, clock = made()
    for region in (HOME, WEST):
        regions.failed(region, "s3", "the network is down")
    assert names(regions) == []
    clock.now += BETWEEN_TRIALS
    assert names(regions) == ["us-east-1"]
    regions.failed(HOME, "s3", "the network is down")
    assert names(regions) == ["us-west-2"]
    regions.answered(WEST, "s3")
    assert names(regions) == ["us-west-2"]


def test_going_over_takes_the_next_that_is_not_dark(caplog):
    regions, _ = made(HOME, WEST, NORTH)
    regions.failed(WEST, "dynamodb", "refused")
    error = regions.dark("s3", "write s3://taxis/lake.json", "connection refused")
    assert (error.region, error.service) == ("us-east-1", "s3")
    assert "cannot write s3://taxis/lake.json: us-east-1, the active region, is dark: connection refused" in str(error)
    assert regions.go_over(error) is NORTH
    assert regions.active is NORTH
    assert names(regions) == ["ca-central-1", "us-east-1", "us-west-2"]
    assert regions.go_over(error) is NORTH  # another caller's, of the region that was left already
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "gone over from us-east-1 to ca-central-1" in caplog.text
    regions.failed(HOME, "s3", "refused")
    with pytest.raises(RegionDarkError, match="no region is left to go over to from ca-central-1"):
        regions.go_over("by hand")


def test_settled_once_seen_alike_and_not_any_more_after_a_change():
    regions, clock = made()
    assert not regions.settled("s3", "lake")  # nobody has looked
    before = regions.epoch("s3")
    regions.caught_up("s3", before, "lake")
    assert regions.settled("s3", "lake")
    assert not regions.settled("s3", "other")
    assert not regions.settled("dynamodb")
    regions.failed(WEST, "s3", "refused")
    regions.caught_up("s3", regions.epoch("s3"), "lake")  # one of them cannot have been looked at
    assert not regions.settled("s3", "lake")
    clock.now += FIRST_WAIT
    assert regions.allows(WEST, "s3")
    regions.answered(WEST, "s3")
    regions.caught_up("s3", before, "lake")  # a look from before it was dark
    assert not regions.settled("s3", "lake")
    regions.caught_up("s3", regions.epoch("s3"), "lake")
    assert regions.settled("s3", "lake")
    assert made(HOME)[0].settled("s3")  # alone there is nothing to compare


def test_counterparts_by_the_longest_beginning_at_a_slash():
    home = Region(name="us-east-1", lake="s3://east/lake/")
    west = Region(name="us-west-2", lake="s3://west/l", places={"s3://east": "s3://west", "s3://tlc/a": "s3://b"})
    regions, _ = made(home, west)
    urls = ("s3://east/lake/x", "s3://east/lake", "s3://east/lakes", "s3://tlc/a/1.csv", "s3://tlc/ab", "/tmp/a")
    there = ["s3://west/l/x", "s3://west/l", "s3://west/lakes", "s3://b/1.csv", None, None]
    assert [regions.counterpart(url, west) for url in urls] == there
    assert [regions.counterpart(url, home) for url in urls] == [*urls[:4], None, None]


def test_the_lake_of_the_settings_is_home_s():
    west = {"name": "us-west-2", "lake": "s3://west/lake"}
    found, _ = resolve({"lake": "s3://east/lake", "regions": [{"name": "us-east-1", "lake": "s3://east/lake"}, west]})
    regions = regions_of(found, active="us-west-2")
    assert regions.counterpart("s3://east/lake/lake.json", regions.active) == "s3://west/lake/lake.json"
    assert regions_of(resolve({"lake": "s3://east/lake"})[0]) is None


def test_sent_elsewhere_it_keeps_the_active_region_and_takes_that_process_s_states(monkeypatch):
    monkeypatch.setattr(module, "_process", Breakers())
    regions = Regions([HOME, WEST])
    regions.failed(HOME, "s3", "refused")
    regions.go_over("by hand")
    sent = pickle.loads(pickle.dumps(regions))
    assert sent.active == WEST
    assert names(sent) == names(Regions([HOME, WEST])) == ["us-west-2"]
    monkeypatch.setattr(module, "_process", Breakers())
    assert names(pickle.loads(pickle.dumps(regions))) == ["us-west-2", "us-east-1"]


def _child(regions: Regions, queue) -> None:
    queue.put([region.name for region in regions.order("s3")])


def test_a_forked_process_goes_on_with_its_parent_s_states_though_a_thread_held_the_lock(monkeypatch):
    monkeypatch.setattr(module, "_process", Breakers())
    regions = Regions([HOME, WEST])
    regions.failed(HOME, "s3", "refused")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with module._process.lock:
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    child = context.Process(target=_child, args=(Regions([HOME, WEST]), queue))
    regions = None
    child.start()
    try:
        assert queue.get(timeout=30) == ["us-west-2"]
    finally:
        done.set()
        holder.join()
        child.join(30)


def test_of_many_threads_one_makes_the_trial():
    regions, clock = made()
    regions.failed(HOME, "s3", "refused")
    clock.now += FIRST_WAIT
    start = threading.Barrier(16)
    found: list[list[str]] = []

    def ask() -> None:
        start.wait()
        found.append(names(regions))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, found)) == [1] * 15 + [2]


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        ([{"name": "a"}, {"name": "a"}], "two regions called 'a'"),
        ([{"name": "a", "places": {"s3://x": "s3://y"}}], "'a' is home, and has places"),
        ([{"name": "a"}, {"name": "b", "places": {"/x": "s3://y"}}], "'/x' is no place in S3"),
        ([{"name": "a"}, {"name": "b", "places": {"s3://x": "s3://"}}], "'s3://' is no place in S3"),
        ([{"name": "a"}, {"name": "b", "places": {"s3://AKIA:secret/x@y": "s3://y"}}], "holds a password"),
    ],
)
def test_regions_that_make_no_sense_are_told(regions, told):
    with pytest.raises(SettingsError, match=told):
        resolve({"regions": regions})


def test_a_name_that_is_none_of_them():
    with pytest.raises(SettingsError, match="'us-west-1' is none of the regions; they are us-east-1, us-west-2"):
        made(active="us-west-1")


class Breaking(RuleBasedStateMachine):
    """Any order of answers, failures and waits: nobody is sent to a dark region before its time, nor two at once."""

    def __init__(self) -> None:
        super().__init__()
        self.regions, self.clock = made(HOME, WEST, NORTH)
        self.dark: dict[str, float] = {}  # until when at least nobody may ask, by region
        self.trials: dict[str, float] = {}

    @rule(seconds=st.sampled_from([0.1, 0.9, 1.0, 5.0, 10.0, 130.0]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule()
    def ask(self):
        given = names(self.regions)
        every = {region.name for region in self.regions.regions}
        assert set(given) >= every - set(self.dark)
        for name in given:
            if name in self.dark:
                all_dark = set(self.dark) == every
                assert self.clock.now >= self.dark[name] or all_dark
                assert self.clock.now >= self.trials.get(name, 0) + (BETWEEN_TRIALS if all_dark else TRIAL)
                self.trials[name] = self.clock.now
        assert [name for name in given if name not in self.dark] == given[len(set(given) & set(self.dark)) :]

    @rule(region=st.sampled_from([HOME, WEST, NORTH]))
    def fail(self, region):
        state = self._state(region)
        self.regions.failed(region, "s3", "refused")
        if state != "open":
            self.dark[region.name] = self.clock.now + FIRST_WAIT
            self.trials.pop(region.name, None)
        assert self._state(region) == "open"

    @rule(region=st.sampled_from([HOME, WEST, NORTH]))
    def answer(self, region):
        state = self._state(region)
        self.regions.answered(region, "s3")
        if state == "half-open":
            del self.dark[region.name]
            self.trials.pop(region.name, None)
        assert self._state(region) == ("open" if state == "open" else "closed")

    @precondition(lambda self: not self.dark)
    @rule()
    def catch_up(self):
        self.regions.caught_up("s3", self.regions.epoch("s3"))
        assert self.regions.settled("s3")

    @invariant()
    def dark_ones_are_known(self):
        states = {one.region: one.state for one in self.regions.status() if one.service == "s3"}
        assert {name for name, state in states.items() if state != "closed"} == set(self.dark)
        assert not (self.dark and self.regions.settled("s3"))

    def _state(self, region):
        return next(one.state for one in self.regions.status() if (one.region, one.service) == (region.name, "s3"))


Breaking.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestBreaking = Breaking.TestCase
