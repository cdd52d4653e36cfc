"""One damaged record: told apart, reported, in the way of nothing else. Through the functions, over the real engine.

Records are damaged as an earlier version, a defect or a hand may have done it: what is a number is none, is not whole,
or is not there.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from operate.dynamo_moderation import DynamoModeration
from playground import wiring
from playground.adapters.catalog_snapshot import SnapshotCatalog
from playground.adapters.dynamo_keys import entry_key, run_key, session_key, share_key, turn_key, user_pk
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_store import DynamoStore, Key
from playground.domain.errors import CorruptLedgerError
from playground.domain.sharing import share_id_of
from playground.observability import flush_metrics
from playground.usecases.browse_catalog import ListPackages
from tests.handlers import Answer, Handlers
from tests.support import LEDGER_TABLE, SESSIONS_TABLE

PACKAGE = "@playground/code-reviewer"
FRACTION = {"N": "20.5"}
WORD = {"S": "many"}
DAMAGES: Mapping[str, Mapping[str, str] | None] = {"fraction": FRACTION, "word": WORD, "gone": None}


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES.keys())
def damage(request: pytest.FixtureRequest) -> Mapping[str, str] | None:
    value: Mapping[str, str] | None = request.param
    return value


def harm(store: DynamoStore, key: Key, name: str, value: Mapping[str, Any] | None) -> None:
    """Write one attribute over, or remove it, as nothing of the project does."""
    client = store.client
    names, change = {"#name": name}, "REMOVE #name" if value is None else "SET #name = :value"
    values = {} if value is None else {"ExpressionAttributeValues": {":value": value}}
    client.update_item(
        TableName=key.table, Key=key.raw, UpdateExpression=change, ExpressionAttributeNames=names, **values
    )


def run(handlers: Handlers, user: str, text: str = "Hello.", *, key: str | None = None, **fields: Any) -> Answer:
    answer = handlers.call(
        "POST", "/playground/run", {"package_id": PACKAGE, "input": text, **fields}, user=user, key=key
    )
    assert answer.status == 200, answer.body
    return answer


def reported(printed: str) -> int:
    """How many records were counted as unreadable."""
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return sum(int(sum(line["UnreadableRecords"])) for line in lines if "UnreadableRecords" in line)


def test_a_damaged_session_is_left_out_of_the_list_and_named(
    handlers: Handlers,
    store: DynamoStore,
    user_id: str,
    damage: Mapping[str, str] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = [run(handlers, user_id).body["session_id"] for _ in range(3)]
    harm(store, session_key(SESSIONS_TABLE, ids[1]), "tokens", damage)
    capsys.readouterr()

    page = handlers.call("GET", "/playground/sessions", user=user_id)

    assert [each["session_id"] for each in page.body["sessions"]] == [ids[2], ids[0]]
    assert page.body["unreadable"] == [ids[1]]
    assert reported(capsys.readouterr().out) == 1
    first = handlers.call("GET", "/playground/sessions?limit=2", user=user_id).body
    rest = handlers.call("GET", f"/playground/sessions?limit=2&cursor={first['next_cursor']}", user=user_id).body
    assert [each["session_id"] for each in (*first["sessions"], *rest["sessions"])] == [ids[2], ids[0]]


def test_a_damaged_session_by_itself_is_a_clear_error(
    handlers: Handlers, store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    session_id = run(handlers, user_id).body["session_id"]
    harm(store, session_key(SESSIONS_TABLE, session_id), "turns", FRACTION)
    path = f"/playground/sessions/{session_id}"
    capsys.readouterr()

    for answer in (
        handlers.call("GET", path, user=user_id),
        handlers.call(
            "POST", "/playground/run", {"package_id": PACKAGE, "input": "x", "session_id": session_id}, user=user_id
        ),
    ):
        assert (answer.status, answer.body["error"]) == (500, "unreadable_record")
    assert reported(capsys.readouterr().out) == 2
    assert handlers.call("GET", path, user=f"{user_id}-other").status == 404
    assert run(handlers, user_id).body["credits_remaining"] == 3  # only what was answered was paid for


@pytest.mark.parametrize("attribute", ["input_tokens", "answer", "asked_at", "number", "packed"])
def test_a_damaged_turn_is_marked_and_the_conversation_goes_on(
    handlers: Handlers, store: DynamoStore, user_id: str, attribute: str, damage: Mapping[str, str] | None
) -> None:
    if attribute in ("answer", "asked_at", "packed") and damage is WORD:
        damage = {"BOOL": True}  # type: ignore[dict-item]
    session_id = run(handlers, user_id, "one").body["session_id"]
    for text in ("two", "three"):
        run(handlers, user_id, text, session_id=session_id)
    harm(store, turn_key(SESSIONS_TABLE, session_id, 2), attribute, damage)

    conversation = handlers.call("GET", f"/playground/sessions/{session_id}", user=user_id).body["conversation"]

    assert [message["content"] for message in conversation[::2]] == ["one", "", "three"]
    assert [message["unreadable"] for message in conversation] == [False, False, True, True, False, False]
    further = run(handlers, user_id, "four", session_id=session_id)
    assert further.body["turns_omitted"] == 1


def test_a_damaged_turn_is_not_shared_unseen_and_the_receipt_of_its_run_is_there(
    handlers: Handlers, store: DynamoStore, user_id: str
) -> None:
    first = run(handlers, user_id, key="k")
    session_id, run_id = first.body["session_id"], first.body["run_id"]
    harm(store, turn_key(SESSIONS_TABLE, session_id, 1), "answer", None)

    receipt = handlers.call("GET", f"/playground/runs/{run_id}", user=user_id)
    replayed = handlers.call(
        "POST", "/playground/run", {"package_id": PACKAGE, "input": "Hello."}, user=user_id, key="k"
    )
    shared = handlers.call("POST", f"/playground/sessions/{session_id}/share", {}, user=user_id)

    assert (receipt.status, receipt.body["status"], receipt.body["response"]) == (200, "settled", None)
    assert (replayed.status, replayed.body["error"]) == (500, "unreadable_record")
    assert (shared.status, shared.body["error"]) == (500, "unreadable_record")


@pytest.mark.parametrize("attribute", ["usage", "price", "charged", "ceiling"])
def test_a_damaged_receipt_is_a_clear_error_and_nothing_else(
    handlers: Handlers, store: DynamoStore, user_id: str, attribute: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(handlers, user_id, key="k")
    run_id = first.body["run_id"]
    value: Any = FRACTION if attribute in ("charged", "ceiling") else {"L": [FRACTION] * 5}
    harm(store, run_key(LEDGER_TABLE, user_id, run_id), attribute, value)
    capsys.readouterr()

    receipt = handlers.call("GET", f"/playground/runs/{run_id}", user=user_id)
    replayed = handlers.call(
        "POST", "/playground/run", {"package_id": PACKAGE, "input": "Hello."}, user=user_id, key="k"
    )

    for answer in (receipt, replayed):
        assert (answer.status, answer.body["error"]) == (500, "unreadable_record")
    assert reported(capsys.readouterr().out) == 2
    assert handlers.call("GET", "/playground/credits", user=user_id).body["balance"] == 4
    history = handlers.call("GET", "/playground/credits/history", user=user_id).body["transactions"]
    assert [(entry["run_id"], entry["model"]) for entry in history] == [(run_id, None), (None, None)]
    runs = handlers.call("GET", "/playground/runs", user=user_id).body
    assert (runs["runs"], runs["unreadable"]) == ([], [run_id])
    assert len(handlers.call("GET", "/playground/sessions", user=user_id).body["sessions"]) == 1
    assert run(handlers, user_id, key="another").body["credits_remaining"] == 3


@pytest.mark.parametrize("limit", [1, 2, 50])
@pytest.mark.parametrize("attribute", ["amount", "hash", "deltas"])
def test_a_damaged_entry_is_left_out_of_the_history_and_named(
    handlers: Handlers, store: DynamoStore, user_id: str, attribute: str, limit: int
) -> None:
    for _ in range(3):
        run(handlers, user_id)
    harm(store, entry_key(LEDGER_TABLE, user_id, 3), attribute, WORD if attribute == "hash" else FRACTION)

    seen: list[int] = []
    unreadable: list[int] = []
    cursor: str | None = ""
    for _ in range(6):
        more = f"&cursor={cursor}" if cursor else ""
        page = handlers.call("GET", f"/playground/credits/history?limit={limit}{more}", user=user_id).body
        seen += [entry["seq"] for entry in page["transactions"]]
        unreadable += page["unreadable"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert (seen, unreadable, cursor) == ([4, 2, 1], [3], None)


def test_a_damaged_share_is_in_the_way_of_no_list(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    """The owner reads on, an operator sees the others, and whoever has the link is told that it cannot be read."""
    shares = []
    for _ in range(2):
        session_id = run(handlers, user_id).body["session_id"]
        token = handlers.call("POST", f"/playground/sessions/{session_id}/share", {}, user=user_id).body["share_token"]
        handlers.call("POST", f"/playground/shared/{token}/report", {"reason": "Bad."}, user=f"{user_id}-2")
        shares.append((session_id, token, share_id_of(token)))
    session_id, token, share_id = shares[0]
    harm(store, share_key(SESSIONS_TABLE, share_id), "turns", WORD)
    errors: list[CorruptLedgerError] = []
    moderation = DynamoModeration(store, SESSIONS_TABLE, report=errors.append)

    listed = {share.share_id for share in all_reported(moderation)}

    assert (shares[1][2] in listed, share_id in listed) == (True, False)
    assert [share_id in error.what for error in errors] == [True]
    own = handlers.call("GET", f"/playground/sessions/{session_id}", user=user_id)
    assert (own.status, own.body["share"], len(own.body["conversation"])) == (200, None, 2)
    assert handlers.call("GET", f"/playground/shared/{token}").body["error"] == "unreadable_record"


def all_reported(moderation: DynamoModeration) -> Iterator[Any]:
    after: str | None = None
    while True:
        page, after = moderation.reported(after=after)
        yield from page
        if after is None:
            return


def test_a_damaged_report_is_in_the_way_of_no_other(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    session_id = run(handlers, user_id).body["session_id"]
    token = handlers.call("POST", f"/playground/sessions/{session_id}/share", {}, user=user_id).body["share_token"]
    for number in range(2):
        path = f"/playground/shared/{token}/report"
        assert handlers.call("POST", path, {"reason": f"Bad {number}."}, user=f"{user_id}-{number}").status == 200
    page, _ = store.query(SESSIONS_TABLE, f"SESSION#{session_id}", first="REPORT#", last="REPORT$", limit=9)
    harm(store, Key(SESSIONS_TABLE, page[0]["pk"]["S"], page[0]["sk"]["S"]), "given_at", None)
    errors: list[CorruptLedgerError] = []
    moderation = DynamoModeration(store, SESSIONS_TABLE, report=errors.append)
    share = moderation.find(share_id_of(token))
    assert share is not None

    assert len(moderation.reports(share)) == len(errors) == 1


def test_a_damaged_purchase_does_not_end_the_comparison(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    ids = [
        handlers.call("POST", "/playground/credits/purchase", {"package": "small"}, user=user_id).body["purchase_id"]
        for _ in range(2)
    ]
    key = Key(LEDGER_TABLE, user_pk(user_id), f"PURCHASE#{ids[0]}")
    harm(store, key, "amount", FRACTION)
    errors: list[CorruptLedgerError] = []
    records = DynamoPurchaseRecords(store, LEDGER_TABLE, report=errors.append)
    found: set[str] = set()
    after: str | None = None
    try:
        while True:
            page, after = records.all(after=after)
            found |= {getattr(record, "purchase_id", "") for record in page}
            if after is None:
                break
    finally:
        harm(store, key, "amount", {"N": "500"})  # other tests look at all purchases

    assert (ids[0] in found, ids[1] in found, len(errors)) == (False, True, 1)


def listed_packages(app: Any) -> list[str]:
    """As an instance lists them that has read none yet."""
    found = ListPackages(SnapshotCatalog(wiring.catalog(app.settings, app.store)))(limit=100)
    flush_metrics()  # as at the end of a request
    return [each.name for each in found.packages]


def test_a_damaged_package_is_in_the_way_of_no_other(
    handlers: Handlers, store: DynamoStore, capsys: pytest.CaptureFixture[str]
) -> None:
    app: Any = handlers.apps["catalog"]
    key = Key(app.settings.catalog_table, "PACKAGES", PACKAGE)
    whole = store.client.get_item(TableName=key.table, Key=key.raw)["Item"]
    names = listed_packages(app)
    assert PACKAGE in names
    harm(store, key, "description", None)
    capsys.readouterr()
    handlers.forget_catalog()
    try:
        left = listed_packages(app)
    finally:
        store.client.put_item(TableName=key.table, Item=whole)
        handlers.forget_catalog()

    assert left == [name for name in names if name != PACKAGE]
    assert reported(capsys.readouterr().out) == 1


@pytest.mark.parametrize("name", ["reported_input", "reported_output", "reported_cache_write", "reported_cache_read"])
@pytest.mark.parametrize("told", ["20.5", '"many"', "-1", "1e999", "NaN", "true", "99999999"])
def test_a_run_whose_usage_cannot_be_true_is_released_and_leaves_nothing_behind(
    handlers: Handlers, user_id: str, name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    ask = {"package_id": PACKAGE, "input": f"Hi. [[claude: {name}={told}]]"}

    answer = handlers.call("POST", "/playground/run", ask, user=user_id, key="k")
    again = handlers.call("POST", "/playground/run", ask, user=user_id, key="k")

    assert '"InvalidUsage"' in capsys.readouterr().out
    for each in (answer, again):
        assert (each.status, each.body["error"], each.body["reason"]) == (502, "model_failed", "invalid_usage")
    credits_ = handlers.call("GET", "/playground/credits", user=user_id).body
    assert (credits_["balance"], credits_["held"]) == (5, 0)
    receipt = handlers.call("GET", f"/playground/runs/{answer.body['run_id']}", user=user_id).body
    assert (receipt["status"], receipt["credits_spent"]) == ("released", 0)
    assert receipt["unpaid"]["usage_source"] == "estimated"
    assert all(type(count) is int and count >= 0 for count in receipt["usage"].values())
    assert handlers.call("GET", "/playground/sessions", user=user_id).body["sessions"] == []
