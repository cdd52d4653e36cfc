"""The measured system: RunPrompt with the real adapters, an engine and a stand-in for Claude."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.transport import Call, Transport
from bench.units import Index, Item, Written, written
from doubles.claude.server import ClaudeDouble
from local.engine import CREDENTIALS, Engine
from local.process import ROOT
from local.resources import client, create_resources
from local.seed import local_catalog
from local.seed import seed as seed_packages
from local.template import REGION, Description, read_template
from playground.adapters.claude import ClaudeModel
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_lookup import DynamoLookup
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.adapters.ids import id_maker
from playground.adapters.prices import load_prices, published_prices
from playground.domain.account import Account, Change, Hold, grant
from playground.domain.entries import EntryType
from playground.domain.packages import package_uuid
from playground.domain.pricing import Usage
from playground.domain.runs import RunRequest
from playground.ports import UNWATCHED, Completion, HoldOutcome, Model, Progress, Prompt, TokenCount
from playground.usecases.audit_account import AuditAccount
from playground.usecases.live_runs import LiveAnswer, not_followed
from playground.usecases.run_prompt import RunPrompt

RATE_LIMIT_FACTOR = 600  # the measurement exceeds the rate limits of a user
PRICES = load_prices().with_rate_limits_times(RATE_LIMIT_FACTOR)
PACKAGE = package_uuid("@playground/code-reviewer")
TRACE_ID = "1-58406520-a006649127e371903a2de979"  # as long as any
TIMEOUT = 24.0  # s, as in template.yaml
SECONDS_LEFT = 29.0  # s, as in template.yaml
MAX_OPEN = 20  # runs of an account, as in template.yaml
TABLES = ("LedgerTable", "SessionsTable", "CatalogTable")


def utc_now() -> datetime:
    return datetime.now(UTC)


class FixedModel:
    """Always answers with `text`, after `seconds()`. 1,000 tokens in, 500 out."""

    def __init__(self, text: str = "Looks good.", seconds: Callable[[], float] = lambda: 0.0) -> None:
        self._text = text
        self._seconds = seconds

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        return TokenCount(1000)

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        time.sleep(self._seconds())
        progress.write(self._text)
        usage = Usage(input_tokens=1000, output_tokens=500)
        return Completion(text=self._text, usage=usage, stop_reason="end_turn", model_id=prompt.model.model_id)


class Watched:
    """A model that records the number of store calls before the answer, and its own duration."""

    def __init__(self, model: Model, transport: Transport) -> None:
        self._model = model
        self._transport = transport
        self.calls_before: int | None = None
        self.seconds = 0.0

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        started = time.perf_counter()
        try:
            return self._model.count_tokens(prompt, timeout=timeout)
        finally:
            self.seconds += time.perf_counter() - started

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        self.calls_before = len(self._transport.of_this_thread())
        started = time.perf_counter()
        try:
            return self._model.complete(prompt, timeout=timeout, progress=progress)
        finally:
            self.seconds += time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Calls to the store that a run waited for, one after the other; `before` the model was asked and `after`.
    `after` is None if the model was not asked."""

    before: tuple[str, ...]
    after: tuple[str, ...] | None


class _WithoutAllowance(DynamoLedger):
    """For more open runs than the condition of the allowance has room for: an expression has 4 KB at most."""

    def place_hold(self, user_id: str, *holds: Hold, **conditions: Any) -> HoldOutcome:
        return super().place_hold(user_id, *holds, **{**conditions, "allowance": None})


@dataclass(frozen=True, slots=True)
class World:
    store: DynamoStore
    reader: Any
    """A separate client that reads items without being counted."""
    ledger: DynamoLedger
    lookup: DynamoLookup
    sessions: DynamoSessions
    catalog: DynamoCatalog
    claude: ClaudeModel
    audit: AuditAccount
    tables: Mapping[str, str] = field(repr=False)
    indexes: Mapping[str, tuple[Index, ...]] = field(repr=False)
    store_pid: int | None = None

    def store_cpu_seconds(self) -> float | None:
        """What the store's process has taken; None on a system that does not say."""
        try:
            line = Path(f"/proc/{self.store_pid}/stat").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        user, system = line.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def run_prompt(
        self,
        model: Model | None = None,
        *,
        max_open_runs: int = MAX_OPEN,
        live: Callable[[str, Hold], AbstractContextManager[LiveAnswer]] = not_followed,
    ) -> RunPrompt:
        return RunPrompt(
            ledger=self.ledger if max_open_runs <= MAX_OPEN else self._without_allowance(),
            lookup=self.lookup,
            sessions=self.sessions,
            catalog=self.catalog,
            model=model or self.claude,
            prices=PRICES,
            clock=utc_now,
            new_id=id_maker(utc_now),
            max_open_runs=max_open_runs,
            model_timeout_seconds=TIMEOUT,
            live=live,
            trace_id=lambda: TRACE_ID,
        )

    def _without_allowance(self) -> DynamoLedger:
        return _WithoutAllowance(
            self.store, ledger_table=self.tables["LedgerTable"], sessions_table=self.tables["SessionsTable"]
        )

    def give(self, user_id: str, credits_: int) -> Account:
        """Grant credits for the measurement."""

        def amend(account: Account) -> Change:
            after, entry = grant(
                account, credits_, type_=EntryType.BONUS, business_key="bench", reason="For the bench", now=utc_now()
            )
            return after, (entry,)

        return self.ledger.change(user_id, amend, business_key="bench", now=utc_now())

    def round_trips(self, user_id: str, *, key: str | None = None, model: Model | None = None) -> RoundTrips:
        """Run once; the calls to the store meanwhile."""
        with Transport().at(self.store.client) as transport:
            watched = Watched(model or self.claude, transport)
            self.run_prompt(watched)(user_id, a_request(), idempotency_key=key, seconds_left=SECONDS_LEFT)
        calls = tuple(call.operation for call in transport.calls)
        if watched.calls_before is None:
            return RoundTrips(calls, None)
        return RoundTrips(calls[: watched.calls_before], calls[watched.calls_before :])

    def writes_of(self, action: Callable[[], object]) -> list[Written]:
        """Run `action`; what it wrote and what that costs."""
        meter = Meter(self)
        with meter.at(self.store.client):
            action()
        return meter.costs

    def item(self, table: str, key: Item) -> Item | None:
        answer = self.reader.get_item(TableName=table, Key=key, ConsistentRead=True)
        found: Item | None = answer.get("Item")
        return found


class Meter(Transport):
    """Reads every item that a write touches before and after it. For one thread."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.costs: list[Written] = []

    def _sending(self, model: Any, context: dict[str, Any], **_: Any) -> None:
        call: Call = context["bench_call"]
        context["bench_latency"] = 0.0
        context["bench_before"] = [self._world.item(table, key) for _, table, key in targets(call)]

    def _answered(self, parsed: Mapping[str, Any], context: dict[str, Any], **rest: Any) -> None:
        super()._answered(parsed, context, **rest)
        call: Call = context["bench_call"]
        refused = " (refused)" if call.error else ""
        for before, (operation, table, key) in zip(context["bench_before"], targets(call), strict=True):
            after = before if refused else self._world.item(table, key)
            self.costs += written(
                str(key["sk"]["S"]).partition("#")[0].lower(),
                f"{operation}{refused}",
                before,
                after,
                in_transaction=call.operation == "TransactWriteItems",
                indexes=self._world.indexes.get(table, ()),
            )


def targets(call: Call) -> list[tuple[str, str, Item]]:
    """(operation, table, key) of every item that a request writes."""
    if call.operation == "UpdateItem":
        return [("update", call.params["TableName"], call.params["Key"])]
    found: list[tuple[str, str, Item]] = []
    for table, requests in call.params.get("RequestItems", {}).items() if call.operation == "BatchWriteItem" else ():
        for request in requests:
            [(kind, arguments)] = request.items()
            source = arguments["Item"] if kind == "PutRequest" else arguments["Key"]
            batched = "batch put" if kind == "PutRequest" else "batch delete"
            found.append((batched, table, {"pk": source["pk"], "sk": source["sk"]}))
    for action in call.params.get("TransactItems", ()):
        [(kind, arguments)] = action.items()
        source = arguments["Item"] if kind == "Put" else arguments["Key"]
        found.append((kind.lower(), arguments["TableName"], {"pk": source["pk"], "sk": source["sk"]}))
    return found


def a_request(text: str = "def add(a, b): return a - b", *, session_id: str | None = None) -> RunRequest:
    assert PACKAGE is not None
    return RunRequest(package_id=PACKAGE, input=text, model="sonnet", session_id=session_id)


@contextmanager
def world(
    endpoint_url: str, description: Description, claude_url: str, store_pid: int | None = None
) -> Iterator[World]:
    """The parts on an engine that has the template's tables and the sample packages."""
    tables = {name: description.tables[name].name for name in TABLES}
    ledger_table, sessions_table, catalog_table = (tables[name] for name in TABLES)
    key, secret = CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
    store = DynamoStore(connect(REGION, endpoint_url, aws_access_key_id=key, aws_secret_access_key=secret))
    reader = client("dynamodb", endpoint_url)
    claude = ClaudeModel(api_key="bench", base_url=claude_url)
    environment = {**CREDENTIALS, **description.functions["CatalogFunction"].environment}
    try:
        with local_catalog(environment, endpoint_url) as catalog:
            yield World(
                store=store,
                reader=reader,
                ledger=DynamoLedger(store, ledger_table=ledger_table, sessions_table=sessions_table),
                lookup=DynamoLookup(
                    store,
                    catalog,
                    ledger_table=ledger_table,
                    sessions_table=sessions_table,
                    catalog_table=catalog_table,
                ),
                sessions=DynamoSessions(store, sessions_table),
                catalog=catalog,
                claude=claude,
                audit=AuditAccount(
                    DynamoAudit(store, ledger_table=ledger_table, sessions_table=sessions_table), published_prices
                ),
                tables=tables,
                indexes={table.name: indexes_of(table.properties) for table in description.tables.values()},
                store_pid=store_pid,
            )
    finally:
        claude.close()
        reader.close()
        store.client.close()


def indexes_of(properties: Mapping[str, Any]) -> tuple[Index, ...]:
    """The indexes of a table of the template. Raises ValueError for one that projects whole items."""
    found = []
    for index in properties.get("GlobalSecondaryIndexes", ()):
        if index["Projection"]["ProjectionType"] == "ALL":
            raise ValueError(f"{index['IndexName']} projects whole items, which is not supported")
        keys = tuple(key["AttributeName"] for key in index["KeySchema"])
        found.append(Index(index["IndexName"], keys, tuple(index["Projection"].get("NonKeyAttributes", ()))))
    return tuple(found)


@contextmanager
def started_world() -> Iterator[World]:
    """The parts, with an engine and a stand-in for Claude of their own, which end with the context."""
    os.environ.update(CREDENTIALS)
    with Engine() as engine, ClaudeDouble() as claude:
        description = read_template(ROOT / "template.yaml", {"AnthropicBaseUrl": claude.url})
        secrets = {"AuthSecret": json.dumps({"secrets": ["-" * 32]}), "AnthropicSecret": json.dumps({"api_key": "-"})}
        create_resources(description, engine.endpoint_url, secrets)
        seed_packages({**CREDENTIALS, **description.functions["CatalogFunction"].environment}, engine.endpoint_url)
        with world(engine.endpoint_url, description, claude.url, engine.pid) as started:
            yield started
