"""A queue of S3 events beside `taxidask watch`: what wakes a look, and that nothing else depends on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from queues import FakeSqs

import taxidask as td
from taxidask.app.told import watches_html
from taxidask.errors import SettingsError, StoreError
from taxidask.runs import pipeline, waking, watch, watching
from taxidask.runs.watching import Watch

EVENT = {
    "Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": "trips/yellow_tripdata_2015-03.csv"}}}]
}
FOREIGN = [
    *("", "no JSON {", '{"Event": "s3:TestEvent"}', "\u2603" * 1000),
    *(
        json.dumps({"Type": "Notification", "Message": json.dumps(EVENT)}),
        json.dumps({"detail-type": "Object Created"}),
    ),
    json.dumps({"Records": [{"s3": {"object": {"key": "../../etc/passwd"}}}]}),
]


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSqs]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr(waking, "BETWEEN", 0.05)
    with FakeSqs(visibility=0.3) as made:
        yield made


@pytest.fixture
def job(sqs: FakeSqs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> td.Settings:
    """Runs that end with their ingest, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "PIPELINE", pipeline.PIPELINE[:1])
    monkeypatch.setattr(watching, "SETTLE", 0.05)
    Path("trips").mkdir()
    td.make_sample("made", start="2015-03", trips_per_month=500)
    return td.load_settings(sources="trips", queue=sqs.url)


class Watching:
    """A watch in a thread, whose looks are counted; between them it waits for an hour, unless it is woken."""

    def __init__(self, job: td.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = 0
        self.errors: list[Exception] = []  # that looks are to fail with
        self.stopped = threading.Event()
        look = Watch.look

        def counted(it: Watch) -> Any:
            self.looks += 1
            if self.errors:
                raise self.errors.pop(0)
            return look(it)

        monkeypatch.setattr(Watch, "look", counted)
        monkeypatch.setattr(waking, "POLL", 1)  # so that it is stopped sooner
        self.thread = threading.Thread(target=watch, args=(job,), kwargs={"every": "1h", "stopped": self.stopped})

    def __enter__(self) -> Watching:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()


def until(true: Any) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def at_work(job: td.Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    monkeypatch.setattr(pipeline, "connect", lambda _: _Here())
    with Watching(job, monkeypatch) as made:
        until(lambda: made.looks == 1)
        yield made


class _Here:
    def __enter__(self) -> None:
        """No workers: in this process."""

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""


def test_a_message_wakes_a_look_which_takes_what_came(at_work: Watching, job: td.Settings, sqs: FakeSqs) -> None:
    shutil.copy("made/yellow_tripdata_2015-03.csv", "trips")
    sqs.send(json.dumps(EVENT))
    store = td.open_store(job.store)
    until(lambda: [run["state"] for run in store.list_runs()] == ["done"] and sqs.messages() == [])
    assert td.Lake(job.lake).sources()["rows"].tolist() == [500]
    [told] = store.list_watches()
    assert "3600 s, and after S3 events" in watches_html([told])


def test_messages_of_whatever_kind_wake_one_look_and_take_nothing(
    at_work: Watching, job: td.Settings, sqs: FakeSqs
) -> None:
    for body in FOREIGN * 7:
        sqs.send(body)
    until(lambda: sqs.messages() == [])
    assert 2 <= at_work.looks <= 5, "49 messages, some of which came while a look was under way"
    assert not Path(job.lake).exists()
    assert td.open_store(job.store).list_runs() == []


def test_a_message_stays_until_a_look_was_completed(at_work: Watching, job: td.Settings, sqs: FakeSqs) -> None:
    at_work.errors += [StoreError("the store is busy")] * 2
    sqs.send(json.dumps(EVENT))
    until(lambda: at_work.looks == 3)
    assert sqs.messages() == [json.dumps(EVENT)]
    assert sqs.asked["DeleteMessageBatch"] == 0
    until(lambda: at_work.looks == 4 and sqs.messages() == [])  # it came again, and again


def test_many_messages_are_deleted_in_batches(sqs: FakeSqs) -> None:
    queue = waking.Queue(sqs.url, pytest.fail)
    for number in range(25):
        sqs.send(str(number))
    queue.wait(3600, threading.Event())
    assert len(sqs.messages()) == 25
    queue.looked()
    assert sqs.messages() == []
    assert sqs.asked["DeleteMessageBatch"] == 3


@pytest.mark.parametrize("how", ["refused", "gone"])
def test_a_queue_out_of_reach_is_told_once_and_the_usual_looks_go_on(
    how: str, job: td.Settings, sqs: FakeSqs, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "refused":
        sqs.refusal = "AccessDenied"
    else:
        sqs.__exit__()
    watch(job, every="1s", looks=3)
    said = capsys.readouterr().err
    assert f"a look every 1 s and after each message in {sqs.url}" in said
    assert said.count("and looks go on without it") == 1
    assert "error" not in said.replace("An error occurred (AccessDenied)", "")


def test_it_is_told_when_the_queue_answers_again(sqs: FakeSqs) -> None:
    said: list[str] = []
    queue = waking.Queue(sqs.url, said.append)
    sqs.refusal = "AccessDenied"
    queue.wait(1, threading.Event())
    sqs.refusal = None
    sqs.send("a")
    queue.wait(60, threading.Event())
    sqs.refusal = "AccessDenied"
    queue.looked()
    assert len(said) == 3
    assert said[1] == f"the queue {sqs.url} answers again"
    assert sqs.messages() == ["a"]


def test_files_that_may_still_be_written_wait_whatever_messages_say(
    job: td.Settings, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*_: Any) -> None:
        pytest.fail("a message would have the second look come too soon")

    monkeypatch.setattr(waking.Queue, "wait", wait)
    monkeypatch.setattr(watching, "SETTLE", 0.3)
    monkeypatch.setattr(Watch, "take", lambda *_: None)
    shutil.copy("made/yellow_tripdata_2015-03.csv", "trips")
    sqs.send(json.dumps(EVENT))
    watch(job, every="1h", looks=2, progress=False)


def test_sigterm_ends_it_while_it_listens(job: td.Settings, sqs: FakeSqs) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "taxidask.cli", "watch", "--sources", "trips", "--every", "1h", "--queue", sqs.url],
        stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    until(lambda: sqs.asked["ReceiveMessage"])
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=60)[1]
    assert sqs.answered["ReceiveMessage"] == 0, "nobody waited until the queue had answered"
    assert (process.returncode, rest.splitlines()[-1]) == (0, "the watch has ended")


@pytest.mark.parametrize("url", ["taxidask-files", "arn:aws:sqs:us-east-1:1:files", "https://sqs.us-east-1.amazonaws.com",
                                 "https://host/a b", "ftp://host/1/a", ""])  # fmt: skip
def test_what_is_no_queue_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="queue"):
        td.Settings(queue=url)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/files", "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/files", "cn-north-1"),
        ("http://127.0.0.1:9/1/files", "us-west-2"),
    ],
)
def test_a_queue_is_asked_in_its_own_region(url: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    client = waking.Queue(url, pytest.fail)._client
    assert client.meta.region_name == region
    assert url.startswith(client.meta.endpoint_url)
