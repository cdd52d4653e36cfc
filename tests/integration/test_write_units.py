"""What a run costs to write, by DynamoDB's rules; and those rules, on sizes that the documentation gives or implies."""

import itertools
import random
import re
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bench.checkpoints import checkpointed
from bench.measured import load, measure
from bench.units import Index, index_writes, item_size, number_size, value_size, write_units, written
from bench.world import FixedModel, World, a_request, world
from doubles.claude.server import ClaudeDouble
from local.engine import Engine
from local.template import Description
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import account_key, entry_key
from playground.adapters.dynamo_ledger import DynamoLedger, _admitted
from playground.adapters.dynamo_rates import counted
from playground.domain.account import Account, cross_boundary, open_account, start_plus
from playground.domain.comparisons import MAX_VARIANTS
from playground.domain.errors import ModelError
from playground.domain.rates import RateLimit
from tests.conftest import NOW
from tests.fakes import a_hold
from tests.handlers import Handlers
from tests.kit.prices import EXAMPLE

MAX_WRITE_UNITS = 16
MAX_OPEN_RUNS = 20  # that the setting admits
PAYING = Account(user_id="somebody", created_at=NOW, has_paid=True)
OPERATORS = re.compile(r"\b(?:AND|OR|NOT|size|attribute_exists|attribute_not_exists|BETWEEN)\b|<=|>=|<>|[<>=]")
INDEX = Index("by_lease", ("lease_shard", "lease_at"))


def test_the_condition_of_a_hold_is_one_that_dynamodb_takes(ledger: DynamoLedger, user_id: str) -> None:
    """4 KB and 300 operators and functions at most, which the local engine does not look at. With as many open runs as
    may be set, either allowance, a rate limit, and one run or as many as are compared."""
    allowances = (EXAMPLE.allowance(open_account(user_id, NOW)[0]), EXAMPLE.allowance(replace(PAYING, user_id=user_id)))
    stamps = (None, NOW - timedelta(minutes=1))
    longest = 0
    for allowance in allowances:
        for ends_first, stamp, runs in itertools.product((False, True), stamps, (1, 2, MAX_VARIANTS)):
            holds = [a_hold(f"run_{number}" + "a" * 31, 1, NOW) for number in range(runs)]
            write = ledger._placing(user_id, holds, MAX_OPEN_RUNS, NOW, ends_first=ends_first)
            admitted = _admitted(allowance, 1, MAX_OPEN_RUNS, NOW, None, added=runs)
            write = replace(write, condition=write.condition & admitted)
            rate = RateLimit(name="runs", per_minute=5)
            limited = counted(write, items.AccountItem.runs_at, rate, stamp, NOW, added=runs)
            assert limited.condition is not None
            text = limited.condition.serialize({}, {})
            assert len(text.encode()) <= 4096
            longest = max(longest, len(OPERATORS.findall(text)))
    assert 30 < longest <= 60


@pytest.fixture(scope="module")
def measured(engine: Engine, description: Description, claude: ClaudeDouble, handlers: Handlers) -> Iterator[World]:
    """`handlers`, because with them come the sample packages."""
    with world(engine.endpoint_url, description, claude.url) as measured:
        yield measured


def noise(length: int) -> str:
    """Text that can hardly be compressed."""
    return "".join(random.Random(1).choices(string.ascii_letters + string.digits + "+/", k=length))


def run(measured: World, user_id: str, answer: str) -> Counter[tuple[str, str]]:
    """Units of one run by item and operation."""
    costs = measured.writes_of(
        lambda: measured.run_prompt(FixedModel(answer))(user_id, a_request(), idempotency_key=None, seconds_left=29)
    )
    units: Counter[tuple[str, str]] = Counter()
    for cost in costs:
        units[cost.what, cost.operation] += cost.units
    return units


def test_run_with_an_answer_of_2_kb_costs_16_units_at_most(measured: World, user_id: str) -> None:
    measured.give(user_id, 100)
    units = run(measured, user_id, noise(2048))
    assert units.total() <= MAX_WRITE_UNITS, units
    assert set(units) == {
        ("account", "update"),  # the hold, and the charge
        ("by_lease", "put"),  # the first run since the sweeper came by
        ("run", "put"),
        ("by_end", "put"),  # the place in the user's list of runs
        ("entry", "put"),
        ("turn", "put"),
        ("session", "put"),
        ("by_owner", "put"),  # the place in the user's list
    }


def test_what_capacity_is_computed_from_is_what_is_measured(
    measured: World, description: Description, user_id: str
) -> None:
    """If this fails: `make bench ARGS=--save`, then `make capacity`."""
    assert measure(measured, description.tables["SpendTable"].name, user_id) == load()


def test_checkpoints_cost_a_unit_every_two_seconds_and_one_to_delete(measured: World, user_id: str) -> None:
    """And a look a second costs a unit of reading. A run that is over sooner has none."""
    long = checkpointed(measured, user_id, 21, 5_000)
    assert (long.put_items, long.puts, long.deletes, long.read) == (10, 10, 10, 20)
    fast = checkpointed(measured, f"{user_id} fast", 5, 20_000)
    assert (fast.put_items, fast.puts, fast.deletes, fast.read) == (2, 16, 16, 4)
    short = checkpointed(measured, f"{user_id} short", 1, 2_048)
    assert (short.put_items, short.puts, short.deletes, short.read) == (0, 0, 0, 0)
    assert short.run <= MAX_WRITE_UNITS


def test_a_boundary_costs_10_units_at_most() -> None:
    """What docs/operations.md reckons with: the account, its place in the index, and an entry for each change."""
    account, _ = open_account("7b1c0e9a-1111-4222-8333-944455556666", NOW)
    account, _ = start_plus(account, allowance=200, entitled_until=None, now=NOW)
    key = account_key("", account.user_id).raw
    totals = []
    for _ in range(4):
        before = {**items.account_item(account), **key}
        account, entries = cross_boundary(account)
        costs = written(
            "account",
            "update",
            before,
            {**items.account_item(account), **key},
            in_transaction=True,
            indexes=[Index("by_due", ("due_shard", "due_at"))],
        )
        for entry in entries:
            item = {**items.entry_item(entry), **entry_key("", account.user_id, entry.seq).raw}
            costs += written("entry", "put", None, item, in_transaction=True)
        totals.append(sum(cost.units for cost in costs))
    assert totals == [8, 10, 10, 10]


def test_run_while_another_is_at_work_writes_no_index(measured: World, user_id: str) -> None:
    measured.give(user_id, 100)
    run(measured, user_id, "Yes.")
    assert all(what != "by_lease" for what, _ in run(measured, user_id, "Yes."))


def test_hold_is_one_unit_and_one_for_the_index(measured: World, user_id: str) -> None:
    measured.give(user_id, 100)
    costs = measured.writes_of(
        lambda: measured.run_prompt(FixedModel())(user_id, a_request(), idempotency_key=None, seconds_left=29)
    )
    assert [(cost.what, cost.operation, cost.units) for cost in costs[:2]] == [
        ("account", "update", 1),
        ("by_lease", "put", 1),
    ]


def test_run_that_fails_costs_less_than_one_that_is_paid(measured: World, user_id: str) -> None:
    measured.give(user_id, 100)

    def fail() -> None:
        with pytest.raises(ModelError):
            measured.run_prompt()(user_id, a_request("Hello [[claude: empty]]"), idempotency_key=None, seconds_left=29)

    costs = measured.writes_of(fail)
    assert sum(cost.units for cost in costs) <= 8
    assert [cost.what for cost in costs].count("by_end") == 1


# --- the rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": ""}, 0),
        ({"S": "abc"}, 3),
        ({"S": "é"}, 2),
        ({"S": "🙂"}, 4),
        ({"B": b"\0\1"}, 2),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"L": []}, 3),
        ({"M": {}}, 3),
        ({"L": [{"S": "ab"}, {"S": ""}]}, 3 + 1 + 2 + 1),
        ({"M": {"k": {"S": "ab"}}}, 3 + 1 + 1 + 2),
        ({"M": {"k": {"L": [{"BOOL": False}]}}}, 3 + 1 + 1 + (3 + 1 + 1)),
        ({"SS": ["a", "bc"]}, 3),
        ({"NS": ["1", "22"]}, 4),
        ({"BS": [b"a"]}, 1),
    ],
)
def test_size_of_a_value(value: dict[str, Any], size: int) -> None:
    assert value_size(value) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 1), ("1", 2), ("12", 2), ("123", 3), ("1000", 2), ("0.001", 2), ("1.50", 2), ("-12", 3), ("9" * 38, 20)],
)
def test_size_of_a_number(text: str, size: int) -> None:
    """One byte for two significant digits, and one."""
    assert number_size(text) == size


def test_size_of_an_item_counts_names() -> None:
    assert item_size({"pk": {"S": "USER#a"}, "größe": {"N": "12"}}) == 2 + 6 + 7 + 2


@pytest.mark.parametrize(
    ("size", "plain", "in_transaction"), [(0, 1, 2), (1, 1, 2), (1024, 1, 2), (1025, 2, 4), (409_600, 400, 800)]
)
def test_units_are_begun_kilobytes_doubled_in_a_transaction(size: int, plain: int, in_transaction: int) -> None:
    assert write_units(size, in_transaction=False) == plain
    assert write_units(size, in_transaction=True) == in_transaction


def test_larger_one_of_before_and_after_counts() -> None:
    small, large = {"pk": {"S": "a"}}, {"pk": {"S": "a" * 3000}}
    for before, after in ((small, large), (large, small)):
        assert written("item", "update", before, after, in_transaction=False)[0].units == 3


KEYS = {"pk": {"S": "USER#a"}, "sk": {"S": "ACCOUNT"}}
PLACE = {"lease_shard": {"S": "07"}, "lease_at": {"S": "2026-11-01"}}
LATER = {**PLACE, "lease_at": {"S": "2026-11-02"}}


@pytest.mark.parametrize(
    ("before", "after", "operations"),
    [
        (None, KEYS, []),
        (KEYS, {**KEYS, **PLACE}, ["put"]),
        ({**KEYS, **PLACE}, {**KEYS, **PLACE, "held": {"N": "1"}}, []),  # what is not projected does not count
        ({**KEYS, **PLACE}, {**KEYS, **LATER}, ["delete", "put"]),
        ({**KEYS, **PLACE}, KEYS, ["delete"]),
        ({**KEYS, **PLACE}, {**KEYS, "lease_at": {"S": "2026-11-01"}}, ["delete"]),  # one key alone is no place
        (KEYS, {**KEYS, "lease_at": {"S": "2026-11-01"}}, []),
    ],
)
def test_index_is_written_when_its_keys_change(before: Any, after: Any, operations: list[str]) -> None:
    found = list(index_writes(INDEX, before, after))
    assert [cost.operation for cost in found] == operations
    assert all(cost.units == 1 for cost in found)


def test_a_transaction_doubles_the_units_of_the_item_and_not_of_its_indexes() -> None:
    item, place = written("item", "put", None, {**KEYS, **PLACE}, in_transaction=True, indexes=[INDEX])
    assert (item.units, place.units) == (2, 1)


def test_what_an_index_includes_counts() -> None:
    """As far as an item has it; a change of it is a change of the index."""
    index = Index("by_end", ("pk", "ended_at"), ("package", "model"))
    ended = {**KEYS, "ended_at": {"S": "2026-11-01"}, "model": {"S": "opus"}, "charged": {"N": "1"}}
    [cost] = index_writes(index, None, ended)
    assert (cost.operation, cost.size, cost.units) == ("put", 2 + 6 + 2 + 7 + 8 + 10 + 5 + 4, 1)
    assert list(index_writes(index, ended, {**ended, "charged": {"N": "2"}})) == []
    changed = index_writes(index, ended, {**ended, "model": {"S": "haiku"}})
    assert [cost.operation for cost in changed] == ["delete", "put"]
