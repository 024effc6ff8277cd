"""Conditional updates of runs, any sequence of them, against a dict that does the same."""

from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from taxidask.errors import StoreError

_machines = itertools.count()
IDS = st.sampled_from(["20261101T000000Z-aaaaaa", "20261102T000000Z-bbbbbb", "20261102T000000Z-cccccc"])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["a", "b", ""]), st.sampled_from([0.5, 1.0])
)
STAGES = st.dictionaries(st.sampled_from(["state", "rows"]), VALUES, max_size=2)
NAMES = st.sampled_from(["state", "owner", "cancel", "error"])
CHANGES = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["stages.ingest", "stages.fit", "new.entry"]), STAGES, max_size=2),
    st.dictionaries(st.sampled_from(["stages.ingest.rows", "stages.fit.state", "owner"]), VALUES, max_size=2),
    st.just({"stages": {}}),
    st.just({"new": {}}),
)
EXPECT = st.one_of(
    st.just({}),
    st.dictionaries(NAMES, VALUES, max_size=2),
    st.dictionaries(st.sampled_from(["stages.ingest.rows", "stages.ingest", "nothing"]), VALUES, max_size=1),
)


def look(item, name):
    for part in name.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return item


def alike(a, b):
    return (type(a) is bool) == (type(b) is bool) and a == b


class Runs(RuleBasedStateMachine):
    def __init__(self, store) -> None:
        super().__init__()
        self.store = store
        self.prefix = f"{next(_machines):06d}-"
        self.model: dict[str, dict] = {}

    @rule(name=IDS, owner=VALUES)
    def create(self, name, owner):
        item = {"id": self.prefix + name, "owner": owner, "stages": {}, "heartbeat": 1.5}
        assert self.store.create_run(item) is (item["id"] not in self.model)
        self.model.setdefault(item["id"], copy.deepcopy(item))

    @rule(name=IDS, changes=CHANGES, expect=EXPECT)
    def update(self, name, changes, expect):
        name = self.prefix + name
        before = self.model.get(name)
        if before is None or not all(alike(look(before, path), value) for path, value in expect.items()):
            assert self.store.update_run(name, changes, expect=expect) is False
            return
        after = copy.deepcopy(before)
        for path, value in changes.items():
            *way, last = path.split(".")
            inner = after
            for part in way:
                inner = inner.get(part) if isinstance(inner, dict) else None
            if not isinstance(inner, dict):
                with pytest.raises(StoreError, match="no dict"):
                    self.store.update_run(name, changes, expect=expect)
                return
            inner[last] = copy.deepcopy(value)
        assert self.store.update_run(name, changes, expect=expect) is True
        self.model[name] = after

    @rule(limit=st.integers(1, 4))
    def page(self, limit):
        ids, before = [], self.prefix + "~"
        while page := self.store.list_runs(limit, before=before):
            ids += [run["id"] for run in page if run["id"].startswith(self.prefix)]
            if not page[-1]["id"].startswith(self.prefix):
                break
            before = page[-1]["id"]
        assert ids == sorted(self.model, reverse=True)

    @invariant()
    def everything_is_as_in_the_model(self):
        for name, item in self.model.items():
            assert self.store.get_run(name) == item


def test_any_sequence_of_updates(store):
    run_state_machine_as_test(
        lambda: Runs(store),
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
