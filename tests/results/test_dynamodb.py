"""The table, and what is said when AWS refuses."""

from __future__ import annotations

import uuid

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from taxidask.errors import StoreError
from taxidask.results import open_store, wire
from taxidask.results.keys import Key


@pytest.fixture
def stubbed(aws):
    with open_store("dynamodb://some-table") as store, Stubber(store._client) as stubber:
        yield store, stubber


def test_create_makes_an_on_demand_table_with_ttl(table):
    with open_store(f"dynamodb://{table}") as store:
        store.create()
        description = store._client.describe_table(TableName=table)["Table"]
        ttl = store._client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert [(k["AttributeName"], k["KeyType"]) for k in description["KeySchema"]] == [("pk", "HASH"), ("sk", "RANGE")]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


def test_create_asks_for_table_class_standard(stubbed, monkeypatch):
    store, _ = stubbed
    asked = {}

    def record(operation, **request):
        asked[operation] = request
        if operation == "describe_table" and "create_table" in asked:
            keys = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
            types = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
            return {"Table": {"TableStatus": "ACTIVE", "KeySchema": keys, "AttributeDefinitions": types}}
        if operation == "describe_table":
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeTable")
        return {"TimeToLiveDescription": {}}

    monkeypatch.setattr(store, "_raw", record)
    store.create()
    assert asked["create_table"]["TableClass"] == "STANDARD"
    assert asked["update_time_to_live"]["TimeToLiveSpecification"] == {"Enabled": True, "AttributeName": "expires_at"}


def test_an_item_carries_its_end_of_life(table, make_forecast):
    with open_store(f"dynamodb://{table}?ttl_days=365000") as store:
        store.create()
        store.put_forecast(make_forecast(), model="demand", run="20160201T000000Z-ab12cd")
        key = {"pk": {"S": "forecast#grid-2x2_-74.05_40.63_-73.75_40.85#1800s#0"}, "sk": {"S": "2016-02-01"}}
        item = store._client.get_item(TableName=table, Key=key)["Item"]
    assert item["expires_at"] == {"N": str(1454284800 + 365000 * 86400)}


def test_numbers_are_numbers_and_both_directions_are_in_one_item(dynamodb, make_forecast):
    dynamodb.put_forecast(make_forecast(cells=1), model="demand", run="r1")
    key = {"pk": {"S": "forecast#grid-2x2_-74.05_40.63_-73.75_40.85#1800s#0"}, "sk": {"S": "2016-02-01"}}
    item = dynamodb._client.get_item(TableName=dynamodb.table, Key=key)["Item"]
    assert item["start"] == {"S": "2016-02-01T00:00:00"}
    for direction in ("pickup", "dropoff"):
        for name in ("mean", "low", "high"):
            values = item[direction]["M"][name]["L"]
            assert len(values) == 48
            assert all(set(value) == {"N"} for value in values)


def test_every_write_has_a_later_stamp_that_no_reader_sees(dynamodb, run_item):
    key = Key("runs", run_item["id"])
    dynamodb.create_run(run_item)
    stamps = [dynamodb.stamped(key)["stamp"]]
    dynamodb.update_run(run_item["id"], {"state": "done"})
    stamps.append(dynamodb.stamped(key)["stamp"])
    dynamodb._put([{**key._asdict(), **run_item}], 1)
    stamps.append(dynamodb.stamped(key)["stamp"])
    assert stamps == sorted(set(stamps))
    assert dynamodb.get_run(run_item["id"]) == run_item
    dynamodb._put([{"pk": "card#fare", "sk": "latest", "card": {}, "stamp": 7}], 1)  # a copy keeps its own
    assert dynamodb.stamped(Key("card#fare", "latest"))["stamp"] == 7


def test_an_item_without_stamp_is_read_and_older_than_all_others(dynamodb):
    item = {"pk": {"S": "card#fare"}, "sk": {"S": "latest"}, "card": {"M": {"a": {"N": "1"}}}}
    dynamodb._client.put_item(TableName=dynamodb.table, Item=item)
    assert dynamodb.get_card("fare") == {"a": 1}
    assert wire.stamp_of(dynamodb.stamped(Key("card#fare", "latest"))) == 0


def test_who_reads_an_item_writes_a_newer_one_whatever_the_clock(dynamodb, monkeypatch):
    dynamodb._put([{"pk": "card#fare", "sk": "latest", "card": {}, "stamp": 2**62}], 1)
    monkeypatch.setattr(wire, "stamps", wire.Stamps(lambda: 5))  # a process whose clock was set back
    dynamodb.get_card("fare")
    dynamodb.put_card("fare", {})
    assert dynamodb.stamped(Key("card#fare", "latest"))["stamp"] == 2**62 + 1


def test_a_mark_of_what_is_gone_is_as_good_as_nothing(dynamodb, run_item):
    dynamodb._put([{"pk": "runs", "sk": run_item["id"], "gone": True}], 1)
    assert dynamodb.get_run(run_item["id"]) is None
    assert dynamodb.list_runs() == []
    assert not dynamodb.update_run(run_item["id"], {"state": "done"})
    assert dynamodb.create_run(run_item)
    assert dynamodb.get_run(run_item["id"]) == run_item


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_missing_table(table):
    with open_store(f"dynamodb://{table}") as store:
        for use in (store.check, store.get_latest, store.list_runs, lambda: store.put_latest({})):
            with pytest.raises(StoreError, match=f"no table '{table}' in region us-east-1") as caught:
                use()
            assert "taxidask store create --store dynamodb://" in str(caught.value)


def test_table_in_another_region(table, aws, monkeypatch):
    """Two real servers stand for two regions; only which endpoint a region has is arranged."""
    west = boto3.client("dynamodb", region_name="us-west-2", endpoint_url=aws.dynamodb["us-west-2"])
    with open_store(f"dynamodb://{table}?region=us-west-2&endpoint={aws.dynamodb['us-west-2']}") as there:
        there.create()
    store = open_store(f"dynamodb://{table}?region=us-east-1")
    monkeypatch.setattr("taxidask.results.dynamodb.on_aws", lambda endpoint: True)
    quick = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
    monkeypatch.setattr(
        store,
        "_client_in",
        lambda region: boto3.client(
            "dynamodb", region_name=region, endpoint_url=aws.dynamodb.get(region, "http://127.0.0.1:9"), config=quick
        ),
    )
    try:
        with pytest.raises(StoreError, match="not in region us-east-1, but there is one in us-west-2") as caught:
            store.check()
        assert f"dynamodb://{table}?region=us-west-2" in str(caught.value)
    finally:
        west.delete_table(TableName=table)
        west.close()
        store.close()


def test_endpoint_of_another_region(stubbed):
    store, stubber = stubbed
    said = "Credential should be scoped to a valid region, not 'us-east-1'. "
    stubber.add_client_error("describe_table", "InvalidSignatureException", said, http_status_code=400)
    with pytest.raises(StoreError, match=r"is not in region us-east-1.*name the region of that endpoint"):
        store.check()


def test_region_that_does_not_exist(aws, monkeypatch):
    for name in ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with open_store("dynamodb://some-table", region="us-esat-1") as store:
        monkeypatch.setattr(store, "_raw", _raise(EndpointConnectionError(endpoint_url="x"), store))
        with pytest.raises(StoreError, match=r"'us-esat-1' is no AWS region.*did you mean .*region=us-east-1"):
            store.check()
    with (
        open_store("dynamodb://some-table", region="New York") as store,
        pytest.raises(StoreError, match="not the name of"),
    ):
        store.check()


def _raise(error, store):
    def raw(operation, **request):
        _ = store._client
        raise error

    return raw


def test_no_region(aws, monkeypatch, tmp_path):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with open_store("dynamodb://some-table") as store, pytest.raises(StoreError, match="no AWS region") as caught:
        store.check()
    assert "dynamodb://some-table?region=us-east-1" in str(caught.value)


def test_no_credentials(aws, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with open_store("dynamodb://some-table") as store:
        for use in (store.check, store.create, lambda: store.put_latest({})):
            with pytest.raises(StoreError, match=r"no AWS credentials.*aws sso login"):
                use()


def test_profile_that_is_not_there(aws, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with open_store("dynamodb://some-table") as store, pytest.raises(StoreError, match="nobody"):
        store.check()


def test_unreachable_endpoint(aws):
    with open_store("dynamodb://some-table", endpoint="http://127.0.0.1:9") as store:
        for use in (store.check, lambda: store.put_latest({})):
            with pytest.raises(StoreError, match=r"out of reach: http://127.0.0.1:9 in us-east-1 does not answer"):
                use()


def test_a_server_that_goes_away_is_waited_for(dynamodb, monkeypatch):
    raw, failures = dynamodb._raw, [EndpointConnectionError(endpoint_url="x")] * 2

    def flaky(operation, **request):
        if failures:
            raise failures.pop()
        return raw(operation, **request)

    monkeypatch.setattr(dynamodb, "_raw", flaky)
    dynamodb.put_latest({"n": 1})
    assert dynamodb.get_latest() == {"n": 1}
    dynamodb.deadline = 0.3
    failures += [EndpointConnectionError(endpoint_url="x")] * 1000
    with pytest.raises(StoreError, match=r"within 0.3 s .*out of reach.*latest / latest.*check the network"):
        dynamodb.put_latest({"n": 2})


def test_an_endpoint_that_never_answers(stubbed, monkeypatch):
    store, _ = stubbed
    monkeypatch.setattr(store, "_raw", _raise(ReadTimeoutError(endpoint_url="https://x"), store))
    with pytest.raises(StoreError, match="does not answer"):
        store.get_latest()


@pytest.mark.parametrize(
    ("operation", "use"),
    [
        ("GetItem", lambda s: s.get_latest()),
        ("Query", lambda s: s.list_runs()),
        ("BatchWriteItem", lambda s: s.put_latest({})),
        ("PutItem", lambda s: s.create_run({"id": "r"})),
        ("UpdateItem", lambda s: s.update_run("r", {"a": 1}, expect={})),
        ("DescribeTable", lambda s: s.create()),
    ],
)
def test_denied(stubbed, operation, use):
    store, stubber = stubbed
    method = "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).strip("_")
    said = f"User: arn:aws:iam::123456789012:user/ana is not authorized to perform: dynamodb:{operation}"
    stubber.add_client_error(method, "AccessDeniedException", said, http_status_code=400)
    with pytest.raises(StoreError) as caught:
        use(store)
    assert f"AWS denied {operation} on table 'some-table' in us-east-1" in str(caught.value)
    assert "user/ana" in str(caught.value)
    assert "let this identity do dynamodb:GetItem, Query" in str(caught.value)


def test_who_may_read_but_not_describe_passes_the_check(stubbed):
    store, stubber = stubbed
    stubber.add_client_error("describe_table", "AccessDeniedException", "no", http_status_code=400)
    stubber.add_response("get_item", {})
    store.check()
    stubber.add_client_error("describe_table", "AccessDeniedException", "no", http_status_code=400)
    stubber.add_client_error("get_item", "AccessDeniedException", "no", http_status_code=400)
    with pytest.raises(StoreError, match="AWS denied GetItem"):
        store.check()


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"])
def test_credentials_that_are_not_accepted(stubbed, code):
    store, stubber = stubbed
    stubber.add_client_error("describe_table", code, "The security token is invalid", http_status_code=400)
    with pytest.raises(StoreError, match="did not accept the credentials"):
        store.check()


def test_too_busy_to_read(stubbed):
    store, stubber = stubbed
    stubber.add_client_error("get_item", "ThrottlingException", "Rate exceeded", http_status_code=400)
    with pytest.raises(StoreError, match=r"too busy for GetItem.*wait a minute"):
        store.get_latest()


def test_a_table_of_someone_else(aws):
    client = boto3.client("dynamodb", region_name="us-east-1")
    name = f"other-{uuid.uuid4().hex}"
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        with open_store(f"dynamodb://{name}") as store:
            for use in (store.check, store.create, store.get_latest, lambda: store.put_latest({})):
                with pytest.raises(StoreError, match=f"table '{name}' .* was not made for results"):
                    use()
    finally:
        client.delete_table(TableName=name)
        client.close()


def test_a_table_that_does_not_become_ready(stubbed, monkeypatch):
    store, _ = stubbed
    now = [0.0]
    monkeypatch.setattr("taxidask.results.dynamodb.time.monotonic", lambda: now[0])
    monkeypatch.setattr("taxidask.results.dynamodb.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(store, "_raw", lambda operation, **request: {"Table": {"TableStatus": "CREATING"}})
    with pytest.raises(StoreError, match=r"waited 60 s for table 'some-table' to become ACTIVE; it is CREATING"):
        store.create()


def test_two_may_create_the_table_at_once(table):
    import threading

    errors = []

    def create() -> None:
        try:
            with open_store(f"dynamodb://{table}") as store:
                store.create()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors


def test_opening_touches_nothing(aws, monkeypatch):
    monkeypatch.setattr("boto3.session.Session.client", lambda *a, **k: pytest.fail("connected"))
    store = open_store("dynamodb://some-table", endpoint="http://127.0.0.1:9", region="us-east-1")
    assert repr(store) == "DynamoDBStore('dynamodb://some-table?endpoint=http://127.0.0.1:9&region=us-east-1')"


def test_waits_of_the_client_are_bounded(aws):
    with open_store("dynamodb://some-table") as store:
        config = store._client.meta.config
    assert config.retries["total_max_attempts"] == 3
    assert config.connect_timeout == 5
    assert config.read_timeout == 15
