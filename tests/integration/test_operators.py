"""`playground grant`, `plan` and `user`, against the real engine."""

import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local.engine import CREDENTIALS, Engine
from local.state_file import write_state
from operate.cli import run
from operate.stack import open_stack
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.account import Plan
from playground.domain.credits import Buckets
from tests.kit.deployed import deploy
from tests.support import ALLOWANCE, LEDGER_TABLE, SESSIONS_TABLE, all_entries, check_invariants

ORDER = ["--ref", "ticket-1", "--reason", "Sorry", "--by", "anna"]


@pytest.fixture(autouse=True)
def stack(engine: Engine, ledger: DynamoLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a stack whose store is the engine of the tests."""
    tables = {"LedgerTable": LEDGER_TABLE, "SessionsTable": SESSIONS_TABLE}
    write_state(tmp_path, {"pid": os.getpid(), "engine_url": engine.endpoint_url, "tables": tables})
    monkeypatch.setenv("STATE_DIR", str(tmp_path))


def now() -> datetime:
    return datetime.now(UTC)


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# --- grant ------------------------------------------------------------------------------------------------------------


def test_a_grant_is_made_once(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.account(user_id, now())
    for expected in ("entry 2, +50, balance 55", "done before: entry 2, +50, balance 55"):
        assert run(["grant", user_id, "50", *ORDER]) == 0
        assert capsys.readouterr() == (f"{user_id}: {expected}\n", "")
    account, entries = ledger.account(user_id, now()), all_entries(ledger, user_id)
    check_invariants(account, entries)
    assert entries[-1].reason == "Sorry (by anna)"
    assert run(["grant", user_id, "51", *ORDER]) == 1
    assert "was used for entry 2" in capsys.readouterr().err


def test_a_grant_as_json(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.account(user_id, now())
    assert run(["grant", user_id, "50", *ORDER, "--json"]) == 0
    assert document(capsys) == {
        "user": user_id,
        "reference": "ticket-1",
        "credits": 50,
        "entry": 2,
        "balance": 55,
        "debt": 0,
        "done": "now",
    }


def test_who_gave_it_is_who_runs_the_command(
    ledger: DynamoLedger, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("USER", user_id)
    monkeypatch.setenv("LOGNAME", user_id)
    ledger.account(user_id, now())
    assert run(["grant", user_id, "1", "--ref", "t", "--reason", "Sorry"]) == 0
    assert user_id not in all_entries(ledger, user_id)[-1].reason


def test_no_account_is_opened_by_a_slip_of_the_pen(
    ledger: DynamoLedger, store: Any, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`u1,u2,u3` is nobody, unless somebody says so."""
    names = f"{user_id},other"
    for arguments in (["grant", names, "50", *ORDER], ["plan", names, "plus", *ORDER]):
        assert run(arguments) == 1
        error = capsys.readouterr().err
        assert f"{names!r} has no account in the local stack" in error
        assert "--new" in error
    assert run(["grant", names, "50", *ORDER, "--new"]) == 0
    assert capsys.readouterr().err == f"{names} had no account; one was opened\n"
    assert ledger.account(names, now()).balance == 55
    assert run(["grant", names, "50", *ORDER]) == 0
    assert capsys.readouterr().err == ""


def test_without_a_reference_there_is_a_new_one_each_time(
    ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.account(user_id, now())
    assert [run(["grant", user_id, "10"]) for _ in range(2)] == [0, 0]
    references = re.findall(r"^reference (once-\S+):", capsys.readouterr().err, re.MULTILINE)
    assert len(set(references)) == 2
    assert run(["grant", user_id, "10", "--ref", references[0]]) == 0
    assert ledger.account(user_id, now()).balance == 25


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0"], "CREDITS: 1 to 100000; got 0\n"),
        (["5", "--ref", "a b"], "such as ticket-123; got 'a b'\n"),
        (["5", "--reason", "x\ny"], "--reason: 1 to 200 characters on one line; got 'x\\ny'\n"),
        (["5", "--by", "x" * 201], "--by: 1 to 200 characters on one line; got 'xxx"),
    ],
)
def test_what_was_refused_opened_no_account(
    arguments: list[str], said: str, ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["grant", user_id, *arguments, "--new"]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert said in error
    assert "account" not in error
    assert run(["user", user_id]) == 2


# --- many -------------------------------------------------------------------------------------------------------------


def written(folder: Path, *lines: str) -> str:
    file = folder / "grants.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def test_many_grants_from_a_file_are_made_once(
    ledger: DynamoLedger, user_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users = [f"{user_id}-{number}" for number in range(3)]
    file = written(
        tmp_path,
        "user,credits,reference,reason",
        *(f"{user},{10 + n},outage/{n},Sorry" for n, user in enumerate(users)),
    )
    assert run(["grant", "--from", file]) == 1
    assert "Give --new to open them; nothing was done" in capsys.readouterr().err
    assert run(["grant", "--from", file, "--new", "--dry-run", "--json"]) == 0
    assert document(capsys)["given"] == 3
    for given, before in ((3, 0), (0, 3)):
        assert run(["grant", "--from", file, "--new", "--json"]) == 0
        summary = document(capsys)
        assert (summary["given"], summary["before"], summary["failed"]) == (given, before, [])
    assert [ledger.account(user, now()).balance for user in users] == [15, 16, 17]


def test_a_line_that_is_refused_does_not_keep_the_others_back(
    ledger: DynamoLedger, user_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.account(user_id, now())
    assert run(["grant", user_id, "7", "--ref", "used"]) == 0
    file = written(tmp_path, "user,credits,reference", f"{user_id},8,used", f"{user_id},9,fresh")
    assert run(["grant", "--from", file]) == 1
    out, error = capsys.readouterr()
    assert out.endswith("1 given (9 credits), 0 before, 1 failed\n")
    assert f"{file}:2: {user_id}: This reference was used" in error
    assert ledger.account(user_id, now()).balance == 21


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["user,credits", "a,5"],
            ": the first line must name the columns user, credits, reference; got 'user,cred",
        ),
        (["user;credits;reference", "a;5;x"], "; got 'user;credits;reference'. They are separated by commas"),
        ([], " is empty"),
        (["user,credits,reference", "a,0,x"], ":2: credits: 1 to 100000; got 0"),
        (["user,credits,reference"], "no lines below its heading"),
        (["user,credits,reference", "a,5,x", "a,five,y"], ":3: credits must be a whole number; got 'five'"),
        (["user,credits,reference", "a,5,x", "a,6,x"], ":3: a has the reference x in line 2, too"),
        (["user,credits,reference", ",5,x"], ":2: USER must be 1 to"),
        (["user,credits,reference", "a,5,"], ":2: reference: 1 to 100 letters"),
        (["user,credits,reference", "a"], ":2: "),
    ],
)
def test_the_whole_file_is_checked_first(
    lines: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["grant", "--from", written(tmp_path, *lines), "--new"]) == 2
    assert said in capsys.readouterr().err


def test_every_wrong_line_is_named_at_once(
    ledger: DynamoLedger, user_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [f"{user_id},0,x-{number}" for number in range(12)]
    file = written(tmp_path, "user,credits,reference", f"{user_id},5,fine", *wrong, f"{user_id},6,fine")
    assert run(["grant", "--from", file, "--new"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{file}:3: credits: 1 to 100000; got 0"
    assert lines[9] == f"{file}:12: credits: 1 to 100000; got 0"
    assert lines[10:] == ["and 3 more; nothing was given"]
    assert [entry.reason for entry in all_entries(ledger, user_id)] == []


# --- plan -------------------------------------------------------------------------------------------------------------


def test_a_plan_begins_and_ends(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.account(user_id, now())
    until = f"{now().year + 1}-12-31"
    assert run(["plan", user_id, "plus", "--until", until, "--ref", "contract-1"]) == 0
    assert re.search(
        rf"entry 2, plan plus until {until}T00:00:00.000Z, balance {ALLOWANCE + 5}", capsys.readouterr().out
    )
    assert run(["plan", user_id, "free", "--ref", "contract-1-ended"]) == 0
    account = ledger.account(user_id, now())
    assert (account.plan, account.buckets, account.due_at) == (Plan.FREE, Buckets(purchased=5), None)
    check_invariants(account, all_entries(ledger, user_id))
    assert run(["plan", user_id, "plus", "--until", "2020-01-01", "--ref", "late"]) == 1


# --- dry runs ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_come_and_changes_nothing(
    ledger: DynamoLedger, store: Any, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def everything() -> object:
        return store.query(LEDGER_TABLE, f"USER#{user_id}", first="A", last="Z", limit=100)

    ledger.account(user_id, now())
    before = everything()
    assert run(["grant", user_id, "50", *ORDER, "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{user_id}: would be entry 2, +50, balance 55\n"
    assert run(["plan", user_id, "plus", *ORDER, "--dry-run"]) == 0
    assert f"would be entry 2, plan plus, balance {ALLOWANCE + 5}" in capsys.readouterr().out
    assert everything() == before
    assert run(["grant", user_id, "50", *ORDER]) == 0
    capsys.readouterr()
    assert run(["grant", user_id, "50", *ORDER, "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{user_id}: done before: entry 2, +50, balance 55\n"
    assert run(["grant", f"{user_id}-new", "50", *ORDER, "--dry-run", "--new"]) == 0
    assert f"{user_id}-new: would be entry 2, +50, balance 55" in capsys.readouterr().out
    assert run(["user", f"{user_id}-new"]) == 2


# --- user -------------------------------------------------------------------------------------------------------------


def test_a_user_on_a_page(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.account(user_id, now())
    for number in range(3):
        assert run(["grant", user_id, "10", "--ref", f"t-{number}", "--by", "anna"]) == 0
    assert run(["plan", user_id, "plus", "--ref", "p", "--by", "anna"]) == 0
    capsys.readouterr()
    assert run(["user", user_id, "--entries", "2"]) == 0
    page = capsys.readouterr().out
    assert f"balance    {ALLOWANCE + 35} = {ALLOWANCE} monthly + 0 rollover + 35 purchased" in page
    assert f"available  {ALLOWANCE + 35}, held 0, debt 0" in page
    assert "last entries (2 of 6)" in page
    assert "everything adds up" in page
    assert all(len(line) <= 80 for line in page.splitlines()[1:])
    assert run(["user", user_id, "--json"]) == 0
    shown = document(capsys)
    assert (shown["balance"], shown["plan"], shown["audit"]) == (ALLOWANCE + 35, "plus", {"fine": True, "findings": []})
    assert [entry["seq"] for entry in shown["entries"]] == [6, 5, 4, 3, 2, 1]


def test_a_user_who_is_not_there_is_not_opened(user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run(["user", user_id]) == 2
        assert capsys.readouterr().err == f"there is no account {user_id} in the local stack\n"


# --- where ------------------------------------------------------------------------------------------------------------


def test_without_a_stack_nothing_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "elsewhere"))
    assert run(["grant", user_id, "50", *ORDER]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "elsewhere") in error
    assert "--stack" in error


def test_a_deployed_stack_is_found_through_its_outputs(
    engine: Engine,
    ledger: DynamoLedger,
    user_id: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("STATE_DIR")
    ledger.account(user_id, now())
    outputs = {"LedgerTableName": LEDGER_TABLE, "SessionsTableName": SESSIONS_TABLE}
    name = deploy(engine, outputs, monkeypatch)
    assert run(["grant", user_id, "50", *ORDER, "--stack", name]) == 0
    assert ledger.account(user_id, now()).balance == 55
    assert run(["user", user_id, "--stack", name]) == 0
    assert run(["grant", user_id, "50", "--stack", "nowhere"]) == 2
    assert "there is no stack 'nowhere' in this account and region" in capsys.readouterr().err
    other = deploy(engine, {"Something": "else"}, monkeypatch)
    assert run(["grant", user_id, "50", "--stack", other]) == 2
    assert f"the stack {other} has no LedgerTableName" in capsys.readouterr().err


def test_a_region_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    assert run(["user", user_id, "--stack", "x"]) == 2
    assert "You must specify a region" in capsys.readouterr().err


def test_the_region_may_be_in_either_variable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the AWS CLI finds it, which knows AWS_REGION, too, and prefers it."""
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    name = deploy(engine, {"LedgerTableName": LEDGER_TABLE, "SessionsTableName": SESSIONS_TABLE}, monkeypatch)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", CREDENTIALS["AWS_REGION"])
    with open_stack(name) as stack:
        assert stack.client("dynamodb").meta.region_name == CREDENTIALS["AWS_REGION"]
        assert stack.ledger.account("somebody", now()).balance == 5


def test_help_is_there_at_once() -> None:
    """Without importing an SDK, a second is plenty."""
    began = time.process_time()
    assert run(["--help"]) == 0
    assert time.process_time() - began < 1
