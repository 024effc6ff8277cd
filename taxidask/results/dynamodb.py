"""Results in DynamoDB: one table of (pk, sk) items, read by GetItem and Query only."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from taxidask.errors import StoreError
from taxidask.results import wire
from taxidask.results.added import Conditions
from taxidask.results.batch import TABLE_UNITS, Pacer, Refusal, Write, write_all
from taxidask.results.explain import code_of, explain, is_dark, may_go_again, missing, on_answer, on_aws, strange_keys
from taxidask.results.keys import Key
from taxidask.results.store import Item, Progress, Store, look, no_such_place
from taxidask.results.values import same, sized, write_units

_KEYS = {"pk": "HASH", "sk": "RANGE"}
_TTL = "expires_at"
_NEIGHBOURS = ("us-east-1", "us-east-2", "us-west-1", "us-west-2")
LOST = "ConditionalCheckFailedException"
_CONNECT, _ANSWER = 1.3, 3.0  # seconds to wait for a connection and for an answer, where another region can be asked


class DynamoDBStore(Store):
    """Results in a DynamoDB table.

    `create` makes the table on demand (billing mode PAY_PER_REQUEST) in table class STANDARD: nothing is paid for
    capacity while nobody reads or writes. In us-east-1 the list price is 0.625 USD per million write units, 0.125 USD
    per million read units and 0.25 USD per GB and month; a month's forecasts of 263 zones are 16,306 write units, about
    0.01 USD. The attribute ``expires_at`` is the table's TTL: with `ttl_days`, DynamoDB removes items after it, free of
    charge.

    Parameters
    ----------
    table : str
    region, endpoint : str, optional
        By default as AWS's own tools choose them.
    write_units : float
        Write units a second that publishing may use of the whole table, and at most 1,000 of one partition key.
    deadline : float
        Seconds after which a write the table did not take, or a table that does not become ready, is an error.
    patience : float, optional
        Seconds that one request may take, with its retries; given where another region can be asked instead. None asks
        as often, and waits as long, as is usual.
    """

    cost_class = (
        "on demand (PAY_PER_REQUEST), table class STANDARD: list price in us-east-1 0.625 USD per million write units, "
        "0.125 USD per million read units, 0.25 USD per GB and month"
    )

    _readers = 8

    def __init__(
        self,
        table: str,
        *,
        url: str,
        region: str | None = None,
        endpoint: str | None = None,
        ttl_days: float | None = None,
        write_units: float = TABLE_UNITS,
        deadline: float = 60.0,
        patience: float | None = None,
    ) -> None:
        super().__init__(url, ttl_days=ttl_days)
        if not write_units >= 400:
            raise StoreError(f"write_units is {write_units:g}", "give 400 or more: the largest item takes that many")
        self.table = table
        self.region = region
        self.endpoint = endpoint
        self.deadline = deadline
        self.patience = patience
        self._pacer = Pacer(table=write_units)
        self._held: tuple[int, Any] | None = None
        self._lock = threading.Lock()
        self._answered = False
        self._usage = {"write_units": 0.0, "read_units": 0.0}

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("url", "region", "endpoint", "ttl_days", "deadline", "patience")
        options = {name: getattr(self, name) for name in names}
        return partial(DynamoDBStore, self.table, write_units=self._pacer.table, **options), ()

    @property
    def usage(self) -> dict[str, float]:
        """Write and read units that this object has been charged for so far."""
        with self._lock:
            return dict(self._usage)

    # -- connection ----------------------------------------------------------------------------------------------------

    def _client_in(self, region: str | None) -> Any:
        import boto3
        from botocore.config import Config

        short = self.patience is not None
        config = Config(
            connect_timeout=_CONNECT if short else 5,
            read_timeout=_ANSWER if short else 15,
            retries={"total_max_attempts": 1 if short else 3, "mode": "standard"},
            parameter_validation=False,  # our own requests, of many thousand numbers
            max_pool_connections=10,
        )
        session = boto3.session.Session()
        client = session.client("dynamodb", region_name=region, endpoint_url=self.endpoint, config=config)
        client.meta.events.register("needs-retry.dynamodb", on_answer)
        return client

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._held is None or self._held[0] != os.getpid():
                self._held = os.getpid(), self._client_in(self.region)
            return self._held[1]

    def _explain(self, error: Exception, operation: str) -> StoreError:
        meta = self._held[1].meta if self._held else None
        region = meta.region_name if meta else self.region
        endpoint = meta.endpoint_url if meta else self.endpoint
        return explain(
            error,
            table=self.table,
            region=str(region),
            endpoint=str(endpoint),
            url=self.url,
            operation=operation,
        )

    def _raw(self, operation: str, **request: Any) -> dict[str, Any]:
        """One call, with botocore's errors as they are."""
        client = self._client
        if operation in ("get_item", "query", "put_item", "update_item", "batch_write_item"):
            request["ReturnConsumedCapacity"] = "TOTAL"
        answer = self._patiently(getattr(client, operation), request)
        self._answered = True
        spent = answer.get("ConsumedCapacity") or []
        kind = "read_units" if operation in ("get_item", "query") else "write_units"
        with self._lock:
            for entry in spent if isinstance(spent, list) else [spent]:
                self._usage[kind] += float(entry.get("CapacityUnits", 0.0))
        return answer

    def _patiently(self, send: Any, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request; with `patience` again, while an attempt that hangs would still end within it."""
        begun = time.monotonic()
        for attempt in range(3):
            try:
                return send(**request)
            except Exception as error:
                if attempt and code_of(error) == LOST:
                    error.response["ResponseMetadata"]["RetryAttempts"] = attempt  # type: ignore[attr-defined]
                pause = 0.1 * 2**attempt
                left = (self.patience or 0.0) - (time.monotonic() - begun) - pause
                if attempt == 2 or left < _CONNECT - 0.2 or not is_dark(error):
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _explained(self, operation: str) -> Iterator[None]:
        try:
            yield
        except (StoreError, Refusal):
            raise
        except Exception as error:
            raise self._explain(error, operation) from error

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        with self._explained(_camel(operation)):
            return self._raw(operation, **request)

    def close(self) -> None:
        """Close connections; the store may be used again afterwards."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None and held[0] == os.getpid():
            held[1].close()

    # -- the table -----------------------------------------------------------------------------------------------------

    def create(self) -> bool:
        """Make the table, on demand and of class STANDARD, with its TTL attribute, and wait until it can be used."""
        made = False
        if self._describe() is None:
            with self._explained("CreateTable"), _unless("ResourceInUseException"):  # someone else made it just now
                self._raw(
                    "create_table",
                    TableName=self.table,
                    KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in _KEYS.items()],
                    AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in _KEYS],
                    BillingMode="PAY_PER_REQUEST",
                    TableClass="STANDARD",
                )
                made = True
        self._wait_until_active()
        self._enable_ttl()
        return made

    def _describe(self) -> dict[str, Any] | None:
        with self._explained("DescribeTable"), _unless("ResourceNotFoundException"):
            return self._raw("describe_table", TableName=self.table)["Table"]
        return None

    def _wait_until_active(self) -> None:
        deadline = time.monotonic() + max(self.deadline, 60.0)
        while True:
            description = self._describe()
            status = "not there yet" if description is None else description["TableStatus"]
            if description is not None and status in ("ACTIVE", "UPDATING"):
                self._verify_keys(description)
                return
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"waited {max(self.deadline, 60.0):g} s for table {self.table!r} to become ACTIVE; it is {status}",
                    "wait a little longer, then create it again: nothing is done twice",
                )
            time.sleep(0.5)

    def _verify_keys(self, description: dict[str, Any]) -> None:
        schema = {entry["AttributeName"]: entry["KeyType"] for entry in description["KeySchema"]}
        types = {entry["AttributeName"]: entry["AttributeType"] for entry in description["AttributeDefinitions"]}
        if schema != _KEYS or any(types.get(name) != "S" for name in _KEYS):
            raise strange_keys(self.table, self._client.meta.region_name, self.url, ", ".join(schema))

    def _enable_ttl(self) -> None:
        now = self._call("describe_time_to_live", TableName=self.table)["TimeToLiveDescription"]
        if now.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
            return
        wish = {"Enabled": True, "AttributeName": _TTL}
        with self._explained("UpdateTimeToLive"), _unless("ValidationException", "already enabled"):  # by someone else
            self._raw("update_time_to_live", TableName=self.table, TimeToLiveSpecification=wish)

    def check(self) -> None:
        """Raise StoreError, with the remedy, when the table is missing, elsewhere, not ours, or out of reach."""
        try:
            description = self._describe()
        except StoreError as error:
            if code_of(error.__cause__ or error) not in ("AccessDeniedException", "AccessDenied"):  # type: ignore[arg-type]
                raise
        else:
            if description is None:
                meta = self._client.meta
                raise missing(self.table, meta.region_name, meta.endpoint_url, self.url, self._elsewhere())
            self._verify_keys(description)
            if description["TableStatus"] not in ("ACTIVE", "UPDATING"):
                raise StoreError(
                    f"table {self.table!r} is {description['TableStatus']}", "wait until it is ACTIVE, then try again"
                )
        # reading is what counts; an identity may read without being allowed to describe
        self._call("get_item", TableName=self.table, Key=wire.encode_item({"pk": "latest", "sk": "latest"}))

    def _elsewhere(self) -> str | None:
        """Another region where a table of this name is; only asked on AWS itself."""
        meta = self._client.meta
        if not on_aws(meta.endpoint_url):
            return None
        named = [os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION"), *_NEIGHBOURS]
        for region in dict.fromkeys(name for name in named if name and name != meta.region_name):
            client = self._client_in(region)
            try:
                client.describe_table(TableName=self.table)
            except Exception:  # noqa: S112 - a region that does not answer is none that has it
                continue
            else:
                return region
            finally:
                client.close()
        return None

    # -- operations ----------------------------------------------------------------------------------------------------

    def _get(self, key: Key) -> Item | None:
        item = self.stamped(key)
        return None if item is None else wire.bare(item)

    def _query(self, pk: str, **which: Any) -> Iterator[Item]:
        return (item for item in map(wire.bare, self.stamped_query(pk, **which)) if item is not None)

    def stamped(self, key: Key) -> Item | None:
        """An item with its stamp, or a mark that it is gone."""
        answer = self._call("get_item", TableName=self.table, Key=wire.encode_item(key._asdict()), ConsistentRead=True)
        return wire.heeded(answer["Item"]) if "Item" in answer else None

    def stamped_query(
        self,
        pk: str,
        *,
        first: str | None = None,
        last: str | None = None,
        prefix: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        where: Conditions = (),
    ) -> Iterator[Item]:
        """Items of a partition with their stamps, and marks of what is gone."""
        condition, values = wire.key_condition(pk, first, last, prefix)
        request: dict[str, Any] = {
            "TableName": self.table,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": wire.encode_item(values),
            "ScanIndexForward": not newest_first,
            "ConsistentRead": True,
        }
        if where:
            request |= wire.filter_of(where, request["ExpressionAttributeValues"])
        if limit is not None:
            request["Limit"] = limit
        while True:
            answer = self._call("query", **request)
            for item in answer.get("Items", ()):
                yield wire.heeded(item)
            if not answer.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _put(self, items: Iterable[Item], total: int, progress: Progress | None = None) -> int:
        stamped = ({wire.STAMP: wire.stamps.next(), **item} for item in items)
        writes = (
            Write(
                Key(item["pk"], item["sk"]),
                {"PutRequest": {"Item": wire.encode_item(item)}},
                write_units(sized(item)),
            )
            for item in stamped
        )
        return self._write(writes, None if progress is None else lambda done: progress(done, total))

    def _delete(self, doomed: Iterable[Key]) -> int:
        return self._write(
            Write(key, {"DeleteRequest": {"Key": wire.encode_item(key._asdict())}}, 1.0) for key in doomed
        )

    def _write(self, writes: Iterable[Write], written: Any = None) -> int:
        return write_all(
            writes,
            self._send,
            table=f"table {self.table!r}",
            pacer=self._pacer,  # shared by all publications of this store
            deadline=self.deadline,
            written=written,
        )

    def _send(self, requests: list[dict[str, Any]]) -> list[Key]:
        with self._explained("BatchWriteItem"):
            try:
                answer = self._raw("batch_write_item", RequestItems={self.table: requests})
            except Exception as error:
                if may_go_again(error, answered=self._answered, alone=self.patience is None):
                    told = self._explain(error, "BatchWriteItem")
                    raise Refusal(told.message, told.remedy) from error
                raise
        left = answer.get("UnprocessedItems", {}).get(self.table, [])
        return [_key_of(request) for request in left]

    def _insert(self, item: Item) -> bool:
        item = {wire.STAMP: wire.stamps.next(), **item}
        sized(item)
        free = f"attribute_not_exists(pk) OR attribute_exists({wire.GONE})"
        request = {"Item": wire.encode_item(item), "ConditionExpression": free}
        return self._conditional("put_item", {(name,): value for name, value in item.items()}, request)

    def bring(self, item: Item, *, over: Item | None) -> bool:
        """Put what another region has, stamp and all, over what was seen here; whether that was still so."""
        request: dict[str, Any] = {"Item": wire.encode_item(item), "ConditionExpression": "attribute_not_exists(pk)"}
        if over is not None:
            request["ConditionExpression"] = f"{wire.STAMP} = :seen"
            request["ExpressionAttributeValues"] = wire.encode_item({":seen": wire.stamp_of(over)})
        return self._conditional("put_item", {}, request)

    def _conditional(self, operation: str, changes: dict[tuple[str, ...], Any], request: dict[str, Any]) -> bool:
        with self._explained(_camel(operation)):
            try:
                self._raw(operation, TableName=self.table, ReturnValuesOnConditionCheckFailure="ALL_OLD", **request)
            except Exception as error:
                if code_of(error) != LOST:
                    raise
                return bool(changes) and _written_before(error, changes)
        return True

    def _update(self, key: Key, changes: dict[tuple[str, ...], Any], expect: dict[tuple[str, ...], Any]) -> bool:
        names: dict[str, str] = {}
        values: dict[str, Any] = {}

        def place(path: tuple[str, ...]) -> str:
            short = []
            for name in path:
                short.append(next((k for k, v in names.items() if v == name), f"#n{len(names)}"))
                names[short[-1]] = name
            return ".".join(short)

        def value(plain: Any) -> str:
            values[f":v{len(values)}"] = plain
            return f":v{len(values) - 1}"

        conditions = ["attribute_exists(pk)", f"attribute_not_exists({wire.GONE})"]
        for path, wanted in expect.items():
            where = place(path)
            equal = f"{where} = {value(wanted)}"
            conditions.append(f"(attribute_not_exists({where}) OR {equal})" if wanted is None else equal)
        request: dict[str, Any] = {"Key": wire.encode_item(key._asdict())}
        if changes:
            changes = {**changes, (wire.STAMP,): wire.stamps.next()}
            request["UpdateExpression"] = "SET " + ", ".join(f"{place(p)} = {value(v)}" for p, v in changes.items())
        request["ConditionExpression"] = " AND ".join(conditions)
        if names:
            request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = wire.encode_item(values)
        try:
            return self._conditional("update_item", changes, request)
        except StoreError as error:
            if "document path" in error.message:
                raise no_such_place(key) from error.__cause__
            raise


@contextlib.contextmanager
def _unless(code: str, said: str = "") -> Iterator[None]:
    """Let one refusal of the service pass."""
    try:
        yield
    except Exception as error:
        if code_of(error) != code or said not in str(error):
            raise


def _written_before(error: Any, changes: dict[tuple[str, ...], Any]) -> bool:
    """Whether a conditional write only failed because its own first attempt, whose answer was lost, had succeeded."""
    if not error.response.get("ResponseMetadata", {}).get("RetryAttempts"):
        return False
    item = wire.decode_item(error.response.get("Item", {}))
    return bool(item) and all(same(look(item, path), value) for path, value in changes.items())


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


def _key_of(request: dict[str, Any]) -> Key:
    attributes = request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
    return Key(attributes["pk"]["S"], attributes["sk"]["S"])
