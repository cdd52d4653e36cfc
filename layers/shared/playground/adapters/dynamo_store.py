"""DynamoDB: reads and conditional writes; refusals are distinguished by item and code, never by text.

    ConditionFailed         one conditional write was refused; carries the item that refused it
    TransactionRefused      a transaction was refused by conditions; says by which of its writes
    StoreUnavailableError   anything else that kept the store from doing it: out of reach, throttled, endless conflicts

A conflict with another transaction is retried here, with jitter, a bounded number of times; it never looks like a
refusal.

Conditions and updates are PynamoDB's typed expressions. Only code that writes them loads PynamoDB: reads, and writes of
whole items, do without.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from playground.adapters.aws import make_client
from playground.adapters.time_limit import obey_time_limit, time_left
from playground.domain.cursors import scan_cursor, scan_key_of
from playground.domain.errors import StoreUnavailableError

if TYPE_CHECKING:
    from pynamodb.expressions.condition import Condition
    from pynamodb.expressions.update import Action

RawItem = Mapping[str, Any]
"""An item as DynamoDB spells it: attribute → {type: value}."""

# Another transaction has the item, or the table is short of capacity for a moment: the same request may go through.
PASSING = frozenset(
    {
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
        "ThrottlingError",
        "ThrottlingException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
    }
)
REFUSED = "ConditionalCheckFailed"


class ConditionFailed(Exception):  # noqa: N818 - an answer, not an error
    """A conditional write was refused. `item` is the stored item, None if there was none."""

    def __init__(self, item: RawItem | None) -> None:
        super().__init__("condition failed")
        self.item = item


class TransactionRefused(Exception):  # noqa: N818
    """A transaction was refused. `refused` has the stored item for every write whose condition failed.

    `in_the_way`: other transactions were writing some of the items, so that the item whose change made a condition fail
    may not be among the refused ones.
    """

    def __init__(self, refused: Mapping[int, RawItem | None], *, in_the_way: bool = False) -> None:
        super().__init__(f"conditions failed at {sorted(refused)}")
        self.refused = refused
        self.in_the_way = in_the_way


class PassingError(StoreUnavailableError):
    """Another transaction is in the way, or capacity is short: the same request may go through in a moment."""


class TooManyWritesError(Exception):
    """A transaction writes an item twice, or more items than allowed: a bug, which no retry cures."""


@dataclass(frozen=True, slots=True)
class Key:
    table: str
    pk: str
    sk: str

    @property
    def raw(self) -> dict[str, Any]:
        return {"pk": {"S": self.pk}, "sk": {"S": self.sk}}


@dataclass(frozen=True, slots=True)
class Put:
    """A whole item, if there is none under its key."""

    key: Key
    item: RawItem


@dataclass(frozen=True, slots=True)
class Replace:
    """A whole item, in place of whatever is there, if `condition` allows it."""

    key: Key
    item: RawItem
    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Delete:
    key: Key
    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Check:
    """Writes nothing: a condition for the other writes of its transaction."""

    key: Key
    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Update:
    """Some attributes of an item; without a condition, whatever is there."""

    key: Key
    actions: Sequence["Action"]
    condition: "Condition | None" = None


MAX_BATCH_ITEMS = 25  # items that one BatchWriteItem takes
MAX_ITEMS_READ_AT_ONCE = 100  # keys that one BatchGetItem takes, of all tables together
MAX_TRANSACTION_ITEMS = 100  # items that one TransactWriteItems takes


@dataclass(frozen=True, slots=True)
class Save:
    """A whole item in the place of the one that was read, which had `revision`; 0: there was none; None: of whatever is
    there, but with `same`, only if that attribute of it, if there is an item, has the value that it has in `item`."""

    key: Key
    item: RawItem
    revision: int | None
    same: str | None = None


Write = Put | Replace | Save | Update | Delete | Check


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and how fast something is tried again: full jitter, doubling from `base` to `cap` seconds.

    64 tries are enough for as many settlements of one account at once: in every round one of them goes through. After
    `most_seconds`, or when the time limit ends, no new try is begun, because a caller is waiting.
    """

    tries: int = 64
    base: float = 0.004
    cap: float = 0.08
    most_seconds: float = 4.0
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = field(default=random.random)
    monotonic: Callable[[], float] = time.monotonic
    on_retry: Callable[[], None] = lambda: None

    def without_pauses(self) -> "Backoff":
        """For tries whose refusal brings the item that the next one needs: waiting would only make it stale."""
        return replace(self, base=0.0)

    def __iter__(self) -> Iterator[int]:
        """Yields the number of the try, pausing before all but the first. Raises StoreUnavailableError at the end."""
        ends = self.monotonic() + self.most_seconds
        for number in range(self.tries):
            if number:
                self.sleep(self.random() * min(self.cap, self.base * 2**number))
                if self.monotonic() > ends or time_left() <= 0:
                    break
                self.on_retry()
            yield number
        raise StoreUnavailableError


class DynamoStore:
    """Reads and conditional writes over one client (see `connect`). Safe to share between threads."""

    def __init__(self, client: Any, backoff: Backoff | None = None) -> None:
        self.client = client
        self.backoff = backoff or Backoff()

    def get(self, key: Key, *, attributes: Sequence[str] = (), consistent: bool = True) -> RawItem | None:
        """The item under `key`, or some `attributes` of it; as last written unless not `consistent`, which costs half.
        Raises StoreUnavailableError."""
        arguments: dict[str, Any] = {"TableName": key.table, "Key": key.raw, "ConsistentRead": consistent}
        if attributes:
            arguments["ProjectionExpression"] = ", ".join(f"#{name}" for name in attributes)
            arguments["ExpressionAttributeNames"] = {f"#{name}": name for name in attributes}
        item: RawItem | None = self._call("get_item", arguments).get("Item")
        return item

    def get_all(self, keys: Sequence[Key], *, consistent: frozenset[str] = frozenset()) -> dict[Key, RawItem]:
        """Those of `keys` that exist; of `consistent` tables as last written. One round trip for 100 keys, more for
        what does not fit into an answer of 16 MB. A key may be there twice. Raises StoreUnavailableError."""
        found: dict[Key, RawItem] = {}
        each = list(dict.fromkeys(keys))  # DynamoDB refuses a batch with a key twice
        for start in range(0, len(each), MAX_ITEMS_READ_AT_ONCE):
            found.update(self._get_some(each[start : start + MAX_ITEMS_READ_AT_ONCE], consistent))
        return found

    def _get_some(self, keys: Sequence[Key], consistent: frozenset[str]) -> dict[Key, RawItem]:
        found: dict[Key, RawItem] = {}
        wanted: dict[str, Any] = {}
        for key in keys:
            table = wanted.setdefault(key.table, {"Keys": [], "ConsistentRead": key.table in consistent})
            table["Keys"].append(key.raw)
        for _ in self.backoff:
            answer = self._call("batch_get_item", {"RequestItems": wanted})
            for table, items in answer["Responses"].items():
                found.update({Key(table, item["pk"]["S"], item["sk"]["S"]): item for item in items})
            wanted = answer.get("UnprocessedKeys") or {}
            if not wanted:
                break
        return found

    def get_certain(self, *keys: Key) -> dict[Key, RawItem]:
        """Those of `keys` that exist, all at one moment, after every transaction of which something has been read.

        `get` may read an item as a transaction has left it, and then another one as it was before. This waits until the
        transaction is over. It costs twice as much. Raises StoreUnavailableError.
        """
        gets = [{"Get": {"TableName": key.table, "Key": key.raw}} for key in keys]
        answers = self._write("transact_get_items", {"TransactItems": gets})["Responses"]
        return {key: answer["Item"] for key, answer in zip(keys, answers, strict=True) if answer.get("Item")}

    def query(
        self,
        table: str,
        pk: str,
        *,
        first: str,
        last: str,
        newest_first: bool = False,
        limit: int,
        condition: Mapping[str, Any] | None = None,
        consistent: bool = True,
    ) -> tuple[Sequence[RawItem], str | None]:
        """One page of the items of `pk` with `first` ≤ sort key ≤ `last`; and the sort key at which it stopped, if
        there may be more. `condition` are extra query arguments (a filter). Raises StoreUnavailableError."""
        arguments = {
            "TableName": table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ScanIndexForward": not newest_first,
            "ConsistentRead": consistent,
            "Limit": limit,
            **(condition or {}),
        }
        values = {":pk": {"S": pk}, ":first": {"S": first}, ":last": {"S": last}}
        arguments["ExpressionAttributeValues"] = {**arguments.get("ExpressionAttributeValues", {}), **values}
        answer = self._call("query", arguments)
        stopped = answer.get("LastEvaluatedKey")
        return answer["Items"], stopped["sk"]["S"] if stopped else None

    def query_index(
        self,
        table: str,
        index: str,
        *,
        hash_name: str,
        hash_value: str,
        range_name: str,
        first: str | None = None,
        last: str,
        newest_first: bool = False,
        after: Mapping[str, Any] | None,
        limit: int,
        equal: Mapping[str, str] | None = None,
    ) -> tuple[Sequence[RawItem], Mapping[str, Any] | None]:
        """One page of an index under `hash_value`, from the sort key `first` up to `last`; and where it stopped, if
        there may be more. `equal`: values of projected attributes; a page has `limit` items before they filter it.
        An index may be a moment behind its table. Raises StoreUnavailableError."""
        arguments: dict[str, Any] = {
            "TableName": table,
            "IndexName": index,
            "KeyConditionExpression": "#hash = :hash AND #range <= :last",
            "ExpressionAttributeNames": {"#hash": hash_name, "#range": range_name},
            "ExpressionAttributeValues": {":hash": {"S": hash_value}, ":last": {"S": last}},
            "ScanIndexForward": not newest_first,
            "Limit": limit,
        }
        if first is not None:
            arguments["KeyConditionExpression"] = "#hash = :hash AND #range BETWEEN :first AND :last"
            arguments["ExpressionAttributeValues"][":first"] = {"S": first}
        if after is not None:
            arguments["ExclusiveStartKey"] = after
        if equal:
            arguments["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in equal)
            arguments["ExpressionAttributeNames"].update({f"#{name}": name for name in equal})
            arguments["ExpressionAttributeValues"].update({f":{name}": {"S": value} for name, value in equal.items()})
        answer = self._call("query", arguments)
        return answer["Items"], answer.get("LastEvaluatedKey")

    def scan(
        self, table: str, *, after: str | None, condition: Mapping[str, Any]
    ) -> tuple[Sequence[RawItem], str | None]:
        """A page of what a whole table has, in no order that means anything, after a cursor; and the cursor of the next
        page, if there is more. `condition` are extra arguments (a filter).

        Costs as much as reading all of it: for an operator, never on a request's path. Raises StoreUnavailableError.
        """
        arguments: dict[str, Any] = {"TableName": table, "ConsistentRead": True, **condition}
        if after is not None:
            arguments["ExclusiveStartKey"] = Key(table, *scan_key_of(after)).raw
        answer = self._call("scan", arguments)
        stopped = answer.get("LastEvaluatedKey")
        return answer["Items"], scan_cursor(stopped["pk"]["S"], stopped["sk"]["S"]) if stopped else None

    def scan_all(self, table: str, condition: Mapping[str, Any]) -> Iterator[RawItem]:
        """All pages of `scan`."""
        cursor: str | None = None
        while True:
            page, cursor = self.scan(table, after=cursor, condition=condition)
            yield from page
            if cursor is None:
                return

    def update(self, write: Update) -> RawItem:
        """One conditional update of one item; the item afterwards. Raises ConditionFailed."""
        arguments = {**_named(write.key), **_expressions(write), "ReturnValues": "ALL_NEW"}
        item: RawItem = self._write("update_item", arguments)["Attributes"]
        return item

    def transact(self, *writes: Write) -> None:
        """All of `writes`, or none. Raises TransactionRefused, which names the writes by their position."""
        self._write("transact_write_items", self._transaction(writes))

    def transact_once(self, *writes: Write) -> None:
        """As `transact`, but not tried again: raises PassingError at once if something is in the way."""
        self._call("transact_write_items", self._transaction(writes))

    def _transaction(self, writes: Sequence[Write]) -> dict[str, Any]:
        if len({write.key for write in writes}) < len(writes) or len(writes) > MAX_TRANSACTION_ITEMS:
            raise TooManyWritesError(f"{len(writes)} writes of {len({write.key for write in writes})} items")
        return {"TransactItems": [self._transact_item(write) for write in writes]}

    def delete_all(self, keys: Sequence[Key]) -> None:
        """Remove items, whatever they are. Not atomic: when it raises, some may be removed."""
        self._batch([(key.table, {"DeleteRequest": {"Key": key.raw}}) for key in dict.fromkeys(keys)])

    def put_all(self, items: Mapping[Key, RawItem]) -> None:
        """Write items over whatever is there. Not atomic: when it raises, some may be written."""
        self._batch([(key.table, {"PutRequest": {"Item": {**item, **key.raw}}}) for key, item in items.items()])

    def _batch(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> None:
        for start in range(0, len(requests), MAX_BATCH_ITEMS):
            wanted: dict[str, list[dict[str, Any]]] = {}
            for table, request in requests[start : start + MAX_BATCH_ITEMS]:
                wanted.setdefault(table, []).append(request)
            for _ in self.backoff:
                wanted = dict(self._write("batch_write_item", {"RequestItems": wanted}).get("UnprocessedItems") or {})
                if not wanted:
                    break

    def _transact_item(self, write: Write) -> dict[str, Any]:
        match write:
            case Put():
                condition = {"ConditionExpression": "attribute_not_exists(pk)", **_SHOW_REFUSING}
                return {"Put": {**_whole(write), **condition}}
            case Save():
                return {"Put": self._save(write)}
            case Replace():
                return {"Put": {**_whole(write), **_expressions(write)}}
            case Update():
                return {"Update": {**_named(write.key), **_expressions(write)}}
            case Delete():
                return {"Delete": {**_named(write.key), **_expressions(write)}}
            case Check():
                return {"ConditionCheck": {**_named(write.key), **_expressions(write)}}

    def _save(self, write: Save) -> dict[str, Any]:
        put = _whole(write)
        absent = "attribute_not_exists(pk)"
        if write.revision == 0:
            put["ConditionExpression"] = absent
        elif write.revision is not None:
            put["ConditionExpression"] = "#revision = :revision"
            put["ExpressionAttributeNames"] = {"#revision": "revision"}
            put["ExpressionAttributeValues"] = {":revision": {"N": str(write.revision)}}
        elif write.same is not None:
            put["ConditionExpression"] = f"{absent} OR #same = :same"
            put["ExpressionAttributeNames"] = {"#same": write.same}
            put["ExpressionAttributeValues"] = {":same": write.item[write.same]}
        else:
            return put
        return {**put, **_SHOW_REFUSING}

    def _write(self, operation: str, arguments: dict[str, Any]) -> Mapping[str, Any]:
        """A write, or a read of several items at one moment, retried on transient conflicts and throttling."""
        for _ in self.backoff:
            try:
                return self._call(operation, arguments)
            except PassingError:
                continue
        raise AssertionError("a backoff ends by raising")

    def _call(self, operation: str, arguments: dict[str, Any]) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = getattr(self.client, operation)(**arguments)
        except ClientError as error:
            raise _meaning(error) from error
        except BotoCoreError as error:
            raise StoreUnavailableError from error
        return answer


_SHOW_REFUSING = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


def _named(key: Key) -> dict[str, Any]:
    return {"TableName": key.table, "Key": key.raw}


def _whole(write: Put | Replace | Save) -> dict[str, Any]:
    return {"TableName": write.key.table, "Item": {**write.item, **write.key.raw}}


def _expressions(write: Replace | Update | Delete | Check) -> dict[str, Any]:
    """Condition and update of a write, with their names and values."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    found: dict[str, Any] = {}
    if write.condition is not None:
        found |= {"ConditionExpression": write.condition.serialize(names, values), **_SHOW_REFUSING}
    if isinstance(write, Update):
        from pynamodb.expressions import update  # loaded already by the code that made the actions

        found["UpdateExpression"] = update.Update(*write.actions).serialize(names, values)
    if names:
        found["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in names.items()}
    if values:
        found["ExpressionAttributeValues"] = values
    return found


def _meaning(error: ClientError) -> Exception:
    """What a refusal of DynamoDB means. A refused condition decides before a conflict elsewhere in the transaction."""
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(error.response.get("Item"))
    if code == "TransactionCanceledException":
        found = enumerate(error.response.get("CancellationReasons", ()))
        reasons = {place: reason for place, reason in found if reason.get("Code", "None") != "None"}
        refused = {place: reason.get("Item") for place, reason in reasons.items() if reason["Code"] == REFUSED}
        others = [reason["Code"] in PASSING for place, reason in reasons.items() if place not in refused]
        if refused:
            return TransactionRefused(refused, in_the_way=any(others))
        if others and all(others):
            return PassingError()
        return StoreUnavailableError()
    return PassingError() if code in PASSING else StoreUnavailableError()


def connect(region: str | None = None, endpoint_url: str | None = None, **credentials: str) -> Any:
    """A client with short, explicit limits: an answer within 2 s, 3 attempts, less if a time limit ends. No more than
    64 requests at once. `credentials` as botocore takes them."""
    client = make_client(
        "dynamodb",
        Config(
            connect_timeout=1,
            read_timeout=2,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=64,
            parameter_validation=False,  # the store validates them, and says no less
        ),
        region_name=region,
        endpoint_url=endpoint_url,
        **credentials,
    )
    obey_time_limit(client)
    return client
