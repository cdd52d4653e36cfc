"""What runs cost, from receipts through the stream of the ledger's table and the function to the counters, on the
engine. The receipts are the truth: however records come, the sums are theirs."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.event_sources import passes, stream_record
from local.template import Description
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_guard import DynamoGuard
from playground.adapters.dynamo_keys import guard_key, run_key
from playground.adapters.dynamo_lookup import CONTROL_SECONDS
from playground.adapters.dynamo_spend import DynamoSpend, receipt_of
from playground.adapters.dynamo_store import MAX_TRANSACTION_ITEMS, DynamoStore, Put, TransactionRefused
from playground.domain.guard import NANO_PER_DOLLAR, GuardSettings
from playground.domain.runs import Run
from playground.domain.spend import Counters, PackageTotals, SpendRow, day_of
from playground.usecases.count_spend import CountSpend
from tests.conftest import NOW
from tests.fakes import a_hold, conversation, paid_run, unpaid_run
from tests.handlers import Handlers
from tests.integration.test_time_passes import World, a_world, eventually
from tests.kit.extent import WHOLE
from tests.kit.intercept import Request, intercepted
from tests.support import LEDGER_TABLE, SPEND_TABLE

SETTINGS = GuardSettings(ceiling_nano=100 * NANO_PER_DOLLAR, pauses=True)
MODELS = ("haiku", "sonnet", "opus")
_days = itertools.count(3000)  # days after all other tests, some for each test, whose marks do not expire


class Killed(BaseException):
    """The function ended here."""


class Mortal(DynamoStore):
    """A store whose function dies before or after any of its transactions, as `chance` has it."""

    chance: random.Random | None = None

    def transact(self, *writes: Any) -> None:
        luck = self.chance.random() if self.chance is not None else 1.0
        if luck < 0.15:
            raise Killed
        super().transact(*writes)
        if luck < 0.3:
            raise Killed


@pytest.fixture
def mortal(store: DynamoStore) -> Mortal:
    return Mortal(store.client, store.backoff)


def lives(user_id: str, seed: int, *, count: int) -> list[Run]:
    """Receipts of three users on three days, which no other test has."""
    chance, first = random.Random(seed), NOW + timedelta(days=next(_days) * 4)
    runs = []
    for number in range(count):
        user, at = f"{user_id}-{chance.randrange(3)}", first + timedelta(days=chance.randrange(3))
        package = chance.choice([f"@of/{user_id}", f"@of/{user_id}-2", None])
        run_id, cost_nano = f"run_{user_id}_{number}", chance.randrange(10**9)
        if chance.random() < 0.3:
            runs.append(unpaid_run(user, run_id, at, cost_nano=cost_nano, package=package))
        else:
            model, charged = chance.choice(MODELS), chance.randrange(1, 9)
            runs.append(paid_run(user, run_id, at, cost_nano=cost_nano, charged=charged, package=package, model=model))
    return runs


def records_of(runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    """As the stream has them, in two shards that number their records by themselves."""
    return [
        {
            "eventName": "INSERT",
            "dynamodb": {
                "Keys": run_key("", run.user_id, run.run_id).raw,
                "NewImage": {**items.run_item(run), **run_key("", run.user_id, run.run_id).raw},
                "SequenceNumber": str(10**21 + number % max(1, len(runs) // 2)),
            },
        }
        for number, run in enumerate(runs)
    ]


def sums(runs: Sequence[Run]) -> Counters:
    return sum(map(Counters.of, runs), Counters())


def by(runs: Sequence[Run], *names: str) -> dict[tuple[Any, ...], Counters]:
    found: dict[tuple[Any, ...], Counters] = {}
    for run in runs:
        key = (day_of(run), *(getattr(run, name) for name in names))
        found[key] = found.get(key, Counters()) + Counters.of(run)
    return found


def rows(found: Sequence[SpendRow], *names: str) -> dict[tuple[Any, ...], Counters]:
    return {(row.day, *(getattr(row, name) for name in names)): row.counters for row in found}


def check_counted(spend: DynamoSpend, runs: Sequence[Run]) -> None:
    """Every sum is that of the receipts, exactly."""
    days = [day_of(run) for run in runs]
    first, last = min(days), max(days)
    for day in set(days):
        assert spend.cost_of(day) == sums([run for run in runs if day_of(run) == day]).cost_nano
    assert rows(spend.totals(first, last), "model") == by(runs, "model")
    for user_id in {run.user_id for run in runs}:
        own = [run for run in runs if run.user_id == user_id]
        assert spend.all_of_user(user_id) == sums(own)
        assert rows(spend.of_user(user_id, first, last), "package", "model") == by(own, "package", "model")
        page, following = spend.page_of_user(user_id, first, last, after=None, limit=2)
        rest, end = spend.page_of_user(user_id, first, last, after=following, limit=5_000)
        assert ([*page, *rest] if following is not None else page) == spend.of_user(user_id, first, last)
        assert end is None
    totals = {each.package: each for each in spend.packages()}
    for package in {run.package for run in runs if run.package is not None}:
        own = [run for run in runs if run.package == package]
        users = len({run.user_id for run in own})
        assert (
            totals[package]
            == spend.all_of_package(package)
            == PackageTotals(package=package, counters=sums(own), users=users)
        )
        assert rows(spend.of_package(package, first, last), "model") == by(own, "model")


@pytest.mark.parametrize("seed", range(12 if WHOLE else 3))
def test_replays_splits_and_crashes_add_nothing(mortal: Mortal, user_id: str, seed: int) -> None:
    """Batches overlap, come twice, out of order and in halves, from two shards whose numbers are the same; and the
    function dies before and after its transactions."""
    chance = random.Random(seed)
    runs = lives(user_id, seed, count=60)
    receipts = [receipt_of(record) for record in records_of(runs)]
    spend = DynamoSpend(mortal, SPEND_TABLE)
    count = CountSpend(spend=spend, guard=DynamoGuard(mortal, LEDGER_TABLE), settings=SETTINGS, clock=lambda: NOW)
    mortal.chance = chance
    for _ in range(30):
        begin = chance.randrange(len(receipts))
        batch = receipts[begin : begin + chance.randrange(1, 40)]
        halves = [batch] if chance.random() < 0.5 else [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        for half in halves:
            try:
                assert count(half).failed is None
            except Killed:
                continue
    mortal.chance = None
    mortal.delete_all([guard_key(LEDGER_TABLE)])
    for begin in range(0, len(receipts), 25):
        spend_left = count(receipts[begin : begin + 25])
        assert spend_left.failed is None
    mortal.delete_all([guard_key(LEDGER_TABLE)])

    check_counted(spend, runs)
    assert count(receipts).runs == 0
    check_counted(spend, runs)


def test_two_functions_that_count_the_same_at_the_same_time_count_it_once(store: DynamoStore, user_id: str) -> None:
    """The second one reads before the first one writes, and its transaction is refused."""
    runs = lives(user_id, 99, count=12)

    class Overtaken(DynamoStore):
        refused = 0
        first = True

        def transact(self, *writes: Any) -> None:
            if self.first:
                self.first = False
                DynamoSpend(store, SPEND_TABLE).count(runs[4:9])
            try:
                super().transact(*writes)
            except TransactionRefused:
                self.refused += 1
                raise

    overtaken = Overtaken(store.client, store.backoff)
    spend = DynamoSpend(overtaken, SPEND_TABLE)
    taken, new = spend.count(runs)

    assert (taken, overtaken.refused) == (12, 1)
    assert {run.run_id for run in new} == {run.run_id for run in [*runs[:4], *runs[9:]]}
    check_counted(spend, runs)


def test_a_batch_of_a_hundred_strangers_fits_into_its_transactions(store: DynamoStore, user_id: str) -> None:
    """Every run of another user, package and day, which shares no row with another one."""
    first = NOW + timedelta(days=next(_days) * 4)
    runs = [
        paid_run(
            f"{user_id}-{number}", f"run_{user_id}_{number}", first, cost_nano=number, package=f"@{user_id}/{number}"
        )
        for number in range(100)
    ]
    sizes: list[int] = []

    class Weighed(DynamoStore):
        def transact(self, *writes: Any) -> None:
            sizes.append(len(writes))
            super().transact(*writes)

    spend, left = DynamoSpend(Weighed(store.client, store.backoff), SPEND_TABLE), list(runs)
    while left:
        taken, _ = spend.count(left)
        left = left[taken:]

    assert max(sizes) <= MAX_TRANSACTION_ITEMS
    assert len(sizes) <= 7
    assert spend.cost_of(day_of(runs[0])) == sums(runs).cost_nano


# --- through the stream and the function ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(description: Description) -> Iterator[World]:
    with a_world(description, DAILY_CEILING_DOLLARS="1", PAUSE_FREE_RUNS="true") as world:
        yield world


def write(store: DynamoStore, run: Run) -> None:
    store.transact(Put(run_key(LEDGER_TABLE, run.user_id, run.run_id), items.run_item(run)))


def test_what_the_stream_brings_is_counted(world: World) -> None:
    runs = lives("streamed", 5, count=40)
    for run in runs:
        write(world.store, run)
    spend = DynamoSpend(world.store, SPEND_TABLE)
    eventually(lambda: sum(map(spend.cost_of, {day_of(run) for run in runs})) == sums(runs).cost_nano)

    check_counted(spend, runs)


def test_a_run_through_the_ledger_is_counted_and_the_ceiling_pauses_free_runs(world: World) -> None:
    """A settled run and one that was given back; nothing else that the ledger writes is counted."""
    now = datetime.now(UTC)
    ledger, user = world.ledger, "spender"
    ledger.account(user, now)
    paid, failed = a_hold("run_paid".ljust(30, "0"), 2, now), a_hold("run_failed".ljust(30, "0"), 1, now)
    for hold in (paid, failed):
        ledger.place_hold(user, hold, limit=20, now=now)
    cost = 3 * NANO_PER_DOLLAR // 4
    receipt = paid_run(user, paid.run_id, now, cost_nano=cost, charged=2)

    def conclude(account: Any) -> Any:
        from tests.fakes import charging

        after, run, entries = charging(paid, 2, now)(account)
        return after, replace(run, package=receipt.package, measured=receipt.measured), entries

    ledger.settle(ledger.account(user, now), paid, conclude, conversation(user, paid, now))
    spend, guard = DynamoSpend(world.store, SPEND_TABLE), DynamoGuard(world.store, LEDGER_TABLE)
    eventually(lambda: spend.all_of_user(user).cost_nano == cost)
    assert not guard.read().pauses_at(now)

    unpaid = replace(unpaid_run(user, failed.run_id, now, cost_nano=cost), nonce=failed.nonce)
    ledger.release(user, unpaid)
    eventually(lambda: guard.read().pauses_at(now))
    assert spend.cost_of(now.date()) == 2 * cost
    assert spend.all_of_user(user) == Counters(
        runs=1, failed=1, credits=2, input_tokens=40, output_tokens=60, cost_nano=2 * cost, unpaid_nano=cost
    )


def test_a_damaged_receipt_does_not_keep_others_from_being_counted(world: World) -> None:
    damaged = run_key(LEDGER_TABLE, "broken", "run_broken")
    world.store.transact(Put(damaged, {"run_id": {"S": "run_broken"}}))
    after = paid_run("after the broken one", "run_after", NOW, cost_nano=7)
    write(world.store, after)
    spend = DynamoSpend(world.store, SPEND_TABLE)

    eventually(lambda: spend.all_of_user(after.user_id).cost_nano == 7)
    assert world.messages("GuardFailures") == 0
    assert any("unreadable record" in line for line in world.lines)


def test_the_stream_starts_the_function_for_new_receipts_only(description: Description) -> None:
    [source] = [source for source in description.stream_sources if source.function == "GuardFunction"]
    key = run_key("", "alice", "run_1").raw

    def record(event: str, keys: Mapping[str, Any]) -> dict[str, Any]:
        return stream_record("arn", {"eventName": event, "dynamodb": {"Keys": keys}})

    assert passes(record("INSERT", key), source.patterns)
    assert not passes(record("MODIFY", key), source.patterns)
    assert not passes(record("REMOVE", key), source.patterns)
    assert not passes(record("INSERT", {**key, "sk": {"S": "ACCOUNT"}}), source.patterns)
    assert not passes(record("INSERT", {"pk": {"S": "CONTROL"}, "sk": {"S": "GUARD"}}), source.patterns)


# --- as the function and the API see it -------------------------------------------------------------------------------


@pytest.fixture
def no_guard(store: DynamoStore) -> Iterator[None]:
    store.delete_all([guard_key(LEDGER_TABLE)])
    yield
    store.delete_all([guard_key(LEDGER_TABLE)])


@pytest.mark.usefixtures("no_guard")
def test_the_function_needs_no_other_rights_and_counts_its_metrics(
    handlers: Handlers, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = paid_run(user_id, f"run_{user_id}", NOW, cost_nano=12345)
    answer = handlers.invoke("guard", {"Records": records_of([run])})

    assert answer == {"batchItemFailures": []}
    told = capsys.readouterr().out
    assert '"ProviderCost":[12345' in told.replace(" ", "")
    assert '"SpendPercent"' in told


@pytest.mark.usefixtures("no_guard")
def test_records_that_could_not_be_counted_come_again(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    """The store refuses every transaction: the function names the first record, and a repeat counts all of them."""
    runs = lives(user_id, 11, count=4)
    records = records_of(runs)
    client = handlers.apps["guard"].store.client

    def refuse(request: Request) -> Any:
        return request.error(400, "AccessDeniedException")

    with intercepted(client, refuse, "TransactWriteItems"):
        answer = handlers.invoke("guard", {"Records": records})
    assert answer == {"batchItemFailures": [{"itemIdentifier": records[0]["dynamodb"]["SequenceNumber"]}]}
    spend = DynamoSpend(store, SPEND_TABLE)
    assert sum(map(spend.cost_of, {day_of(run) for run in runs})) == 0

    assert handlers.invoke("guard", {"Records": records}) == {"batchItemFailures": []}
    check_counted(spend, runs)


@pytest.mark.usefixtures("no_guard")
@pytest.mark.parametrize("stored", [{"paused_until": {"S": "soon"}, "revision": {"N": "1"}}, {"revision": {"S": "x"}}])
def test_a_guard_that_cannot_be_understood_stops_nobody(
    handlers: Handlers, store: DynamoStore, user_id: str, stored: dict[str, Any]
) -> None:
    store.transact(Put(guard_key(LEDGER_TABLE), stored))
    forget_control(handlers)
    body = {"package_id": "@playground/code-reviewer", "input": "Hello"}
    assert handlers.call("POST", "/playground/run", body, user=user_id).status == 200
    forget_control(handlers)


@pytest.mark.usefixtures("no_guard")
def test_free_runs_get_503_paused_with_the_time_to_wait(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    guard = DynamoGuard(store, LEDGER_TABLE)
    assert guard.save(guard.read().at(SETTINGS.ceiling_nano, SETTINGS, datetime.now(UTC)))
    forget_control(handlers)
    body = {"package_id": "@playground/code-reviewer", "input": "Hello"}
    refused = handlers.call("POST", "/playground/run", body, user=user_id)
    assert (refused.status, refused.body["error"]) == (503, "paused")
    assert 1 <= int(refused.headers["Retry-After"]) == refused.body["retry_after"] <= 3600
    assert handlers.call("POST", "/playground/estimate", body, user=user_id).status == 200

    assert guard.save(guard.read().lifted(datetime.now(UTC), reason="A test", operator="anna"))
    forget_control(handlers)
    assert handlers.call("POST", "/playground/run", body, user=user_id).status == 200


def forget_control(handlers: Handlers) -> None:
    """As after CONTROL_SECONDS."""
    assert CONTROL_SECONDS > 0
    app: Any = handlers.apps["run"]
    app.run_prompt._lookup._control = None
