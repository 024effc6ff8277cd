"""Batches: what the server leaves is written again, within a deadline, at a bounded pace."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from types import SimpleNamespace

import pandas as pd
import pytest
from botocore.stub import ANY, Stubber

from taxidask.errors import StoreError
from taxidask.results import open_store
from taxidask.results.batch import Pacer, Refusal, UnwrittenError, Write, write_all
from taxidask.results.keys import Key
from taxidask.results.wire import Stamps


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


def write(number: int, units: float = 1.0, pk: str | None = None) -> Write:
    key = Key(pk or f"p{number}", "s")
    return Write(key if pk is None else Key(pk, f"s{number}"), {"n": number}, units)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def run(clock):
    def run(writes, send, **options):
        pacer = Pacer(clock=clock, sleep=clock.sleep)
        options = {"deadline": 10.0, "uniform": lambda low, high: high, **options}
        return write_all(writes, send, table="table 't'", pacer=pacer, clock=clock, sleep=clock.sleep, **options)

    return run


def test_batches_have_at_most_25(run):
    sizes = []
    assert run(map(write, range(60)), lambda batch: sizes.append(len(batch)) or []) == 60
    assert sizes == [25, 25, 10]


def test_nothing_to_write_sends_nothing(run):
    assert run([], lambda batch: pytest.fail("sent")) == 0


def test_what_is_left_unprocessed_is_sent_again_with_growing_waits(run, clock):
    sent: list[list[int]] = []

    def send(batch):
        numbers = [request["n"] for request in batch]
        sent.append(numbers)
        return [Key(f"p{n}", "s") for n in numbers if n in (3, 7) and sum(n in s for s in sent) <= 3]

    assert run(map(write, range(30)), send) == 30
    assert sent[0] == list(range(25))
    assert sent[1] == [3, 7, 25, 26, 27, 28, 29]
    assert sent[2] == sent[3] == [3, 7]
    assert clock.slept == [0.05, 0.1, 0.2]


def test_waits_are_random_and_bounded(run, clock):
    drawn = []

    def uniform(low, high):
        drawn.append((low, high))
        return high / 2

    with pytest.raises(UnwrittenError):
        run([write(0)], lambda batch: [Key("p0", "s")], uniform=uniform, deadline=60.0)
    assert {low for low, _ in drawn} == {0.0}
    assert drawn[0] == (0.0, 0.05)
    assert max(high for _, high in drawn) == 5.0
    assert 159.9 < clock.now <= 160.01


def test_unprocessed_for_ever_is_an_error_that_names_the_keys(run, clock):
    with pytest.raises(StoreError) as caught:
        run(map(write, range(30)), lambda batch: [Key(f"p{r['n']}", "s") for r in batch if r["n"] in (4, 5)])
    assert isinstance(caught.value, UnwrittenError)
    assert caught.value.keys == [Key("p4", "s"), Key("p5", "s")]
    assert "2 items could not be written to table 't' within 10 s" in str(caught.value)
    assert "p4 / s; p5 / s" in str(caught.value)
    assert "28 others were written" in str(caught.value)
    assert clock.now <= 110.1


def test_many_unwritten_keys_are_counted_not_all_shown(run):
    with pytest.raises(UnwrittenError, match=r"25 items .* and 20 more") as caught:
        run(map(write, range(25)), lambda batch: [Key(f"p{r['n']}", "s") for r in batch])
    assert len(caught.value.keys) == 25


def test_a_refused_batch_is_sent_again(run):
    answers = [Refusal("too busy"), Refusal("too busy"), []]

    def send(batch):
        answer = answers.pop(0)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    assert run(map(write, range(5)), send) == 5
    assert not answers


def test_an_error_for_good_is_raised_at_once(run, clock):
    def send(batch):
        raise StoreError("denied")

    with pytest.raises(StoreError, match="denied"):
        run(map(write, range(5)), send)
    assert not clock.slept


def test_a_key_is_never_twice_in_a_batch_and_the_last_write_wins(run):
    batches, table = [], {}
    left = {1: 2}  # the first write of "a" is left over twice

    def send(batch):
        batches.append([r["key"] for r in batch])
        unprocessed = []
        for request in batch:
            if left.get(request["n"], 0) > 0:
                left[request["n"]] -= 1
                unprocessed.append(Key(request["key"], "s"))
            else:
                table[request["key"]] = request["n"]
        return unprocessed

    writes = [Write(Key(k, "s"), {"n": n, "key": k}, 1.0) for n, k in enumerate("zabacabc")]
    run(writes, send)
    assert all(len(set(batch)) == len(batch) for batch in batches)
    assert table == {"z": 0, "a": 5, "b": 6, "c": 7}


def test_progress_counts_what_is_written(run):
    told = []
    run(map(write, range(60)), lambda batch: [], written=told.append)
    assert told == [25, 50, 60]


# -- the real client, its answers injected -----------------------------------------------------------------------------


@pytest.fixture
def stubbed(aws):
    store = open_store("dynamodb://some-table")
    store.deadline = 1.0
    with Stubber(store._client) as stubber:
        yield store, stubber
    store.close()


def put_request(kind: str) -> dict:
    item = {"pk": {"S": f"card#{kind}"}, "sk": {"S": "latest"}, "card": {"M": {}}, "stamp": {"N": "1000"}}
    return {"PutRequest": {"Item": item}}


def test_unprocessed_items_of_the_service_are_sent_again(stubbed, monkeypatch):
    store, stubber = stubbed
    monkeypatch.setattr("taxidask.results.wire.stamps", Stamps(lambda: 1000))
    stubber.add_response("batch_write_item", {"UnprocessedItems": {"some-table": [put_request("demand")]}})
    expected = {"RequestItems": {"some-table": [put_request("demand")]}, "ReturnConsumedCapacity": ANY}
    stubber.add_response("batch_write_item", {"UnprocessedItems": {"some-table": [put_request("demand")]}}, expected)
    stubber.add_response("batch_write_item", {"UnprocessedItems": {}}, expected)
    store.put_card("demand", {})
    stubber.assert_no_pending_responses()


def test_unprocessed_items_of_the_service_for_ever(stubbed):
    store, stubber = stubbed
    for _ in range(200):
        stubber.add_response("batch_write_item", {"UnprocessedItems": {"some-table": [put_request("demand")]}})
    with pytest.raises(
        UnwrittenError, match=r"1 item could not be written to table 'some-table' within 1 s .*card#demand"
    ):
        store.put_card("demand", {})


@pytest.mark.parametrize(
    "code",
    ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError"],
)
def test_throttling_is_waited_out(stubbed, code):
    store, stubber = stubbed
    for _ in range(3):
        stubber.add_client_error("batch_write_item", code, "Rate exceeded", http_status_code=400)
    stubber.add_response("batch_write_item", {})
    store.put_card("demand", {})
    stubber.assert_no_pending_responses()


def test_throttling_for_ever_names_the_keys_and_the_reason(stubbed):
    store, stubber = stubbed
    for _ in range(200):
        stubber.add_client_error("batch_write_item", "ThrottlingException", "Rate exceeded", http_status_code=400)
    with pytest.raises(UnwrittenError, match=r"too busy for BatchWriteItem.*card#demand / latest"):
        store.put_card("demand", {})


def test_a_lost_answer_to_a_conditional_write_is_no_defeat(stubbed, run_item, monkeypatch):
    """The first attempt succeeded, its answer was lost, and botocore's second attempt met its own item."""
    from botocore.exceptions import ClientError

    from taxidask.results import wire

    store, _ = stubbed

    def refuse(retries, item):
        def raw(operation, **request):
            raise ClientError(
                {
                    "Error": {"Code": "ConditionalCheckFailedException", "Message": "The conditional request failed"},
                    "ResponseMetadata": {"RetryAttempts": retries},
                    "Item": wire.encode_item(item),
                },
                operation,
            )

        monkeypatch.setattr(store, "_raw", raw)

    monkeypatch.setattr(wire, "stamps", SimpleNamespace(next=lambda: 1000))
    stored = {"pk": "runs", "sk": run_item["id"], "stamp": 1000, **run_item}
    for retries, item, won in [(1, stored, True), (0, stored, False), (1, {**stored, "owner": "other"}, False)]:
        refuse(retries, item)
        assert store.create_run(run_item) is won
        assert store.update_run(run_item["id"], {"owner": "host:1:aa"}, expect={"owner": "before"}) is won


# -- the pace ----------------------------------------------------------------------------------------------------------


def busiest(sent: list[tuple[float, str, float]], key) -> float:
    """The most units any partition had within any second."""
    most, window, total = 0.0, deque(), defaultdict(float)
    for time, pk, units in sent:
        while window and window[0][0] <= time - 1.0:
            _, old, gone = window.popleft()
            total[old] -= gone
        name = key(pk)
        window.append((time, name, units))
        total[name] += units
        most = max(most, total[name])
    return most


def physical(pk: str) -> int:
    """One of the four partitions of a new on-demand table."""
    return hashlib.md5(pk.encode(), usedforsecurity=False).digest()[0] % 4


def test_a_partition_key_never_has_more_than_1000_units_a_second(run, clock):
    sent = []

    def send(batch):
        clock.now += 0.001  # far faster than any server
        sent.extend((clock.now, "only", 5.0) for _ in batch)
        return []

    run((write(n, 5.0, "only") for n in range(1000)), send)
    assert busiest(sent, str) == 1000
    assert clock.now - 100.0 >= 4.4


def test_one_batch_of_huge_items_is_cut_to_a_second_s_share(run, clock):
    sent = []

    def send(batch):
        sent.extend((clock.now, "only", 400.0) for _ in batch)
        return []

    run((write(n, 400.0, "only") for n in range(10)), send)
    assert busiest(sent, str) <= 1000


def test_repeated_writes_count_too(run, clock):
    sent = []

    def send(batch):
        clock.now += 0.001
        sent.extend((clock.now, "only", 40.0) for _ in batch)
        return [Key("only", f"s{request['n']}") for request in batch] if len(sent) < 200 else []

    run((write(n, 40.0, "only") for n in range(25)), send, uniform=lambda low, high: 0.0)
    assert busiest(sent, str) <= 1000


def size_of(value: dict) -> int:
    """Bytes of an attribute value by DynamoDB's published rules, written apart from the package's own."""
    ((kind, inner),) = value.items()
    if kind == "S":
        return len(inner.encode())
    if kind == "N":
        digits = len(inner.replace(".", "").strip("0"))  # forecasts have no minus and no exponent
        return (digits + 1) // 2 + 1
    if kind in ("NULL", "BOOL"):
        return 1
    if kind == "L":
        return 3 + sum(1 + size_of(entry) for entry in inner)
    return 3 + sum(1 + len(name.encode()) + size_of(entry) for name, entry in inner.items())


def test_a_month_s_forecasts_of_263_zones(make_forecast, monkeypatch, clock):
    """No partition key, and no physical partition, has more than 1,000 write units in any second."""
    forecast = make_forecast("2016-01-01", slots=48 * 31, cells=263)
    forecast.space.key = "zones-263-0123456789abcdef"
    store = open_store("dynamodb://some-table?region=us-east-1")
    store._pacer._clock, store._pacer._sleep = clock, clock.sleep
    sent: list[tuple[float, str, float]] = []
    largest = 0

    def raw(operation, **request):
        nonlocal largest
        assert operation == "batch_write_item"
        clock.now += 0.0005  # far faster than any server
        for put in request["RequestItems"]["some-table"]:
            item = put["PutRequest"]["Item"]
            size = sum(len(name.encode()) + size_of(value) for name, value in item.items())
            largest = max(largest, size)
            sent.append((clock.now, item["pk"]["S"], -(-size // 1024)))
        return {}

    monkeypatch.setattr(store, "_raw", raw)
    assert store.put_forecast(forecast, model="demand", run="20261123T081500Z-ab12cd") == 263 * 31
    assert largest <= 1930
    assert sum(units for *_, units in sent) == 16_306
    assert busiest(sent, str) <= 62
    assert busiest(sent, physical) <= 1000
    assert busiest(sent, lambda pk: "table") <= 2000
    assert clock.now - 100.0 < 12.0


def test_estimated_units_are_those_the_server_counts(dynamodb, make_forecast, make_cube, monkeypatch):
    counted: dict[str, float] = defaultdict(float)
    estimated: dict[str, float] = defaultdict(float)
    wait = dynamodb._pacer.wait

    def watch(writes):
        for one in writes:
            estimated[one.key.pk.split("#")[0]] += one.units
        wait(writes)

    raw = dynamodb._raw

    def count(operation, **request):
        before = dynamodb.usage["write_units"]
        answer = raw(operation, **request)
        if operation == "batch_write_item":
            (requests,) = request["RequestItems"].values()
            counted[requests[0]["PutRequest"]["Item"]["pk"]["S"].split("#")[0]] += (
                dynamodb.usage["write_units"] - before
            )
        return answer

    monkeypatch.setattr(dynamodb._pacer, "wait", watch)
    monkeypatch.setattr(dynamodb, "_raw", count)
    dynamodb.put_forecast(make_forecast(slots=48 * 2, cells=50), model="demand", run="20261123T081500Z-ab12cd")
    dynamodb.put_demand(make_cube())
    dynamodb.put_metrics("r", "demand", pd.DataFrame({"x": [1 / 3] * 5000, "y": [f"row {i}" for i in range(5000)]}))
    assert counted["forecast"] == estimated["forecast"] == 200
    assert counted["demand"] == estimated["demand"] == 50
    assert counted["metrics"] <= estimated["metrics"] <= counted["metrics"] * 1.1


def test_a_real_second_of_the_real_server_stays_below(table, make_forecast, monkeypatch):
    import time

    with open_store(f"dynamodb://{table}?write_units=400") as store:
        store.create()
        sent, raw = [], store._raw

        def count(operation, **request):
            if operation == "batch_write_item":
                now = time.monotonic()
                sent.extend((now, p["PutRequest"]["Item"]["pk"]["S"], 2.0) for p in request["RequestItems"][table])
            return raw(operation, **request)

        monkeypatch.setattr(store, "_raw", count)
        store.put_forecast(make_forecast(cells=263, slots=96), model="demand", run="20261123T081500Z-ab12cd")
        assert store.usage["write_units"] == 263 * 2 * 2
        assert 0 < busiest(sent, lambda pk: "table") <= 400


def test_a_pace_too_slow_for_one_item_is_refused():
    with pytest.raises(StoreError, match="give 400 or more"):
        open_store("dynamodb://some-table?write_units=100")
