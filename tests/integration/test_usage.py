"""What users and the public see of the counters, through the routes, with the rights of the template."""

import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pynamodb.expressions.operand import Path

from playground.adapters.dynamo_feedback import DynamoFeedback
from playground.adapters.dynamo_keys import (
    feedback_key,
    package_total_key,
    session_key,
    spender_key,
    user_day_key,
    user_pk,
)
from playground.adapters.dynamo_store import DynamoStore, Put, Update
from playground.adapters.dynamo_usage import DynamoUsage
from playground.domain.runs import Run
from playground.domain.sessions import RunFeedback
from playground.domain.spend import Counters, Ratings, SpendRow
from playground.schemas.credits import UsageAnswer
from playground.usecases.read_usage import MAX_ROWS, UsagePage
from tests.conftest import NOW
from tests.fakes import paid_run, unpaid_run
from tests.handlers import Handlers
from tests.integration.test_spend import Killed, Mortal, records_of
from tests.kit.extent import WHOLE
from tests.support import SESSIONS_TABLE, SPEND_TABLE

REVIEWER = "@playground/code-reviewer"
ANALYTICS = f"/playground/analytics/packages/{REVIEWER}"
_numbers = itertools.count(1)


@pytest.fixture
def fresh(handlers: Handlers, store: DynamoStore) -> Iterator[None]:
    """Nobody has run any package, and the function has read nothing."""
    forget_ranking(handlers)
    clear_packages(store)
    yield
    clear_packages(store)
    forget_ranking(handlers)


def clear_packages(store: DynamoStore) -> None:
    client: Any = store.client
    pages = client.get_paginator("scan").paginate(TableName=SPEND_TABLE)  # other files leave more than one page
    found = [raw for page in pages for raw in page["Items"]]
    packages = [raw for raw in found if "@" in raw["pk"]["S"] + raw["sk"]["S"]]
    for raw in packages:
        client.delete_item(TableName=SPEND_TABLE, Key={name: raw[name] for name in ("pk", "sk")})


def forget_ranking(handlers: Handlers) -> None:
    app: Any = handlers.apps["catalog"]
    app.list_popular.ranking._ranking = None


def a_run(user: str, *, package: str | None = REVIEWER, days_ago: int = 0, model: str = "sonnet") -> Run:
    number = next(_numbers)
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return paid_run(user, f"run_usage_{user}_{number}", at, cost_nano=number, charged=2, package=package, model=model)


def count(handlers: Handlers, runs: Sequence[Run]) -> None:
    for start in range(0, len(runs), 100):
        assert handlers.invoke("guard", {"Records": records_of(runs[start : start + 100])}) == {"batchItemFailures": []}


def test_a_user_sees_the_own_usage_and_nobody_elses(handlers: Handlers, user_id: str) -> None:
    failed = unpaid_run(user_id, f"run_usage_{user_id}_failed", datetime.now(UTC), cost_nano=7)
    runs = [a_run(user_id), a_run(user_id), a_run(user_id, package=None, days_ago=3, model="opus"), failed]
    count(handlers, [*runs, a_run(f"{user_id}-other")])
    answer = handlers.call("GET", "/playground/analytics/usage", user=user_id)

    assert answer.status == 200
    body = answer.body
    assert [(day["package"], day["model"], day["runs"], day["failed_runs"]) for day in body["days"]] == [
        (None, "opus", 1, 0),
        ("@acme/tidy", "sonnet", 0, 1),
        (REVIEWER, "sonnet", 2, 0),
    ]
    sums = sum(map(Counters.of, runs), Counters())
    assert body["totals"] == {
        "runs": 3,
        "failed_runs": 1,
        "credits": 6,
        "tokens": 300,
        "input_tokens": 120,
        "output_tokens": 180,
        "provider_cost": sums.cost_nano,
    }
    assert body["next_cursor"] is None
    assert body["to_date"] == datetime.now(UTC).date().isoformat()
    assert answer.headers["Cache-Control"] == "no-store"
    assert handlers.call("GET", "/playground/analytics/usage").status == 401
    assert handlers.call("GET", "/playground/analytics/usage?days=1", user=user_id).body["totals"]["runs"] == 2


def test_usage_is_paged(handlers: Handlers, user_id: str) -> None:
    runs = [a_run(user_id, days_ago=number % 7, package=[REVIEWER, None][number % 2]) for number in range(20)]
    count(handlers, runs)
    whole = handlers.call("GET", "/playground/analytics/usage", user=user_id).body
    days: list[dict[str, Any]] = []
    path = "/playground/analytics/usage?limit=3"
    for _ in range(10):
        page = handlers.call("GET", path, user=user_id).body
        days += page["days"]
        if page["next_cursor"] is None:
            break
        path = f"/playground/analytics/usage?limit=3&cursor={page['next_cursor']}"

    assert days == whole["days"]
    assert sum(day["runs"] for day in days) == whole["totals"]["runs"] == 20


@pytest.mark.parametrize("path", ["/playground/analytics/usage", ANALYTICS])
@pytest.mark.parametrize("days", ["0", "91", "x", "-1", "1.0", "", "1e1"])
def test_days_that_cannot_be_are_named(handlers: Handlers, user_id: str, path: str, days: str) -> None:
    answer = handlers.call("GET", f"{path}?days={days}", user=user_id)
    assert (answer.status, answer.body["error"], answer.body["field"]) == (400, "validation_error", "days")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "WyIyMDI2LTEzLTAxIiwgIiIsICJzb25uZXQiXQ",
        "WyI5OTk5LTEyLTMxIiwgIiIsICJzb25uZXQiXQ",
        "WyIyMDI2LTExLTAxIiwgIiIsICJcdTAwMDAiXQ",
    ],
)
def test_a_cursor_of_nothing_is_named(handlers: Handlers, user_id: str, cursor: str) -> None:
    answer = handlers.call("GET", f"/playground/analytics/usage?cursor={cursor}", user=user_id)
    assert (answer.status, answer.body["field"]) == (400, "cursor")


@pytest.mark.usefixtures("fresh")
def test_the_public_sees_totals_of_a_package_and_no_user(handlers: Handlers, user_id: str) -> None:
    count(handlers, [a_run(f"{user_id}-{number % 4}") for number in range(6)])
    body = handlers.call("GET", ANALYTICS).body
    assert (body["name"], body["runs"]) == (REVIEWER, 6)
    assert (body["users"], body["average_credits"], body["days"]) == (None, None, [])

    more = [a_run(f"{user_id}-4"), a_run(f"{user_id}-4", days_ago=2)]
    count(handlers, [*more, *more])
    answer = handlers.call("GET", ANALYTICS)
    today = datetime.now(UTC).date()
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert answer.body["users"] == 5
    assert answer.body["average_credits"] == 2.0
    assert answer.body["days"] == [
        {"date": (today - timedelta(days=2)).isoformat(), "runs": 1},
        {"date": today.isoformat(), "runs": 7},
    ]
    assert user_id not in str(answer.body)
    by_id = handlers.call("GET", f"/playground/analytics/packages/{answer.body['id']}")
    by_encoded_name = handlers.call("GET", f"/playground/analytics/packages/{REVIEWER.replace('/', '%2F')}")
    assert by_id.body == by_encoded_name.body == answer.body
    assert (
        handlers.call("GET", "/playground/analytics/packages/@playground/unknown").body["error"] == "package_not_found"
    )


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("limit", [1, 4, 100])
def test_packages_by_runs(handlers: Handlers, user_id: str, limit: int) -> None:
    names = [each["name"] for each in handlers.call("GET", "/packages?limit=100").body["packages"]]
    chance = random.Random(limit)
    times = {name: chance.choice([0, 1, 2, 5]) for name in names}
    count(handlers, [a_run(user_id, package=name) for name in names for _ in range(times[name])])
    forget_ranking(handlers)

    found: list[str] = []
    path = f"/packages?sort=runs&limit={limit}"
    for _ in range(len(names) + 2):
        page = handlers.call("GET", path).body
        found += [each["name"] for each in page["packages"]]
        if page["next_cursor"] is None:
            break
        path = f"/packages?sort=runs&limit={limit}&cursor={page['next_cursor']}"
    assert found == sorted(names, key=lambda name: (-times[name], name))


@pytest.mark.parametrize(
    ("query", "field"),
    [("sort=stars", "sort"), ("sort=", "sort"), ("sort=runs&cursor=@a/b", "cursor"), ("sort=runs&limit=0", "limit")],
)
def test_an_order_that_there_is_not_is_named(handlers: Handlers, query: str, field: str) -> None:
    answer = handlers.call("GET", f"/packages?{query}")
    assert (answer.status, answer.body["field"]) == (400, field)


def test_the_public_function_has_no_right_to_read_what_users_ran(handlers: Handlers, user_id: str) -> None:
    app: Any = handlers.apps["catalog"]
    today = datetime.now(UTC).date()
    with handlers.rights.of("catalog"), pytest.raises(PermissionError, match="SpendTable"):
        app.usage.of_user(user_id, today, today)
    with handlers.rights.of("credits"), pytest.raises(PermissionError, match="SpendTable"):
        handlers.apps["credits"].read_usage.usage.of_package(REVIEWER, today, today)
    with handlers.rights.of("credits"), pytest.raises(PermissionError, match="SpendTable"):
        handlers.apps["credits"].store.get(spender_key(SPEND_TABLE, user_id))


def test_counters_of_an_earlier_version_are_shown(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    """They had no tokens at first, in rows and in totals."""
    day = datetime.now(UTC).date()
    client: Any = store.client
    client.put_item(
        TableName=SPEND_TABLE,
        Item={
            "pk": {"S": user_pk(user_id)},
            "sk": {"S": f"DAY#{day.isoformat()}#@acme/old#sonnet"},
            "model": {"S": "sonnet"},
            "package": {"S": "@acme/old"},
            "runs": {"N": "2"},
            "credits": {"N": "3"},
        },
    )
    [row] = handlers.call("GET", "/playground/analytics/usage", user=user_id).body["days"]
    assert (row["package"], row["runs"], row["credits"], row["tokens"], row["provider_cost"]) == (
        "@acme/old",
        2,
        3,
        0,
        0,
    )


def test_the_largest_answer_fits_into_a_response_of_lambda() -> None:
    """6 MB; these are 5,000 rows of the longest names."""
    day, big = datetime.now(UTC).date(), 10**15
    counters = Counters(
        runs=big, failed=big, credits=big, input_tokens=big, output_tokens=big, cost_nano=big, unpaid_nano=big
    )
    row = SpendRow(day=day, model="m" * 64, package="@" + "a" * 64 + "/" + "b" * 100, counters=counters)
    page = UsagePage(first=day, last=day, rows=[row] * MAX_ROWS, totals=counters, following=row.place)
    assert len(UsageAnswer.of(page, next_cursor="x" * 400).model_dump_json()) < 3_000_000


@pytest.mark.usefixtures("fresh")
def test_a_damaged_counter_is_named_and_hides_no_other_package(
    handlers: Handlers, store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sums without it would be wrong, so there are none; the order of packages goes on without it."""
    other = "@playground/plain-english"
    count(handlers, [a_run(user_id), a_run(user_id), a_run(user_id, package=other)])
    row = user_day_key(SPEND_TABLE, user_id, datetime.now(UTC).date(), REVIEWER, "sonnet")
    for key in (row, package_total_key(SPEND_TABLE, REVIEWER)):
        store.put_all({key: {**(store.get(key) or {}), "runs": {"S": "many"}}})

    for path in ("/playground/analytics/usage", ANALYTICS):
        refused = handlers.call("GET", path, user=user_id)
        assert (refused.status, refused.body["error"]) == (500, "unreadable_record")
    forget_ranking(handlers)
    assert handlers.call("GET", "/packages?sort=runs&limit=1").body["packages"][0]["name"] == other
    assert capsys.readouterr().out.count('"UnreadableRecords"') >= 3


# --- ratings ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh")
def test_ratings_of_a_package_are_shown_with_its_users(handlers: Handlers, user_id: str) -> None:
    count(handlers, [a_run(f"{user_id}-{number}") for number in range(4)])
    run = {"package_id": REVIEWER, "input": "Hello"}
    run_id = handlers.call("POST", "/playground/run", run, user=user_id).body["run_id"]
    path = f"/playground/runs/{run_id}/feedback"
    before = DynamoUsage(handlers.apps["catalog"].store, SPEND_TABLE).ratings_of(REVIEWER)
    for body in ({"rating": 2}, {"rating": 5, "is_helpful": True}, {"rating": 5, "is_helpful": True}):
        assert handlers.call("POST", path, body, user=user_id).status == 200
    assert handlers.call("GET", ANALYTICS).body["ratings"] is None

    count(handlers, [a_run(user_id)])
    shown = handlers.call("GET", ANALYTICS).body["ratings"]
    assert (shown["count"], shown["helpful"], shown["not_helpful"]) == (
        before.rated + 1,
        before.helpful + 1,
        before.not_helpful,
    )
    assert shown["average"] == round((before.stars + 5) / (before.rated + 1), 2)


@pytest.mark.parametrize("seed", range(12 if WHOLE else 4))
def test_ratings_survive_deaths_and_repeats(store: DynamoStore, user_id: str, seed: int) -> None:
    """The function dies before and after its transactions, and clients ask again or do not."""
    chance, package, session_id = random.Random(seed), f"@{user_id}/tidy", f"ses_{user_id}"
    mortal = Mortal(store.client, store.backoff)
    feedback = DynamoFeedback(mortal, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE)
    store.transact(Put(session_key(SESSIONS_TABLE, session_id), {"user_id": {"S": user_id}}))
    runs = [f"run_{user_id}_{number}" for number in range(6)]
    mortal.chance = chance
    for number in range(60):
        opinion = RunFeedback(
            run_id=chance.choice(runs),
            rating=chance.choice([None, 1, 2, 5]),
            is_helpful=chance.choice([None, True, False]),
            comment="",
            given_at=NOW + timedelta(seconds=number),
        )
        for _ in range(chance.choice([1, 3])):
            try:
                assert feedback.put(user_id, session_id, opinion, package)
            except Killed:
                continue
    assert DynamoUsage(store, SPEND_TABLE).ratings_of(package) == stored_ratings(store, session_id, runs)


def stored_ratings(store: DynamoStore, session_id: str, run_ids: Sequence[str]) -> Ratings:
    found = [store.get(feedback_key(SESSIONS_TABLE, session_id, run_id)) or {} for run_id in run_ids]
    ratings = (int(raw["rating"]["N"]) if "rating" in raw else None for raw in found)
    opinions = (raw["is_helpful"]["BOOL"] if "is_helpful" in raw else None for raw in found)
    return sum(map(Ratings.of, ratings, opinions), Ratings())


@pytest.mark.parametrize("empty", [{}, {"is_helpful": {"NULL": True}}])
def test_an_opinion_of_an_earlier_version_is_counted_when_it_is_replaced(
    store: DynamoStore, user_id: str, empty: dict[str, Any]
) -> None:
    session_id, run_id, package = f"ses_{user_id}", f"run_{user_id}", f"@{user_id}/tidy"
    store.transact(
        Put(session_key(SESSIONS_TABLE, session_id), {"user_id": {"S": user_id}}),
        Put(
            feedback_key(SESSIONS_TABLE, session_id, run_id),
            {"rating": {"N": "1"}, "comment": {"S": ""}, "given_at": {"S": "2026-11-01T00:00:00.000Z"}, **empty},
        ),
    )
    feedback = DynamoFeedback(store, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE)
    opinion = RunFeedback(run_id=run_id, rating=4, is_helpful=None, comment="", given_at=NOW)
    for _ in range(2):
        assert feedback.put(user_id, session_id, opinion, package)
        assert DynamoUsage(store, SPEND_TABLE).ratings_of(package) == Ratings(rated=1, stars=4)


def test_the_function_of_sessions_writes_ratings_and_nothing_else_there(handlers: Handlers, user_id: str) -> None:
    app: Any = handlers.apps["sessions"]
    add = [Path("runs").add(1)]
    with handlers.rights.of("sessions"), pytest.raises(PermissionError, match="SpendTable"):
        app.store.transact(Update(spender_key(SPEND_TABLE, user_id), actions=add, condition=None))
