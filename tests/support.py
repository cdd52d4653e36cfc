"""Building blocks for tests: the ledger on the engine, and what every account must fulfil at any time."""

import http.client
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from local.engine import Engine
from local.template import REGION
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_store import Backoff, DynamoStore
from playground.adapters.prices import load_prices
from playground.domain.account import Account
from playground.domain.entries import GENESIS, Entry, EntryType
from playground.ports import Ledger, PurchaseRecords
from tests.fakes import InMemoryLedger
from tests.kit.extent import HANG_SECONDS

ALLOWANCE = load_prices().plan.credits
LEDGER_TABLE = "playground-LedgerTable"
SESSIONS_TABLE = "playground-SessionsTable"
CATALOG_TABLE = "playground-CatalogTable"
VISITORS_TABLE = "playground-VisitorsTable"
SPEND_TABLE = "playground-SpendTable"


def new_store(engine: Engine, backoff: Backoff | None = None) -> DynamoStore:
    """A store over a connection of its own: as the functions have it, but patient. The engine is on this machine, which
    may be busy, and then an answer that takes long is no store that fails."""
    return DynamoStore(patient_client(engine), backoff)


def patient_client(engine: Engine, attempts: int = 3) -> Any:
    return boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=engine.endpoint_url,
        config=Config(
            connect_timeout=HANG_SECONDS / 4,
            read_timeout=HANG_SECONDS / 4,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            max_pool_connections=64,
            parameter_validation=False,
            signature_version=UNSIGNED,  # the engine checks none, and it is a tenth of the processor time of a request
        ),
    )


def new_ledger(store: DynamoStore) -> DynamoLedger:
    return DynamoLedger(store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)


def records_of(ledger: Ledger) -> PurchaseRecords:
    """Purchases and the like, beside the accounts of this ledger."""
    if isinstance(ledger, InMemoryLedger):
        return ledger.records
    assert isinstance(ledger, DynamoLedger)
    return DynamoPurchaseRecords(ledger._store, LEDGER_TABLE)


def all_entries(ledger: Ledger, user_id: str) -> list[Entry]:
    """Every entry of an account, oldest first."""
    entries: list[Entry] = []
    before: int | None = None
    for _ in range(10_000):
        page, before, _ = ledger.entries(user_id, before=before, limit=100, type_=None)
        entries += page
        if before is None:
            return entries[::-1]
    raise AssertionError("a history without end")


def check_invariants(account: Account, entries: Sequence[Entry]) -> None:
    """I1 to I4 and I6 of docs/ledger.md, for an account and its entries, oldest first."""
    buckets = account.buckets
    assert min(buckets.monthly, buckets.rollover, buckets.purchased, account.held, account.debt) >= 0  # I1
    assert account.available == account.balance - account.held >= 0
    assert account.balance == sum(entry.amount for entry in entries)  # I2
    for bucket in ("monthly", "rollover", "purchased"):
        assert getattr(buckets, bucket) == sum(getattr(entry.deltas, bucket) for entry in entries)
    assert account.held == sum(hold.ceiling for hold in account.holds.values())
    assert [entry.seq for entry in entries] == list(range(1, account.version + 1))  # I3
    balance, previous = 0, GENESIS
    for entry in entries:
        balance += entry.amount
        assert (entry.balance_after, entry.previous_hash) == (balance, previous)
        previous = entry.hash
    assert account.last_hash == previous
    assert not account.payable_debt, "purchased credits beside debt"  # I1
    assert 0 <= account.lapsed <= min(account.held, buckets.rollover)
    granted = [entry.amount for entry in entries if entry.type is EntryType.MONTHLY]
    assert buckets.rollover - account.lapsed <= max([ALLOWANCE, *granted]), "more rollover than one allowance"
    assert account.debt == sum(entry.amount for entry in entries if entry.type is EntryType.DEBT)
    spends = [entry.run_id for entry in entries if entry.type is EntryType.SPEND]
    assert len(spends) == len(set(spends))  # I4
    assert not set(spends) & set(account.holds)
    keys = [entry.business_key for entry in entries]
    assert len(keys) == len(set(keys))  # I6


def claude_calls(url: str) -> dict[str, Any]:
    """What the Claude double at `url` has been asked so far."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=HANG_SECONDS)
    try:
        connection.request("GET", "/_calls")
        calls: dict[str, Any] = json.loads(connection.getresponse().read())
        return calls
    finally:
        connection.close()
