"""The history as CSV, for spreadsheets: the same lines as in JSON, page by page."""

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import account_key, entry_key
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.account import open_account, write_entry
from playground.domain.credits import Deltas
from playground.domain.entries import EntryType
from playground.domain.spreadsheet import FORMULAS
from playground.schemas.credits import COLUMNS
from tests.conftest import NOW
from tests.handlers import Answer, Handlers
from tests.kit.extent import WHOLE
from tests.support import LEDGER_TABLE

HISTORY = "/playground/credits/history"
NEXT = re.compile(r'<(\?[!-~]+)>; rel="next"')


def as_csv(handlers: Handlers, user_id: str, query: str = "") -> Answer:
    return handlers.call("GET", f"{HISTORY}{query}", user=user_id, accept="text/csv")


def lines_of(answer: Answer) -> list[dict[str, str]]:
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert answer.body.splitlines()[0] == ",".join(COLUMNS)
    return list(csv.DictReader(io.StringIO(answer.body), strict=True))


def all_lines(handlers: Handlers, user_id: str, query: str) -> tuple[int, list[dict[str, str]]]:
    """The number of pages, and what they have."""
    lines: list[dict[str, str]] = []
    for number in range(1, 200):
        answer = as_csv(handlers, user_id, query)
        lines += lines_of(answer)
        following = NEXT.fullmatch(answer.headers.get("Link", ""))
        if following is None:
            assert "Link" not in answer.headers
            return number, lines
        query = following[1]
    raise AssertionError("no end")


def write_history(store: DynamoStore, user_id: str, count: int) -> None:
    """An account with so many entries, of which all but the first are a gift."""
    account, (signup,) = open_account(user_id, NOW)
    entries = [signup]
    for number in range(2, count + 1):
        account, entry = write_entry(
            account,
            EntryType.BONUS,
            Deltas(purchased=1),
            business_key=f"bonus:{number}",
            reason="A gift",
            now=NOW,
        )
        entries.append(entry)
    store.put_all({entry_key(LEDGER_TABLE, user_id, entry.seq): items.entry_item(entry) for entry in entries})
    store.put_all({account_key(LEDGER_TABLE, user_id): items.account_item(account)})


def test_a_history_of_ten_thousand_lines_is_paged(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    """A tenth of them, unless the tests are run whole: the engine takes a minute for all."""
    count = 10_000 if WHOLE else 1_000
    write_history(store, user_id, count)
    pages, lines = all_lines(handlers, user_id, "?limit=100")

    assert pages == count // 100
    assert [int(line["seq"]) for line in lines] == list(range(count, 0, -1))
    assert lines[-1]["type"] == "signup"
    refused = as_csv(handlers, user_id, "?limit=101")
    assert (refused.status, refused.body["error"], refused.body["field"]) == (400, "validation_error", "limit")


def test_lines_are_those_of_the_json(handlers: Handlers, user_id: str) -> None:
    body = {"package_id": "@playground/code-reviewer", "input": "Hello"}
    for _ in range(2):
        assert handlers.call("POST", "/playground/run", body, user=user_id).status == 200
    transactions: list[dict[str, Any]] = handlers.call("GET", HISTORY, user=user_id).body["transactions"]
    _, lines = all_lines(handlers, user_id, "?limit=2")

    assert len(lines) == len(transactions) == 3
    for line, transaction in zip(lines, transactions, strict=True):
        flat = {**transaction, **transaction["buckets"]}
        for name in COLUMNS:
            text = "" if flat[name] is None else str(flat[name])
            assert line[name] == (f"'{text}" if text.startswith(FORMULAS) and isinstance(flat[name], str) else text)
    assert lines[0]["package"] == "'@playground/code-reviewer"
    assert lines[0]["amount"].startswith("-")


def test_a_filter_holds_for_the_next_page(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    write_history(store, user_id, 7)
    _, lines = all_lines(handlers, user_id, "?limit=2&type=bonus")
    assert [line["seq"] for line in lines] == ["7", "6", "5", "4", "3", "2"]
    assert {line["type"] for line in lines} == {"bonus"}


def test_nothing_in_it_is_a_formula(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    write_history(store, user_id, 2)
    key = entry_key(LEDGER_TABLE, user_id, 2)
    raw = store.get(key) or {}
    entry = replace(items.entry_of(user_id, raw), reason="=HYPERLINK(1)", business_key="@x")
    store.put_all({key: items.entry_item(entry)})
    line = lines_of(as_csv(handlers, user_id))[0]
    assert (line["description"], line["business_key"]) == ("'=HYPERLINK(1)", "'@x")


def test_a_damaged_line_is_named(handlers: Handlers, store: DynamoStore, user_id: str) -> None:
    write_history(store, user_id, 3)
    key = entry_key(LEDGER_TABLE, user_id, 2)
    store.put_all({key: {**(store.get(key) or {}), "hash": {"N": "1"}}})
    assert [(line["seq"], line["type"], line["amount"]) for line in lines_of(as_csv(handlers, user_id))] == [
        ("3", "bonus", "1"),
        ("2", "unreadable", ""),
        ("1", "signup", "5"),
    ]


@pytest.mark.parametrize("accept", [None, "application/json", "*/*", "application/json, text/csv", "text/html"])
def test_whoever_does_not_ask_for_csv_gets_json(handlers: Handlers, user_id: str, accept: str | None) -> None:
    answer = handlers.call("GET", HISTORY, user=user_id, accept=accept)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Vary"] == "Origin, Accept"
    assert answer.body["transactions"][0]["type"] == "signup"
    assert "Link" not in answer.headers


def test_headers_of_a_download(handlers: Handlers, user_id: str) -> None:
    assert [line["type"] for line in lines_of(handlers.file("credits/history_csv", user_id=user_id))] == ["signup"]
    answer = as_csv(handlers, user_id)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="credits.csv"'
    assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("no-store", "Origin, Accept")
    assert handlers.call("GET", HISTORY, accept="text/csv").body["error"] == "unauthorized"
