"""`make bench-reset`: accounts that are due at the same moment, advanced by the functions through the queue."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from local.backend import Backend
from local.engine import CREDENTIALS, Engine
from local.event_sources import MAX_WORKERS, EventSources
from local.process import ROOT
from local.resources import client, create_resources
from local.template import Description, read_template
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import account_key, entry_key
from playground.adapters.dynamo_store import MAX_BATCH_ITEMS, DynamoStore, Key, RawItem, connect
from playground.domain.account import open_account, start_plus
from playground.domain.calendar import boundary, iso

ANCHOR = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
UNATTENDED = ("ResetFunction", "NoticesFunction", "GuardFunction")
MAX_SECONDS = 3600

DESCRIPTION = """\
Start a store in memory and the scheduled functions, make accounts that share an anchor, advance all of them over a
boundary as the daily schedule does, and print the throughput: index query, queue, advance and notices. Everything runs
on this machine, where two workers and the store share the processors: the rate does not apply to AWS.
docs/operations.md has the calculation for AWS.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.reset", description=DESCRIPTION)
    parser.add_argument("--accounts", type=int, default=10_000, help="how many (default: 10000)")
    options = parser.parse_args(arguments)
    if options.accounts < 1:
        parser.error("--accounts must be at least 1")
    os.environ.update(CREDENTIALS)
    described = read_template(ROOT / "template.yaml")
    functions = {name: described.functions[name] for name in UNATTENDED}
    with Engine() as engine:
        measure(replace(described, functions=functions, apis=()), engine.endpoint_url, options.accounts)
    return 0


def measure(description: Description, endpoint_url: str, accounts: int) -> None:
    create_resources(description, endpoint_url)
    table = description.tables["LedgerTable"].name
    store = DynamoStore(connect(CREDENTIALS["AWS_REGION"], endpoint_url))
    begun = time.monotonic()
    make_accounts(store, table, accounts)
    print(f"{accounts} accounts made in {time.monotonic() - begun:.0f} s, on {os.cpu_count()} CPUs")
    event = json.dumps({"task": "advance", "at": iso(boundary(ANCHOR, 1))}).encode()
    sqs = client("sqs", endpoint_url)
    with Backend(description, extra_environment={"AWS_ENDPOINT_URL": endpoint_url}, warm=True) as backend:
        sources = EventSources(description, endpoint_url, backend.invoke, schedules=False)
        sources.start()
        begun = time.monotonic()
        backend.invoke("ResetFunction", event)
        while (
            any(waiting(sqs, description, name) for name in ("ShardWork", "AccountWork"))
            and time.monotonic() - begun < MAX_SECONDS
        ):
            time.sleep(0.5)
        took = time.monotonic() - begun
        sources.stop()
    failed = waiting(sqs, description, "AccountWorkFailures")
    advanced = sum(1 for raw in all_accounts(store, table) if raw["period"] == {"N": "1"})
    print(f"{advanced} advanced, {failed} failed, in {took:.1f} s: {advanced / took:.0f} accounts a second")
    print(f"by {MAX_WORKERS} workers at once, {took * MAX_WORKERS / max(advanced, 1) * 1000:.0f} ms of one for each")
    sqs.close()
    store.client.close()


def make_accounts(store: DynamoStore, table: str, accounts: int) -> None:
    """Accounts that were opened, and whose plan began, at the anchor."""

    def make(first: int) -> None:
        written: dict[Key, RawItem] = {}
        for number in range(first, min(first + MAX_BATCH_ITEMS, accounts)):
            opened, signup = open_account(f"user-{number}", ANCHOR)
            account, monthly = start_plus(opened, allowance=200, entitled_until=None, now=ANCHOR)
            written[account_key(table, account.user_id)] = items.account_item(account)
            for entry in (*signup, *monthly):
                written[entry_key(table, entry.user_id, entry.seq)] = items.entry_item(entry)
        store.put_all(written)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(0, accounts, MAX_BATCH_ITEMS)))


def waiting(sqs: Any, description: Description, queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=description.queues[queue].url, AttributeNames=names)
    return sum(int(number) for number in found["Attributes"].values())


def all_accounts(store: DynamoStore, table: str) -> list[RawItem]:
    pages = store.client.get_paginator("scan").paginate(
        TableName=table, FilterExpression="sk = :account", ExpressionAttributeValues={":account": {"S": "ACCOUNT"}}
    )
    return [item for page in pages for item in page["Items"]]


if __name__ == "__main__":
    sys.exit(main())
