"""The audit on the engine: what is right has no findings, and what is changed by one attribute does not stay hidden."""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.engine import Engine
from local.resources import create_resources
from local.state_file import write_state
from local.template import Description
from operate.cli import run
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_keys import account_key, user_pk
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import DynamoStore, Key, RawItem
from playground.adapters.prices import published_prices
from playground.domain.account import Account, Change, Hold, grant, start_plus
from playground.domain.audit import Code, Fields, Finding, Stored, StoredEntry
from playground.domain.calendar import from_iso, instant, iso
from playground.domain.entries import EntryType
from playground.ports import Held
from playground.usecases.audit_account import MAX_READS, AuditAccount, AuditAccounts
from playground.usecases.expire_holds import ExpireHolds
from tests.handlers import Context, Handlers
from tests.kit.deployed import deploy
from tests.support import LEDGER_TABLE, SESSIONS_TABLE, SPEND_TABLE, new_ledger, new_store

NOW = instant(datetime.now(UTC))
EVENTS = Path(__file__).parents[2] / "events"
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)

# --- what cannot be noticed, and why ----------------------------------------------------------------------------------

ALONE = "is nowhere else"
WORDS = "what people wrote is not hashed; damaged packing shows"
HINT = "only a hint: the receipt decides"
HANDLE = "names an attempt or a request; nothing is worked out from it"
SHOWN = "is only shown"
OUTSIDE = "what it says happened outside of the store"
OLDER = "may be of an earlier version, which did not write it; the receipt has it"
STEP = "counts only when it moves the ceiling"
EARLY = "may be too early, the sweeper corrects it"
MERGED = "a next boundary before the regular one may be when rollover of an earlier plan expires"

NOT_COVERED: Mapping[tuple[str, str, str], str] = {
    ("account", "anchor", "changed"): MERGED,
    ("account", "entitled_until", "changed"): OUTSIDE,
    ("account", "entitled_until", "deleted"): OUTSIDE,
    ("account", "lease_at", "changed"): EARLY,
    ("account", "recent.*", "changed"): HINT,
    ("account", "recent.*", "deleted"): HINT,
    ("account", "revision", "changed"): HANDLE,
    ("account", "runs_at", "changed"): ALONE,
    ("account", "runs_at", "deleted"): ALONE,
    ("account", "holds.*.l", "changed"): ALONE,
    ("account", "holds.*.m", "changed"): ALONE,
    ("account", "holds.*.n", "changed"): HANDLE,
    ("account", "holds.*.p", "changed"): ALONE,
    ("account", "holds.*.r", "changed"): HANDLE,
    ("account", "holds.*.s", "changed"): ALONE,
    ("key", "created_at", "changed"): ALONE,
    ("key", "version", "changed"): ALONE,
    ("settled", "model_id", "changed"): OUTSIDE,
    ("settled", "nonce", "changed"): HANDLE,
    ("settled", "prompt_tokens", "changed"): STEP,
    ("settled", "request_hash", "changed"): HANDLE,
    ("settled", "wanted_max_tokens", "changed"): STEP,
    ("released", "ended_at", "changed"): ALONE,
    ("released", "failure.code", "changed"): OUTSIDE,
    ("released", "failure.reason", "changed"): OUTSIDE,
    ("released", "failure.retry_after", "changed"): OUTSIDE,
    ("released", "failure.retry_after", "deleted"): OUTSIDE,
    ("released", "nonce", "changed"): HANDLE,
    ("released", "package", "changed"): SHOWN,
    ("released", "package_version", "changed"): SHOWN,
    ("released", "prompt_tokens", "changed"): STEP,
    ("released", "request_hash", "changed"): HANDLE,
    ("released", "session_id", "changed"): HANDLE,
    ("released", "started_at", "changed"): ALONE,
    ("released", "wanted_max_tokens", "changed"): STEP,
    ("expired", "ceiling", "changed"): ALONE,
    ("expired", "ended_at", "changed"): ALONE,
    ("expired", "failure.code", "changed"): OUTSIDE,
    ("expired", "failure.reason", "changed"): OUTSIDE,
    ("expired", "failure.retry_after", "deleted"): OUTSIDE,
    ("expired", "model", "changed"): ALONE,
    ("expired", "nonce", "changed"): HANDLE,
    ("expired", "request_hash", "changed"): HANDLE,
    ("expired", "session_id", "changed"): HANDLE,
    ("expired", "started_at", "changed"): ALONE,
    ("session", "title", "changed"): WORDS,
    ("session", "use_no_prompt", "changed"): ALONE,
    ("turn", "credits", "deleted"): OLDER,
    ("turn", "input", "changed"): WORDS,
    ("turn", "stop_reason", "deleted"): OLDER,
    ("prompt", "text", "changed"): WORDS,
}


@dataclass(frozen=True, slots=True)
class Damage:
    """One item with one attribute changed or deleted."""

    table: str
    kind: str
    path: str
    how: str
    item: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Books:
    """The tables, as somebody sees them who can do with them what they want."""

    store: DynamoStore
    archive: DynamoAudit
    audit: AuditAccount

    @classmethod
    def of(cls, store: DynamoStore) -> "Books":
        archive = DynamoAudit(store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)
        return cls(store, archive, AuditAccount(archive, published_prices))

    def partition(self, table: str, pk: str) -> list[dict[str, Any]]:
        answer = self.store.client.query(
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
            ConsistentRead=True,
        )
        found: list[dict[str, Any]] = answer["Items"]
        return found

    def delete(self, table: str, item: Mapping[str, Any]) -> None:
        self.store.client.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})


@pytest.fixture
def books(store: DynamoStore) -> Books:
    return Books.of(store)


def a_hold(run_id: str, *, lease_at: datetime, ceiling: int = 2) -> Hold:
    return Hold(
        run_id=run_id,
        nonce=f"try_of_{run_id}",
        ceiling=ceiling,
        lease_at=lease_at,
        request_hash="0" * 32,
        session_id=f"ses_of_{run_id}",
        model="sonnet",
        placed_at=lease_at - 30 * MINUTE,
    )


def bonus(account: Account) -> Change:
    after, entry = grant(account, 7, type_=EntryType.BONUS, business_key="bonus:1", reason="For you", now=NOW)
    return after, (entry,)


def live(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    """A life with everything that an account can have seen: two months of a plan, a bonus, a conversation, a failure, a
    run that died, and one that is at work."""
    anchor = NOW - 40 * DAY
    ledger.account(user_id, anchor)
    ledger.change(
        user_id,
        lambda account: start_plus(account, allowance=200, entitled_until=NOW + 400 * DAY, now=anchor),
        business_key="plus",
        now=anchor,
    )
    ledger.change(user_id, bonus, business_key="bonus#1", now=NOW)
    first = handlers.file("run/ok", user_id=user_id)
    assert first.status == 200
    more = {"session_id": first.body["session_id"], "input": "And now?", "model": "sonnet"}
    assert handlers.file("run/ok", user_id=user_id, changes=more).status == 200
    failing = {"input": "Hello [[claude: status=529 retry_after=40]]"}
    assert handlers.file("run/ok", user_id=user_id, changes=failing).status == 503
    custom = {"package_id": None, "custom_prompt": "You are a pirate. Answer in one sentence."}
    assert handlers.file("run/ok", user_id=user_id, changes=custom).status == 200
    dead = a_hold("run_00000000000000000000000dead", lease_at=NOW - MINUTE)
    assert isinstance(ledger.place_hold(user_id, dead, limit=20, now=NOW), Held)
    assert ExpireHolds(ledger)(ledger.account(user_id, NOW), now=NOW) == 1
    for number in range(2):
        open_ = a_hold(f"run_0000000000000000000000open{number}", lease_at=NOW + 60 * MINUTE)
        assert isinstance(ledger.place_hold(user_id, open_, limit=20, now=NOW), Held)


def test_account_that_has_seen_everything_has_no_findings(
    handlers: Handlers, ledger: DynamoLedger, books: Books, user_id: str
) -> None:
    live(handlers, ledger, user_id)
    audited = books.audit(user_id)
    assert audited.findings == ()
    account = ledger.account(user_id, NOW)
    assert (audited.entries, audited.balance, audited.held) == (account.version, account.balance, account.held)
    assert account.held == 4
    kinds = {item["sk"]["S"].partition("#")[0] for item in books.partition(LEDGER_TABLE, user_pk(user_id))}
    assert kinds == {"ACCOUNT", "ENTRY", "KEY", "RUN"}


def test_new_account_has_no_findings_and_none_is_none(ledger: DynamoLedger, books: Books, user_id: str) -> None:
    nobody = books.audit(user_id)
    assert (nobody.exists, nobody.findings) == (False, ())
    ledger.account(user_id, NOW)
    fresh = books.audit(user_id)
    assert (fresh.exists, fresh.entries, fresh.balance, fresh.findings) == (True, 1, 5, ())


def test_many_pages_of_entries_and_receipts_are_gone_through(
    ledger: DynamoLedger, books: Books, user_id: str, handlers: Handlers
) -> None:
    def some(number: int) -> Callable[[Account], Change]:
        def amend(account: Account) -> Change:
            after, entry = grant(
                account, 1, type_=EntryType.BONUS, business_key=f"bonus:{number}", reason="More", now=NOW
            )
            return after, (entry,)

        return amend

    for number in range(120):
        ledger.change(user_id, some(number), business_key=f"bonus#{number}", now=NOW)
    for _ in range(30):
        assert handlers.file("run/ok", user_id=user_id).status == 200
    audited = books.audit(user_id)
    assert (audited.entries, audited.balance, audited.findings) == (151, 95, ())


def test_session_that_was_deleted_is_no_damage(
    handlers: Handlers, ledger: DynamoLedger, books: Books, user_id: str
) -> None:
    live(handlers, ledger, user_id)
    for item in session_items(books, user_id):
        books.delete(SESSIONS_TABLE, item)
    assert books.audit(user_id).findings == ()


def test_a_custom_prompt_that_is_gone_is_found(
    handlers: Handlers, ledger: DynamoLedger, books: Books, user_id: str
) -> None:
    live(handlers, ledger, user_id)
    (prompt,) = [item for item in session_items(books, user_id) if kind_of(item) == "prompt"]
    books.delete(SESSIONS_TABLE, prompt)

    (finding,) = books.audit(user_id).findings

    assert finding.code is Code.SESSION
    assert str(finding) == f"prompt of {prompt['pk']['S'].removeprefix('SESSION#')} is nothing, should be there"


# --- every attribute --------------------------------------------------------------------------------------------------


def test_no_change_of_a_single_attribute_stays_hidden(
    handlers: Handlers, ledger: DynamoLedger, books: Books, user_id: str
) -> None:
    """Each attribute of each kind of item, changed and deleted one at a time; what stays hidden is listed, and why."""
    live(handlers, ledger, user_id)
    stored = everything(books, user_id)
    assert Copy.of(stored)(user_id) == books.audit(user_id)
    hidden, tried = set(), set()
    for damage in damages(stored):
        audited = Copy.of([*stored, (damage.table, damage.item)])(user_id)
        tried.add((damage.kind, damage.path, damage.how))
        if audited.fine:
            hidden.add((damage.kind, damage.path, damage.how))
    assert hidden ^ set(NOT_COVERED) == set()
    assert {kind for kind, _, _ in tried} == KINDS
    assert len(tried) > 250


KINDS = {"account", "entry", "key", "settled", "released", "expired", "session", "turn", "prompt"}


def kind_of(item: Mapping[str, Any]) -> str:
    kind = str(item["sk"]["S"]).partition("#")[0].lower()
    return str(item["status"]["S"]) if kind == "run" else kind


def session_items(books: Books, user_id: str) -> list[dict[str, Any]]:
    """Sessions and turns of a user."""
    runs = [item for item in books.partition(LEDGER_TABLE, user_pk(user_id)) if kind_of(item) == "settled"]
    sessions = {item["session_id"]["S"] for item in runs}
    return [item for session in sorted(sessions) for item in books.partition(SESSIONS_TABLE, f"SESSION#{session}")]


def everything(books: Books, user_id: str) -> list[tuple[str, dict[str, Any]]]:
    stored = [(LEDGER_TABLE, item) for item in books.partition(LEDGER_TABLE, user_pk(user_id))]
    return stored + [(SESSIONS_TABLE, item) for item in session_items(books, user_id)]


class Copy(DynamoStore):
    """Items of the engine in a dictionary, for reading them a thousand times."""

    def __init__(self, found: Mapping[Key, RawItem]) -> None:
        self._found = found

    @classmethod
    def of(cls, stored: Sequence[tuple[str, RawItem]]) -> AuditAccount:
        """An audit of these items; of two with the same key, the later one is there."""
        copy = cls({Key(table, item["pk"]["S"], item["sk"]["S"]): item for table, item in stored})
        archive = DynamoAudit(copy, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)
        return AuditAccount(archive, published_prices)

    def get(self, key: Key) -> RawItem | None:
        return self._found.get(key)

    def get_all(self, keys: Sequence[Key], *, consistent: frozenset[str] = frozenset()) -> dict[Key, RawItem]:
        return {key: self._found[key] for key in keys if key in self._found}

    def query(
        self,
        table: str,
        pk: str,
        *,
        first: str,
        last: str,
        newest_first: bool = False,
        limit: int,
        condition: Mapping[str, Any] | None = None,
    ) -> tuple[Sequence[RawItem], str | None]:
        run_id = (condition or {}).get("ExpressionAttributeValues", {}).get(":run")
        keys = sorted(key.sk for key in self._found if (key.table, key.pk) == (table, pk) and first <= key.sk <= last)
        found = [self._found[Key(table, pk, sk)] for sk in keys]
        return [item for item in found if run_id is None or item.get("run_id") == run_id], None


def damages(stored: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Damage]:
    """Every attribute of every kind of item, each once; of entries, of every type of entry."""
    done = set()
    for table, item in reversed(list(stored)):
        kind = kind_of(item)
        for path, how, changed in variations(item):
            generic = re.sub(r"^(holds|recent)\.[^.]+", r"\1.*", path)
            what = (kind, item.get("type", {}).get("S") if kind == "entry" else None, generic, how)
            if path not in ("pk", "sk") and what not in done:
                done.add(what)
                yield Damage(table, kind, generic, how, changed)


def variations(item: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """`item` with one attribute deleted, or changed into something that the ledger might have written there."""
    for name, value in item.items():
        where = f"{path}{name}"
        yield where, "deleted", {key: other for key, other in item.items() if key != name}
        [(kind, content)] = value.items()
        if kind == "M":
            for inner, how, changed in variations(content, f"{where}."):
                yield inner, how, {**item, name: {"M": changed}}
        elif kind == "L":
            for number, element in enumerate(content):
                rest = [*content[:number], changed_value(name, element), *content[number + 1 :]]
                yield f"{where}.{number}", "changed", {**item, name: {"L": rest}}
        else:
            yield where, "changed", {**item, name: changed_value(name, value)}


OTHERS = {
    "plan": {"plus": "free"},
    "status": {"settled": "released", "released": "expired", "expired": "settled"},
    "model": {"sonnet": "haiku"},
}


def changed_value(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Another value of the same type, as near as there is."""
    [(kind, content)] = value.items()
    match kind:
        case "N":
            return {"N": str(int(content) + 1)}
        case "BOOL":
            return {"BOOL": not content}
        case "B":
            middle = len(content) // 2
            return {"B": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]}
        case "NULL":
            return {"S": "something"}
    assert kind == "S"
    if name in OTHERS and content in OTHERS[name]:
        return {"S": OTHERS[name][content]}
    try:
        return {"S": iso(from_iso(content) + timedelta(milliseconds=1))}
    except ValueError:
        return {"S": content[:-1] + ("0" if content[-1] != "0" else "1")}


# --- on an account that moves -----------------------------------------------------------------------------------------


class Moving:
    """An archive whose account is another one at each look; `found` are balances of entry 1, look by look."""

    def __init__(self, archive: DynamoAudit, found: Sequence[int]) -> None:
        self._archive = archive
        self._found = found
        self.looks = 0

    def account(self, user_id: str) -> Fields | None:
        return {"version": -1}

    def read(self, user_id: str) -> Stored:
        stored = self._archive.read(user_id)
        [entry] = stored.entries
        damaged = {**entry.fields, "balance_after": self._found[self.looks]}
        self.looks += 1
        return replace(stored, entries=[StoredEntry(number=1, fields=damaged)])

    def users(self, *, after: str | None) -> tuple[Sequence[str], str | None]:
        raise NotImplementedError

    def after(self, user_id: str) -> str:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("found", "looks", "findings"),
    [([6, 5], 2, 0), ([6] * MAX_READS, MAX_READS, 2), ([6, 7, 8, 9, 10], MAX_READS, 0)],
)
def test_account_that_moves_is_read_again_and_what_stays_counts(
    ledger: DynamoLedger, books: Books, user_id: str, found: list[int], looks: int, findings: int
) -> None:
    ledger.account(user_id, NOW)
    moving = Moving(books.archive, found)
    audited = AuditAccount(moving, published_prices)(user_id)
    assert (moving.looks, len(audited.findings)) == (looks, findings)


class Lagging(Moving):
    """An archive whose account stays as it is. At the first look, what was written with it is not visible yet."""

    def account(self, user_id: str) -> Fields | None:
        return self._archive.account(user_id)


@pytest.mark.parametrize(("found", "findings"), [([6, 5], 0), ([6, 6], 2)])
def test_what_is_not_visible_at_the_first_look_is_no_damage(
    ledger: DynamoLedger, books: Books, user_id: str, found: list[int], findings: int
) -> None:
    ledger.account(user_id, NOW)
    lagging = Lagging(books.archive, found)
    audited = AuditAccount(lagging, published_prices)(user_id)
    assert (lagging.looks, len(audited.findings)) == (2, findings)


def test_audit_while_runs_are_at_work_finds_nothing(
    handlers: Handlers, ledger: DynamoLedger, books: Books, user_id: str
) -> None:
    """Every look falls between two writes of a run that goes on."""
    ledger.account(user_id, NOW)
    findings: list[Finding] = []
    writing = threading.Thread(target=lambda: [handlers.file("run/ok", user_id=user_id) for _ in range(4)])
    writing.start()
    while writing.is_alive():
        findings += books.audit(user_id).findings
    writing.join()
    assert findings == []
    assert books.audit(user_id).entries == 5


# --- the function -----------------------------------------------------------------------------------------------------


def event_file(name: str, **changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / "audit" / f"{name}.json").read_text(encoding="utf-8"))
    return {**event, **changes}


def test_function_audits_one_account(handlers: Handlers, ledger: DynamoLedger, books: Books, user_id: str) -> None:
    """As the event files ask, with the rights that the template gives, and with an answer that is JSON."""
    live(handlers, ledger, user_id)
    event = event_file("one_account", user_id=user_id)
    assert handlers.invoke("audit", event) == {"accounts": 1, "damaged": (), "failed": (), "after": None}
    account = ledger.account(user_id, NOW)
    damage_account(books, user_id, held=str(account.held + 1))
    [damaged] = json.loads(json.dumps(handlers.invoke("audit", event)))["damaged"]
    assert damaged["user_id"] == user_id
    assert damaged["findings"] == [
        {
            "code": "available",
            "message": "account: available",
            "expected": account.available - 1,
            "found": account.available,
        },
        {"code": "held", "message": "account: held", "expected": account.held, "found": account.held + 1},
    ]
    assert handlers.invoke("audit", event_file("one_account", user_id="nobody"))["accounts"] == 0


def test_function_audits_everybody_from_a_place_on(handlers: Handlers, ledger: DynamoLedger, user_id: str) -> None:
    """One that has no time left does nothing, and says where to go on: right where it was asked to begin."""
    ledger.account(user_id, NOW)
    event = event_file("all_accounts", after=DynamoAudit.after(handlers.apps["audit"].archive, user_id))
    assert handlers.invoke("audit", event, seconds_left=1) == {
        "accounts": 0,
        "damaged": (),
        "failed": (),
        "after": event["after"],
    }
    with handlers.rights.of("audit"):
        audit = handlers.apps["audit"].handler(event_file("all_accounts"), Dwindling(900))
    assert audit["accounts"] >= 1
    assert audit["after"] is None or audit["accounts"] < 20  # other files leave thousands


class Dwindling(Context):
    """Each look at the time takes a minute."""

    def get_remaining_time_in_millis(self) -> int:
        self._seconds_left -= 60
        return super().get_remaining_time_in_millis()


@pytest.mark.parametrize(
    "event",
    [
        {"task": "audit", "user_id": 7},
        {"task": "audit", "user_id": ""},
        {"task": "audit", "after": 7},
        {"task": "audit", "after": "no place"},
        {"task": "audit", "after": "[1, 2]"},
        {"task": "tidy"},
        {"task": "expire_holds", "at": "2026-11-01T00:00:00Z"},
        {},
    ],
)
def test_function_refuses_what_it_does_not_understand(handlers: Handlers, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        handlers.invoke("audit", event)


def test_scheduled_work_does_not_audit(handlers: Handlers) -> None:
    with pytest.raises(ValueError, match="task must be expire_holds, advance or warn"):
        handlers.invoke("reset", {"task": "audit", "user_id": "alice"})


def damage_account(books: Books, user_id: str, **numbers: str) -> None:
    for name, number in numbers.items():
        books.store.client.update_item(
            TableName=LEDGER_TABLE,
            Key=account_key(LEDGER_TABLE, user_id).raw,
            UpdateExpression="SET #name = :number",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":number": {"N": number}},
        )


# --- everybody, on an engine of its own -------------------------------------------------------------------------------

USERS = [f"user-{number:02d}" for number in range(30)]


@pytest.fixture(scope="module")
def own_engine(description: Description) -> Iterator[Engine]:
    with Engine() as own:
        create_resources(description, own.endpoint_url)
        yield own


@pytest.fixture
def own(own_engine: Engine) -> Iterator[Books]:
    """30 accounts that are fine."""
    store = new_store(own_engine)
    ledger = new_ledger(store)
    for user_id in USERS:
        ledger.account(user_id, NOW)
    yield Books.of(store)
    for user_id in USERS:
        damage_account(Books.of(store), user_id, held="0", available="5")
    store.client.close()


@pytest.fixture
def stack(own: Books, own_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    """What a running stack leaves in its folder."""
    tables = {"LedgerTable": LEDGER_TABLE, "SessionsTable": SESSIONS_TABLE, "SpendTable": SPEND_TABLE}
    write_state(tmp_path, {"pid": os.getpid(), "engine_url": own_engine.endpoint_url, "tables": tables})
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    return own


def test_all_accounts_are_audited_in_bounded_steps_each_once(own: Books) -> None:
    failures: list[str] = []
    everybody = AuditAccounts(own.archive, own.audit, lambda user_id, _: failures.append(user_id))
    damage_account(own, USERS[7], held="1")
    damage_account(own, USERS[21], held="2")
    steps, after = [], None
    while True:
        page = everybody(after=after, limit=12)
        steps.append(page.accounts)
        failures += [damaged.user_id for damaged in page.damaged]
        after = page.after
        if after is None:
            break
    assert (steps, sorted(failures)) == ([12, 12, 6], [USERS[7], USERS[21]])
    assert everybody(after=None, limit=12, time_is_up=lambda: True).accounts == 0


def test_command_says_that_an_account_is_fine(stack: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "user-00"]) == 0
    assert capsys.readouterr() == ("user-00: 1 entry, balance 5, held 0, chain holds\n", "")


def test_command_says_exactly_what_is_wrong(stack: Books, capsys: pytest.CaptureFixture[str]) -> None:
    damage_account(stack, "user-01", held="2")
    assert run(["audit", "user-01"]) == 1
    assert capsys.readouterr().out == (
        "user-01: 2 findings\n  account: available is 5, should be 3\n  account: held is 2, should be 0\n"
    )


def test_command_audits_everybody(stack: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "--all"]) == 0
    assert capsys.readouterr().err == "30 accounts, 0 with findings\n"
    damage_account(stack, "user-02", held="2")
    assert run(["audit", "--all"]) == 1
    out, err = capsys.readouterr()
    assert err == "30 accounts, 1 with findings\n"
    assert len(re.findall(r"^user-\d\d: 1 entry, balance 5, held 0, chain holds$", out, re.MULTILINE)) == 29
    assert "user-02: 2 findings\n" in out


def test_command_audits_a_deployed_stack(
    own: Books, own_engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = deploy(own_engine, {"LedgerTableName": LEDGER_TABLE, "SessionsTableName": SESSIONS_TABLE}, monkeypatch)
    assert run(["audit", "user-03", "--stack", name]) == 0
    assert capsys.readouterr().out.startswith("user-03: 1 entry")


def test_command_that_cannot_be_done_says_why(
    stack: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "nobody"]) == 4
    assert capsys.readouterr().err == "there is no account nobody in the local stack\n"
    state = json.loads((tmp_path / "stack.json").read_text(encoding="utf-8"))
    write_state(tmp_path, {**state, "tables": {"LedgerTable": "gone", "SessionsTable": "gone-too"}})
    assert run(["audit", "--all"]) == 2
    assert "ResourceNotFoundException" in capsys.readouterr().err
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "elsewhere"))
    assert run(["audit", "alice"]) == 2
    assert "no stack is running" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["alice", "--all"], ["alice", "--stack", ""], ["--what"]])
def test_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", *arguments]) == 2
    assert "Usage: ./playground audit" in capsys.readouterr().err
