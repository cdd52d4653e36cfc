"""Sharing through the functions, over the real engine: who sees what, who may do what, and what leaks."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from bench.transport import Transport
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.calendar import instant
from playground.domain.errors import StoreUnavailableError
from playground.domain.sharing import share_id_of
from playground.http import utc_now
from playground.usecases.share_session import ShareSession
from tests.fakes import PlantedLeaks
from tests.handlers import Answer, Handlers
from tests.integration.test_sessions import PACKAGE, left, long_session, run
from tests.support import SESSIONS_TABLE, all_entries, check_invariants

SECRET = "the magic word"


@dataclass
class Play:
    """An owner with a shared session of one turn, and another user."""

    handlers: Handlers
    owner: str
    other: str
    session_id: str
    run_id: str
    token: str

    def call(self, method: str, path: str, body: Any = None, *, user: str | None = None, **rest: Any) -> Answer:
        return self.handlers.call(method, path, body, user=user, **rest)

    def share(self, **body: Any) -> Answer:
        return self.call("POST", f"/playground/sessions/{self.session_id}/share", body or None, user=self.owner)

    def unshare(self) -> Answer:
        return self.call("DELETE", f"/playground/sessions/{self.session_id}/share", user=self.owner)

    def look(self, token: str | None = None, **rest: Any) -> Answer:
        return self.call("GET", f"/playground/shared/{token or self.token}", **rest)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.call("GET", f"/playground/sessions/{self.session_id}", user=self.owner).body[
            "share"
        ]
        return status

    @property
    def app(self) -> Any:
        return self.handlers.apps["sessions"]


@pytest.fixture
def play(handlers: Handlers, user_id: str) -> Play:
    first = run(handlers, user_id, "What is this?")
    play = Play(handlers, user_id, f"{user_id}-other", first.body["session_id"], first.body["run_id"], "")
    play.token = play.share().body["share_token"]
    return play


# --- the snapshot -----------------------------------------------------------------------------------------------------


def test_a_link_shows_the_conversation_and_not_its_owner(play: Play) -> None:
    run(play.handlers, play.owner, "And now something private.", session_id=play.session_id)
    shared = play.look()
    assert shared.status == 200
    assert shared.body["conversation"][0]["content"] == "What is this?"
    assert (len(shared.body["conversation"]), shared.body["turns"], shared.body["package"]) == (2, 1, PACKAGE)
    text = json.dumps(shared.body)
    for inside in (play.owner, play.session_id, play.run_id, "private", "credits", "user", share_id_of(play.token)):
        assert inside not in text.replace('"role": "user"', "")


def test_sharing_again_is_the_same_link_with_what_was_said_since(play: Play) -> None:
    run(play.handlers, play.owner, "And now?", session_id=play.session_id)
    again = play.share()
    assert (again.body["share_token"], again.body["turns"]) == (play.token, 2)
    assert again.body["share_url"].endswith(f"/playground/shared?token={play.token}")
    assert len(play.look().body["conversation"]) == 4


def test_a_withdrawn_link_never_works_again(play: Play) -> None:
    play.call("POST", f"/playground/shared/{play.token}/feedback", {"is_helpful": True}, user=play.other)
    assert (play.unshare().status, play.unshare().status) == (200, 200)
    assert play.look().status == 404
    assert not left(play.handlers, "SHARE", share_id_of(play.token))
    again = play.share().body["share_token"]
    assert again != play.token
    assert (play.look().status, play.look(again).status) == (404, 200)
    assert play.status()["helpful"] == 0


def test_a_token_has_256_bits_and_is_stored_nowhere(play: Play) -> None:
    assert len(base64.urlsafe_b64decode(play.token + "=")) == 32
    assert play.token not in str(left(play.handlers, "SESSION", play.session_id))
    assert play.token not in str(left(play.handlers, "SHARE", share_id_of(play.token)))


def test_a_link_expires_by_the_clock(play: Play) -> None:
    assert play.share(expires_in_days=1).body["expires_at"] is not None
    assert play.look().status == 200
    expire(play)
    assert play.look().status == 404
    assert play.status()["expired"] is True
    assert play.share().body["expires_at"] is None  # without an expiry it never ends
    assert play.look().status == 200


def expire(play: Play) -> None:
    app = play.app
    share = app.shares.find(share_id_of(play.token))
    session = app.sessions.find(play.owner, play.session_id)
    assert app.shares.move(session, replace(share, expires_at=instant(utc_now() - timedelta(seconds=1))))


def test_no_header_lets_a_link_leak(play: Play) -> None:
    for answer in (play.look(), play.look("wrong"), play.call("GET", f"/playground/shared/{play.token}?cursor=x")):
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_a_long_conversation_is_shared_in_pieces(handlers: Handlers, user_id: str) -> None:
    session_id = long_session(handlers, user_id, turns=300, answer="All work and no play. " * 745)
    token = handlers.call("POST", f"/playground/sessions/{session_id}/share", user=user_id).body["share_token"]
    first = handlers.call("GET", f"/playground/shared/{token}")
    second = handlers.call("GET", f"/playground/shared/{token}?cursor={first.body['next_cursor']}")
    assert len(first.body["conversation"]) + len(second.body["conversation"]) == 600
    assert second.body["next_cursor"] is None


# --- what does not exist looks alike ----------------------------------------------------------------------------------


def withdraw(play: Play) -> str:
    play.unshare()
    return play.token


def delete(play: Play) -> str:
    play.call("DELETE", f"/playground/sessions/{play.session_id}", user=play.owner)
    return play.token


def let_expire(play: Play) -> str:
    expire(play)
    return play.token


def hide(play: Play) -> str:
    for number in range(3):
        reporter = f"{play.other}-{number}"
        play.call("POST", f"/playground/shared/{play.token}/report", {"reason": "spam"}, user=reporter)
    return play.token


MISSING: dict[str, Callable[[Play], str]] = {
    "wrong": lambda play: "A" * 43,
    "nearly right": lambda play: play.token[:-1] + ("A" if play.token[-1] != "A" else "B"),
    "longer": lambda play: play.token + "A",
    "padded": lambda play: play.token + "=",
    "short": lambda play: "x",
    "malformed": lambda play: '"<script>"',
    "not ASCII": lambda play: "ключ🙂",
    "huge": lambda play: "A" * 6000,
    "its hash": lambda play: share_id_of(play.token),
    "withdrawn": withdraw,
    "deleted": delete,
    "expired": let_expire,
    "hidden": hide,
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_not_there_looks_alike_and_takes_as_long(play: Play, name: str) -> None:
    """The same status, body and headers, after the same number of requests to the store: one."""
    token = MISSING[name](play)
    with Transport().at(play.app.store.client) as transport:
        answer = play.look(token)
    assert [call.operation for call in transport.calls] == ["Query"]
    wrong = play.look("A" * 43)
    assert (answer.status, {**answer.body, "request_id": None}) == (404, {**wrong.body, "request_id": None})
    assert answer.headers == wrong.headers
    assert answer.body["error"] == "share_not_found"
    for verb, body in (("fork", None), ("feedback", {"is_helpful": True}), ("report", {"reason": "spam"})):
        other = play.call("POST", f"/playground/shared/{token}/{verb}", body, user=play.other)
        assert (other.status, other.body["error"]) == (404, "share_not_found")


# --- who may do what --------------------------------------------------------------------------------------------------

# (method, path, body) → status for: owner, another user (who has the link), nobody in particular
RULES: dict[tuple[str, str], tuple[dict[str, Any] | None, int, int, int]] = {
    ("GET", "/playground/sessions"): (None, 200, 200, 401),
    ("GET", "/playground/sessions/{session}"): (None, 200, 404, 401),
    ("POST", "/playground/sessions/{session}/share"): ({}, 200, 404, 401),
    ("POST", "/playground/run"): ({"package_id": PACKAGE, "input": "Go on.", "session_id": "{session}"}, 200, 404, 401),
    ("POST", "/playground/run/stream"): (
        {"package_id": PACKAGE, "input": "Go on.", "session_id": "{session}"},
        200,
        404,
        401,
    ),
    ("POST", "/custom-prompt/run"): (
        {"input": "Go on.", "session_id": "{session}"},
        409,
        404,
        401,
    ),  # it runs a package
    ("GET", "/playground/runs/{run}/stream"): (None, 200, 404, 401),
    ("POST", "/playground/runs/{run}/cancel"): ({}, 409, 404, 401),  # it has ended
    ("POST", "/playground/estimate"): (
        {"package_id": PACKAGE, "input": "Go on.", "session_id": "{session}"},
        200,
        404,
        401,
    ),
    ("GET", "/playground/runs"): (None, 200, 200, 401),
    ("GET", "/playground/runs/{run}"): (None, 200, 404, 401),
    ("POST", "/playground/runs/{run}/feedback"): ({"rating": 4}, 200, 404, 401),
    ("GET", "/playground/shared/{token}"): (None, 200, 200, 200),
    ("POST", "/playground/shared/{token}/fork"): (None, 200, 200, 401),
    ("POST", "/playground/shared/{token}/feedback"): ({"is_helpful": True}, 403, 200, 200),
    ("POST", "/playground/feedback"): (
        {"session_id": "{session}", "exchange_index": 0, "is_effective": True},
        200,
        404,
        401,
    ),
    ("POST", "/playground/shared/{token}/report"): ({"reason": "spam"}, 403, 200, 401),
    ("DELETE", "/playground/sessions/{session}/share"): (None, 200, 404, 401),
    ("DELETE", "/playground/sessions/{session}"): (None, 200, 404, 401),
}


def test_every_route_of_sessions_and_shares_has_a_rule(handlers: Handlers) -> None:
    routes = {
        (route.method, route.path.removeprefix("/v1").replace("_id}", "}"))
        for route in handlers.description.apis[0].routes
        if any(part in route.path for part in ("session", "shared", "runs", "/run", "estimate", "playground/feedback"))
    }
    assert routes == set(RULES)


def ask(play: Play, rule: tuple[str, str], user: str | None) -> Answer:
    method, path = rule
    body = RULES[rule][0]

    def fill(text: str) -> str:
        names = {"session": play.session_id, "run": play.run_id, "token": play.token}
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    if body is not None:
        body = json.loads(fill(json.dumps(body)))
    return play.call(method, fill(path), body, user=user)


@pytest.mark.parametrize("rule", RULES, ids=" ".join)
def test_a_session_is_its_owners_and_a_link_is_for_looking(play: Play, rule: tuple[str, str]) -> None:
    _, owner, other, anonymous = RULES[rule]
    before = everything(play)
    assert ask(play, rule, None).status == anonymous
    assert ask(play, rule, play.other).status == other
    assert everything(play) == before  # nobody can write into somebody else's session
    assert ask(play, rule, play.owner).status == owner


def everything(play: Play) -> Any:
    """The session as its owner sees it, without the counters, which are what viewers are for."""
    body = play.call("GET", f"/playground/sessions/{play.session_id}", user=play.owner).body
    for counter in ("views", "helpful", "not_helpful"):
        body["share"].pop(counter)
    return {**body, "request_id": None}, len(left(play.handlers, "SESSION", play.session_id)) - reports(play)


def reports(play: Play) -> int:
    return sum(item["sk"]["S"].startswith("REPORT#") for item in left(play.handlers, "SESSION", play.session_id))


@pytest.mark.parametrize("rule", RULES, ids=" ".join)
def test_a_deleted_session_cannot_be_read(play: Play, rule: tuple[str, str]) -> None:
    delete(play)
    about_nothing = rule in {("GET", "/playground/sessions"), ("GET", "/playground/runs")}  # lists of the caller's own
    # What was charged stays, what was said does not.
    receipt = rule[1] in ("/playground/runs/{run}", "/playground/runs/{run}/cancel")
    for user, expected in ((play.owner, 404), (play.other, 404)):
        answer = ask(play, rule, user)
        kept = RULES[rule][1]
        assert answer.status == (kept if about_nothing or (receipt and user == play.owner) else expected)
        assert "What is this?" not in json.dumps(answer.body)


def test_a_bad_token_is_as_good_as_none_on_the_public_route_only(play: Play) -> None:
    event = {
        "resource": "/v1/playground/shared/{token}",
        "path": f"/v1/playground/shared/{play.token}",
        "httpMethod": "GET",
        "headers": {"Authorization": "Bearer nonsense"},
        "requestContext": {"requestId": "r", "identity": {"sourceIp": "203.0.113.9"}},
        "body": None,
    }
    assert play.handlers.event("sessions", event).status == 200
    for path in (f"/v1/playground/sessions/{play.session_id}", f"/v1/playground/shared/{play.token}/fork"):
        method = "POST" if path.endswith("fork") else "GET"
        answer = play.handlers.event("sessions", {**event, "path": path, "httpMethod": method})
        assert answer.status == 401  # whatever the event calls its resource


def test_who_has_no_token_learns_nothing_from_a_bad_body(play: Play) -> None:
    for path in (f"/playground/shared/{play.token}/report", "/playground/feedback"):
        answer = play.call("POST", path, {"nonsense": 1})
        assert (answer.status, answer.body["error"]) == (401, "unauthorized")


# --- fork -------------------------------------------------------------------------------------------------------------


def test_a_fork_is_the_callers_own_costs_nothing_and_goes_on(play: Play, ledger: DynamoLedger) -> None:
    fork = play.call("POST", f"/playground/shared/{play.token}/fork", user=play.other)
    assert (fork.status, fork.body["turns"], fork.body["credits_spent"], fork.body["forked"]) == (200, 1, 0, True)
    original = play.call("GET", f"/playground/sessions/{play.session_id}", user=play.owner).body
    copied = play.call("GET", f"/playground/sessions/{fork.body['session_id']}", user=play.other).body
    assert copied["conversation"] == [{**message, "run": None} for message in original["conversation"]]
    delete(play)
    after = run(play.handlers, play.other, "And now?", session_id=fork.body["session_id"])
    assert after.body["credits_remaining"] == 4
    copied = play.call("GET", f"/playground/sessions/{fork.body['session_id']}", user=play.other).body
    assert (copied["turns"], copied["credits_spent"], len(copied["conversation"])) == (2, 1, 4)
    check_invariants(ledger.account(play.other, utc_now()), all_entries(ledger, play.other))
    assert play.call("GET", f"/playground/sessions/{fork.body['session_id']}", user=play.owner).status == 404


def test_the_same_key_is_the_same_fork(play: Play) -> None:
    path = f"/playground/shared/{play.token}/fork"
    one, two = (play.call("POST", path, user=play.other, key="k") for _ in range(2))
    assert one.body["session_id"] == two.body["session_id"]
    assert play.call("POST", path, user=play.owner, key="k").body["session_id"] != one.body["session_id"]
    assert play.call("POST", path, user=play.other).body["session_id"] != one.body["session_id"]
    withdraw(play)
    assert play.call("POST", path, user=play.other, key="k").body["session_id"] == one.body["session_id"]
    other = play.share().body["share_token"]
    conflict = play.call("POST", f"/playground/shared/{other}/fork", user=play.other, key="k")
    assert (conflict.status, conflict.body["error"]) == (422, "idempotency_conflict")


@pytest.mark.parametrize("dies_after", range(7))
def test_a_fork_that_dies_is_invisible_and_its_repeat_completes_it(
    handlers: Handlers, user_id: str, dies_after: int
) -> None:
    other = f"{user_id}-other"
    session_id = long_session(handlers, user_id, turns=60, answer="Yes.")
    token = handlers.call("POST", f"/playground/sessions/{session_id}/share", user=user_id).body["share_token"]
    app: Any = handlers.apps["sessions"]
    with dying(app.store.client, dies_after):
        first = handlers.call("POST", f"/playground/shared/{token}/fork", user=other, key="k")
    if first.status != 200:
        assert not handlers.call("GET", "/playground/sessions", user=other).body["sessions"]
    again = handlers.call("POST", f"/playground/shared/{token}/fork", user=other, key="k")
    assert again.status == 200
    copied = handlers.call("GET", f"/playground/sessions/{again.body['session_id']}", user=other).body
    assert len(copied["conversation"]) == 120


@contextmanager
def dying(client: Any, after: int) -> Iterator[None]:
    """The process dies after so many requests to the store: none of the later ones is sent."""
    calls = 0

    def cut(**_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise StoreUnavailableError

    client.meta.events.register("before-parameter-build.dynamodb", cut)
    try:
        yield
    finally:
        client.meta.events.unregister("before-parameter-build.dynamodb", cut)


def test_leftovers_are_removed_by_whatever_the_user_does_next(handlers: Handlers, user_id: str) -> None:
    """A fork whose worker died is removed once no worker can be at it any more."""
    other = f"{user_id}-other"
    session_id = long_session(handlers, user_id, turns=60, answer="Yes.")
    token = handlers.call("POST", f"/playground/sessions/{session_id}/share", user=user_id).body["share_token"]
    app: Any = handlers.apps["sessions"]
    with dying(app.store.client, 4):
        assert handlers.call("POST", f"/playground/shared/{token}/fork", user=other).status == 503
    [dead] = app.sessions.leftovers(other, before=utc_now() + timedelta(hours=1), limit=10)
    assert left(handlers, "SESSION", dead.session_id)
    later = utc_now() + timedelta(minutes=20)
    fork = app.ForkShared(sessions=app.sessions, shares=app.shares, clock=lambda: later, new_id=app.new_id)
    assert fork(other, token, idempotency_key=None, seconds_left=29).turns == 60
    assert not left(handlers, "SESSION", dead.session_id)


# --- what is looked for -----------------------------------------------------------------------------------------------


@pytest.fixture
def planted(handlers: Handlers) -> Iterator[None]:
    """The scanner finds one phrase only."""
    app: Any = handlers.apps["sessions"]
    real = app.share_session
    app.share_session = ShareSession(
        sessions=app.sessions,
        shares=app.shares,
        keys=app.keys,
        leaks=PlantedLeaks(SECRET),
        clock=utc_now,
        new_nonce=lambda: app.new_id("shr"),
    )
    yield
    app.share_session = real


@pytest.mark.usefixtures("planted")
def test_what_looks_like_a_secret_is_not_shared_unless_it_is_acknowledged(handlers: Handlers, user_id: str) -> None:
    first = run(handlers, user_id, f"It is {SECRET}.")
    path = f"/playground/sessions/{first.body['session_id']}/share"
    blocked = handlers.call("POST", path, user=user_id)
    assert (blocked.status, blocked.body["error"], blocked.body["found"]) == (409, "share_blocked", 2)
    assert blocked.body["findings"][0] == {"turn": 1, "role": "user", "kind": "word", "start": 6, "end": 20}
    assert blocked.body["findings"][1]["role"] == "assistant"  # which repeats it
    assert SECRET not in json.dumps(blocked.body)
    assert handlers.call("GET", f"/playground/sessions/{first.body['session_id']}", user=user_id).body["share"] is None
    shared = handlers.call("POST", path, {"acknowledge_findings": True}, user=user_id)
    assert shared.status == 200
    assert handlers.call("POST", path, user=user_id).status == 200  # these turns are public already
    run(handlers, user_id, f"Again {SECRET}.", session_id=first.body["session_id"])
    blocked = handlers.call("POST", path, user=user_id)
    assert {finding["turn"] for finding in blocked.body["findings"]} == {2}
    assert len(handlers.call("GET", f"/playground/shared/{shared.body['share_token']}").body["conversation"]) == 2


def test_a_key_in_a_conversation_blocks_its_share(handlers: Handlers, user_id: str) -> None:
    """With the real scanner."""
    key = "AKIA" + "Q3ZJ7XKP2MVN5RTW"
    first = run(handlers, user_id, f"My key is {key}, is that bad?")
    blocked = handlers.call("POST", f"/playground/sessions/{first.body['session_id']}/share", user=user_id)
    assert (blocked.status, blocked.body["error"]) == (409, "share_blocked")
    assert blocked.body["findings"][0]["kind"] == "aws_access_key_id"
    assert key not in json.dumps(blocked.body)


# --- views, votes, reports --------------------------------------------------------------------------------------------


def test_viewers_are_counted_once_and_the_owner_never(play: Play) -> None:
    for _ in range(2):
        play.look(user=play.owner)
        play.look(user=play.other)
        play.look(address="203.0.113.1")
        play.look(address="203.0.113.2")
    assert play.status()["views"] == 3


def test_no_address_is_stored(play: Play) -> None:
    play.look(address="203.0.113.77")
    items = left(play.handlers, "SHARE", share_id_of(play.token))
    assert len(items) == 3  # the share, the viewer, a counter
    assert "203.0.113.77" not in str(items)


def test_a_view_that_cannot_be_counted_is_a_view_all_the_same(play: Play) -> None:
    with dying(play.app.store.client, 2):
        assert play.look(address="203.0.113.3").status == 200
    assert play.status()["views"] == 0


def test_the_owner_sees_votes_and_nobody_votes_twice(play: Play) -> None:
    path = f"/playground/shared/{play.token}/feedback"
    for is_helpful in (True, False):
        vote = play.call("POST", path, {"is_helpful": is_helpful, "comment": "So so."}, user=play.other)
        assert (vote.status, vote.body["is_helpful"], vote.body["comment"]) == (200, is_helpful, "So so.")
    play.call("POST", path, {"is_helpful": True}, user=f"{play.other}-2")
    assert (play.status()["helpful"], play.status()["not_helpful"]) == (1, 1)


def test_three_reports_hide_it_until_an_operator_decides(play: Play) -> None:
    for number in (0, 0, 1):
        report = play.call(
            "POST", f"/playground/shared/{play.token}/report", {"reason": "spam"}, user=f"{play.other}-{number}"
        )
        assert (report.status, report.body) == (200, {"reported": True})
        assert play.look().status == 200
    play.call("POST", f"/playground/shared/{play.token}/report", {"reason": "spam"}, user=f"{play.other}-2")
    assert play.look().status == 404
    assert play.status()["hidden"] is True
    withdraw(play)
    again = play.share().body["share_token"]  # a new link is no way around it
    assert play.look(again).status == 404


# --- a popular link ---------------------------------------------------------------------------------------------------


def test_a_reader_waits_for_no_counter(play: Play) -> None:
    """Many viewers at once are in each other's way at a counter. It is tried once; the conversation is shown."""
    with Transport(conflicts=1.0).at(play.app.store.client) as transport:
        answer = play.look(address="198.51.100.1")
    assert (answer.status, len(answer.body["conversation"])) == (200, 2)
    writes = [call for call in transport.calls if call.operation == "TransactWriteItems"]
    assert [call.injected for call in writes] == [True]
    assert play.status()["views"] == 0
    assert play.look(address="198.51.100.1").status == 200  # the next look counts
    assert play.status()["views"] == 1


def test_viewers_leave_the_share_alone(play: Play) -> None:
    """DynamoDB cancels transactions that meet at an item: readers of one link must not all write to the same one."""
    with Transport().at(play.app.store.client) as transport:
        for number in range(30):
            assert play.look(address=f"198.51.100.{number}").status == 200
    touched = Counter(
        next(iter(write.values()))["Key" if "Update" in write else "Item"]["sk"]["S"]
        for call in transport.calls
        if call.operation == "TransactWriteItems"
        for write in call.params["TransactItems"]
    )
    counters = {key: number for key, number in touched.items() if not key.startswith("VIEW#")}
    assert "SHARE" not in counters
    assert (sum(counters.values()), len(counters) > 8, max(counters.values()) < 10) == (30, True, True)
    assert play.status()["views"] == 30


def test_views_that_were_counted_before_are_kept(play: Play) -> None:
    """Earlier versions counted in the share itself."""
    key = {"pk": {"S": f"SHARE#{share_id_of(play.token)}"}, "sk": {"S": "SHARE"}}
    play.app.store.client.update_item(
        TableName=SESSIONS_TABLE,
        Key=key,
        UpdateExpression="SET #views = :seven",
        ExpressionAttributeNames={"#views": "views"},
        ExpressionAttributeValues={":seven": {"N": "7"}},
    )
    play.look(address="198.51.100.1")
    assert play.status()["views"] == 8
