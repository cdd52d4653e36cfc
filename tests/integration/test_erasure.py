"""Export and erasure, on an engine of its own: they look for what names a user in whole tables."""

import io
import itertools
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pynamodb.expressions.operand import Path

from doubles.stripe import StripeDouble
from local.engine import Engine
from local.resources import client, create_resources
from local.template import REGION, Description
from operate.change_plan import StripeManagedError
from operate.cli import run
from operate.commands.export import everything
from operate.dynamo_books import DynamoBooks
from operate.dynamo_erasure import DynamoEraser, DynamoPerson
from operate.erase_account import CheckoutOpenError, EraseAccount, Erased, InDebtError, NoAccountError
from operate.grant_bonus import GrantBonus
from operate.operator_request import OperatorRequest, ReferenceForgottenError
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_checkpoints import DynamoCheckpoints
from playground.adapters.dynamo_keys import account_key, entry_key, outcome_key, run_key, session_key
from playground.adapters.dynamo_notices import notices_of
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_shares import DynamoShares
from playground.adapters.dynamo_spend import DynamoSpend
from playground.adapters.dynamo_store import Backoff, DynamoStore, Key, Put, RawItem, Update, connect
from playground.adapters.prices import published_prices
from playground.adapters.texts import TurnTexts
from playground.domain.account import Account, Change, Plan, grant, start_plus
from playground.domain.entries import Entry, EntryType
from playground.domain.erasure import (
    BeingErasedError,
    OvertakenError,
    erased_account,
    erased_entry,
    is_pseudonym,
    opened_again,
    pseudonym_of,
)
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.payment_events import Payment, ProviderEvent, RefundSum
from playground.domain.purchases import MAX_FORMER_CUSTOMERS, Customer, PaymentEvent, Purchase, PurchaseState
from playground.domain.runs import Run, RunFilter, RunStatus
from playground.domain.sessions import Session
from playground.domain.sharing import Report, Share, Vote, viewer_of
from playground.domain.spend import Counters
from playground.domain.subscriptions import Subscription
from playground.ports import CannotAfford, Checkpoint, Held
from playground.usecases.apply_payment import ApplyPayment, Outcome
from playground.usecases.audit_account import AuditAccount
from playground.usecases.reconcile import Reconcile
from tests.conftest import NOW
from tests.fakes import a_hold, charging, conversation, paid_run, receipt
from tests.kit.billing import Billing, stripe_in_process
from tests.kit.extent import DEV_PART, WHOLE
from tests.kit.prices import EXAMPLE
from tests.support import LEDGER_TABLE, SESSIONS_TABLE, SPEND_TABLE, all_entries, check_invariants, new_ledger

MONTH = timedelta(days=31)
LATER = NOW + 2 * MONTH
ORDER = OperatorRequest(reference="ticket-1", reason="Sorry, Alice Liddell", operator="anna")
_numbers = itertools.count(1)
TEXTS: dict[DynamoStore, TurnTexts] = {}


@pytest.fixture(scope="module")
def own(description: Description) -> Iterator[DynamoStore]:
    with Engine() as engine:
        create_resources(description, engine.endpoint_url)
        store = Mortal(connect(REGION, engine.endpoint_url))
        s3 = client("s3", engine.endpoint_url)
        TEXTS[store] = TurnTexts(lambda: s3, description.buckets["ContentBucket"].name)
        yield store
        store.client.close()
        s3.close()


class Killed(BaseException):
    """The process ended here."""


class Mortal(DynamoStore):
    """A store whose process can be ended before or after any of its calls."""

    left: int | None = None
    reply_lost = False
    asleep: int | None = None  # after so many calls the process sleeps, and meanwhile something happens
    meanwhile: Callable[[], None]

    def _call(self, operation: str, arguments: dict[str, Any]) -> Mapping[str, Any]:
        if self.asleep is not None:
            self.asleep -= 1
            if self.asleep < 1:
                self.asleep = None
                self.meanwhile()
        if self.left is None:
            return super()._call(operation, arguments)
        self.left -= 1
        if self.left == 0 and not self.reply_lost:
            raise Killed
        answer = super()._call(operation, arguments)
        if self.left == 0:
            raise Killed
        return answer


@pytest.fixture
def user(own: Mortal) -> str:
    user_id = f"alice-{next(_numbers)}"
    live(own, user_id)
    return user_id


def live(store: DynamoStore, user_id: str) -> None:
    """Two months of a life: a plan, runs, a bonus, a purchase, a shared conversation, and a run that is open."""
    ledger, payments = new_ledger(store), DynamoPurchaseRecords(store, LEDGER_TABLE)
    ledger.change(user_id, plus, business_key="plan:1", now=NOW)
    session_id = f"ses_{user_id}"
    for number, at in ((1, NOW), (2, NOW + MONTH)):
        hold = a_hold(f"run_{user_id}_{number}".ljust(30, "0"), 10, at, session_id=session_id)
        assert isinstance(ledger.place_hold(user_id, hold, limit=20, now=at), Held)
        talk = conversation(user_id, hold, at, turns=number)
        ledger.settle(ledger.account(user_id, at), hold, charging(hold, 3, at, turn=number), talk)
    hold = a_hold(f"run_{user_id}_3".ljust(30, "0"), 5, LATER)
    ledger.place_hold(user_id, hold, limit=20, now=LATER)
    ledger.release(user_id, receipt(user_id, hold, RunStatus.RELEASED, LATER))
    GrantBonus(ledger)(user_id, 50, ORDER, now=LATER)
    payments.save(
        Purchase(
            purchase_id=f"pur_{user_id}",
            user_id=user_id,
            pack="small",
            credits=100,
            amount=500,
            currency="usd",
            live=False,
            price_version="1",
            created_at=LATER,
            state=PurchaseState.PAID,
            payment_id=f"pi_{user_id}",
            paid_at=LATER,
            granted=True,
        ),
        Customer(user_id=user_id, customer_id=f"cus_{user_id}", live=False, created_at=LATER),
        PaymentEvent(
            event_id=f"evt_{user_id}",
            type="payment_intent.succeeded",
            user_id=user_id,
            subject=f"pi_{user_id}",
            occurred_at=LATER,
            received_at=LATER,
        ),
    )
    share(store, user_id, session_id)
    DynamoSpend(store, SPEND_TABLE).count([spent(user_id, number) for number in (1, 2)])
    ledger.place_hold(user_id, a_hold(f"run_{user_id}_4".ljust(30, "0"), 5, LATER), limit=20, now=LATER)


def spent(user_id: str, number: int, at: datetime = NOW) -> Run:
    """A receipt of the user, for the counters of what runs cost."""
    return paid_run(user_id, f"run_{user_id}_{number}".ljust(30, "0"), at, cost_nano=1000, package=f"@of/{number}")


def share(store: DynamoStore, user_id: str, session_id: str) -> None:
    """Bob looks at what the user shares, votes and reports it; the user does so at Carol's."""
    sessions, shares = DynamoSessions(store, SESSIONS_TABLE, TEXTS[store]), DynamoShares(store, SESSIONS_TABLE)
    session = sessions.find(user_id, session_id)
    assert session is not None
    for owner, talk, visitor in ((user_id, session, "bob"), ("carol", carols(store), user_id)):
        there = Share(
            share_id=f"share-{next(_numbers)}",
            session_id=talk.session_id,
            user_id=owner,
            package_id=talk.package_id,
            package=talk.package,
            package_version=talk.package_version,
            use_no_prompt=False,
            model=talk.model,
            title=talk.title,
            created_at=talk.created_at,
            turns=talk.turns,
            shared_at=LATER,
        )
        assert shares.create(talk, there, "nonce")
        viewer = viewer_of(there.share_id, visitor)
        assert shares.count_view(there.share_id, viewer, cleanup_at=None)
        assert shares.vote(there.share_id, viewer, Vote(is_helpful=True, comment="Thanks", given_at=LATER))
        assert shares.report(there, Report(reporter=visitor, reason="Rude", given_at=LATER), hide_at=3)


def carols(store: DynamoStore) -> Session:
    """A conversation of Carol's, who keeps it."""
    hold = a_hold("run_carol", 1, NOW, session_id=f"ses_carol_{next(_numbers)}")
    session = conversation("carol", hold, NOW).session
    assert DynamoSessions(store, SESSIONS_TABLE, TEXTS[store]).begin_fork(session)
    return session


def plus(account: Account) -> Change:
    return start_plus(account, allowance=200, entitled_until=None, now=NOW)


def eraser(store: DynamoStore) -> DynamoEraser:
    return DynamoEraser(
        store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[store]
    )


def erase(store: DynamoStore, user_id: str, pseudonym: str) -> Erased:
    step = EraseAccount(ledger=new_ledger(store), eraser=eraser(store), new_pseudonym=lambda: pseudonym)
    return step(user_id, now=LATER)


def everywhere(store: DynamoStore) -> list[RawItem]:
    return [
        item
        for table in (LEDGER_TABLE, SESSIONS_TABLE, SPEND_TABLE)
        for page in store.client.get_paginator("scan").paginate(TableName=table)
        for item in page["Items"]
    ]


def pseudonym(number: int) -> str:
    return pseudonym_of(number)


# --- erasure ----------------------------------------------------------------------------------------------------------


def check_erased(store: DynamoStore, user_id: str, name: str, before: list[Entry]) -> None:
    """Nothing leads to the user but an empty account and references; the books are under the pseudonym, and sound."""
    naming = [item for item in everywhere(store) if user_id in json.dumps(item, default=str)]
    own_items = {item["sk"]["S"] for item in naming if item["pk"]["S"] == f"USER#{user_id}"}
    assert {sk.partition("#")[0] for sk in own_items} <= {"ACCOUNT", "ENTRY", "KEY", "TOTAL"}
    assert DynamoSpend(store, SPEND_TABLE).all_of_user(user_id) == Counters()
    assert "ENTRY#000000000001" in own_items
    assert len([sk for sk in own_items if sk.startswith("ENTRY")]) == 1
    ids = ("run_id", "session_id", "payment_id", "purchase_id", "customer_id", "event_id", "subject", "holds")
    for item in naming:  # the ids of the tests have the user's name in them; nothing else may
        if item["pk"]["S"] != f"USER#{user_id}":
            rest = {key: value for key, value in item.items() if key not in (*ids, "pk", "sk", "business_key")}
            assert user_id not in json.dumps(rest, default=str)
    assert "Liddell" not in json.dumps(everywhere(store), default=str)

    ledger = new_ledger(store)
    left = ledger.account(user_id, LATER)
    check_invariants(left, all_entries(ledger, user_id))
    assert (left.balance, left.version, left.plan, left.holds) == (0, 1, Plan.FREE, {})

    kept, entries = ledger.account(name, LATER), all_entries(ledger, name)
    check_invariants(kept, entries)
    facts = [(entry.type, entry.deltas, entry.created_at, entry.business_key) for entry in entries]
    assert facts[: len(before)] == [
        (entry.type, entry.deltas, entry.created_at, entry.business_key) for entry in before
    ]
    assert all(entry.reason == "erased" for entry in entries)
    assert (kept.plan, kept.buckets.monthly, kept.holds) == (Plan.FREE, 0, {})
    for entry in entries:
        if entry.run_id is not None:
            run = ledger.run(name, entry.run_id)
            assert run is not None
            assert (run.charged, run.entry_hash, run.request_hash) == (-entry.amount, entry.hash, "erased")


def facts(entry: Entry) -> object:
    return entry.type, entry.deltas, entry.created_at, entry.business_key


def test_a_person_is_forgotten_and_the_books_add_up(own: Mortal, user: str) -> None:
    ledger = new_ledger(own)
    before = all_entries(ledger, user)
    assert {entry.type for entry in before} >= {EntryType.SPEND, EntryType.ROLLOVER, EntryType.BONUS}
    name = pseudonym(1)

    erased = erase(own, user, name)

    assert (erased.runs, erased.payments, erased.sessions, erased.events) == (4, 2, 1, 1)
    check_erased(own, user, name, before)
    assert ledger.account(name, LATER).balance == ledger.account(name, LATER).buckets.total > 50
    archive = DynamoBooks(own, ledger_table=LEDGER_TABLE)
    records = archive.read(name)
    assert name in archive.users()
    assert list(records.entries) == all_entries(ledger, name)
    assert (len(list(records.runs)), len(records.purchases)) == (4, 1)


def test_a_late_refund_finds_the_purchase_in_the_books_of_the_pseudonym(own: Mortal, user: str) -> None:
    name = pseudonym(2)
    erase(own, user, name)
    payments = DynamoPurchaseRecords(own, LEDGER_TABLE)

    assert payments.purchase_of(f"pi_{user}") == (name, f"pur_{user}")
    assert payments.user_of(f"cus_{user}") == name
    purchase = payments.purchase(name, f"pur_{user}")
    assert purchase is not None
    assert (purchase.credits, purchase.state) == (100, PurchaseState.PAID)
    assert payments.purchase(user, f"pur_{user}") is None


@pytest.mark.parametrize("replaced", [0, 1, MAX_FORMER_CUSTOMERS])
def test_a_refund_after_an_erasure_takes_its_credits_from_the_pseudonym(own: Mortal, user: str, replaced: int) -> None:
    """The provider still names the user: it was told the name when the purchase was made. And the customer who paid,
    also if another one has come since."""
    name = pseudonym(9000 + replaced)
    records = DynamoPurchaseRecords(own, LEDGER_TABLE)
    for number in range(replaced):
        customer = records.customer(user, live=False)
        assert customer is not None
        assert records.save(customer.replaced_by(f"cus_{number}_{user}", LATER))
    erase(own, user, name)
    assert {records.user_of(f"cus_{number}_{user}") for number in range(replaced)} <= {name}
    ledger = new_ledger(own)
    balance = ledger.account(name, LATER).balance
    payment = Payment(
        payment_id=f"pi_{user}",
        purchase_id=f"pur_{user}",
        user_id=user,
        amount=500,
        currency="usd",
        customer_id=f"cus_{user}",
    )
    refund = RefundSum(payment=payment, refunded=250)
    event = ProviderEvent(
        event_id=f"evt_refund_{user}", type="charge.refunded", live=False, occurred_at=LATER, change=refund
    )
    apply = ApplyPayment(
        ledger=ledger,
        records=DynamoPurchaseRecords(own, LEDGER_TABLE),
        payments=NoProvider(),  # type: ignore[arg-type]
        prices=EXAMPLE,
        live=False,
        clock=lambda: LATER,
    )

    applied = apply(event)

    assert (applied.outcome, applied.user_id) == (Outcome.APPLIED, name)
    assert balance - ledger.account(name, LATER).balance == 50
    check_invariants(ledger.account(name, LATER), all_entries(ledger, name))
    assert apply(event).outcome is Outcome.NOTHING_NEW


class NoProvider:
    """`ports.PaymentProvider` that need not be asked."""


def test_erasing_again_does_nothing(own: Mortal, user: str) -> None:
    before = all_entries(new_ledger(own), user)
    name = pseudonym(3)
    erase(own, user, name)
    check_erased(own, user, name, before)
    there = everywhere(own)

    assert erase(own, user, pseudonym(4)) == Erased()
    assert everywhere(own) == there


@pytest.mark.parametrize("what", ["credits", "run", "copy", "counter", "event"])
def test_what_a_user_leaves_after_an_erasure_is_erased_by_the_next(own: Mortal, user: str, what: str) -> None:
    erase(own, user, pseudonym(8000 + next(_numbers)))
    ledger = new_ledger(own)
    if what == "credits":
        GrantBonus(ledger)(user, 7, replace(ORDER, reference="ticket-2"), now=LATER)
    elif what == "run":  # a receipt without an entry
        run = receipt(user, a_hold(f"run_{user}_late".ljust(30, "0"), 1, LATER), RunStatus.RELEASED, LATER)
        own.transact(Put(run_key(LEDGER_TABLE, user, run.run_id), items.run_item(run)))
    elif what == "copy":
        talk = conversation(user, a_hold("run_late", 1, LATER, session_id=f"ses_late_{user}"), LATER).session
        assert DynamoSessions(own, SESSIONS_TABLE, TEXTS[own]).begin_fork(talk)
    elif what == "counter":
        DynamoSpend(own, SPEND_TABLE).count([spent(user, 9, LATER + timedelta(hours=1))])
    else:
        event = PaymentEvent(
            event_id=f"evt_late_{user}",
            type="charge.refunded",
            user_id=user,
            subject=None,
            occurred_at=LATER,
            received_at=LATER,
        )
        assert DynamoPurchaseRecords(own, LEDGER_TABLE).save(event)

    second = pseudonym(8000 + next(_numbers))
    erase(own, user, second)
    assert own.get(account_key(LEDGER_TABLE, second)) is not None
    there = everywhere(own)
    assert erase(own, user, pseudonym(8000 + next(_numbers))) == Erased()
    assert everywhere(own) == there


def test_a_returning_user_gets_no_second_signup_credits(own: Mortal, user: str) -> None:
    erase(own, user, pseudonym(5))
    ledger = new_ledger(own)

    assert isinstance(ledger.place_hold(user, a_hold("run_new", 1, LATER), limit=20, now=LATER), CannotAfford)
    with pytest.raises(ReferenceForgottenError):
        GrantBonus(ledger)(user, 50, ORDER, now=LATER)
    assert ledger.account(user, LATER).balance == 0
    GrantBonus(ledger)(user, 7, replace(ORDER, reference="ticket-2"), now=LATER)
    account = ledger.account(user, LATER)
    assert account.balance == 7
    check_invariants(account, all_entries(ledger, user))


def test_nothing_is_written_to_an_account_that_is_being_erased(own: Mortal, user: str) -> None:
    ledger = new_ledger(own)
    stale = ledger.account(user, LATER)
    own.left = None
    steps = count_steps(own, pseudonym(6))
    kill(own, user, pseudonym(7), steps // 2)

    with pytest.raises(StoreUnavailableError):
        ledger.account(user, LATER)
    with pytest.raises(StoreUnavailableError):
        ledger.place_hold(user, a_hold("run_x", 1, LATER), limit=20, now=LATER)
    raw = own.get(account_key(LEDGER_TABLE, user))
    assert raw is not None
    assert raw["holds"] == {"M": {}}  # refused, not placed and then refused
    with pytest.raises(StoreUnavailableError):
        ledger.change(user, lambda account: None, business_key="bonus:x", now=LATER)
    late = grant(stale, 1000, type_=EntryType.BONUS, business_key="x", reason="x", now=LATER)
    assert ledger._apply(stale, (late[0], (late[1],))) is None  # what was worked out before finds another revision

    erase(own, user, pseudonym(7))
    assert ledger._apply(stale, (late[0], (late[1],))) is None
    check_invariants(ledger.account(user, LATER), all_entries(ledger, user))


def test_what_was_worked_out_before_does_not_fit_the_account_that_is_left(own: Mortal) -> None:
    """Both have one entry and nothing held: only the revision tells them apart."""
    ledger, user_id = new_ledger(own), f"new-{next(_numbers)}"
    stale = ledger.account(user_id, LATER)
    erase(own, user_id, pseudonym(22))
    left = ledger.account(user_id, LATER)
    assert (left.version, left.holds) == (stale.version, stale.holds)

    after, entry = grant(stale, 1000, type_=EntryType.BONUS, business_key="x", reason="x", now=LATER)

    assert ledger._apply(stale, (after, (entry,))) is None
    assert ledger.account(user_id, LATER) == left


def kill(store: Mortal, user_id: str, name: str, step: int, *, reply_lost: bool = False) -> None:
    store.left, store.reply_lost = step, reply_lost
    try:
        erase(store, user_id, name)
    except Killed:
        pass
    finally:
        store.left = None


def count_steps(store: Mortal, name: str) -> int:
    """How many calls to the store an erasure makes."""
    user_id = f"counted-{next(_numbers)}"
    live(store, user_id)
    store.left = 1_000_000
    erase(store, user_id, name)
    steps = 1_000_000 - store.left
    store.left = None
    return steps


@pytest.mark.parametrize("reply_lost", [False, True], ids=["before", "after"])
def test_an_erasure_that_dies_anywhere_is_finished_by_the_next_one(own: Mortal, reply_lost: bool) -> None:
    """At every call to the store, before it and after it; outside of continuous integration at every eighth."""
    first, every = (1, 1) if WHOLE else (3 if reply_lost else 1, DEV_PART)
    for step in range(first, count_steps(own, pseudonym(next(_numbers) + 100)) + 1, every):
        user_id, name = f"mortal-{next(_numbers)}", pseudonym(next(_numbers) + 1000)
        live(own, user_id)
        before = all_entries(new_ledger(own), user_id)
        kill(own, user_id, name, step, reply_lost=reply_lost)
        finished = eraser(own).exists(user_id) and new_ledger_says_erased(own, user_id)
        if not finished:
            erase(own, user_id, name)
        check_erased_quickly(own, user_id, name, before)


def new_ledger_says_erased(store: DynamoStore, user_id: str) -> bool:
    try:
        return new_ledger(store).account(user_id, LATER).version == 1
    except StoreUnavailableError:
        return False


def check_erased_quickly(store: DynamoStore, user_id: str, name: str, before: list[Entry]) -> None:
    ledger = new_ledger(store)
    left = ledger.account(user_id, LATER)
    assert (left.balance, left.version) == (0, 1)
    check_invariants(left, all_entries(ledger, user_id))
    kept, entries = ledger.account(name, LATER), all_entries(ledger, name)
    check_invariants(kept, entries)
    assert [entry.deltas for entry in entries[: len(before)]] == [entry.deltas for entry in before]
    person = DynamoPerson(
        store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[store]
    )
    kinds = {raw["sk"]["S"].partition("#")[0] for raw in person.books(user_id)}
    assert kinds <= {"ACCOUNT", "ENTRY", "KEY", "TOTAL"}
    assert DynamoSpend(store, SPEND_TABLE).all_of_user(user_id) == Counters()
    assert list(person.conversation(f"ses_{user_id}")) == []
    assert DynamoPurchaseRecords(store, LEDGER_TABLE).purchase_of(f"pi_{user_id}") == (name, f"pur_{user_id}")
    assert ledger.ended_runs(user_id, RunFilter(), after=None, limit=100) == ([], None, [])
    runs, _, _ = ledger.ended_runs(name, RunFilter(), after=None, limit=100)
    assert {run.run_id for run in runs} == {raw["run_id"]["S"] for raw in person.books(name, "RUN#")}
    assert {entry.run_id for entry in entries if entry.run_id} == {
        raw["run_id"]["S"] for raw in person.books(name, "RUN#") if raw["status"]["S"] == "settled"
    }


class Sleeper(DynamoEraser):
    """The process sleeps after so many calls from the mark on."""

    def __init__(self, store: Mortal, calls: int) -> None:
        super().__init__(
            store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[store]
        )
        self.mortal, self.calls = store, calls

    def begin(self, *seen: Any) -> bool:
        begun = super().begin(*seen)
        self.mortal.asleep = self.calls
        return begun


def come_back(store: DynamoStore, user_id: str) -> None:
    """A bonus, a run, a purchase: another life under the same name."""
    ledger = new_ledger(store)
    GrantBonus(ledger)(user_id, 30, replace(ORDER, reference="ticket-9"), now=LATER)
    hold = a_hold(f"run_back_{user_id}".ljust(30, "0"), 10, LATER, session_id=f"ses_back_{user_id}")
    assert isinstance(ledger.place_hold(user_id, hold, limit=20, now=LATER), Held)
    talk = conversation(user_id, hold, LATER)
    ledger.settle(ledger.account(user_id, LATER), hold, charging(hold, 3, LATER), talk)
    assert DynamoPurchaseRecords(store, LEDGER_TABLE).save(
        Customer(user_id=user_id, customer_id=f"cus_back_{user_id}", live=False, created_at=LATER),
        PaymentEvent(
            event_id=f"evt_back_{user_id}",
            type="payment_intent.succeeded",
            user_id=user_id,
            subject=None,
            occurred_at=LATER,
            received_at=LATER,
        ),
    )


def test_a_stale_erasure_does_not_touch_a_new_account(own: Mortal) -> None:
    """Another one finishes it meanwhile, wherever it was, and the user begins anew."""
    ledger = new_ledger(own)
    overtaken = 0
    for calls in itertools.count(1, 8):
        user_id, name = f"sleeper-{next(_numbers)}", pseudonym(next(_numbers) + 5000)
        live(own, user_id)
        before = all_entries(ledger, user_id)

        def meanwhile(user_id: str = user_id) -> None:
            erase(own, user_id, pseudonym(30))
            come_back(own, user_id)

        own.meanwhile = meanwhile
        first = EraseAccount(ledger=ledger, eraser=Sleeper(own, calls), new_pseudonym=lambda name=name: name)
        try:
            first(user_id, now=LATER)
        except OvertakenError:
            overtaken += 1
        if own.asleep is not None:
            own.asleep = None
            break
        entries = all_entries(ledger, user_id)
        check_invariants(ledger.account(user_id, LATER), entries)
        assert [entry.amount for entry in entries] == [0, 30, -3]
        assert ledger.run(user_id, f"run_back_{user_id}".ljust(30, "0")) is not None
        assert DynamoSessions(own, SESSIONS_TABLE, TEXTS[own]).find(user_id, f"ses_back_{user_id}") is not None
        payments = DynamoPurchaseRecords(own, LEDGER_TABLE)
        assert payments.user_of(f"cus_back_{user_id}") == user_id
        event = payments.event(f"evt_back_{user_id}")
        assert event is not None
        assert event.user_id == user_id
        kept = all_entries(ledger, name)
        check_invariants(ledger.account(name, LATER), kept)
        assert [entry.deltas for entry in kept[: len(before)]] == [entry.deltas for entry in before]
    assert overtaken > 3


def test_a_copy_that_differs_from_what_is_there_is_an_error(own: Mortal, user: str) -> None:
    name = pseudonym(31)
    stranger, (entry,) = opened_again(name, revision=1, now=NOW)
    own.transact(Put(entry_key(LEDGER_TABLE, name, entry.seq), items.entry_item(entry)))

    with pytest.raises(CorruptLedgerError) as refusal:
        erase(own, user, name)
    assert "another one" in refusal.value.what
    assert all_entries(new_ledger(own), name) == [entry]
    assert stranger.balance == 0


# --- what people wrote ------------------------------------------------------------------------------------------------


class Meanwhile(DynamoEraser):
    """Something happens once a conversation was looked through, and before anything else is done."""

    def __init__(self, store: DynamoStore, happens: Callable[[str], None]) -> None:
        super().__init__(
            store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[store]
        )
        self.happens = happens

    def conversation(self, session_id: str) -> Iterator[RawItem]:
        found = list(super().conversation(session_id))
        self.happens(session_id)
        return iter(found)


def erase_while(store: DynamoStore, user_id: str, name: str, eraser: DynamoEraser) -> Erased:
    return EraseAccount(ledger=new_ledger(store), eraser=eraser, new_pseudonym=lambda: name)(user_id, now=LATER)


def left_in_sessions(store: DynamoStore, user_id: str) -> list[str]:
    return [
        f"{item['pk']['S']} {item['sk']['S']}"
        for item in everywhere(store)
        if item["pk"]["S"].startswith(("SESSION", "SHARE")) and f'"{user_id}"' in json.dumps(item, default=str)
    ]


def test_what_is_shared_or_copied_while_it_is_erased_does_not_stay(own: Mortal, user: str) -> None:
    sessions, shares = DynamoSessions(own, SESSIONS_TABLE, TEXTS[own]), DynamoShares(own, SESSIONS_TABLE)
    session = sessions.find(user, f"ses_{user}")
    assert session is not None
    link = shares.find(session.share.share_id if session.share else "")
    assert link is not None
    assert shares.withdraw(session, link)
    late = replace(link, share_id=f"late-{user}")
    created = []

    def happens(session_id: str) -> None:
        if session_id == session.session_id:
            created.append(shares.create(replace(session, share=None), late, "nonce"))
            fork = replace(session, session_id=f"ses_fork_{user}_{len(created)}", share=None, forked_from="x")
            assert sessions.begin_fork(fork)

    erased = erase_while(own, user, pseudonym(32), Meanwhile(own, happens))

    assert created == [False] * len(created)
    assert erased.sessions == 1 + len(created)
    assert left_in_sessions(own, user) == []


def test_a_copy_that_is_made_last_of_all_does_not_stay(own: Mortal, user: str) -> None:
    sessions = DynamoSessions(own, SESSIONS_TABLE, TEXTS[own])
    session = sessions.find(user, f"ses_{user}")
    assert session is not None

    class Late(DynamoEraser):
        def delete_books(self, user_id: str, pseudonym: str) -> None:
            super().delete_books(user_id, pseudonym)
            assert sessions.begin_fork(replace(session, session_id=f"ses_late_{user}", share=None))

    late = Late(
        own, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[own]
    )
    erase_while(own, user, pseudonym(33), late)

    assert left_in_sessions(own, user) == []


def test_a_copy_in_the_making_is_never_finished(own: Mortal, user: str) -> None:
    sessions = DynamoSessions(own, SESSIONS_TABLE, TEXTS[own])
    session = sessions.find(user, f"ses_{user}")
    assert session is not None
    whole = replace(session, session_id=f"ses_half_{user}", share=None, forked_from="share-x")
    assert sessions.begin_fork(replace(whole, deleted_at=LATER, forking=True))

    def happens(session_id: str) -> None:
        if session_id == whole.session_id:
            assert not sessions.finish_fork(whole)

    erase_while(own, user, pseudonym(34), Meanwhile(own, happens))

    assert left_in_sessions(own, user) == []


class Throttled(Mortal):
    """Of a batch in the table of sessions only summaries are taken."""

    def _call(self, operation: str, arguments: dict[str, Any]) -> Mapping[str, Any]:
        requests = arguments.get("RequestItems", {}).get(SESSIONS_TABLE)
        if operation != "BatchWriteItem" or not requests:
            return super()._call(operation, arguments)
        taken = [
            each for each in requests if each.get("DeleteRequest", {}).get("Key", {}).get("sk") == {"S": "SESSION"}
        ]
        if taken:
            super()._call(operation, {"RequestItems": {SESSIONS_TABLE: taken}})
        return {"UnprocessedItems": {SESSIONS_TABLE: [each for each in requests if each not in taken]}}


def test_a_summary_is_deleted_last(own: Mortal, user: str) -> None:
    """It is what leads to the turns. What is taken in part may be any part."""
    store = Throttled(own.client, Backoff(sleep=lambda _: None, tries=3))
    TEXTS[store] = TEXTS[own]
    with suppress(StoreUnavailableError):
        erase(store, user, pseudonym(35))
    erase(own, user, pseudonym(38))

    assert [item for item in everywhere(own) if item["pk"]["S"] == f"SESSION#ses_{user}"] == []


def test_turns_that_nothing_leads_to_any_more_are_found_by_receipts(own: Mortal, user: str) -> None:
    own.delete_all([session_key(SESSIONS_TABLE, f"ses_{user}")])

    erase(own, user, pseudonym(36))

    assert [item for item in everywhere(own) if item["pk"]["S"] == f"SESSION#ses_{user}"] == []


def test_no_version_of_a_text_stays(own: Mortal, user: str) -> None:
    """One that a repeat has covered, one of a run that crashed, one of a run that crashed before there was a session,
    and one that was deleted by its name only."""
    texts = TEXTS[own]
    [turn, *_] = DynamoSessions(own, SESSIONS_TABLE, texts).turns(f"ses_{user}")
    hold = a_hold(f"run_{user}_9".ljust(30, "0"), 1, LATER, session_id=f"ses_never_{user}")
    ledger = new_ledger(own)
    ledger.place_hold(user, hold, limit=20, now=LATER)
    texts.put(f"ses_{user}", turn, "covered")
    texts.put(f"ses_{user}", turn, "covered")
    texts.put(f"ses_{user}", turn, "crashed")
    texts.put(f"ses_never_{user}", turn, "crashed")
    gone = texts.put(f"ses_{user}", turn, "deleted")
    texts.delete(replace(gone, version=None))
    assert len(texts.versions(f"ses_{user}")) == 5

    erase(own, user, pseudonym(37))

    assert texts.versions(f"ses_{user}") == texts.versions(f"ses_never_{user}") == []


def test_a_subscription_is_ended_where_it_is_paid(own: Mortal) -> None:
    user_id = f"paying-{next(_numbers)}"
    ledger = new_ledger(own)

    def subscribe(account: Account) -> Change:
        after, entries = start_plus(account, allowance=200, entitled_until=None, now=NOW)
        return replace(after, subscription_id="sub_1", paid_periods=(0,)), entries

    ledger.change(user_id, subscribe, business_key="plan:1", now=NOW)
    with pytest.raises(StripeManagedError):
        erase(own, user_id, pseudonym(8))
    assert ledger.account(user_id, LATER).plan is Plan.PLUS


def test_the_bus_does_not_learn_which_pseudonym_is_whose(own: Mortal, user: str) -> None:
    key = Key(LEDGER_TABLE, f"EVENT#evt_{user}", "EVENT")
    told = DynamoPurchaseRecords(own, LEDGER_TABLE).event(f"evt_{user}")
    assert told is not None
    DynamoPurchaseRecords(own, LEDGER_TABLE).save(replace(told, quarantined="amount"))
    before = own.get(key)
    erase(own, user, pseudonym(39))
    after = own.get(key)

    assert before is not None
    assert after is not None
    assert after["user_id"] == {"S": pseudonym(39)}
    change = {"Keys": key.raw, "OldImage": before, "NewImage": after, "SequenceNumber": "1"}
    assert notices_of({"dynamodb": change}) == ()


def test_an_audit_says_that_an_account_is_being_erased(own: Mortal, user: str) -> None:
    archive = DynamoAudit(own, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)
    audit = AuditAccount(archive, published_prices)
    looked: list[str] = []

    def look() -> None:
        with pytest.raises(BeingErasedError, match="being erased"):
            audit(user)
        looked.append(user)

    name = pseudonym(40)
    erase_while(own, user, name, Slow(own, look))

    assert looked == [user]
    assert not [str(finding) for finding in audit(user).findings]


# --- who pays ---------------------------------------------------------------------------------------------------------


def a_payer(store: DynamoStore) -> Billing:
    number = next(_numbers)
    double = StripeDouble(base=lambda: 1_801_353_600, seed=number)
    records = DynamoPurchaseRecords(store, LEDGER_TABLE)
    return Billing(new_ledger(store), records, double, stripe_in_process(double), f"payer-{number}")


def erase_payer(payer: Billing, name: str, eraser: DynamoEraser) -> Erased:
    """The use case at the payer's time."""
    step = EraseAccount(ledger=payer.ledger, eraser=eraser, new_pseudonym=lambda: name)
    return step(payer.user_id, now=payer.clock())


class Slow(DynamoEraser):
    """Something happens while conversations are deleted, or before a kind of record is moved."""

    def __init__(self, store: DynamoStore, happens: Callable[[], object], before: str = "") -> None:
        super().__init__(
            store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[store]
        )
        self.happens, self.before = happens, before

    def delete_sessions(self, user_id: str, pseudonym: str) -> int:
        if not self.before:
            self.happens()
        return super().delete_sessions(user_id, pseudonym)

    def _move_payment(self, user_id: str, pseudonym: str, raw: RawItem) -> int:
        if self.before and raw["sk"]["S"].startswith(self.before):
            self.happens()
        return super()._move_payment(user_id, pseudonym, raw)


@pytest.mark.parametrize("what", ["buy", "subscribe"])
def test_no_payment_begins_while_the_account_is_being_erased(own: Mortal, what: str) -> None:
    payer = a_payer(own)
    assert payer.account.balance == 5

    def happens() -> None:
        with pytest.raises(StoreUnavailableError):
            payer.buy() if what == "buy" else payer.subscriptions.subscribe(payer.user_id)
        with pytest.raises(StoreUnavailableError):  # nor whoever has looked at the account before
            payer.records.save(
                Customer(user_id=payer.user_id, customer_id=f"cus_{payer.user_id}", live=False, created_at=NOW)
            )

    erase_payer(payer, pseudonym(next(_numbers) + 7000), Slow(own, happens))

    assert payer.account.balance == 0
    assert payer.records.customer(payer.user_id, live=False) is None
    payer.pay(payer.buy())
    payer.deliver()
    assert payer.buckets == (0, 0, 100)
    check_reconciled(payer)


def check_reconciled(payer: Billing) -> None:
    reconcile = Reconcile(
        payments=payer.payments,
        records=payer.records,
        apply_payment=payer.apply_payment,
        clock=payer.clock,
        live=False,
    )
    mine = [each for each in reconcile(everything=False).differences if each.user_id == payer.user_id]
    assert mine == []


def test_two_accounts_of_one_user_are_never_opened_at_the_same_time(own: Mortal) -> None:
    """The provider's keys name them by that."""
    payer = a_payer(own)
    payer.pay(payer.buy(key="mine"))
    payer.deliver()
    first = payer.account.created_at
    erase_payer(payer, pseudonym(next(_numbers) + 7000), eraser(own))  # the clock stands still

    assert payer.account.created_at > first
    payer.pay(payer.buy(key="mine"))
    payer.deliver()
    assert payer.buckets == (0, 0, 100)


@pytest.mark.parametrize("hours", [0, 5, 20, 30])
def test_who_comes_back_can_pay_at_once(own: Mortal, hours: int) -> None:
    """Stripe answers a key for a day with what it made then, and that is the pseudonym's by now."""
    payer = a_payer(own)
    payer.pay(payer.buy(key="mine"))
    payer.deliver()
    payer.subscriptions.subscribe(payer.user_id)
    payer.wait(seconds=26 * 3600)  # the page has expired
    payer.pay(payer.buy(key="yours"))
    payer.deliver()
    name = pseudonym(next(_numbers) + 7000)
    erase_payer(payer, name, eraser(own))
    payer.wait(seconds=hours * 3600)

    payer.pay(payer.buy(key="yours"))
    payer.deliver()
    payer.subscribe()
    payer.deliver()

    assert payer.buckets == (200, 0, 100)
    assert payer.ledger.account(name, payer.clock()).balance == 205


def test_a_pointer_that_was_moved_before_its_record_is_no_obstacle(own: Mortal) -> None:
    """Erasures that began before pointers were left alone must be able to end."""
    payer = a_payer(own)
    payer.pay(payer.buy())
    payer.deliver()
    name = pseudonym(next(_numbers) + 7000)

    def happens() -> None:
        customer = payer.records.customer(payer.user_id, live=False)
        assert customer is not None
        own.update(
            Update(
                Key(LEDGER_TABLE, f"CUSTOMER#{customer.customer_id}", "CUSTOMER"),
                actions=[Path("user_id").set(name)],
                condition=Path("pk").exists(),
            )
        )
        raw = own.get(Key(LEDGER_TABLE, f"USER#{payer.user_id}", "CUSTOMER#test"))
        assert raw is not None
        own.put_all({Key(LEDGER_TABLE, f"USER#{name}", "CUSTOMER#test"): raw})

    erase_payer(payer, name, Slow(own, happens, before="CUSTOMER"))

    assert payer.account.balance == 0
    assert payer.records.customer(payer.user_id, live=False) is None
    assert payer.records.customer(name, live=False) is not None


@pytest.mark.parametrize("kind", ["SUBSCRIPTION", "CUSTOMER", "PURCHASE"])
def test_an_event_that_comes_while_payments_are_moved_is_sent_again(own: Mortal, kind: str) -> None:
    """Or has its effect in the books of the pseudonym: never in both, nowhere, or in the way."""
    payer = a_payer(own)
    bought = payer.pay(payer.buy())
    subscription = payer.subscribe()
    payer.deliver()
    payer.wait(days=3)
    payer.payments.client.v1.subscriptions.cancel(subscription)
    payer.deliver()
    payer.double.control("refund", payment_intent=bought, amount=250)
    ended = [event for event in payer.double.events() if event["type"] == "customer.subscription.deleted"]
    refunded = payer.new_events()
    name = pseudonym(next(_numbers) + 7000)
    outcomes: list[str] = []

    def happens() -> None:
        for event in (*ended, *refunded):
            with suppress(StoreUnavailableError):
                outcomes.append(payer.send(event).outcome.value)

    erase_payer(payer, name, Slow(own, happens, before=kind))

    assert "quarantined" not in outcomes
    for event in (*ended, *refunded):
        payer.send(event)
    assert payer.account.balance == 0
    assert payer.ledger.account(name, payer.clock()).balance == 5 + 50
    check_invariants(payer.ledger.account(name, payer.clock()), all_entries(payer.ledger, name))
    assert payer.records.subscription(name).status == "canceled"


def test_what_is_known_of_a_subscription_in_two_places_is_joined(own: Mortal) -> None:
    payer = a_payer(own)
    subscription = payer.subscribe()
    payer.deliver()
    payer.wait(days=3)
    payer.payments.client.v1.subscriptions.cancel(subscription)
    payer.deliver()
    known = payer.records.subscription(payer.user_id)
    assert known.described is not None
    name = pseudonym(next(_numbers) + 7000)
    other = replace(known.described, subscription_id="sub_before", started_at=NOW - MONTH, ended_at=NOW)
    there = Subscription(user_id=name).updated_by(other)

    erase_payer(payer, name, Slow(own, lambda: payer.records.save(there), before="SUBSCRIPTION"))

    both = payer.records.subscription(name)
    assert both.described == known.described
    assert both.ended == {**known.ended, "sub_before": NOW}
    assert payer.records.subscription(payer.user_id).described is None


def test_an_invoice_of_a_subscription_that_ended_grants_nothing_after_the_erasure(own: Mortal) -> None:
    """Neither what the nightly comparison lists, nor anything else, gives a month a second time."""
    payer = a_payer(own)
    payer.subscribe()
    payer.deliver()
    payer.wait(days=10)
    payer.subscriptions.cancel(payer.user_id)
    payer.deliver()
    payer.wait(days=20)
    payer.deliver()
    assert payer.account.plan is Plan.FREE
    payer.wait(days=1)
    name = pseudonym(next(_numbers) + 7000)
    erase_payer(payer, name, eraser(own))
    balance = payer.ledger.account(name, payer.clock()).balance

    for event in payer.double.events():
        payer.send(event)

    account = payer.ledger.account(name, payer.clock())
    assert account.balance == balance
    check_invariants(account, all_entries(payer.ledger, name))


def test_a_user_with_a_subscription_or_an_open_checkout_is_not_erased(own: Mortal) -> None:
    payer = a_payer(own)
    page = payer.subscriptions.subscribe(payer.user_id)
    assert page
    with pytest.raises(CheckoutOpenError):
        erase_payer(payer, pseudonym(1), eraser(own))
    checkout = payer.records.subscription(payer.user_id).checkout_id
    payer.double.control("checkout", session=checkout, card="pm_card_visa")
    for event in payer.new_events():
        if event["type"] != "invoice.paid":  # nothing is granted yet
            payer.send(event)
    assert payer.account.plan is Plan.FREE
    with pytest.raises(StripeManagedError):
        erase_payer(payer, pseudonym(1), eraser(own))
    assert payer.account.balance == 5


def test_an_expired_page_does_not_block_a_new_one(own: Mortal) -> None:
    payer = a_payer(own)
    payer.subscriptions.subscribe(payer.user_id)
    expires_at = payer.records.subscription(payer.user_id).checkout_expires_at
    assert expires_at is not None
    payer.at = expires_at + timedelta(minutes=59)
    with pytest.raises(CheckoutOpenError):
        erase_payer(payer, pseudonym(1), eraser(own))
    payer.at = expires_at + timedelta(minutes=61)
    erase_payer(payer, pseudonym(next(_numbers) + 7000), eraser(own))
    assert payer.account.balance == 0


def test_a_checkout_that_begins_after_the_look_at_it_is_seen(own: Mortal) -> None:
    payer = a_payer(own)
    assert payer.account.balance == 5

    class Late(DynamoEraser):
        def begin(self, account: Account, subscription: Subscription, pseudonym: str) -> bool:
            if not subscription.checkouts:
                payer.subscriptions.subscribe(payer.user_id)
            return super().begin(account, subscription, pseudonym)

    late = Late(
        own, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[own]
    )
    with pytest.raises(CheckoutOpenError):
        erase_payer(payer, pseudonym(1), late)
    assert payer.account.balance == 5


def test_an_account_with_debt_cannot_be_erased(own: Mortal) -> None:
    payer = a_payer(own)
    bought = payer.pay(payer.buy("large"))
    payer.deliver()
    ledger, now = payer.ledger, payer.clock()
    hold = a_hold(f"run_{payer.user_id}".ljust(30, "0"), 600, now, session_id=f"ses_{payer.user_id}")
    ledger.place_hold(payer.user_id, hold, limit=20, now=now)
    talk = conversation(payer.user_id, hold, now)
    ledger.settle(ledger.account(payer.user_id, now), hold, charging(hold, 600, now), talk)
    payer.double.control("refund", payment_intent=bought)
    payer.deliver()
    assert payer.account.debt == 595

    with pytest.raises(InDebtError, match="595"):
        erase_payer(payer, pseudonym(1), eraser(own))

    payer.pay(payer.buy("large"))
    payer.deliver()
    assert (payer.account.debt, payer.account.balance) == (0, 5)
    erase_payer(payer, pseudonym(next(_numbers) + 7000), eraser(own))
    assert payer.account.balance == 0


def test_a_stranger_has_nothing_to_erase(own: Mortal) -> None:
    with pytest.raises(NoAccountError):
        erase(own, "nobody", pseudonym(9))
    assert eraser(own).exists("nobody") is False


def test_a_pseudonym_is_random_and_recognised() -> None:
    assert is_pseudonym(pseudonym_of(2**130 - 1))
    assert not is_pseudonym("erased_by_hand")
    with pytest.raises(ValueError, match="plan"):
        erased_account(replace(opened_again("a", revision=1, now=NOW)[0], allowance=200), "erased_x", last_hash="")


def test_a_pseudonymised_entry_keeps_its_numbers_and_no_name() -> None:
    _, (entry,) = opened_again("alice", revision=1, now=NOW)
    copied = erased_entry(entry, "erased_x", previous_hash="0" * 64)
    assert (copied.seq, copied.amount, copied.created_at) == (entry.seq, entry.amount, entry.created_at)
    assert "alice" not in repr(copied)


# --- export -----------------------------------------------------------------------------------------------------------


def test_what_is_counted_late_is_not_counted_for_who_was_erased(own: Mortal, user: str) -> None:
    """A record of the stream may come hours later. Totals have it; the user who comes back does not."""
    spend, day = DynamoSpend(own, SPEND_TABLE), (LATER - MONTH).date()
    before = spend.cost_of(day)
    late = spent(user, 3, LATER - MONTH)
    users = spend.all_of_package("@of/1").users
    erase(own, user, pseudonym(77))
    assert spend.count([late]) == (1, [late])
    assert spend.all_of_package("@of/1").users == users  # a count that falls would say who was erased

    assert spend.cost_of(day) == before + 1000
    assert spend.of_user(user, NOW.date(), LATER.date()) == []
    assert spend.all_of_user(user) == Counters()
    assert spend.all_of_package("@of/1").counters.runs >= 1  # what nobody is named by stays
    back = spent(user, 5, LATER + MONTH)
    spend.count([back])
    assert spend.all_of_user(user) == Counters.of(back)


def test_an_erasure_between_the_look_and_the_count_is_seen(own: Mortal, user: str) -> None:
    spend = DynamoSpend(own, SPEND_TABLE)
    late = spent(user, 3, LATER - MONTH)
    own.asleep, own.meanwhile = 2, lambda: erase(own, user, pseudonym(78))  # type: ignore[assignment, return-value]
    assert spend.count([late]) == (1, [late])
    assert spend.of_user(user, NOW.date(), LATER.date()) == []
    assert spend.all_of_user(user) == Counters()


def test_an_export_has_everything(own: Mortal, user: str) -> None:
    person = DynamoPerson(
        own, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[own]
    )
    document = everything(person, user)

    assert document is not None
    counts = {name: len(part) for name, part in document.items() if isinstance(part, list)}
    assert counts == {
        "entries": len(all_entries(new_ledger(own), user)),
        "runs": 3,
        "keys": 2,
        "notices": 0,
        "purchases": 1,
        "paid_months": 0,
        "customers": 1,
        "subscriptions": 0,
        "payments": 3,  # pointers of payment and customer, and an event
        "left_behind": 3,
        "sessions": 1,
        "spend": 5,  # in total, and two packages on a day each
    }
    [session] = document["sessions"]
    assert [turn["input"] for turn in session["turns"]] == ["question 1", "question 2"]
    assert [turn["answer"] for turn in session["turns"]] == ["answer 1", "answer 2"]
    assert (session["views"], session["votes"], session["reports"]) == (1, 1, 1)
    mine = [item for item in everywhere(own) if item["pk"]["S"] == f"USER#{user}"]
    assert 1 + sum(counts[name] for name in ("entries", "runs", "keys", "purchases", "customers", "spend")) == len(mine)
    json.dumps(document)  # all of it is plain


def test_texts_that_are_too_large_for_an_item_are_exported_and_erased(own: Mortal, user: str) -> None:
    sessions = DynamoSessions(own, SESSIONS_TABLE, TEXTS[own])
    [turn] = [turn for turn in sessions.turns(f"ses_{user}") if turn.number == 1]
    large = secrets.token_hex(450_000)
    sessions.copy(f"ses_{user}", [replace(turn, number=3, answer=large)])
    person = DynamoPerson(
        own, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[own]
    )

    [session] = (everything(person, user) or {})["sessions"]
    assert session["turns"][2]["answer"] == large
    assert any(f"ses_{user}/" in name for name, _ in TEXTS[own].page(None, limit=100)[0])
    erase(own, user, pseudonym(21))
    assert not any(f"ses_{user}/" in name for name, _ in TEXTS[own].page(None, limit=100)[0])


def test_texts_of_a_run_that_died_before_it_was_paid_for_are_erased(own: Mortal, user: str) -> None:
    """A checkpoint of its answer, and the outcome that was to be settled by whoever settles next."""
    text = f"Alice Liddell wrote {next(_numbers)}"
    run_id = f"run_{user}_4".ljust(30, "0")
    hold = new_ledger(own).account(user, LATER).holds[run_id]
    DynamoCheckpoints(own, SESSIONS_TABLE).save(run_id, hold.nonce, Checkpoint(0, text), now=LATER)
    own.put_all({outcome_key(SESSIONS_TABLE, run_id, hold.nonce): {"prompt": {"S": text}}})
    other = outcome_key(SESSIONS_TABLE, "run_of_somebody", hold.nonce)
    own.put_all({other: {"prompt": {"S": "theirs"}}})

    erase(own, user, pseudonym(223))

    assert text not in json.dumps(everywhere(own), default=str)
    assert own.get(other) is not None
    own.delete_all([other])


def test_a_custom_prompt_is_exported_and_erased(own: Mortal, user: str) -> None:
    ledger, text = new_ledger(own), f"You are Alice Liddell, and your number is {next(_numbers)}-42."
    hold = a_hold(f"run_{user}_5".ljust(30, "0"), 1, LATER, session_id=f"ses_{user}_custom")
    assert isinstance(ledger.place_hold(user, hold, limit=20, now=LATER), Held)
    about = conversation(user, hold, LATER)
    summary = replace(about.session, package_id=None, package=None, package_version=None)
    begun = replace(about, session=summary, prompt=text)
    ledger.settle(ledger.account(user, LATER), hold, charging(hold, 1, LATER), begun)
    person = DynamoPerson(
        own, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[own]
    )

    exported = [session.get("prompt") for session in (everything(person, user) or {})["sessions"]]
    assert [prompt["text"] for prompt in exported if prompt] == [text]
    assert text in json.dumps(everywhere(own), default=str)
    erase(own, user, pseudonym(222))
    assert text not in json.dumps(everywhere(own), default=str)


def test_an_export_names_no_other_user(own: Mortal, user: str) -> None:
    other = f"zoe-{next(_numbers)}"
    live(own, other)
    person = DynamoPerson(
        own, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE, spend_table=SPEND_TABLE, texts=TEXTS[own]
    )

    document = everything(person, user)

    assert document is not None
    text = json.dumps(document)
    assert other not in text
    share_id = document["sessions"][0]["session"]["share"]["id"]
    # Bob looked at the conversation, voted on it and reported it. His reason, too, may say who he is.
    assert not [each for each in ("bob", viewer_of(share_id, "bob"), "Rude", "Thanks") if each in without_own(text)]
    assert everything(person, "nobody") is None


def without_own(text: str) -> str:
    """An export without what the user left at conversations of others: there are the same words."""
    return json.dumps({name: part for name, part in json.loads(text).items() if name != "left_behind"})


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def state_dir(own: Mortal, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"LedgerTable": LEDGER_TABLE, "SessionsTable": SESSIONS_TABLE, "SpendTable": SPEND_TABLE}
    buckets = {"ContentBucket": "playground-contentbucket"}
    state = {"pid": 1, "engine_url": own.client.meta.endpoint_url, "tables": tables, "buckets": buckets}
    (tmp_path / "stack.json").write_text(json.dumps(state), encoding="utf-8")
    monkeypatch.setenv("STATE_DIR", str(tmp_path))


@pytest.mark.usefixtures("state_dir")
def test_the_commands_say_what_they_did(own: Mortal, user: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", user]) == 0
    assert json.loads(capsys.readouterr().out)["user_id"] == user
    assert run(["erase", user, "--yes"]) == 0
    assert capsys.readouterr().out.startswith(f"{user} is erased: ")
    assert new_ledger(own).account(user, datetime.now(LATER.tzinfo)).balance == 0
    assert run(["export", "nobody"]) == run(["erase", "nobody", "--yes"]) == 4


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize(("typed", "status"), [("yes\n", 1), ("\n", 1), ("", 1)])
def test_an_erasure_wants_the_name_typed(
    own: Mortal, user: str, typed: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert run(["erase", user]) == status
    assert new_ledger(own).account(user, LATER).balance > 50
