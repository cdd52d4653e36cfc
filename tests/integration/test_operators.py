"""`make grant` and `make plan`, against the real engine."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.engine import Engine
from operate import grant as grant_command
from operate import plan as plan_command
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.account import Plan
from playground.domain.credits import Buckets
from tests.support import LEDGER_TABLE, SESSIONS_TABLE, all_entries, check_invariants

ORDER = ["--ref", "ticket-1", "--reason", "Sorry", "--by", "anna"]


@pytest.fixture(autouse=True)
def stack(engine: Engine, ledger: DynamoLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a stack whose store is the engine of the tests."""
    tables = {"LedgerTable": LEDGER_TABLE, "SessionsTable": SESSIONS_TABLE}
    state = {"pid": 1, "engine_url": engine.endpoint_url, "tables": tables}
    (tmp_path / "stack.json").write_text(json.dumps(state), encoding="utf-8")
    monkeypatch.setenv("STATE_DIR", str(tmp_path))


def now() -> datetime:
    return datetime.now(UTC)


def test_a_grant_is_made_once(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.account(user_id, now())
    for expected in ("entry 2, +50, balance 55", "done before: entry 2, +50, balance 55"):
        assert grant_command.main([user_id, "--credits", "50", *ORDER]) == 0
        assert capsys.readouterr().out == f"{user_id}: {expected}\n"
    account, entries = ledger.account(user_id, now()), all_entries(ledger, user_id)
    check_invariants(account, entries)
    assert entries[-1].reason == "Sorry (by anna)"
    assert grant_command.main([user_id, "--credits", "51", *ORDER]) == 1
    assert "was used for entry 2" in capsys.readouterr().err


def test_who_gave_it_is_who_runs_the_command(
    ledger: DynamoLedger, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make grant USER=alice` puts alice into the environment."""
    monkeypatch.setenv("USER", user_id)
    monkeypatch.setenv("LOGNAME", user_id)
    ledger.account(user_id, now())
    assert grant_command.main([user_id, "--credits", "1", "--ref", "t", "--reason", "Sorry"]) == 0
    assert user_id not in all_entries(ledger, user_id)[-1].reason


def test_an_account_that_is_opened_for_it_is_named(
    ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grant_command.main([user_id, "--credits", "50", *ORDER]) == 0
    assert f"{user_id} had no account" in capsys.readouterr().err
    assert ledger.account(user_id, now()).balance == 55


def test_without_a_reference_there_is_a_new_one_each_time(
    ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [grant_command.main([user_id, "--credits", "10"]) for _ in range(2)] == [0, 0]
    references = re.findall(r"^reference (once-\S+):", capsys.readouterr().err, re.MULTILINE)
    assert len(set(references)) == 2
    assert grant_command.main([user_id, "--credits", "10", "--ref", references[0]]) == 0
    assert ledger.account(user_id, now()).balance == 25


def test_a_plan_begins_and_ends(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    until = f"{now().year + 1}-12-31"
    assert plan_command.main([user_id, "--plan", "plus", "--until", until, "--ref", "contract-1"]) == 0
    assert re.search(rf"entry 2, plan plus until {until}T00:00:00.000Z, balance 205", capsys.readouterr().out)
    assert plan_command.main([user_id, "--plan", "free", "--ref", "contract-1-ended"]) == 0
    account = ledger.account(user_id, now())
    assert (account.plan, account.buckets, account.due_at) == (Plan.FREE, Buckets(purchased=5), None)
    check_invariants(account, all_entries(ledger, user_id))
    assert plan_command.main([user_id, "--plan", "plus", "--until", "2020-01-01", "--ref", "late"]) == 1


def test_without_a_stack_nothing_can_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_id: str) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "elsewhere"))
    assert grant_command.main([user_id, "--credits", "50", *ORDER]) == 2
    with pytest.raises(SystemExit):
        grant_command.main([user_id, "--credits", "50", *ORDER, "--ledger-table", "one-only"])
