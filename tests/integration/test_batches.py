"""Batches as DynamoDB takes them: no key twice, no more than it allows, and what it left out is asked for again.

The engine refuses a batch with a key twice, and a transaction with an item twice, as DynamoDB does. It answers a batch
always whole, so what DynamoDB may leave out is taken from its answers here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bench.transport import Transport
from playground.adapters.dynamo_store import (
    MAX_ITEMS_READ_AT_ONCE,
    Backoff,
    DynamoStore,
    Key,
    Put,
    TooManyWritesError,
)
from playground.domain.errors import StoreUnavailableError
from tests.handlers import Handlers
from tests.support import SESSIONS_TABLE, new_store

Answer = Callable[[dict[str, Any]], None]
"""Changes what the store has answered."""


@contextmanager
def answering(store: DynamoStore, operation: str, answer: Answer) -> Iterator[Transport]:
    """Have each answer to `operation` changed, and listen to what is asked."""
    events = store.client.meta.events
    name = f"after-call.dynamodb.{operation}"

    def change(parsed: dict[str, Any], **_: Any) -> None:
        answer(parsed)

    events.register(name, change)
    try:
        with Transport().at(store.client) as transport:
            yield transport
    finally:
        events.unregister(name, change)


def keys_of(user_id: str, count: int) -> list[Key]:
    return [Key(SESSIONS_TABLE, user_id, f"{number:04}") for number in range(count)]


def written(store: DynamoStore, user_id: str, count: int) -> list[Key]:
    keys = keys_of(user_id, count)
    store.put_all({key: {"is": {"S": key.sk}} for key in keys})
    return keys


def test_the_engine_is_as_strict_as_dynamodb(store: DynamoStore, user_id: str) -> None:
    key = Key(SESSIONS_TABLE, user_id, "one").raw
    item = {"Put": {"TableName": SESSIONS_TABLE, "Item": key}}
    client = store.client
    calls: list[Callable[[], Any]] = [
        lambda: client.batch_get_item(RequestItems={SESSIONS_TABLE: {"Keys": [key, key]}}),
        lambda: client.batch_write_item(RequestItems={SESSIONS_TABLE: [{"DeleteRequest": {"Key": key}}] * 2}),
        lambda: client.transact_write_items(TransactItems=[item, item]),
    ]
    for call in calls:
        with pytest.raises(ClientError) as refusal:
            call()
        assert refusal.value.response["Error"]["Code"] == "ValidationException"


def test_a_key_that_is_named_twice_is_read_once(store: DynamoStore, user_id: str) -> None:
    keys = written(store, user_id, 3)
    found = store.get_all([*keys, keys[0], keys[2]])
    assert [found[key]["is"]["S"] for key in keys] == ["0000", "0001", "0002"]


def test_an_item_that_is_named_twice_is_deleted_once(store: DynamoStore, user_id: str) -> None:
    keys = written(store, user_id, 2)
    store.delete_all([keys[0], keys[1], keys[0]])
    assert store.get_all(keys) == {}


def test_more_keys_than_a_batch_takes_are_read_in_several(store: DynamoStore, user_id: str) -> None:
    """DynamoDB takes 100 keys in one request, of all tables together."""
    keys = written(store, user_id, 2 * MAX_ITEMS_READ_AT_ONCE + 1)
    with Transport().at(store.client) as transport:
        assert len(store.get_all([*keys, *keys])) == len(keys)
    sizes = [len(call.params["RequestItems"][SESSIONS_TABLE]["Keys"]) for call in transport.calls]
    assert sizes == [MAX_ITEMS_READ_AT_ONCE, MAX_ITEMS_READ_AT_ONCE, 1]


def test_nothing_is_read_without_asking(store: DynamoStore) -> None:
    with Transport().at(store.client) as transport:
        assert store.get_all([]) == {}
    assert transport.calls == []


def leaving_out(keep: int) -> Answer:
    """Answers of at most `keep` items, as when the others do not fit into 16 MB."""

    def answer(parsed: dict[str, Any]) -> None:
        items = parsed["Responses"][SESSIONS_TABLE]
        left = [{"pk": item["pk"], "sk": item["sk"]} for item in items[keep:]]
        del items[keep:]
        parsed["UnprocessedKeys"] = {SESSIONS_TABLE: {"Keys": left, "ConsistentRead": False}} if left else {}

    return answer


def test_what_did_not_fit_into_an_answer_is_asked_for_again(store: DynamoStore, user_id: str) -> None:
    keys = written(store, user_id, 90)
    with answering(store, "BatchGetItem", leaving_out(40)) as transport:
        assert set(store.get_all(keys)) == set(keys)
    assert len(transport.calls) == 3


def test_answers_without_anything_end_as_unavailable(description: Any, engine: Any, user_id: str) -> None:
    pauses: list[float] = []
    store = new_store(engine, Backoff(tries=8, sleep=pauses.append))
    keys = written(store, user_id, 2)
    with answering(store, "BatchGetItem", leaving_out(0)) as transport, pytest.raises(StoreUnavailableError):
        store.get_all(keys)
    assert (len(transport.calls), len(pauses)) == (8, 7)
    store.client.close()


def test_an_item_is_written_once_by_a_transaction(store: DynamoStore, user_id: str) -> None:
    """It is a mistake of ours: no answer of 503, which invites to try again, and nothing is written."""
    one = Put(Key(SESSIONS_TABLE, user_id, "one"), {})
    with pytest.raises(TooManyWritesError):
        store.transact(one, Put(Key(SESSIONS_TABLE, user_id, "two"), {}), one)
    with pytest.raises(TooManyWritesError):
        store.transact(*(Put(key, {}) for key in keys_of(user_id, 101)))
    assert store.get_all([one.key, *keys_of(user_id, 99)]) == {}


# --- pages of an index ------------------------------------------------------------------------------------------------


def twice(parsed: dict[str, Any]) -> None:
    """The index has an item at its old and at its new place, because it is a moment behind its table."""
    parsed["Items"] = list(islice(cycle(parsed["Items"]), 2 * len(parsed["Items"])))


def test_a_session_that_its_index_lists_twice_is_listed_once(handlers: Handlers, user_id: str) -> None:
    ids = []
    for number in range(3):
        body = {"package_id": "@playground/code-reviewer", "input": f"number {number}"}
        answer = handlers.call("POST", "/playground/run", body, user=user_id)
        ids.append(answer.body["session_id"])
    app: Any = handlers.apps["sessions"]
    with answering(app.store, "Query", twice):
        page = handlers.call("GET", "/playground/sessions", user=user_id)
    assert page.status == 200
    assert [session["session_id"] for session in page.body["sessions"]] == ids[::-1]
