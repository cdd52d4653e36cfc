"""Conversations through the functions, over the real engine: listed, read, continued, deleted."""

import json
import time
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from pynamodb.expressions.operand import Path

from bench.transport import Transport
from playground.adapters.dynamo_keys import turn_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import Update
from playground.domain.account import Account, Change, grant
from playground.domain.calendar import instant
from playground.domain.cursors import number_cursor
from playground.domain.entries import EntryType
from playground.domain.errors import StoreUnavailableError
from playground.domain.sessions import Session, Turn
from playground.domain.sharing import share_id_of
from playground.http import utc_now
from playground.usecases.browse_sessions import MAX_BYTES
from tests.conftest import NOW
from tests.handlers import Answer, Handlers
from tests.support import all_entries, check_invariants

PACKAGE = "@playground/code-reviewer"


def run(handlers: Handlers, user: str, text: str = "Hello.", **fields: Any) -> Answer:
    answer = handlers.call("POST", "/playground/run", {"package_id": PACKAGE, "input": text, **fields}, user=user)
    assert answer.status == 200, answer.body
    return answer


def test_a_conversation_goes_on_after_an_answer_that_was_declined_in_part(handlers: Handlers, user_id: str) -> None:
    """The model would decline everything that follows such an answer. It is paid for and can be read."""
    first = run(handlers, user_id, "[[claude: stop_reason=refusal output_tokens=30]]")
    assert first.body["stop_reason"] == "refusal"
    session_id = first.body["session_id"]

    second = run(handlers, user_id, "And now?", session_id=session_id)

    assert (second.body["stop_reason"], second.body["turns_omitted"]) == ("end_turn", 1)
    estimate = handlers.call(
        "POST",
        "/playground/estimate",
        {"package_id": PACKAGE, "input": "And now?", "session_id": session_id},
        user=user_id,
    )
    assert estimate.body["turns_omitted"] == 1
    conversation = handlers.call("GET", f"/playground/sessions/{session_id}", user=user_id).body["conversation"]
    assert conversation[1]["content"] == first.body["response"]


def give(ledger: DynamoLedger, user: str, credits_: int) -> None:
    def amend(account: Account) -> Change:
        after, entry = grant(account, credits_, type_=EntryType.BONUS, business_key="gift", reason="", now=utc_now())
        return after, (entry,)

    ledger.change(user, amend, business_key="gift", now=utc_now())


def long_session(handlers: Handlers, user: str, *, turns: int, answer: str) -> str:
    """A session with many turns, stored without a run for each of them."""
    app: Any = handlers.apps["sessions"]
    first = app.sessions.find(user, run(handlers, user).body["session_id"])
    now = instant(utc_now())
    session: Session = replace(
        first, session_id=f"{first.session_id[:-5]}long", turns=turns, copied=turns, forked_from="none", created_at=now
    )
    app.sessions.begin_fork(replace(session, deleted_at=now, forking=True))
    for start in range(1, turns + 1, 25):
        numbers = range(start, min(start + 25, turns + 1))
        app.sessions.copy(session.session_id, [a_turn(number, answer) for number in numbers])
    assert app.sessions.finish_fork(session)
    return session.session_id


def a_turn(number: int, answer: str) -> Turn:
    return Turn(
        number=number,
        run_id="copied",
        input=f"question {number}",
        answer=f"{number}: {answer}",
        input_tokens=100,
        output_tokens=100,
        asked_at=NOW,
        answered_at=NOW,
    )


# --- list and read ----------------------------------------------------------------------------------------------------


def test_sessions_are_listed_by_activity_and_page_by_page(handlers: Handlers, user_id: str) -> None:
    ids = [run(handlers, user_id, f"number {number}").body["session_id"] for number in range(3)]
    run(handlers, user_id, "again", session_id=ids[0])
    assert [session["session_id"] for session in listing(handlers, user_id)] == [ids[0], ids[2], ids[1]]
    paged, cursor = [], ""
    for _ in range(4):
        page = handlers.call("GET", f"/playground/sessions?limit=1{cursor}", user=user_id).body
        paged += [session["session_id"] for session in page["sessions"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={quote(page['next_cursor'])}"
    assert paged == [ids[0], ids[2], ids[1]]
    first = listing(handlers, user_id)[0]
    assert (first["turns"], first["credits_spent"], first["title"], first["shared"]) == (2, 2, "number 0", False)
    assert "conversation" not in first


def listing(handlers: Handlers, user: str) -> list[dict[str, Any]]:
    answer = handlers.call("GET", "/playground/sessions?limit=100", user=user)
    assert (answer.status, answer.body["next_cursor"]) == (200, None)
    found: list[dict[str, Any]] = answer.body["sessions"]
    return found


def test_pages_are_stable_while_sessions_become_active(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    give(ledger, user_id, 10)
    ids = [run(handlers, user_id, f"number {number}").body["session_id"] for number in range(5)]
    first = handlers.call("GET", "/playground/sessions?limit=2", user=user_id).body
    run(handlers, user_id, "again", session_id=ids[4])  # was listed
    run(handlers, user_id, "again", session_id=ids[1])  # was not
    run(handlers, user_id, "new")
    seen = [session["session_id"] for session in first["sessions"]]
    cursor = first["next_cursor"]
    while cursor is not None:
        page = handlers.call("GET", f"/playground/sessions?limit=2&cursor={cursor}", user=user_id).body
        seen += [session["session_id"] for session in page["sessions"]]
        cursor = page["next_cursor"]
    assert seen == [ids[4], ids[3], ids[2], ids[0]]
    assert listing(handlers, user_id)[1]["session_id"] == ids[1]


def test_a_session_that_becomes_active_while_a_page_is_read_does_not_move_the_place(
    handlers: Handlers, user_id: str
) -> None:
    """Between the index and the summaries: the place of the next page is that of the index."""
    ids = [run(handlers, user_id, f"number {number}").body["session_id"] for number in range(3)]
    app: Any = handlers.apps["sessions"]
    events = app.store.client.meta.events
    moved: list[int] = []

    def move(model: Any, **_: Any) -> None:
        if model.name == "BatchGetItem" and not moved:
            moved.append(1)
            run(handlers, user_id, "again", session_id=ids[1])

    events.register("before-parameter-build.dynamodb", move)
    try:
        page = handlers.call("GET", "/playground/sessions?limit=2", user=user_id).body
    finally:
        events.unregister("before-parameter-build.dynamodb", move)
    assert moved
    rest = handlers.call("GET", f"/playground/sessions?limit=2&cursor={page['next_cursor']}", user=user_id).body
    seen = [session["session_id"] for session in (*page["sessions"], *rest["sessions"])]
    assert seen == [ids[2], ids[1], ids[0]]


@pytest.mark.parametrize(
    "cursor", ["x", "MTI", "W10", "WyJhIl0", "WyJhIiwgImIiLCAiYyJd", "🙂", "", "WzEsMiwzXQ", "e30", "bnVsbA"]
)
def test_a_made_up_cursor_is_named(handlers: Handlers, user_id: str, cursor: str) -> None:
    answer = handlers.call("GET", f"/playground/sessions?cursor={quote(cursor)}", user=user_id)
    assert (answer.status, answer.body["error"], answer.body["field"]) == (400, "validation_error", "cursor")


def test_a_session_says_what_became_of_each_run(handlers: Handlers, user_id: str) -> None:
    """What it cost, how it ended, and the owner's feedback; of turns that were stored before that was recorded, only
    the run. A copy has nothing of the other user's runs."""
    other = f"{user_id}-other"
    first = run(handlers, user_id)
    session_id = first.body["session_id"]
    second = run(handlers, user_id, "[chars=20000] Go on.", session_id=session_id)
    rating = {"rating": 2, "is_helpful": False, "comment": "Too long."}
    rated = handlers.call("POST", f"/playground/runs/{second.body['run_id']}/feedback", rating, user=user_id)
    assert rated.status == 200

    def runs(session_id: str, user: str) -> list[Any]:
        conversation = handlers.call("GET", f"/playground/sessions/{session_id}", user=user).body["conversation"]
        assert all(message["run"] is None for message in conversation[::2])
        return [message["run"] for message in conversation[1::2]]

    expected = [
        {
            "run_id": answer.body["run_id"],
            "credits_spent": answer.body["credits_spent"],
            "stop_reason": answer.body["stop_reason"],
            "feedback": feedback,
        }
        for answer, feedback in ((first, None), (second, rated.body))
    ]
    assert runs(session_id, user_id) == expected

    share = handlers.call("POST", f"/playground/sessions/{session_id}/share", {}, user=user_id).body
    shared = handlers.call("GET", f"/playground/shared/{share['share_token']}")
    assert not any("run" in message for message in shared.body["conversation"])
    copy = handlers.call("POST", f"/playground/shared/{share['share_token']}/fork", user=other).body["session_id"]
    assert runs(copy, other) == [None, None]
    app: Any = handlers.apps["sessions"]
    assert [(turn.run_id, turn.credits, turn.stop_reason) for turn in app.sessions.turns(copy)] == [
        ("copied", None, None)
    ] * 2

    store: Any = app.store
    key = turn_key(app.settings.sessions_table, session_id, 1)
    store.update(Update(key, actions=[Path(name).remove() for name in ("credits", "stop_reason")]))
    expected[0] |= {"credits_spent": None, "stop_reason": None}
    assert runs(session_id, user_id) == expected


def test_a_session_is_read_with_all_that_was_said(handlers: Handlers, user_id: str) -> None:
    first = run(handlers, user_id, "one")
    second = run(handlers, user_id, "two", session_id=first.body["session_id"])
    session = handlers.call("GET", f"/playground/sessions/{first.body['session_id']}", user=user_id)
    said = [{**message, "run": None} for message in session.body["conversation"]]
    messages = [*first.body["conversation"], *second.body["conversation"]]
    assert said == [{**message, "run": None} for message in messages]
    assert (session.body["turns"], session.body["credits_spent"], session.body["share"]) == (2, 2, None)
    assert session.body["tokens_used"] == first.body["tokens_used"] + second.body["tokens_used"]
    assert session.body["next_cursor"] is None


# --- continue ---------------------------------------------------------------------------------------------------------


def test_three_hundred_turns_of_16_kb_are_listed_read_and_continued(
    handlers: Handlers, ledger: DynamoLedger, user_id: str
) -> None:
    """Reading is paged, by size; a run loads the newest turns that fit, and says how many it left out."""
    session_id = long_session(handlers, user_id, turns=300, answer="All work and no play. " * 745)
    contents, cursor, pages = [], "", 0
    while True:
        page = handlers.call("GET", f"/playground/sessions/{session_id}{cursor}", user=user_id)
        assert page.status == 200
        assert len(json.dumps(page.body)) < MAX_BYTES + 100_000
        contents += [message["content"].partition(":")[0] for message in page.body["conversation"][1::2]]
        pages += 1
        if page.body["next_cursor"] is None:
            break
        cursor = f"?cursor={page.body['next_cursor']}"
    assert contents == [str(number) for number in range(1, 301)]
    assert pages == 2

    give(ledger, user_id, 500)
    estimate = handlers.call(
        "POST",
        "/playground/estimate",
        {"package_id": PACKAGE, "input": "Go on.", "session_id": session_id},
        user=user_id,
    )
    app: Any = handlers.apps["run"]
    with Transport().at(app.store.client) as transport:
        answer = run(handlers, user_id, "Go on.", session_id=session_id)
    reads = [call.operation for call in transport.calls]
    assert reads.count("Query") == 1, reads  # 25 turns are more than fit into 60,000 tokens
    assert 280 < answer.body["turns_omitted"] < 300
    assert estimate.body["turns_omitted"] == answer.body["turns_omitted"]
    assert estimate.body["prompt_tokens"] == answer.body["input_tokens"] < 60_000
    again = handlers.call("GET", f"/playground/sessions/{session_id}?cursor={number_cursor(300)}", user=user_id)
    assert [message["content"] for message in again.body["conversation"]] == ["Go on.", answer.body["response"]]


def test_a_piece_that_is_nearly_all_quotes_is_what_lambda_gives_back(handlers: Handlers, user_id: str) -> None:
    """A quote of the text is four characters of what the function answers: JSON in a string of JSON."""
    rows = [{"id": str(number), "name": f"n{number}", "ok": "y"} for number in range(500)]
    session_id = long_session(handlers, user_id, turns=300, answer=json.dumps(rows, separators=(",", ":")))
    turns, cursor = 0, ""
    while True:
        page = handlers.call("GET", f"/playground/sessions/{session_id}{cursor}", user=user_id)  # which weighs it
        turns += len(page.body["conversation"]) // 2
        if page.body["next_cursor"] is None:
            break
        cursor = f"?cursor={page.body['next_cursor']}"
    assert turns == 300


def test_a_receipt_says_how_much_of_the_conversation_was_left_out(handlers: Handlers, user_id: str) -> None:
    """The repeat of a request gets the same number as the first."""
    session_id = long_session(handlers, user_id, turns=10, answer="word " * 3000)
    body = {"package_id": PACKAGE, "input": "Go on.", "session_id": session_id}
    first = handlers.call("POST", "/playground/run", body, user=user_id, key="one")
    again = handlers.call("POST", "/playground/run", body, user=user_id, key="one")
    assert first.status == 200
    assert 0 < first.body["turns_omitted"] < 10  # four credits are left, which pay for some of it
    assert again.body == first.body


def test_a_session_cannot_be_continued_once_it_is_deleted(handlers: Handlers, user_id: str) -> None:
    session_id = run(handlers, user_id).body["session_id"]
    assert handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id).status == 200
    body = {"package_id": PACKAGE, "input": "Go on.", "session_id": session_id}
    for route in ("/playground/run", "/playground/estimate"):
        answer = handlers.call("POST", route, body, user=user_id)
        assert (answer.status, answer.body["error"]) == (404, "session_not_found")


# --- delete -----------------------------------------------------------------------------------------------------------


def test_what_is_deleted_is_gone_and_the_ledger_stays(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    first = run(handlers, user_id, "a secret plan")
    session_id, run_id = first.body["session_id"], first.body["run_id"]
    run(handlers, user_id, "more of it", session_id=session_id)
    token = handlers.call("POST", f"/playground/sessions/{session_id}/share", user=user_id).body["share_token"]
    handlers.call("POST", f"/playground/shared/{token}/feedback", {"is_helpful": True}, user=f"{user_id}-other")
    handlers.call("POST", f"/playground/runs/{run_id}/feedback", {"rating": 5}, user=user_id)

    deleted = handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id)
    assert (deleted.status, deleted.body) == (200, {"deleted": True})
    for method, path in (
        ("GET", f"/playground/sessions/{session_id}"),
        ("DELETE", f"/playground/sessions/{session_id}"),
        ("DELETE", f"/playground/sessions/{session_id}/share"),
        ("GET", f"/playground/shared/{token}"),
    ):
        assert handlers.call(method, path, user=user_id).status == 404
    assert not listing(handlers, user_id)
    receipt = handlers.call("GET", f"/playground/runs/{run_id}", user=user_id).body
    assert (receipt["credits_spent"], receipt["response"]) == (1, None)
    entries = all_entries(ledger, user_id)
    assert len(entries) == 3
    check_invariants(ledger.account(user_id, utc_now()), entries)
    assert not left(handlers, "SESSION", session_id)
    assert not left(handlers, "SHARE", share_id_of(token))


def left(handlers: Handlers, kind: str, name: str) -> list[Any]:
    """Everything that is stored under a partition key."""
    app: Any = handlers.apps["sessions"]
    found, _ = app.store.query(app.settings.sessions_table, f"{kind}#{name}", first="!", last="~", limit=100)
    return list(found)


@pytest.mark.parametrize("dies_after", range(8))
def test_a_delete_that_dies_is_finished_by_the_next_one(handlers: Handlers, user_id: str, dies_after: int) -> None:
    """Whatever request is the last one that goes through: the session is 404 or whole, and a repeat removes it."""
    session_id = long_session(handlers, user_id, turns=60, answer="Yes.")
    handlers.call("POST", f"/playground/sessions/{session_id}/share", user=user_id)
    app: Any = handlers.apps["sessions"]
    calls = 0

    def cut(**_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > dies_after:
            raise StoreUnavailableError

    events = app.store.client.meta.events
    events.register("before-parameter-build.dynamodb", cut)
    try:
        first = handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id)
    finally:
        events.unregister("before-parameter-build.dynamodb", cut)
    assert first.status == (503 if calls > dies_after else 200)
    there = handlers.call("GET", f"/playground/sessions/{session_id}", user=user_id)
    if there.status == 200:
        assert len(there.body["conversation"]) == 120
    if first.status != 200:
        again = handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id)
        assert again.status == 200
    assert not left(handlers, "SESSION", session_id)
    assert handlers.call("GET", f"/playground/sessions/{session_id}", user=user_id).status == 404


def test_a_delete_that_runs_out_of_time_asks_for_a_repeat(handlers: Handlers, user_id: str) -> None:
    session_id = long_session(handlers, user_id, turns=60, answer="Yes.")
    first = handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id, seconds_left=3)
    assert (first.status, first.headers["Retry-After"]) == (503, "2")
    assert handlers.call("GET", f"/playground/sessions/{session_id}", user=user_id).status == 404
    assert handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id).status == 200
    assert not left(handlers, "SESSION", session_id)


def test_what_a_delete_has_begun_with_is_nowhere_to_be_read(handlers: Handlers, user_id: str) -> None:
    """The receipt stays, without the answer; a repeat of the run is told that its session is gone."""
    body = {"package_id": PACKAGE, "input": "My private words."}
    first = handlers.call("POST", "/playground/run", body, user=user_id, key="once").body
    receipt = f"/playground/runs/{first['run_id']}"
    assert handlers.call("GET", receipt, user=user_id).body["response"] == first["response"]

    app: Any = handlers.apps["sessions"]
    assert app.sessions.mark_deleted(app.sessions.find(user_id, first["session_id"]), utc_now())

    assert left(handlers, "SESSION", first["session_id"])
    answer = handlers.call("GET", receipt, user=user_id)
    assert (answer.status, answer.body["status"], answer.body["response"]) == (200, "settled", None)
    again = handlers.call("POST", "/playground/run", body, user=user_id, key="once")
    assert (again.status, again.body["error"]) == (404, "session_not_found")


def test_hundreds_of_turns_are_deleted_in_one_request(handlers: Handlers, user_id: str) -> None:
    session_id = long_session(handlers, user_id, turns=300, answer="Yes.")
    begun = time.process_time()
    assert handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id).status == 200
    assert time.process_time() - begun < 20
    assert not left(handlers, "SESSION", session_id)


# --- feedback ---------------------------------------------------------------------------------------------------------


def test_feedback_on_a_run_can_be_given_and_changed_by_its_owner(handlers: Handlers, user_id: str) -> None:
    first = run(handlers, user_id)
    path = f"/playground/runs/{first.body['run_id']}/feedback"
    for body in ({"rating": 2, "comment": "Hm."}, {"is_helpful": True}, {"rating": 5, "is_helpful": True}):
        answer = handlers.call("POST", path, body, user=user_id)
        assert answer.status == 200
        assert {name: answer.body[name] for name in body} == body
    assert handlers.call("POST", path, {"rating": 5}, user=f"{user_id}-other").status == 404
    assert len([item for item in left(handlers, "SESSION", first.body["session_id"]) if "rating" in item]) == 1


@pytest.mark.parametrize(
    "body", [{}, {"rating": 0}, {"rating": 6}, {"rating": "5"}, {"is_helpful": 1}, {"rating": 5, "comment": "x" * 1001}]
)
def test_feedback_out_of_bounds_is_refused(handlers: Handlers, user_id: str, body: dict[str, Any]) -> None:
    answer = handlers.call("POST", "/playground/runs/run_1/feedback", body, user=user_id)
    assert (answer.status, answer.body["error"]) == (400, "validation_error")
