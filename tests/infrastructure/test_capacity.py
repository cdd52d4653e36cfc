"""docs/capacity.md is computed, and the computation is of what the code and the template have."""

from dataclasses import replace

import pytest

from bench import capacity
from bench.capacity import Capacity, capacities


@pytest.fixture(scope="module")
def at() -> list[Capacity]:
    return capacities()


def test_the_page_is_what_the_command_writes() -> None:
    """If this fails: `make capacity`."""
    assert capacity.main(["--check"]) == 0


def test_a_page_that_was_edited_is_noticed(at: list[Capacity], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "page", lambda _: "another")
    assert capacity.main(["--check"]) == 1


def test_what_is_printed_fits_a_terminal(at: list[Capacity]) -> None:
    assert max(map(len, capacity.report(at))) <= 80


def test_more_runs_need_more_of_everything_and_cost_no_more_each(at: list[Capacity]) -> None:
    few, _, many = at
    assert few.ledger_partitions < many.ledger_partitions
    assert few.run_concurrency * 10_000 == pytest.approx(many.run_concurrency)
    assert sum(many.costs.values()) < sum(few.costs.values())  # receipts are counted together


def test_where_it_breaks_does_not_depend_on_the_rate_that_is_asked_for(at: list[Capacity]) -> None:
    """But for what is started once, however few runs there are."""
    few, _, many = (each.limits() for each in at)
    assert [limit.name for limit in few] == [limit.name for limit in many]
    assert [limit.runs for limit in few] == pytest.approx([limit.runs for limit in many], rel=0.1)


def test_the_sum_is_that_of_its_parts_by_hand(at: list[Capacity]) -> None:
    """A run a second, with round numbers."""
    units = replace(
        at[0].units,
        run={"account": 2, "run": 2, "entry": 2, "by_lease": 1, "by_end": 1, "session": 2, "turn": 4, "by_owner": 1},
        sweep={"account": 1, "by_lease": 1},
        checkpoint_writes=3,
        counted_alone=16,
    )
    one = Capacity(60, units, at[0].aws, at[0].functions)
    assert (one.per_second, one.ledger_units, one.sessions_units, one.spend_units) == (1, 10, 10, 16)
    assert one.costs["DynamoDB, writes"] == pytest.approx(36 * 0.625)
    assert one.costs["API Gateway"] == pytest.approx(3 * 3.5)
    assert one.run_concurrency == pytest.approx(7.15)
    assert one.ledger_partitions == 4
    assert one.claude_dollars == 7_000  # 1,000 × $2 + 500 × $10 a million
