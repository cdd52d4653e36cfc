"""What operators do: once per reference, with who and why in the ledger."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import click
import pytest

from operate.change_plan import ChangePlan, StripeManagedError
from operate.commands.moderate import command as moderate
from operate.grant_bonus import GrantBonus
from operate.operator_request import OperatorRequest, ReferenceUsedError
from operate.pause_account import PauseAccount
from operate.take_credits import TakeCredits
from operate.undo_grant import NoGrantError, UndoGrant
from playground.domain.account import Account, Change, Plan, open_account, start_plus
from playground.domain.calendar import boundary
from playground.domain.credits import Buckets
from playground.domain.entries import DebtOrigin, EntryType
from playground.domain.errors import InvalidRequestError
from playground.schemas.credits import Transaction
from tests.fakes import InMemoryLedger, a_hold
from tests.support import all_entries, check_invariants

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
YEAR = timedelta(days=365)
ORDER = OperatorRequest(reference="ticket-1", reason="Sorry for the outage", operator="anna")


def kinds(ledger: InMemoryLedger) -> list[tuple[str, int]]:
    return [(entry.type.value, entry.amount) for entry in all_entries(ledger, "alice")]


def test_a_bonus_is_purchased_credits_and_says_who_and_why() -> None:
    ledger = InMemoryLedger()
    done = GrantBonus(ledger)("alice", 50, ORDER, now=NOW)

    assert (done.is_new, done.account.buckets) == (True, Buckets(purchased=55))
    assert (done.entry.type, done.entry.business_key) == (EntryType.BONUS, "bonus:ticket-1")
    assert (done.entry.reason, done.entry.operator) == ("Sorry for the outage", "anna")
    check_invariants(done.account, all_entries(ledger, "alice"))


def test_a_bonus_is_given_once_per_reference() -> None:
    ledger = InMemoryLedger()
    first = GrantBonus(ledger)("alice", 50, ORDER, now=NOW)
    again = GrantBonus(ledger)("alice", 50, replace(ORDER, operator="bert"), now=NOW + YEAR)

    assert (again.is_new, again.entry) == (False, first.entry)
    with pytest.raises(ReferenceUsedError, match="entry 2"):
        GrantBonus(ledger)("alice", 51, ORDER, now=NOW)
    GrantBonus(ledger)("alice", 1, replace(ORDER, reference="ticket-2"), now=NOW)
    assert kinds(ledger) == [("signup", 5), ("bonus", 50), ("bonus", 1)]


@pytest.mark.parametrize("credits_", [0, -1, 100_001])
def test_an_amount_that_cannot_be_meant_is_refused(credits_: int) -> None:
    ledger = InMemoryLedger()
    with pytest.raises(InvalidRequestError):
        GrantBonus(ledger)("alice", credits_, ORDER, now=NOW)
    assert kinds(ledger) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"reference": ""},
        {"reference": "two words"},
        {"reference": "-x"},
        {"reference": "x" * 101},
        {"reason": " "},
        {"reason": "two\nlines"},
        {"reason": "x" * 201},
        {"operator": ""},
        {"operator": "nul\0"},
    ],
)
def test_an_order_says_who_why_and_under_which_reference(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidRequestError):
        replace(ORDER, **wrong)


def test_a_plan_begins_with_its_credits_and_an_entry_about_it() -> None:
    ledger = InMemoryLedger()
    done = ChangePlan(ledger, allowance=200)("alice", Plan.PLUS, ORDER, until=NOW + YEAR, now=NOW)

    assert (done.account.plan, done.account.buckets.monthly, done.account.anchor) == (Plan.PLUS, 200, NOW)
    assert done.entry.reason == "Plan plus until 2027-11-30T12:00:00.000Z: Sorry for the outage"
    assert kinds(ledger) == [("signup", 5), ("admin", 0), ("monthly", 200)]
    last = ledger.account("alice", boundary(NOW, 12))
    assert (last.plan, last.buckets.monthly) == (Plan.FREE, 0)
    check_invariants(last, all_entries(ledger, "alice"))


def test_a_plan_that_is_on_is_prolonged_without_a_grant() -> None:
    ledger = InMemoryLedger()
    ChangePlan(ledger, allowance=200)("alice", Plan.PLUS, ORDER, until=NOW + YEAR, now=NOW)
    after = ChangePlan(ledger, allowance=200)(
        "alice", Plan.PLUS, replace(ORDER, reference="r2"), until=None, now=NOW + YEAR / 2
    )

    assert after.account.entitled_until is None
    assert after.account.anchor == NOW
    assert [kind for kind, amount in kinds(ledger) if kind == "monthly"] == [
        "monthly"
    ] * 7  # the first, and six boundaries
    assert ledger.account("alice", NOW + 3 * YEAR).plan is Plan.PLUS


def test_ending_a_plan_removes_the_month_and_leaves_the_rest() -> None:
    ledger = InMemoryLedger()
    ChangePlan(ledger, allowance=200)("alice", Plan.PLUS, ORDER, until=None, now=NOW)
    later = boundary(NOW, 1) + timedelta(days=1)
    done = ChangePlan(ledger, allowance=200)("alice", Plan.FREE, replace(ORDER, reference="end"), until=None, now=later)

    assert (done.account.plan, done.account.buckets) == (Plan.FREE, Buckets(rollover=200, purchased=5))
    assert ledger.account("alice", boundary(NOW, 2)).buckets == Buckets(purchased=5)
    check_invariants(ledger.account("alice", NOW + YEAR), all_entries(ledger, "alice"))


def test_a_plan_is_changed_once_per_reference() -> None:
    ledger = InMemoryLedger()
    change = ChangePlan(ledger, allowance=200)
    change("alice", Plan.PLUS, ORDER, until=None, now=NOW)
    change("alice", Plan.FREE, replace(ORDER, reference="end"), until=None, now=NOW)
    again = change("alice", Plan.PLUS, ORDER, until=None, now=NOW + YEAR)

    assert (again.is_new, again.account.plan) == (False, Plan.FREE)
    assert [kind for kind, _ in kinds(ledger)].count("monthly") == 1
    for plan, until in ((Plan.FREE, None), (Plan.PLUS, NOW + 2 * YEAR)):
        with pytest.raises(ReferenceUsedError):
            change("alice", plan, ORDER, until=until, now=NOW + YEAR)


def test_ending_no_plan_only_says_so() -> None:
    ledger = InMemoryLedger()
    done = ChangePlan(ledger, allowance=200)("alice", Plan.FREE, ORDER, until=None, now=NOW)
    assert (done.account.plan, kinds(ledger)) == (Plan.FREE, [("signup", 5), ("admin", 0)])


@pytest.mark.parametrize(("plan", "until"), [(Plan.FREE, NOW + YEAR), (Plan.PLUS, NOW), (Plan.PLUS, NOW - YEAR)])
def test_an_end_is_ahead_and_of_a_plan(plan: Plan, until: datetime) -> None:
    with pytest.raises(InvalidRequestError):
        ChangePlan(InMemoryLedger(), allowance=200)("alice", plan, ORDER, until=until, now=NOW)


@pytest.mark.parametrize("plan", list(Plan))
def test_a_subscription_is_changed_where_it_is_paid(plan: Plan) -> None:
    ledger = InMemoryLedger()
    subscribe: Callable[[Account], Change] = lambda account: (  # noqa: E731
        replace(start_plus(account, allowance=200, entitled_until=None, now=NOW)[0], subscription_id="sub_1"),
        start_plus(account, allowance=200, entitled_until=None, now=NOW)[1],
    )
    ledger.change("alice", subscribe, business_key="s", now=NOW)
    with pytest.raises(StripeManagedError):
        ChangePlan(ledger, allowance=200)("alice", plan, ORDER, until=None, now=NOW)


@pytest.mark.parametrize(
    ("type_", "operator", "reason", "shown"),
    [
        (EntryType.BONUS, None, "Sorry (by anna)", "Sorry"),
        (EntryType.BONUS, None, "Sorry (by anna (support))", "Sorry"),
        (EntryType.ADMIN, None, "Plan plus: it (by the way) (by anna)", "Plan plus: it (by the way)"),
        (EntryType.BONUS, "anna", "Sorry (by the way)", "Sorry (by the way)"),
        (EntryType.BONUS, None, "Sorry (by anna) again", "Sorry (by anna) again"),
        (EntryType.SPEND, None, "Run of x (by y)", "Run of x (by y)"),
    ],
)
def test_the_customer_is_not_shown_who_did_it(type_: EntryType, operator: str | None, reason: str, shown: str) -> None:
    [entry] = open_account("alice", NOW)[1]
    assert Transaction.of(replace(entry, type=type_, operator=operator, reason=reason)).description == shown


@pytest.mark.parametrize("start", ["-k", "-h", "--", "--dry-run", "--json"])
@pytest.mark.parametrize("name", ["show", "hide", "restore", "remove"])
def test_the_token_of_a_share_may_begin_with_a_hyphen(name: str, start: str) -> None:
    assert isinstance(moderate, click.Group)
    token = start.ljust(43, "x")
    for words in ([token], ["--json", token], [token, "--json"], ["--", token]):
        decide = moderate.commands[name]
        context = decide.make_context(name, list(words))
        assert (context.params["share"], context.params["as_json"]) == (token, "--json" in words)


def test_an_option_that_does_not_exist_is_no_share() -> None:
    assert isinstance(moderate, click.Group)
    with pytest.raises(click.NoSuchOption):
        moderate.commands["hide"].make_context("hide", ["--dry-rnu"])


# --- corrections ------------------------------------------------------------------------------------------------------


def test_credits_that_are_taken_come_from_what_is_purchased_once_per_reference() -> None:
    ledger = InMemoryLedger()
    GrantBonus(ledger)("alice", 50, ORDER, now=NOW)
    done = TakeCredits(ledger)("alice", 20, ORDER, now=NOW)
    again = TakeCredits(ledger)("alice", 20, replace(ORDER, operator="bert"), now=NOW + YEAR)

    assert (done.is_new, done.account.buckets, done.account.debt) == (True, Buckets(purchased=35), 0)
    assert (done.entry.type, done.entry.amount, done.entry.operator) == (EntryType.ADMIN, -20, "anna")
    assert (again.is_new, again.entry) == (False, done.entry)
    with pytest.raises(ReferenceUsedError):
        TakeCredits(ledger)("alice", 21, ORDER, now=NOW)
    check_invariants(ledger.account("alice", NOW), all_entries(ledger, "alice"))


def test_what_is_missing_becomes_debt_and_what_is_held_stays() -> None:
    ledger = InMemoryLedger()
    ledger.change(
        "alice",
        lambda account: start_plus(account, allowance=200, entitled_until=None, now=NOW),
        business_key="plus",
        now=NOW,
    )
    ledger.place_hold("alice", a_hold("run_1", 3, NOW), limit=20, now=NOW)
    done = TakeCredits(ledger)("alice", 20, ORDER, now=NOW)

    assert done.account.buckets == Buckets(monthly=200), "a month that was given is not touched"
    assert (done.account.debt, done.account.held) == (15, 3)
    assert kinds(ledger)[-2:] == [("debt", 15), ("admin", -20)]
    check_invariants(done.account, all_entries(ledger, "alice"))


def test_with_everything_held_all_of_it_becomes_debt() -> None:
    ledger = InMemoryLedger()
    hold = a_hold("run_1", 5, NOW)
    ledger.place_hold("alice", hold, limit=20, now=NOW)
    done = TakeCredits(ledger)("alice", 4, ORDER, now=NOW)
    assert (done.account.buckets, done.account.available, done.account.debt) == (Buckets(purchased=5), 0, 4)

    ledger.cancel_hold("alice", hold, now=NOW)
    assert (ledger.account("alice", NOW).balance, ledger.account("alice", NOW).debt) == (1, 0)


def test_a_grant_is_undone_exactly_and_once() -> None:
    ledger = InMemoryLedger()
    GrantBonus(ledger)("alice", 50, ORDER, now=NOW)
    first = UndoGrant(ledger)("alice", ORDER, now=NOW)
    again = UndoGrant(ledger)("alice", ORDER, now=NOW + YEAR)

    assert (first.is_new, first.entry.amount, again.is_new, again.entry) == (True, -50, False, first.entry)
    assert kinds(ledger) == [("signup", 5), ("bonus", 50), ("admin", -50)]
    assert not GrantBonus(ledger)("alice", 50, ORDER, now=NOW).is_new, "its reference stays used"


def test_without_a_grant_there_is_nothing_to_undo() -> None:
    ledger = InMemoryLedger()
    TakeCredits(ledger)("alice", 1, ORDER, now=NOW)
    with pytest.raises(NoGrantError, match="ticket-1"):
        UndoGrant(ledger)("alice", ORDER, now=NOW)
    assert kinds(ledger) == [("signup", 5), ("admin", -1)]


def test_an_account_is_paused_and_resumed_with_an_entry_each() -> None:
    ledger = InMemoryLedger()
    paused = PauseAccount(ledger)("alice", ORDER, paused=True, now=NOW)
    again = PauseAccount(ledger)("alice", ORDER, paused=True, now=NOW + YEAR)
    assert (paused.account.paused_at, again.account.paused_at, again.is_new) == (NOW, NOW, False)

    resumed = PauseAccount(ledger)("alice", ORDER, paused=False, now=NOW)
    assert (resumed.account.paused_at, resumed.account.balance) == (None, 5)
    assert PauseAccount(ledger)("alice", ORDER, paused=True, now=NOW).account.paused_at is None, "done before"
    assert [entry.reason for entry in all_entries(ledger, "alice")[1:]] == [
        "Paused: Sorry for the outage",
        "Resumed: Sorry for the outage",
    ]


def test_debt_names_the_operators_order_that_it_comes_from() -> None:
    """Also for the user, and without the operator's name."""
    ledger = InMemoryLedger()
    TakeCredits(ledger)("alice", 25, ORDER, now=NOW)
    GrantBonus(ledger)("alice", 30, replace(ORDER, reference="t-2"), now=NOW)
    UndoGrant(ledger)("alice", replace(ORDER, reference="t-2"), now=NOW)

    entries = [entry for entry in all_entries(ledger, "alice") if entry.type is EntryType.DEBT]
    assert [(entry.amount, entry.debt_origin) for entry in entries] == [
        (20, DebtOrigin.TAKE),
        (-20, None),
        (20, DebtOrigin.UNDO),
    ]
    taken, _, undone = (Transaction.of(entry) for entry in entries)
    assert taken.description == "Debt: fewer credits were available than a correction by an operator takes back"
    assert undone.description == "Debt: fewer credits were available than the undo of a grant takes back"
    assert (taken.debt_origin, undone.debt_origin) == ("take", "undo")
