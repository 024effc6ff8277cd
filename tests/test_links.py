"""The link that other tests cut does what it says, to clients as the package has them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from links import Fault, Link


@pytest.fixture
def link(aws: Any) -> Iterator[Link]:
    with Link(aws.s3["us-east-1"]) as link:
        yield link


def client(link: Link, service: str = "s3") -> Any:
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=0.5, read_timeout=0.5)
    return boto3.client(service, endpoint_url=link.url, region_name="us-east-1", config=config)


def place(bucket: str) -> dict[str, str]:
    return {"Bucket": bucket.removeprefix("s3://"), "Key": "one"}


def test_what_is_not_cut_is_passed_on(bucket: str, link: Link) -> None:
    s3 = client(link)
    s3.put_object(**place(bucket), Body=b"x" * 100_000)
    assert s3.get_object(**place(bucket))["Body"].read() == b"x" * 100_000
    assert s3.head_object(**place(bucket))["ContentLength"] == 100_000
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(**place(bucket) | {"Key": "two"})
    s3.delete_object(**place(bucket))
    assert (link.asked["PUT"], link.asked["GET"], not link.played) == (1, 2, True)


def test_off_and_on_again_at_the_same_port(bucket: str, link: Link) -> None:
    s3 = client(link)
    s3.put_object(**place(bucket), Body=b"1")
    for how, error in (("refuse", EndpointConnectionError), ("drop", ConnectTimeoutError)):
        link.off(how)
        with pytest.raises((error, ConnectionClosedError)):  # the first time by the connection that was open
            s3.get_object(**place(bucket))
        with pytest.raises(error):
            s3.get_object(**place(bucket))
        link.on()
        assert s3.get_object(**place(bucket))["Body"].read() == b"1"


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault("hang"), ReadTimeoutError, None),
        (Fault("error", status=500), ClientError, "InternalError"),
        (Fault("error"), ClientError, "ServiceUnavailable"),
        (Fault("throttle"), ClientError, "SlowDown"),
        (Fault("reset"), ConnectionClosedError, None),
        (Fault("cut"), (IncompleteReadError, ResponseStreamingError), None),
    ],
    ids=lambda one: one.kind + str(one.status) if isinstance(one, Fault) else "",
)
def test_faults_are_played_until_they_are_not(bucket, link, fault, error, says):
    s3 = client(link)
    s3.put_object(**place(bucket), Body=b"x" * 1000)
    link.play(fault)
    with pytest.raises(error, match=says):
        s3.get_object(**place(bucket))["Body"].read()
    link.play()
    assert s3.get_object(**place(bucket))["Body"].read() == b"x" * 1000
    assert link.played == {fault.kind: 1}


def test_an_answer_that_is_lost_was_done(bucket: str, link: Link) -> None:
    s3 = client(link)
    link.play(Fault("lost", times=1, only="PUT /.*/one"))
    with pytest.raises(BotoCoreError):
        s3.put_object(**place(bucket), Body=b"1")
    assert s3.get_object(**place(bucket))["Body"].read() == b"1"


def test_a_slow_answer_and_a_share_by_seed(bucket: str, link: Link) -> None:
    s3 = client(link)
    link.play(Fault("slow", seconds=0.3, times=1))
    began = time.monotonic()
    s3.put_object(**place(bucket), Body=b"1")
    assert time.monotonic() - began >= 0.3
    seen = []
    for _ in range(2):
        link.play(Fault("error", share=0.5), seed=3)
        seen.append("")
        for _ in range(20):
            try:
                s3.head_object(**place(bucket))
                seen[-1] += "."
            except ClientError:
                seen[-1] += "x"
    assert seen[0] == seen[1]
    assert 4 < seen[0].count("x") < 16


def test_dynamodb_throttles(aws: Any) -> None:
    with Link(aws.dynamodb["us-east-1"]) as link:
        dynamodb = client(link, "dynamodb")
        dynamodb.list_tables()
        link.play(Fault("throttle", only="ListTables"))
        with pytest.raises(dynamodb.exceptions.ProvisionedThroughputExceededException):
            dynamodb.list_tables()
