"""Where did my credits go? The runs of a user with their outcome, and the history, which names them."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.runs import RunStatus
from playground.ports import Held
from tests.fakes import a_hold, receipt
from tests.handlers import Handlers
from tests.kit.intercept import Request, intercepted

REVIEWER, COMMIT = "@playground/code-reviewer", "@playground/commit-message"
NOW = datetime.now(UTC)


def run(handlers: Handlers, user_id: str, text: str = "Is it right?", **fields: Any) -> Any:
    body = {"package_id": REVIEWER, "input": text, **fields}
    return handlers.call("POST", "/playground/run", body, user=user_id).body


def runs(handlers: Handlers, user_id: str, query: str = "") -> Any:
    answer = handlers.call("GET", f"/playground/runs?{query}", user=user_id)
    assert answer.status == 200, answer.body
    return answer.body


def all_runs(handlers: Handlers, user_id: str, query: str = "") -> Iterator[Any]:
    cursor: str | None = ""
    for _ in range(50):
        page = runs(handlers, user_id, query + (f"&cursor={cursor}" if cursor else ""))
        yield from page["runs"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
    raise AssertionError("a list without end")


def history(handlers: Handlers, user_id: str) -> Any:
    return handlers.call("GET", "/playground/credits/history", user=user_id).body["transactions"]


def fail(ledger: DynamoLedger, user_id: str, run_id: str, at: datetime = NOW) -> None:
    """A run without an answer that ended at `at`."""
    hold = a_hold(run_id, 1, at)
    assert isinstance(ledger.place_hold(user_id, hold, limit=20, now=NOW), Held)
    ledger.release(user_id, receipt(user_id, hold, RunStatus.RELEASED, at))


def test_runs_are_listed_with_their_outcome(handlers: Handlers, user_id: str) -> None:
    paid = run(handlers, user_id)
    assert run(handlers, user_id, "Hello [[claude: empty]]", model="haiku")["error"] == "model_failed"

    page = runs(handlers, user_id)

    failed, settled = page["runs"]
    assert (page["open"], page["next_cursor"], page["unreadable"]) == ([], None, [])
    assert (failed["status"], failed["credits_spent"], failed["model"]) == ("released", 0, "haiku")
    assert failed["error"] == {"error": "model_failed", "reason": "empty"}
    assert settled == {
        "run_id": paid["run_id"],
        "status": "settled",
        "session_id": paid["session_id"],
        "model": "sonnet",
        "model_id": paid["model"],
        "package": REVIEWER,
        "package_version": settled["package_version"],
        "credits_spent": 1,
        "ceiling": settled["ceiling"],
        "input_tokens": paid["input_tokens"],
        "output_tokens": paid["output_tokens"],
        "tokens_used": paid["tokens_used"],
        "stop_reason": "end_turn",
        "duration_ms": paid["duration_ms"],
        "started_at": settled["started_at"],
        "ended_at": settled["ended_at"],
        "error": None,
    }
    for listed in page["runs"]:
        of_run = handlers.call("GET", f"/playground/runs/{listed['run_id']}", user=user_id).body
        assert {name: of_run[name] for name in ("status", "ended_at", "error", "package_version")} == {
            name: listed[name] for name in ("status", "ended_at", "error", "package_version")
        }


def test_history_says_what_each_run_was(handlers: Handlers, user_id: str) -> None:
    first = run(handlers, user_id)
    second = run(handlers, user_id, package_id=COMMIT, model="haiku")

    lines = history(handlers, user_id)

    assert [(line["run_id"], line["model"], line["package"], line["tokens_used"]) for line in lines] == [
        (second["run_id"], "haiku", COMMIT, second["tokens_used"]),
        (first["run_id"], "sonnet", REVIEWER, first["tokens_used"]),
        (None, None, None, None),
    ]
    assert lines[0]["tokens_used"] == lines[0]["input_tokens"] + lines[0]["output_tokens"]
    assert [line["package_version"] is None for line in lines] == [False, False, True]


def test_history_and_receipt_say_whether_a_run_was_without_the_prompt_or_with_a_custom_one(
    handlers: Handlers, user_id: str
) -> None:
    custom = {"custom_prompt": "Answer as briefly as you can.", "input": "Hello."}
    author = handlers.call("POST", "/playground/run", custom, user=user_id, claims={"verified_author": True})
    assert author.status == 200, author.body
    plain, bare = run(handlers, user_id), run(handlers, user_id, use_no_prompt=True)
    expected = {
        bare["run_id"]: (True, False),
        plain["run_id"]: (False, False),
        author.body["run_id"]: (False, True),
        None: (False, False),
    }
    lines = history(handlers, user_id)
    assert {line["run_id"]: (line["use_no_prompt"], line["custom_prompt"]) for line in lines} == expected
    for run_id, marks in expected.items():
        if run_id is not None:
            receipt = handlers.call("GET", f"/playground/runs/{run_id}", user=user_id).body
            assert (receipt["use_no_prompt"], receipt["custom_prompt"]) == marks


def test_a_page_of_history_is_one_more_request_for_all_of_its_runs(handlers: Handlers, user_id: str) -> None:
    for _ in range(3):
        run(handlers, user_id)
    sent: list[str] = []

    def note(request: Request) -> None:
        sent.append(request.operation)

    clients = [client for client in handlers.clients if client.meta.service_model.service_name == "dynamodb"]
    with ExitStack() as interceptions:
        for client in clients:
            interceptions.enter_context(intercepted(client, note))
        assert len(history(handlers, user_id)) == 4
    assert sent == ["GetItem", "Query", "BatchGetItem"]


def test_open_runs_are_on_the_first_page(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    """Beside those that ended; one whose worker died is listed as expired, and its credits are available again."""
    for number in range(3):
        fail(ledger, user_id, f"run_{number}", NOW + timedelta(seconds=number))
    dead = a_hold("run_dead", 1, NOW - timedelta(days=1))
    for hold in (dead, a_hold("run_open", 2, NOW)):
        assert isinstance(ledger.place_hold(user_id, hold, limit=20, now=NOW), Held)

    first = runs(handlers, user_id, "limit=1")
    assert [(run["run_id"], run["status"], run["ended_at"], run["ceiling"]) for run in first["open"]] == [
        ("run_open", "held", None, 2)
    ]
    assert [(run["run_id"], run["status"], run["package"]) for run in first["runs"]] == [("run_dead", "expired", None)]
    assert runs(handlers, user_id, f"limit=1&cursor={first['next_cursor']}")["open"] == []
    assert handlers.call("GET", "/playground/credits", user=user_id).body["held"] == 2

    held = runs(handlers, user_id, "status=held")
    assert ([run["run_id"] for run in held["open"]], held["runs"], held["next_cursor"]) == (["run_open"], [], None)
    for query, count in (("model=sonnet", 1), ("model=opus", 0), ("status=settled", 0), (f"day={NOW.date()}", 0)):
        assert len(runs(handlers, user_id, query)["open"]) == count, query
    assert runs(handlers, user_id, "package=@acme/unknown") == {
        "open": [],
        "runs": [],
        "next_cursor": None,
        "unreadable": [],
    }


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_runs_of_a_day_of_a_package_of_a_model(handlers: Handlers, user_id: str, limit: int) -> None:
    sonnet = run(handlers, user_id)["run_id"]
    haiku = run(handlers, user_id, model="haiku")["run_id"]
    commit = run(handlers, user_id, package_id=COMMIT)["run_id"]
    listed = list(all_runs(handlers, user_id))
    today, before = listed[0]["ended_at"][:10], "2026-01-31"

    for query, expected in (
        ("package=" + COMMIT, [commit]),
        ("package=" + REVIEWER, [haiku, sonnet]),
        ("model=haiku", [haiku]),
        ("status=settled", [commit, haiku, sonnet]),
        ("status=released", []),
        (f"day={today}&model=sonnet", [run["run_id"] for run in listed if run["model"] == "sonnet"]),
        (f"day={before}", []),
    ):
        found = [run["run_id"] for run in all_runs(handlers, user_id, f"{query}&limit={limit}")]
        assert found == expected, query


def test_a_day_is_from_midnight_to_midnight_utc(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    midnight = datetime(2026, 2, 1, tzinfo=UTC)
    moment = timedelta(milliseconds=1)
    for run_id, at in (("run_1", midnight - moment), ("run_2", midnight), ("run_3", midnight + timedelta(days=1))):
        fail(ledger, user_id, run_id, at)
    for day, expected in (("2026-01-31", "run_1"), ("2026-02-01", "run_2"), ("2026-02-02", "run_3")):
        assert [run["run_id"] for run in runs(handlers, user_id, f"day={day}")["runs"]] == [expected]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("model=gpt", "model"),
        ("model=", "model"),
        ("status=lost", "status"),
        ("package=code-reviewer", "package"),
        ("package=3c9d55c3-6d2e-5e7b-9c1a-000000000000", "package"),
        ("day=2026-02-30", "day"),
        ("day=20260201", "day"),
        ("day=2026-2-1", "day"),
        ("day=2026-W05", "day"),
        ("day=9999-12-31", "day"),
        ("day=%D9%A2%D9%A0%D9%A2%D9%A6-01-01", "day"),
        ("cursor=none", "cursor"),
        ("cursor=WyIiLCAiIl0", "cursor"),  # ["", ""]
        ("cursor=WyJ-fiIsICJydW5fMSJd", "cursor"),  # ["~~", "run_1"]
        ("cursor=WyJ6IiwgInJ1bl8xIl0", "cursor"),  # ["z", "run_1"]
        ("day=2026-02-01&cursor=WyIyMDI2LTAyLTAxeiIsICJydW5fMSJd", "cursor"),  # ["2026-02-01z", "run_1"]
        ("type=spend", "type"),
    ],
)
def test_what_a_list_of_runs_does_not_know_is_named(handlers: Handlers, user_id: str, query: str, field: str) -> None:
    answer = handlers.call("GET", f"/playground/runs?{query}", user=user_id)
    assert (answer.status, answer.body["error"], answer.body.get("field")) == (400, "validation_error", field)


def test_a_cursor_is_of_a_list(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    """One of another user leads into the caller's own runs; one of another day leads nowhere."""
    other = f"{user_id}-other"
    for number in range(4):
        for user in (user_id, other):
            fail(ledger, user, f"run_{user == other:d}{number}", datetime(2026, 2, 1, 12, number, tzinfo=UTC))
    foreign = runs(handlers, other, "limit=2")["next_cursor"]

    found = [run["run_id"] for run in runs(handlers, user_id, f"cursor={foreign}")["runs"]]
    assert found in (["run_01", "run_00"], ["run_02", "run_01", "run_00"])

    assert len(runs(handlers, user_id, f"day=2026-02-01&cursor={foreign}")["runs"]) == len(found)
    assert len(runs(handlers, user_id, f"status=released&cursor={foreign}")["runs"]) == len(found)
    answer = handlers.call("GET", f"/playground/runs?day=2026-02-02&cursor={foreign}", user=user_id)
    assert (answer.status, answer.body["field"]) == (400, "cursor")


def test_runs_outlive_their_conversation(handlers: Handlers, user_id: str) -> None:
    paid = run(handlers, user_id)
    session_id = paid["session_id"]
    assert handlers.call("DELETE", f"/playground/sessions/{session_id}", user=user_id).status == 200

    [listed] = runs(handlers, user_id)["runs"]
    assert (listed["run_id"], listed["session_id"], listed["credits_spent"]) == (paid["run_id"], session_id, 1)
    assert history(handlers, user_id)[0]["package"] == REVIEWER


def test_a_first_request_for_runs_opens_the_account(handlers: Handlers, user_id: str) -> None:
    assert runs(handlers, user_id)["runs"] == []
    assert handlers.call("GET", "/playground/credits", user=user_id).body["balance"] == 5
