"""The audit, pure: an account that adds up has no findings, and every rule that is broken has its own."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_audit import fields_of, plain
from playground.adapters.prices import published_prices
from playground.domain.account import (
    Account,
    Hold,
    cross_boundary,
    drop_hold,
    open_account,
    place_hold,
    settle,
    start_plus,
)
from playground.domain.audit import (
    MAX_FINDINGS,
    Audited,
    Code,
    Finding,
    Stored,
    StoredEntry,
    StoredKey,
    StoredRun,
    Unreadable,
    audit,
)
from playground.domain.calendar import boundary, iso
from playground.domain.credits import Deltas
from playground.domain.entries import GENESIS, Entry, EntryType
from playground.domain.packages import package_uuid
from playground.domain.pricing import Tiers, Usage
from playground.domain.runs import Failure, Measured, Run, RunStatus
from playground.domain.sessions import Session, Turn
from tests.kit.prices import EXAMPLE

SONNET = EXAMPLE.models["sonnet"]
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
USER = "alice"
PACKAGE = "@playground/code-reviewer"

Item = dict[str, Any]


@dataclass
class Books:
    """What is stored, as dictionaries that may be damaged; `stored` brings together what belongs together."""

    account: Item | None
    entries: list[Item]
    runs: dict[str, Item]
    turns: dict[tuple[str, str], Item]
    sessions: dict[str, Item]
    keys: dict[str, Item]
    numbers: dict[int, int] = field(default_factory=dict)
    """Numbers in the keys of entries, where they are not those of the list."""

    def stored(self) -> Stored:
        by_seq = {repr(entry.get("seq")): entry for entry in self.entries}
        holds = (self.account or {}).get("holds")
        return Stored(
            user_id=USER,
            shard="07",
            account=self.account,
            entries=[
                StoredEntry(
                    number=self.numbers.get(place, place),
                    fields=entry,
                    receipt=self.runs.get(str(entry.get("run_id"))),
                )
                for place, entry in enumerate(self.entries, start=1)
            ],
            runs=[
                StoredRun(
                    run_id=run_id,
                    fields=run,
                    entry=by_seq.get(repr(run.get("entry_seq"))),
                    turn=self.turns.get((str(run.get("session_id")), str(run.get("turn")))),
                    session=self.sessions.get(str(run.get("session_id"))),
                    stray_turn=self.stray(run_id) if run.get("status") != "settled" else None,
                )
                for run_id, run in self.runs.items()
            ],
            keys=[StoredKey(name=name, fields=fields) for name, fields in self.keys.items()],
            held={
                run_id: StoredRun(run_id=run_id, fields=self.runs.get(run_id, {}), stray_turn=self.stray(run_id))
                for run_id in (holds if isinstance(holds, dict) else ())
            },
        )

    def stray(self, run_id: str) -> int | None:
        return next((int(number) for (_, number), turn in self.turns.items() if turn.get("run_id") == run_id), None)

    def audit(self) -> Audited:
        return audit(self.stored(), published_prices)


def a_hold(number: int, ceiling: int = 2) -> Hold:
    return Hold(
        run_id=f"run_{number:026d}",
        nonce=f"try_{number}",
        ceiling=ceiling,
        lease_at=NOW + 1800 * SECOND,
        request_hash="0" * 32,
        session_id="ses_1",
        model="sonnet",
        placed_at=NOW,
    )


def a_receipt(hold: Hold, status: RunStatus, **outcome: Any) -> Run:
    known: dict[str, Any] = {
        "package": PACKAGE,
        "package_version": "1.0.0",
        "model_id": SONNET.model_id,
        "price_version": EXAMPLE.version,
        "prompt_tokens": 1000,
        "max_tokens": 1500,
        "wanted_max_tokens": 4096,
    }
    return Run(
        run_id=hold.run_id,
        user_id=USER,
        status=status,
        nonce=hold.nonce,
        request_hash=hold.request_hash,
        session_id=hold.session_id,
        model=hold.model,
        ceiling=hold.ceiling,
        started_at=NOW,
        ended_at=NOW + 2 * SECOND,
        **({} if status is RunStatus.EXPIRED else known),
        **outcome,
    )


def an_item(run: Run) -> Item:
    return dict(fields_of(items.run_item(run)))


def make_books() -> Books:
    """A plan, two paid turns of one conversation, a failure, a run that died, one at work."""
    account, entries = open_account(USER, NOW - timedelta(days=3))
    written: list[Entry] = list(entries)
    account, entries = start_plus(account, allowance=200, entitled_until=None, now=NOW - timedelta(days=2))
    written += entries
    runs: dict[str, Item] = {}
    turns: dict[tuple[str, str], Item] = {}
    usage = Usage(input_tokens=900, output_tokens=800, cache_read_tokens=200)
    price = EXAMPLE.price(SONNET, usage)
    ceiling = EXAMPLE.ceiling(SONNET, 1000, 1500)
    for number in (1, 2):
        hold = a_hold(number, ceiling)
        account, [entry] = settle(
            place_hold(account, hold), hold.run_id, price.credits, reason=f"Run of {PACKAGE}", now=NOW + 2 * SECOND
        )
        written.append(entry)
        run = a_receipt(
            hold,
            RunStatus.SETTLED,
            charged=price.credits,
            deltas=entry.deltas,
            balance_after=entry.balance_after,
            entry_seq=entry.seq,
            entry_hash=entry.hash,
            turn=number,
            measured=Measured(usage=usage, price=price, stop_reason="end_turn", duration_ms=2000),
        )
        runs[hold.run_id] = an_item(run)
        turn = Turn(
            number=number,
            run_id=hold.run_id,
            input="What?",
            answer="That.",
            input_tokens=1100,
            output_tokens=800,
            asked_at=NOW,
            answered_at=NOW + 2 * SECOND,
        )
        turns["ses_1", str(number)] = {**fields_of(items.turn_item(turn)), "input": "What?", "answer": "That."}
    failed, dead = a_hold(3, ceiling), a_hold(4, ceiling)
    failure = Failure(code="model_failed", reason="empty")
    runs[failed.run_id] = an_item(a_receipt(failed, RunStatus.RELEASED, failure=failure))
    runs[dead.run_id] = an_item(a_receipt(dead, RunStatus.EXPIRED, failure=failure))
    account, _ = drop_hold(place_hold(account, failed), failed.run_id, now=NOW)
    at_work = a_hold(5, 4)
    account = place_hold(account, at_work)
    session = Session(
        session_id="ses_1",
        user_id=USER,
        package_id=package_uuid(PACKAGE) or "",
        package=PACKAGE,
        package_version="1.0.0",
        use_no_prompt=False,
        model="sonnet",
        title="What?",
        created_at=NOW + 2 * SECOND,
        updated_at=NOW + 2 * SECOND,
        turns=2,
        credits=2 * price.credits,
        tokens=2 * usage.billed_tokens,
        duration_ms=4000,
    )
    index = {"lease_at": iso(at_work.lease_at), "lease_shard": "07", "due_shard": "07", "recent": {"1": "0" * 8}}
    return Books(
        account={**fields_of(items.account_item(account)), **index},
        entries=[dict(fields_of(items.entry_item(entry))) for entry in written],
        runs=runs,
        turns=turns,
        sessions={"ses_1": dict(fields_of(items.session_item(session)))},
        keys={"plus": {"created_at": iso(NOW), "version": 1}},
    )


BOOKS = make_books()
PAID, PAID_LATER, FAILED, DEAD, AT_WORK = (f"run_{number:026d}" for number in range(1, 6))


@pytest.fixture
def books() -> Books:
    return copy.deepcopy(BOOKS)


def test_account_that_adds_up_has_no_findings(books: Books) -> None:
    audited = books.audit()
    assert audited.findings == ()
    assert (audited.fine, audited.exists, audited.entries, audited.balance, audited.held) == (True, True, 4, 203, 4)


def test_a_missing_account_is_no_damage() -> None:
    audited = audit(Stored(user_id="nobody", shard="01", account=None), published_prices)
    assert (audited.exists, audited.findings) == (False, ())


def test_opened_account_adds_up() -> None:
    account, entries = open_account(USER, NOW)
    books = Books(
        account=dict(fields_of(items.account_item(account))),
        entries=[dict(fields_of(items.entry_item(entry))) for entry in entries],
        runs={},
        turns={},
        sessions={},
        keys={},
    )
    assert books.audit().findings == ()


# --- each rule --------------------------------------------------------------------------------------------------------

Damage = Callable[[Books], object]


def account_is(**values: Any) -> Damage:
    def damage(books: Books) -> None:
        assert books.account is not None
        books.account.update(values)

    return damage


def entry_is(number: int, **values: Any) -> Damage:
    return lambda books: books.entries[number - 1].update(values)


def run_is(run_id: str, **values: Any) -> Damage:
    return lambda books: books.runs[run_id].update(values)


def turn_is(**values: Any) -> Damage:
    return lambda books: books.turns["ses_1", "1"].update(values)


def session_is(**values: Any) -> Damage:
    return lambda books: books.sessions["ses_1"].update(values)


def hold_is(**values: Any) -> Damage:
    def damage(books: Books) -> None:
        assert books.account is not None
        books.account["holds"][AT_WORK].update(values)

    return damage


def without_account(books: Books) -> None:
    books.account = None


def without_entry(number: int) -> Damage:
    def damage(books: Books) -> None:
        del books.entries[number - 1]
        books.numbers.update({place: place + 1 for place in range(number, len(books.entries) + 1)})

    return damage


def run_of_the_held_one(books: Books) -> None:
    books.runs[AT_WORK] = {**books.runs[FAILED], "run_id": AT_WORK, "nonce": "try_5"}


def second_spend(books: Books) -> None:
    """Entry 4 as a second charge of the first run, hashed and chained as it should be."""
    entry = Entry(
        user_id=USER,
        seq=4,
        type=EntryType.SPEND,
        deltas=Deltas(monthly=-1),
        balance_after=203,
        business_key=f"run:{PAID}",
        reason="Again",
        created_at=NOW,
        previous_hash=books.entries[2]["hash"],
        run_id=PAID,
        session_id="ses_1",
    )
    books.entries[3] = dict(fields_of(items.entry_item(entry)))


def beside_debt(books: Books) -> None:
    """3 credits are lent, in an entry as it should be, and nothing is repaid from the 5 that are there."""
    last, account = books.entries[-1], books.account
    assert account is not None
    entry = Entry(
        user_id=USER,
        seq=5,
        type=EntryType.DEBT,
        deltas=Deltas(purchased=3),
        balance_after=206,
        business_key="debt:refund:pur_1:1",
        reason="Owed",
        created_at=NOW,
        previous_hash=last["hash"],
        purchase_id="pur_1",
    )
    books.entries.append(dict(fields_of(items.entry_item(entry))))
    account.update(version=5, last_hash=entry.hash, debt=3)
    account.update(purchased=account["purchased"] + 3, available=account["available"] + 3)


def too_much_rollover(books: Books) -> None:
    """A month's credits that became rollover twice, in an entry as it should be."""
    last, account = books.entries[-1], books.account
    assert account is not None
    entry = Entry(
        user_id=USER,
        seq=5,
        type=EntryType.ADMIN,
        deltas=Deltas(rollover=201),
        balance_after=404,
        business_key="admin:1",
        reason="Again",
        created_at=NOW,
        previous_hash=last["hash"],
    )
    books.entries.append(dict(fields_of(items.entry_item(entry))))
    account.update(version=5, last_hash=entry.hash, rollover=201, available=account["available"] + 201)


PRICE = BOOKS.runs[PAID]["price"]
LATE = iso(NOW + 1801 * SECOND)


def an_undo(books: Books) -> None:
    books.entries[3].update(type="admin", business_key="undo:ticket-1")


def an_undo_of_another_amount(books: Books) -> None:
    books.entries[2].update(type="bonus", business_key="bonus:ticket-1")
    an_undo(books)


RULES: dict[str, tuple[Code, str, object, object, Damage]] = {
    "undo without a grant": (Code.ORDER, "entry 4: amount", "a grant to undo", BOOKS.entries[3]["amount"], an_undo),
    "undo of another amount": (
        Code.ORDER,
        "entry 4: amount",
        -BOOKS.entries[2]["amount"],
        BOOKS.entries[3]["amount"],
        an_undo_of_another_amount,
    ),
    "debt": (Code.DEBT, "account: debt", 0, 3, account_is(debt=3)),
    "credits beside debt": (Code.OWED, "account: credits that should repay debt", 0, 8, beside_debt),
    "lapsed and not held": (Code.LAPSED, "account: lapsed", "at most 0", 1, account_is(lapsed=1)),
    "more rollover than a month": (Code.LAPSED, "account: lapsed", "at least 1", 0, too_much_rollover),
    "account is gone": (Code.ACCOUNT, "the account", "there", "nothing", without_account),
    "amount": (Code.AMOUNT, "entry 3: amount", -1, -2, entry_is(3, amount=-2)),
    "attribute is missing": (Code.ATTRIBUTE, "entry 2: reason", "text", "nothing", entry_is(2, reason=None)),
    "attribute is of another type": (
        Code.ATTRIBUTE,
        "account: monthly",
        "a whole number",
        "text",
        account_is(monthly="1"),
    ),
    "attribute cannot be read": (
        Code.ATTRIBUTE,
        "account: held",
        "a whole number",
        "a number that is not whole",
        account_is(held=Unreadable("a number that is not whole")),
    ),
    "attribute that should not be there": (
        Code.ATTRIBUTE,
        f"{DEAD}: model_id",
        "absent, for it knows only its hold",
        "text",
        run_is(DEAD, model_id="x"),
    ),
    "no time": (Code.ATTRIBUTE, "account: created_at", "a time", "text", account_is(created_at="yesterday")),
    "remembered run": (Code.ATTRIBUTE, "account: recent 1", "8 characters", "text", account_is(recent={"1": "x"})),
    "available": (Code.AVAILABLE, "account: available", 199, 203, account_is(available=203)),
    "balance_after": (Code.BALANCE_AFTER, "entry 4: balance_after", 203, 204, entry_is(4, balance_after=204)),
    "bucket": (Code.BUCKET, "account: purchased", 5, 6, account_is(purchased=6)),
    "business key twice": (
        Code.BUSINESS_KEY,
        "entry 2: business_key",
        "unique",
        "that of entry 1",
        entry_is(2, business_key="signup"),
    ),
    "business key of another run": (
        Code.BUSINESS_KEY,
        "entry 3: business_key",
        f"run:{PAID}",
        f"run:{PAID_LATER}",
        entry_is(3, business_key=f"run:{PAID_LATER}"),
    ),
    "ceiling by the prices": (Code.CEILING, f"{FAILED}: ceiling", 1, 9, run_is(FAILED, ceiling=9)),
    "charge above the ceiling": (
        Code.CEILING,
        "entry 3: credits spent",
        "at most 1",
        3,
        entry_is(3, deltas=[-3, 0, 0], amount=-3),
    ),
    "max_tokens above what was wanted": (
        Code.CEILING,
        f"{PAID}: max_tokens",
        "at most 100",
        1500,
        run_is(PAID, wanted_max_tokens=100),
    ),
    "chain": (Code.CHAIN, "entry 1: previous_hash", GENESIS, "1" * 64, entry_is(1, previous_hash="1" * 64)),
    "charge": (Code.CHARGE, f"{PAID}: charged", 1, 2, run_is(PAID, charged=2)),
    "overrun": (Code.CHARGE, f"{PAID}: overrun", 0, 1, run_is(PAID, overrun=1)),
    "charge of a failure": (Code.CHARGE, f"{FAILED}: charged", 0, 1, run_is(FAILED, charged=1)),
    "deltas of a failure": (Code.CHARGE, f"{DEAD}: deltas", "[0, 0, 0]", "[-1, 0, 0]", run_is(DEAD, deltas=[-1, 0, 0])),
    "boundary": (
        Code.DUE,
        "account: due_at",
        "2026-11-30T12:00:00.000Z",
        "2026-11-30T12:00:00.001Z",
        account_is(due_at="2026-11-30T12:00:00.001Z"),
    ),
    "shard of boundaries": (Code.DUE, "account: due_shard", "07", "08", account_is(due_shard="08")),
    "held": (Code.HELD, "account: held", 4, 3, account_is(held=3)),
    "ceiling of a hold": (Code.HELD, "account: held", 5, 4, hold_is(c=5)),
    "hold of a run that has ended": (
        Code.HELD_AND_ENDED,
        f"{AT_WORK}: status",
        "held",
        "released",
        run_of_the_held_one,
    ),
    "lease_at is late": (
        Code.LEASE,
        "account: lease_at",
        f"at most {iso(NOW + 1800 * SECOND)}",
        LATE,
        account_is(lease_at=LATE),
    ),
    "shard of leases": (Code.LEASE, "account: lease_shard", "07", "08", account_is(lease_shard="08")),
    "lease before it began": (
        Code.LEASE,
        f"hold of {AT_WORK}: lease",
        f"after {iso(NOW)}",
        iso(NOW - SECOND),
        hold_is(l=iso(NOW - SECOND)),
    ),
    "negative number": (Code.NEGATIVE, "account: debt", "at least 0", -1, account_is(debt=-1)),
    "negative bucket on the way": (
        Code.NEGATIVE,
        "entry 3: monthly after it",
        "at least 0",
        -100,
        entry_is(3, deltas=[-300, 0, 0]),
    ),
    "negative usage": (Code.NEGATIVE, f"{PAID}: usage", "at least 0", -1, run_is(PAID, usage=[-1, 1, 1, 1])),
    "missing entry": (Code.NUMBERING, "the entry after 1", 2, 3, without_entry(2)),
    "entry under another number": (Code.NUMBERING, "entry 2: seq", 2, 7, entry_is(2, seq=7)),
    "plan": (Code.PLAN, "account: allowance", 0, 200, account_is(plan="free")),
    "allowance": (Code.PLAN, "account: allowance", 200, 300, account_is(allowance=300)),
    "price": (Code.PRICE, f"{PAID}: cost by the price table", PRICE[4], 1, run_is(PAID, price=[*PRICE[:4], 1])),
    "price of a model that is not sold": (
        Code.PRICE,
        f"{PAID}: model",
        "one of the price table",
        "another",
        run_is(PAID, model="gpt"),
    ),
    "receipt and entry": (
        Code.RECEIPT,
        f"{PAID}: balance_after of entry 3",
        204,
        205,
        run_is(PAID, balance_after=205),
    ),
    "receipt and session": (Code.RECEIPT, f"{PAID}: package", PACKAGE, "@a/b", run_is(PAID, package="@a/b")),
    "duration": (Code.RECEIPT, f"{PAID}: duration_ms", 2000, 1, run_is(PAID, duration_ms=1)),
    "session": (Code.SESSION, "ses_1: credits", 2, 3, session_is(credits=3)),
    "session of somebody else": (Code.SESSION, "ses_1: user_id", USER, "bob", session_is(user_id="bob")),
    "signup": (Code.SIGNUP, "entry 1: type", "signup", "bonus", entry_is(1, type="bonus")),
    "opened at another time": (
        Code.SIGNUP,
        "account: created_at",
        "2026-10-29T12:00:00.000Z",
        iso(NOW),
        account_is(created_at=iso(NOW)),
    ),
    "spend without a receipt": (
        Code.SPEND,
        f"entry 3: the receipt of {PAID}",
        "there",
        "nothing",
        lambda books: books.runs.pop(PAID),
    ),
    "spend of a run that is not settled": (
        Code.SPEND,
        f"entry 3: status of {PAID}",
        "settled",
        "released",
        run_is(PAID, status="released"),
    ),
    "second spend of a run": (Code.SPEND, f"entry 4: the entry that {PAID} names", 4, 3, second_spend),
    "settled run without an entry": (Code.SPEND, f"{PAID_LATER}: entry 4", "there", "nothing", without_entry(4)),
    "spend that gives": (
        Code.SPEND,
        "entry 3: deltas",
        "a spend takes credits",
        "[1, 0, 0]",
        entry_is(3, deltas=[1, 0, 0]),
    ),
    "answer of a paid run is gone": (
        Code.TURN,
        f"{PAID}: turn 1 of ses_1",
        "there",
        "nothing",
        lambda books: books.turns.pop(("ses_1", "1")),
    ),
    "answer of another run": (Code.TURN, "turn 1 of ses_1: run_id", PAID, DEAD, turn_is(run_id=DEAD)),
    "answer of a run that failed": (
        Code.TURN,
        f"{FAILED}: its turn",
        "absent, for it is released",
        "turn 1",
        turn_is(run_id=FAILED),
    ),
    "answer of a run at work": (
        Code.TURN,
        f"{AT_WORK}: its turn",
        "absent, for it is held",
        1,
        turn_is(run_id=AT_WORK),
    ),
    "credits of a turn": (Code.TURN, "turn 1 of ses_1: credits", 1, 2, turn_is(credits=2)),
    "end of a turn": (
        Code.TURN,
        "turn 1 of ses_1: stop_reason",
        "end_turn",
        "cancelled",
        turn_is(stop_reason="cancelled"),
    ),
    "run without the prompt": (
        Code.RECEIPT,
        f"{PAID}: use_no_prompt",
        "False",
        "True",
        run_is(PAID, use_no_prompt=True),
    ),
    "tokens of a turn": (Code.TURN, "turn 1 of ses_1: output_tokens", 800, 1, turn_is(output_tokens=1)),
    "version": (Code.VERSION, "account: version", 4, 5, account_is(version=5)),
    "key of a change to come": (
        Code.VERSION,
        "key plus: version",
        "at most 4",
        9,
        lambda books: books.keys["plus"].update(version=9),
    ),
    "last hash": (
        Code.LAST_HASH,
        "account: last_hash",
        BOOKS.entries[3]["hash"],
        GENESIS,
        account_is(last_hash=GENESIS),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_broken_rule_is_found_with_what_should_be_there(books: Books, name: str) -> None:
    code, message, expected, found, damage = RULES[name]
    damage(books)
    assert Finding(code, message, expected, found) in books.audit().findings  # type: ignore[arg-type]


def test_changed_reason_breaks_the_hash_of_its_line_only(books: Books) -> None:
    books.entries[2]["reason"] = books.entries[2]["reason"].replace("Run", "Sun")
    [finding] = books.audit().findings
    assert (finding.code, finding.message) == (Code.HASH, "entry 3: hash")


def test_every_kind_of_finding_has_a_test() -> None:
    assert {code for code, *_ in RULES.values()} | {Code.HASH} == set(Code)


# --- it goes on -------------------------------------------------------------------------------------------------------


def test_one_wrong_line_is_reported_once_not_for_every_line_behind_it(books: Books) -> None:
    books.entries[1]["balance_after"] = 1000
    assert {finding.message for finding in books.audit().findings} == {
        "entry 2: balance_after",
        "entry 2: hash",
        "entry 3: balance_after",  # which does not follow from the wrong one
    }


def test_several_damages_are_all_found(books: Books) -> None:
    for damage in (account_is(held=3), entry_is(2, seq=7), run_is(PAID, charged=2), session_is(turns=9)):
        damage(books)
    codes = {finding.code for finding in books.audit().findings}
    assert {Code.HELD, Code.NUMBERING, Code.CHARGE, Code.SESSION} <= codes


@pytest.mark.parametrize(
    "value", [None, "", "text", -1, 10**40, True, b"\xff", [], [None], {}, Unreadable("of type SS")]
)
def test_damaged_attribute_never_stops_it(value: object) -> None:
    """Every attribute of every item in turn holds something that it never should."""
    for kind, place in itertools.chain(
        [("account", None)],
        (("entries", number) for number in range(4)),
        (("runs", run_id) for run_id in BOOKS.runs),
        [("turns", ("ses_1", "1")), ("sessions", "ses_1"), ("keys", "plus")],
    ):
        item = getattr(BOOKS, kind) if place is None else getattr(BOOKS, kind)[place]
        for name in item:
            books = copy.deepcopy(BOOKS)
            damaged = getattr(books, kind) if place is None else getattr(books, kind)[place]
            damaged[name] = value
            for finding in books.audit().findings:
                assert str(finding)


def test_empty_items_are_reported_and_no_more(books: Books) -> None:
    books.account = {}
    books.entries = [{} for _ in books.entries]
    books.runs = {run_id: {} for run_id in books.runs}
    assert {finding.code for finding in books.audit().findings} == {Code.ATTRIBUTE}


def test_findings_without_end_are_counted(books: Books) -> None:
    books.entries = [{} for _ in range(300)]
    audited = books.audit()
    assert len(audited.findings) == MAX_FINDINGS
    assert audited.omitted > 0


def test_finding_says_it_in_a_line(books: Books) -> None:
    account_is(held=3)(books)
    assert [str(finding) for finding in books.audit().findings] == [
        "account: available is 199, should be 200",
        "account: held is 3, should be 4",
    ]


def test_finding_never_shows_what_people_wrote(books: Books) -> None:
    books.turns["ses_1", "1"]["answer"] = b"a secret"
    books.sessions["ses_1"]["title"] = ["a secret"]
    findings = books.audit().findings
    assert len(findings) == 2
    assert "secret" not in " ".join(map(str, findings))


# --- what is right although it looks strange --------------------------------------------------------------------------


def test_late_second_attempt_of_a_run_that_has_ended_is_no_damage(books: Books) -> None:
    """It asked for a receipt before there was one; its hold is given back by itself."""
    run_of_the_held_one(books)
    books.runs[AT_WORK]["nonce"] = "try_of_the_first_attempt"
    assert books.audit().findings == ()


def test_deleted_session_is_no_damage(books: Books) -> None:
    books.turns, books.sessions = {}, {}
    assert books.audit().findings == ()


def test_each_receipt_is_checked_by_the_table_that_it_names(books: Books) -> None:
    """After a change of prices, too: by the old table, and not by the new one."""
    doubled = replace(EXAMPLE, version="2027-01-01", tiers=Tiers(steps=((10, 50),), further_tokens=10))
    tables = {EXAMPLE.version: EXAMPLE, doubled.version: doubled}
    assert audit(books.stored(), tables.get).findings == ()
    books.runs[PAID]["price_version"] = doubled.version
    books.runs[FAILED]["price_version"] = doubled.version
    found = [(finding.code, finding.message) for finding in audit(books.stored(), tables.get).findings]
    assert (Code.CEILING, f"{PAID}: ceiling") in found
    assert (Code.PRICE, f"{PAID}: tier by the price table") in found
    assert (Code.CEILING, f"{FAILED}: ceiling") in found


@pytest.mark.parametrize("run_id", [PAID, FAILED])
def test_a_version_that_was_never_published_is_damage(books: Books, run_id: str) -> None:
    books.runs[run_id]["price_version"] = "2001-01-01"
    assert [(finding.code, finding.message) for finding in books.audit().findings] == [
        (Code.PRICE, f"{run_id}: price_version")
    ]


def test_overrun_is_recorded_and_not_charged(books: Books) -> None:
    usage = Usage(input_tokens=900, output_tokens=4000, cache_read_tokens=200)
    price = EXAMPLE.price(SONNET, usage)
    run = books.runs[PAID]
    run.update(
        usage=[900, 4000, 0, 200],
        price=[price.credits, price.tier, price.factor, price.floor, price.cost_nano],
        overrun=price.credits - 1,
    )
    books.turns["ses_1", "1"]["output_tokens"] = 4000
    books.sessions["ses_1"]["tokens"] += 3200
    assert price.credits > 1
    assert books.audit().findings == ()


@pytest.mark.parametrize(("until", "crossings"), [(boundary(NOW, 1), 2), (boundary(NOW, 1) + timedelta(days=9), 3)])
def test_account_after_its_plan_has_ended_adds_up(until: datetime, crossings: int) -> None:
    account, entries = open_account(USER, NOW)
    written = list(entries)
    account, entries = start_plus(account, allowance=200, entitled_until=until, now=NOW)
    written += entries
    seen: list[Account] = []
    while account.due_at is not None:
        account, entries = cross_boundary(account)
        written += entries
        seen.append(account)
        fields = dict(fields_of(items.account_item(account)))
        if account.due_at is not None:
            fields["due_shard"] = "07"
        books = Books(
            account=fields,
            entries=[dict(fields_of(items.entry_item(entry))) for entry in written],
            runs={},
            turns={},
            sessions={},
            keys={},
        )
        assert books.audit().findings == ()
    assert len(seen) == crossings


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"S": "text"}, "text"),
        ({"N": "12"}, 12),
        ({"N": "-0"}, 0),
        ({"N": "12.0"}, 12),
        ({"N": "1E+2"}, 100),
        ({"N": "1.5"}, Unreadable("a number that is not whole")),
        ({"N": "many"}, Unreadable("no number")),
        ({"NULL": True}, None),
        ({"BOOL": False}, False),
        ({"B": b"\0"}, b"\0"),
        ({"L": [{"N": "1"}, {"S": "a"}]}, [1, "a"]),
        ({"M": {"a": {"M": {}}}}, {"a": {}}),
        ({"SS": ["a"]}, Unreadable("of type SS")),
        ("bare", Unreadable("nothing that is known")),
    ],
)
def test_values_are_read_as_they_are(raw: Any, value: object) -> None:
    assert plain(raw) == value
