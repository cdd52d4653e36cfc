"""`playground grant`, `plan` and `user`, against the real engine."""

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from doubles.stripe import StripeDouble
from local.engine import CREDENTIALS, Engine
from local.state_file import write_state
from operate.cli import COMMANDS, run
from operate.commands.history import last_lines
from operate.commands.user import read_page
from operate.errors import ABSENT, CANNOT
from operate.stack import open_stack
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.dynamo_guard import DynamoGuard
from playground.adapters.dynamo_keys import guard_key, run_key, runs_control_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_lookup import CONTROL_SECONDS, DynamoLookup
from playground.adapters.dynamo_spend import DynamoSpend
from playground.adapters.dynamo_store import DynamoStore, Put
from playground.domain.account import Account, Change, Plan, grant
from playground.domain.credits import Buckets
from playground.domain.entries import EntryType
from playground.domain.guard import NANO_PER_DOLLAR, GuardSettings
from playground.domain.spend import Counters
from tests.fakes import paid_run
from tests.handlers import Handlers
from tests.kit.deployed import deploy
from tests.kit.intercept import intercepted
from tests.support import (
    ALLOWANCE,
    CATALOG_TABLE,
    LEDGER_TABLE,
    SESSIONS_TABLE,
    SPEND_TABLE,
    all_entries,
    check_invariants,
)

ORDER = ["--ref", "ticket-1", "--reason", "Sorry", "--by", "anna"]


@pytest.fixture(autouse=True)
def stack(engine: Engine, ledger: DynamoLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The state of a stack whose store is the engine of the tests."""
    tables = {
        "LedgerTable": LEDGER_TABLE,
        "SessionsTable": SESSIONS_TABLE,
        "SpendTable": SPEND_TABLE,
        "CatalogTable": CATALOG_TABLE,
    }
    state = {
        "pid": os.getpid(),
        "engine_url": engine.endpoint_url,
        "tables": tables,
        "buckets": {"ContentBucket": "playground-content"},
    }
    write_state(tmp_path, state)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    return state


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
    assert (entries[-1].reason, entries[-1].operator) == ("Sorry", "anna")
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
        assert run(arguments) == ABSENT
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
def test_a_wrong_value_opens_no_account(
    arguments: list[str], said: str, ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["grant", user_id, *arguments, "--new"]) == CANNOT
    out, error = capsys.readouterr()
    assert out == ""
    assert said in error
    assert "account" not in error
    assert run(["user", user_id]) == ABSENT


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
    assert run(["grant", "--from", file]) == ABSENT
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
    assert run(["plan", user_id, "plus", "--until", "2020-01-01", "--ref", "late"]) == CANNOT


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
    assert run(["user", f"{user_id}-new"]) == ABSENT


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


SECRET = "a question that nobody else may read"


def ask(handlers: Handlers, user_id: str, text: str = "", **fields: Any) -> Any:
    body = {"package_id": "@playground/code-reviewer", "input": f"{SECRET} {text}", **fields}
    return handlers.call("POST", "/playground/run", body, user=user_id).body


def test_a_page_has_the_last_runs_and_those_that_failed(
    handlers: Handlers, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paid = ask(handlers, user_id)
    assert ask(handlers, user_id, "[[claude: empty]]", model="haiku")["error"] == "model_failed"
    capsys.readouterr()

    assert run(["user", user_id]) == 0
    page = capsys.readouterr().out
    heading, *of_runs = page.partition("last runs")[2].splitlines()[:4]
    assert heading == ": id, end (UTC), outcome, credits, model, package or failure"
    assert re.fullmatch(r"  run_\w+  \d\d-\d\dT\d\d:\d\d  released   0  haiku empty", of_runs[0])
    assert re.fullmatch(rf"  {paid['run_id']}  \S+  settled    1  sonnet", of_runs[1])
    assert of_runs[2].strip() == "@playground/code-reviewer"
    assert all(len(line) <= 80 for line in page.splitlines()[1:])
    assert SECRET not in page
    assert paid["response"] not in page

    assert run(["user", user_id, "--json", "--runs", "1"]) == 0
    shown = document(capsys)
    assert [(found["status"], found["credits_spent"]) for found in shown["runs"]] == [("released", 0)]
    assert shown["runs"][0]["failure"] == {"code": "model_failed", "reason": "empty", "retry_after": None}
    assert SECRET not in json.dumps(shown)


# --- history ----------------------------------------------------------------------------------------------------------


def test_a_history_says_what_was_asked_of_which_model(
    handlers: Handlers, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paid = ask(handlers, user_id)
    capsys.readouterr()

    assert run(["history", user_id]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.match(
        r"    2  \d{4}-\d\d-\d\dT\d\d:\d\d  spend        -1      4  sonnet, @playground/code-reviewer@", first
    )
    assert first.endswith(f" {paid['tokens_used']:,} tokens  {paid['run_id']}")
    assert re.match(r"    1  \S+  signup       \+5      5  ", second)

    assert run(["history", user_id, "--json", "--type", "spend"]) == 0
    text = capsys.readouterr().out
    shown = json.loads(text)
    [line] = shown["entries"]
    assert (shown["user"], line["seq"], line["amount"], line["model"]) == (user_id, 2, -1, "sonnet")
    assert (line["run_id"], line["package"]) == (paid["run_id"], "@playground/code-reviewer")
    assert line["tokens_used"] == line["input_tokens"] + line["output_tokens"] == paid["tokens_used"]
    assert SECRET not in text
    assert paid["response"] not in text


def test_a_history_as_csv(handlers: Handlers, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    paid = ask(handlers, user_id)
    assert run(["grant", user_id, "7", "--ref", "t", "--reason", 'Sorry, "again"', "--by", "anna"]) == 0
    capsys.readouterr()

    assert run(["history", user_id, "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(line["seq"], line["amount"], line["reason"]) for line in lines] == [
        ("3", "7", 'Sorry, "again"'),
        ("2", "-1", "Run of @playground/code-reviewer"),
        ("1", "5", lines[2]["reason"]),
    ]
    assert [line["operator"] for line in lines] == ["anna", "", ""]
    assert [line["package"] for line in lines] == ["", "'@playground/code-reviewer", ""]
    assert [line["run_id"] for line in lines] == ["", paid["run_id"], ""]
    assert [line["tokens_used"] for line in lines] == ["", str(paid["tokens_used"]), ""]
    assert run(["history", user_id, "--csv", "--json"]) == 2


def test_a_history_has_as_many_lines_as_were_asked_for(
    ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many pages that takes; it opens no account and changes nothing."""
    assert run(["history", user_id]) == ABSENT
    assert capsys.readouterr().err == f"there is no account {user_id} in the local stack\n"
    ledger.account(user_id, now())
    for number in range(119):
        give(ledger, user_id, number)
    for limit, expected in ((1, 1), (100, 100), (101, 101), (1000, 120)):
        assert run(["history", user_id, "--limit", str(limit)]) == 0
        seqs = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
        assert seqs == list(range(120, 120 - expected, -1))
    assert len(all_entries(ledger, user_id)) == 120


def give(ledger: DynamoLedger, user_id: str, number: int) -> None:
    key = f"bonus {number}"

    def amend(account: Account) -> Change:
        after, entry = grant(account, 1, type_=EntryType.BONUS, business_key=key, reason="For you", now=now())
        return after, (entry,)

    ledger.change(user_id, amend, business_key=key, now=now())


def test_a_damaged_receipt_is_named_beside_the_history(
    handlers: Handlers, ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = ask(handlers, user_id)["run_id"]
    key = run_key(LEDGER_TABLE, user_id, run_id)
    ledger._store.put_all({key: {**(ledger._store.get(key) or {}), "charged": {"N": "0.5"}}})
    capsys.readouterr()

    assert run(["history", user_id]) == 0
    out, err = capsys.readouterr()
    assert "Run of @playground/code-reviewer" in out.splitlines()[0]
    assert run_id in err


def test_answers_for_support_need_no_scan(handlers: Handlers, user_id: str) -> None:
    """By queries of one user's items, also on a deployed stack."""
    for _ in range(2):
        ask(handlers, user_id)
    sent: list[str] = []
    with open_stack(None) as stack, intercepted(stack.store.client, lambda request: sent.append(request.operation)):
        assert len(last_lines(stack, user_id, 10)) == 3
        page = read_page(stack, user_id, 10, 10, now=now())
        assert page is not None
        assert len(page.runs) == 2
    assert set(sent) == {"GetItem", "BatchGetItem", "Query"}
    assert len(sent) < 20


def test_a_user_who_is_not_there_is_not_opened(user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run(["user", user_id]) == ABSENT
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
    assert run(["history", user_id, "--stack", name]) == 0
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


# --- corrections ------------------------------------------------------------------------------------------------------


def test_credits_are_taken_and_a_grant_is_undone(
    ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.account(user_id, now())
    assert run(["grant", user_id, "50", "--ref", "t-1"]) == 0
    assert run(["take", user_id, "20", "--ref", "t-2", "--dry-run"]) == 0
    assert run(["take", user_id, "20", "--ref", "t-2", "--reason", "Granted twice", "--by", "anna"]) == 0
    assert run(["undo", user_id, "t-1"]) == 0
    assert run(["undo", user_id, "t-1"]) == 0
    out = capsys.readouterr().out.splitlines()[1:]
    assert [line.partition(": ")[2] for line in out] == [
        "would be entry 3, -20, balance 35",
        "entry 3, -20, balance 35",
        "entry 5, -50, balance 0, debt 15",
        "done before: entry 5, -50, balance 0, debt 15",
    ]
    taken = all_entries(ledger, user_id)[2]
    assert (taken.reason, taken.operator) == ("Granted twice", "anna")


def test_corrections_are_for_accounts_and_grants_that_exist(
    user_id: str, ledger: DynamoLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["take", user_id, "1"], ["undo", user_id, "t"], ["pause", user_id], ["resume", user_id]):
        assert run(arguments) == ABSENT
        assert "has no account in the local stack; nothing was done" in capsys.readouterr().err
    ledger.account(user_id, now())
    assert run(["undo", user_id, "t"]) == ABSENT
    assert "Nothing was granted to this account under the reference t." in capsys.readouterr().err
    assert run(["take", user_id, "0"]) == CANNOT
    assert "CREDITS: 1 to 100000; got 0" in capsys.readouterr().err


def test_pause_is_for_a_user_or_for_all_runs(user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["pause"], ["pause", user_id, "--all-runs"]):
        assert run(arguments) == 2
        assert "give USER or --all-runs" in capsys.readouterr().err


@pytest.fixture
def runs_go_on(store: DynamoStore) -> Iterator[None]:
    yield
    store.delete_all([runs_control_key(LEDGER_TABLE)])


@pytest.mark.usefixtures("runs_go_on")
def test_all_runs_are_paused_within_seconds(
    store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two instances: one that has just read the switch, and one that has not."""
    clock = [0.0]

    def instance() -> DynamoLookup:
        catalog = DynamoCatalog(store, table_name="none", bucket="none", s3=None)
        tables = {"ledger_table": LEDGER_TABLE, "sessions_table": SESSIONS_TABLE, "catalog_table": "none"}
        return DynamoLookup(store, catalog, **tables, monotonic=lambda: clock[0])

    def is_paused(lookup: DynamoLookup) -> bool:
        return lookup(user_id=user_id, run_id=None, package_id="none", version=None, session_id=None).runs_paused

    reference = ["--ref", user_id, "--by", "anna"]
    warm = instance()
    assert not is_paused(warm)
    assert run(["pause", "--all-runs", *reference, "--dry-run"]) == 0
    assert not is_paused(instance())
    assert run(["pause", "--all-runs", *reference]) == 0
    assert (is_paused(instance()), is_paused(warm)) == (True, False)
    clock[0] = CONTROL_SECONDS
    assert is_paused(warm)
    assert run(["pause", "--all-runs", *reference, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all runs: done before: paused since")
    capsys.readouterr()
    assert run(["resume", "--all-runs", *reference]) == 0
    assert capsys.readouterr().out == "all runs: resumed\n"
    assert (is_paused(instance()), is_paused(warm)) == (False, True)
    clock[0] = 2 * CONTROL_SECONDS
    assert not is_paused(warm)
    capsys.readouterr()
    assert run(["pause", "--all-runs", *reference]) == 0
    assert capsys.readouterr().out == "all runs: done before: not paused\n"


def test_a_paused_account_is_on_its_page(
    ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.account(user_id, now())
    assert run(["pause", user_id, "--ref", "abuse-7", "--reason", "Scripts", "--by", "anna"]) == 0
    assert run(["user", user_id]) == 0
    page = capsys.readouterr().out
    assert "new runs are refused" in page
    assert re.search(r"Paused: Scripts \(by anna,\s+abuse-7\)", page)
    assert run(["resume", user_id, "--ref", "abuse-7"]) == 0
    assert ledger.account(user_id, now()).paused_at is None


def test_an_order_says_whether_the_account_is_paused(
    ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repeat says what is true now, which another order may have changed."""
    ledger.account(user_id, now())
    for command, expected in (
        (["pause", "--dry-run"], "would be entry 2, paused, balance 5"),
        (["pause"], "entry 2, paused, balance 5"),
        (["resume"], "entry 3, resumed, balance 5"),
        (["pause"], "done before: entry 2, not paused, balance 5"),
    ):
        assert run([command[0], user_id, "--ref", "abuse-7", *command[1:]]) == 0
        assert capsys.readouterr() == (f"{user_id}: {expected}\n", "")


@pytest.mark.usefixtures("runs_go_on")
def test_a_page_says_that_all_runs_are_paused(
    ledger: DynamoLedger, store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.account(user_id, now())
    store.put_all({runs_control_key(LEDGER_TABLE): {"paused_at": {"S": "2026-11-28T10:09:30.687Z"}}})
    assert run(["user", user_id]) == 0
    assert "  all runs   paused since 2026-11-28T10:09, of every account\n" in capsys.readouterr().out
    assert run(["user", user_id, "--json"]) == 0
    assert document(capsys)["all_runs_paused_at"] == "2026-11-28T10:09:30.687Z"
    store.delete_all([runs_control_key(LEDGER_TABLE)])
    assert run(["user", user_id]) == 0
    assert "all runs" not in capsys.readouterr().out


def test_nothing_of_a_page_is_cut_off(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither on the page, which is continued below, nor in the history, which has one line for each entry."""
    ledger.account(user_id, now())
    reason = "The run of Tuesday stopped in the middle, and what it had written by then was of no use to anybody"
    assert run(["grant", user_id, "5", "--ref", "ticket-9", "--by", "anna", "--reason", reason]) == 0
    capsys.readouterr()
    assert run(["user", user_id]) == 0
    page = capsys.readouterr().out
    assert f"{reason} (by anna, ticket-9)" in " ".join(page.split())
    assert all(len(line) <= 80 for line in page.splitlines()[1:])
    assert run(["history", user_id]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(f"{reason} (by anna, ticket-9)")


# --- usage ------------------------------------------------------------------------------------------------------------


def test_usage_of_a_user_and_of_a_package(store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    package = f"@of/{user_id[-20:].strip('_-').lower()}"
    runs = [
        paid_run(user_id, f"run_{user_id}_{number}", now() - timedelta(days=2 * number), cost_nano=5, package=package)
        for number in range(3)
    ]
    DynamoSpend(store, SPEND_TABLE).count(runs)

    assert run(["usage", user_id, "--days", "3", "--json"]) == 0
    shown = document(capsys)
    assert [(day["package"], day["runs"]) for day in shown["days"]] == [(package, 1), (package, 1)]
    assert (shown["totals"]["runs"], shown["totals"]["cost_nano"]) == (2, 10)
    assert run(["usage", package, "--json"]) == 0
    shown = document(capsys)
    assert (shown["all"]["runs"], shown["users"], len(shown["days"])) == (3, 1, 3)

    assert run(["usage", package]) == 0
    assert "of all time: 3 runs, 0 failed, 3 credits, 300 tokens, $0.000000015; 1 user" in capsys.readouterr().out
    assert run(["usage", user_id, "--days", "91"]) == 2


def test_usage_of_nobody_is_said(ledger: DynamoLedger, user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["usage", user_id]) == ABSENT
    assert f"there is no account {user_id} in" in capsys.readouterr().err
    assert run(["usage", "@unknown/package"]) == ABSENT
    assert capsys.readouterr() == ("", "there is no package @unknown/package in the local stack\n")
    ledger.account(user_id, now())
    assert run(["usage", user_id]) == 0
    assert "0 runs, 0 failed, 0 credits, 0 tokens" in capsys.readouterr().out


def test_lines_of_usage_add_up_to_the_total_as_printed(
    store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line rounded up to a cent, three lines of 0.4 cents said $0.03 below a total of $0.02."""
    costs = [4_000_000, 4_000_000, 12_345_678]
    runs = [
        paid_run(user_id, f"run_{user_id}_{number}", now() - timedelta(days=number), cost_nano=cost, package="@a/b")
        for number, cost in enumerate(costs)
    ]
    DynamoSpend(store, SPEND_TABLE).count(runs)

    assert run(["usage", user_id]) == 0
    total, *lines = (line.rpartition(", $")[2] for line in capsys.readouterr().out.splitlines())
    assert (total, sorted(lines)) == ("0.020345678", ["0.004", "0.004", "0.012345678"])
    assert sum(map(Decimal, lines)) == Decimal(total)


NAMED: Mapping[str, Sequence[str]] = {
    "user": ["nobody"],
    "history": ["nobody"],
    "usage": ["nobody"],
    "grant": ["nobody", "5"],
    "take": ["nobody", "5"],
    "undo": ["nobody", "t-1"],
    "pause": ["nobody"],
    "resume": ["nobody"],
    "plan": ["nobody", "plus"],
    "audit": ["nobody"],
    "export": ["nobody"],
    "erase": ["nobody", "--yes"],
    "moderate": ["hide", "nothing"],
    "withdraw": ["@unknown/package"],
    "reinstate": ["@unknown/package"],
    "pay": ["pur_unknown"],
}
"""Commands that name something, with a name of nothing. `reconcile --close` is in test_reconcile.py."""
NAMES_NOTHING = {"guard", "watch", "reconcile", "books", "doctor", "import", "sweep-texts", "token", "invoke"}


def test_every_order_has_the_same_status_for_what_is_not_there(
    handlers: Handlers,
    stripe_double: StripeDouble,
    stack: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_state(tmp_path, {**stack, "stripe_url": stripe_double.url})
    assert NAMED.keys() | NAMES_NOTHING == COMMANDS.keys()
    for name, arguments in NAMED.items():
        assert (name, run([name, *arguments])) == (name, ABSENT)
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1, said.err
        assert arguments[-1 if name == "moderate" else 0] in said.err, said.err


# --- guard ------------------------------------------------------------------------------------------------------------

GUARD_SETTINGS = GuardSettings(ceiling_nano=100 * NANO_PER_DOLLAR, pauses=True)


def test_a_page_says_which_runs_their_user_has_ended(
    handlers: Handlers, store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(handlers, user_id)
    paid = paid_run(user_id, f"run_{user_id}", now() + timedelta(hours=1), cost_nano=NANO_PER_DOLLAR)
    assert paid.measured is not None
    cancelled = replace(paid, measured=replace(paid.measured, stop_reason="cancelled"))
    store.transact(Put(run_key(LEDGER_TABLE, user_id, cancelled.run_id), items.run_item(cancelled)))
    capsys.readouterr()

    run(["user", user_id])
    assert capsys.readouterr().out.count("cancelled") == 1
    run(["user", user_id, "--json"])
    assert [found["stop_reason"] for found in document(capsys)["runs"]] == ["cancelled", "end_turn"]


@pytest.fixture
def guard(store: DynamoStore) -> Iterator[DynamoGuard]:
    """A guard whose ceiling is reached, on a day on which something was spent."""
    guard, spend = DynamoGuard(store, LEDGER_TABLE), DynamoSpend(store, SPEND_TABLE)
    store.delete_all([guard_key(LEDGER_TABLE)])
    spend.count([paid_run("costly", "run_costly", now(), cost_nano=NANO_PER_DOLLAR)])
    assert guard.save(guard.read().at(GUARD_SETTINGS.ceiling_nano, GUARD_SETTINGS, now()))
    yield guard
    store.delete_all([guard_key(LEDGER_TABLE)])


def test_the_guard_shows_what_today_and_the_month_have_cost(
    guard: DynamoGuard, store: DynamoStore, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = DynamoSpend(store, SPEND_TABLE).cost_of(now().date())
    assert run(["guard", "--json"]) == 0
    shown = document(capsys)
    assert shown["today"]["cost_nano"] == spent
    assert shown["month"]["cost_nano"] == sum(each["cost_nano"] for each in shown["models"].values()) >= spent
    assert (shown["ceiling_nano"], shown["pauses_free_runs"]) == (GUARD_SETTINGS.ceiling_nano, True)
    assert shown["percent"] == spent // NANO_PER_DOLLAR
    assert shown["paused_until"] is not None
    assert run(["guard"]) == 0
    assert "free runs are paused until" in capsys.readouterr().out


def test_costs_are_compared_with_the_ceiling_and_runs_without_an_answer_are_told_apart(
    guard: DynamoGuard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["guard"]) == 0
    today, month, *_ = capsys.readouterr().out.splitlines()
    runs = r"\d+ runs? with an answer, \d+ without( \(\$[\d.,]+ unpaid\))?"
    assert re.fullmatch(rf"today: \$[\d.,]+ of \$[\d.,]+ \(\d+ %\); {runs}", today)
    assert re.fullmatch(rf"this month: \$[\d.,]+; {runs}", month)


def test_a_pause_is_lifted_once_per_reference_and_says_who_and_why(
    guard: DynamoGuard, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["--ref", user_id, "--reason", "A conference", "--by", "anna"]
    assert run(["guard", "lift", *order, "--json"]) == 0
    shown = document(capsys)
    assert (shown["done"], shown["paused_until"], shown["lifted_on"]) == ("now", None, now().date().isoformat())
    assert (shown["operator"], shown["reason"]) == ("anna", "A conference")
    lifted = guard.read()
    assert run(["guard", "lift", *order, "--json"]) == 0
    assert document(capsys)["done"] == "before"
    assert guard.read() == lifted
    assert lifted.at(10 * GUARD_SETTINGS.ceiling_nano, GUARD_SETTINGS, now()).paused_until is None


def test_a_later_order_does_not_hide_why_the_pause_was_lifted(
    guard: DynamoGuard, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["guard", "lift", "--ref", f"{user_id}-lift", "--reason", "A conference", "--by", "anna"])
    run(["guard", "ceiling", "250", "--ref", f"{user_id}-up", "--by", "bob"])
    capsys.readouterr()

    assert run(["guard"]) == 0
    *_, lifted, last = capsys.readouterr().out.splitlines()
    assert lifted == f"the pause was lifted for {now().date()} by anna: A conference"
    assert last == "last order by bob: Set by an operator"
    assert run(["guard", "--json"]) == 0
    shown = document(capsys)
    assert (shown["lift_reason"], shown["lifted_by"]) == ("A conference", "anna")


def test_a_ceiling_takes_effect_at_once_and_once(
    guard: DynamoGuard, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["guard", "ceiling", "1000000", "--ref", f"{user_id}-up", "--by", "anna", "--json"]) == 0
    shown = document(capsys)
    assert (shown["ceiling_nano"], shown["paused_until"]) == (1_000_000 * NANO_PER_DOLLAR, None)
    assert run(["guard", "ceiling", "1", "--ref", f"{user_id}-down", "--by", "anna", "--json"]) == 0
    assert document(capsys)["paused_until"] is not None
    assert run(["guard", "ceiling", "deployed", "--ref", f"{user_id}-over", "--by", "anna", "--json"]) == 0
    assert document(capsys)["ceiling_nano"] == GUARD_SETTINGS.ceiling_nano
    assert run(["guard", "ceiling", "1", "--ref", f"{user_id}-down", "--by", "anna", "--json"]) == 0
    assert document(capsys)["ceiling_nano"] == GUARD_SETTINGS.ceiling_nano  # done before, and overtaken since


@pytest.mark.parametrize("arguments", [["ceiling", "0"], ["ceiling", "-1"], ["ceiling", "1.5"], ["ceiling", "1000001"]])
def test_a_ceiling_is_whole_dollars(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", *arguments]) == 2
    assert capsys.readouterr().err


def test_a_stack_is_named_after_the_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Before it, it would be taken for that of the display, and the order given to the stack on this machine."""
    assert run(["guard", "--stack", "prod", "lift"]) == 2
    assert "after lift" in capsys.readouterr().err


def test_a_missed_receipt_is_counted_by_hand_and_only_once(
    store: DynamoStore, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missed = paid_run(user_id, f"run_{user_id}", now(), cost_nano=NANO_PER_DOLLAR)
    old = paid_run(user_id, f"run_{user_id}_old", now() - timedelta(days=3), cost_nano=NANO_PER_DOLLAR)
    for each in (missed, old):
        store.transact(Put(run_key(LEDGER_TABLE, user_id, each.run_id), items.run_item(each)))
    spend = DynamoSpend(store, SPEND_TABLE)
    assert run(["guard", "recount", "--json"]) == 0
    assert document(capsys)["counted"] >= 1
    assert spend.all_of_user(user_id) == Counters.of(missed)
    assert run(["guard", "recount", "--days", "4", "--json"]) == 0
    capsys.readouterr()
    assert run(["guard", "recount", "--days", "4", "--json"]) == 0
    assert document(capsys)["counted"] == 0
    assert spend.all_of_user(user_id) == Counters.of(missed) + Counters.of(old)
