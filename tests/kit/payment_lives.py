"""Lives of payments: what may really happen to one user's money at Stripe, made by a seed; and every way in which the
events about it may reach us.

A life is played at the stand-in for Stripe. The expected final state is computed independently, in plain numbers, from
what was done and not from the events that arrived (`Life.expected`), and without `playground.domain`.

Months are refunded and disputed, too; the price may change, an operator's plan may be on, and there may be a second
subscription beside the first.

Left out, because their correct result depends on the order: spending in the month of a plan (which of
two buckets pays), a second subscription that outlives the first one, and cancelling twice within the second that events
are stamped with.
"""

import calendar
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import stripe

from doubles.stripe import StripeDouble
from doubles.stripe.wire import ApiError
from operate.change_plan import ChangePlan
from operate.operator_request import OperatorRequest
from playground.adapters.stripe_events import READERS
from playground.domain.account import Plan as AccountPlan
from playground.domain.purchases import Purchase
from playground.domain.subscriptions import Subscription
from playground.ports import Held, Ledger, PurchaseRecords
from playground.usecases.apply_payment import Outcome
from playground.usecases.reconcile import Cause, Reconcile
from tests.fakes import InMemoryLedger, a_hold, charging, conversation
from tests.kit.billing import DECLINED_LATER, VISA, Billing, payment_of, stripe_in_process

DAY = 86_400
PACKS = {"small": (100, 500), "medium": (250, 1000), "large": (600, 2000)}
FIRST_DAYS = (
    datetime(2027, 1, 31, 23, 7, 3, tzinfo=UTC),
    datetime(2028, 1, 30, 0, 7, 3, tzinfo=UTC),
    datetime(2027, 6, 15, 12, 7, 3, tzinfo=UTC),
)
REFUNDS_FAIL = "pm_card_refundFail"
PLAN = (200, 2000)
BANK_SAYS_NO_LATER = "pm_usBankAccount_insufficientFunds"
BANK_SAYS_YES_LATER = "pm_usBankAccount_success"


class Final(NamedTuple):
    """What a user has after all events. `paid` and `taken`: of each purchase, in order."""

    monthly: int
    rollover: int
    purchased: int
    debt: int
    plan: str
    subscription: str
    ending: bool
    paid: tuple[bool, ...]
    taken: tuple[int, ...]


@dataclass(slots=True)
class Bought:
    """What was done with one purchase. `refunds`: cents and whether it failed; `disputes`: cents, `won`, `lost` or
    `open`."""

    pack: str
    payment: str
    purchase: str
    paid: bool = False
    refunds: list[tuple[int, bool]] = field(default_factory=list)
    disputes: list[tuple[int, str]] = field(default_factory=list)
    card: str = VISA

    @property
    def back(self) -> int:
        """Cents that were given back or are disputed."""
        refunded = sum(cents for cents, failed in self.refunds if not failed)
        return min(refunded + sum(cents for cents, end in self.disputes if end != "won"), PACKS[self.pack][1])

    @property
    def taken(self) -> int:
        return self._part(self.back)

    @property
    def most_taken(self) -> int:
        """The most that can have been taken back, whichever events have arrived so far."""
        cents = sum(cents for cents, _ in self.refunds) + sum(cents for cents, _ in self.disputes)
        return self._part(min(cents, PACKS[self.pack][1]))

    def _part(self, cents: int) -> int:
        credits_, price = PACKS[self.pack]
        return (credits_ * cents + price - 1) // price if self.paid else 0


@dataclass(slots=True)
class Month:
    """What was done with the money of a paid invoice; as with a purchase."""

    invoice: str
    refunds: list[int] = field(default_factory=list)
    disputes: list[tuple[int, str]] = field(default_factory=list)

    @property
    def back(self) -> int:
        return min(sum(self.refunds) + sum(cents for cents, end in self.disputes if end != "won"), PLAN[1])

    @property
    def taken(self) -> int:
        return (PLAN[0] * self.back + PLAN[1] - 1) // PLAN[1]


@dataclass(slots=True)
class Plan:
    """A subscription: when it began, the periods that were paid for, and when it was over."""

    subscription: str
    began: int


class LifeEvent(NamedTuple):
    """An event of Stripe, or spending by the user (`spends` instead of `event`). `at`: seconds since 1970."""

    at: int
    event: Mapping[str, Any] | None
    spends: int = 0


class Life:
    """What happened to one user's money. `events`: in the order in which they occurred; `ends`: the end of the life."""

    def __init__(self, name: str, *, steps: int | None = None) -> None:
        self.chance = random.Random(name)
        first = self.chance.choice(FIRST_DAYS).timestamp()
        self.double = StripeDouble(base=lambda: first, seed=self.chance.getrandbits(60))
        self.payments = stripe_in_process(self.double)
        ledger = InMemoryLedger()
        self.records = ledger.records
        self.user_id = name
        self.bought: list[Bought] = []
        self.plans: list[Plan] = []
        self.spent = 0
        self.events: list[LifeEvent] = []
        self._billing = Billing(ledger, self.records, self.double, self.payments, self.user_id)
        self.months: dict[str, Month] = {}
        self.second: str | None = None
        self._with_plan = self.chance.random() < 0.5
        self.repriced = self._with_plan and self.chance.random() < 0.3
        self.contract: int | None = None  # since when an operator's plan is on
        self._with_second = self._with_plan and self.chance.random() < 0.2
        self._play(steps if steps is not None else self.chance.randint(3, 12))
        self.ends = self.double.account.world.now

    # --- what happens -------------------------------------------------------------------------------------------------

    def _play(self, steps: int) -> None:
        if self._with_plan and self.chance.random() < 0.8:
            self._subscribe()
            self.double.control("advance", seconds=1)
        for _ in range(steps):
            doings = [self._buy, self._buy, self._refund, self._refund, self._dispute, self._decide, self._wait]
            doings += [self._lose_customer]
            if self._with_plan:
                doings += [self._subscribe, self._months, self._months, self._months, self._toggle]
                doings += [self._refund_month, self._refund_month, self._dispute_month, self._dispute_month]
                doings += [self._decide_month, self._decide_month]
                doings += [self._subscribe_twice] if self._with_second else [self._end]
            else:
                doings += [self._spend, self._spend, self._dispute, self._decide]
            self.chance.choice(doings)()
            self._note()
            self.double.control("advance", seconds=self.chance.randint(1, 3000))
            self._note()
        rest = self.chance.choice((3 * 3600, 3 * 3600, 20 * DAY)) if self._with_plan else 3 * 3600
        self.double.control("advance", seconds=rest)  # slow refunds; retries
        self._note()

    def _note(self) -> None:
        events = self._billing.new_events()
        self.events += [LifeEvent(event["created"], event) for event in events if event["type"] in READERS]

    def _buy(self) -> None:
        pack = self.chance.choice(list(PACKS))
        offer = self._billing.buy(pack)
        bought = Bought(pack, payment_of(offer), offer.purchase.purchase_id)
        self.bought.append(bought)
        way = self.chance.random()
        if way < 0.1:
            return  # never paid
        if way < 0.3:  # declined first
            with suppress(ApiError):
                self.double.control("pay", payment_intent=bought.payment, card="pm_card_chargeDeclined")
            self.double.control("advance", seconds=self.chance.randint(1, 600))
        elif way < 0.5:  # by a bank, an hour later
            self.double.control("pay", payment_intent=bought.payment, card=BANK_SAYS_NO_LATER)
            self.double.control("advance", seconds=3 * 3600)
        if way < 0.15 or way > 0.95:
            return
        bought.card = self.chance.choice((VISA, VISA, VISA, REFUNDS_FAIL, BANK_SAYS_YES_LATER))
        self.double.control("pay", payment_intent=bought.payment, card=bought.card)
        if bought.card == BANK_SAYS_YES_LATER:
            self.double.control("advance", seconds=3 * 3600)
        bought.paid = True

    def _refund(self) -> None:
        """Part of what is left, or all of it."""
        for bought in self._paid():
            if bought.disputes:
                continue
            left = PACKS[bought.pack][1] - bought.back
            if left:
                cents = self.chance.choice((left, self.chance.randint(1, left)))
                self.double.control("refund", payment_intent=bought.payment, amount=cents)
                self._settle()
                bought.refunds.append((cents, bought.card == REFUNDS_FAIL))
                return

    def _paid_months(self) -> list[tuple[dict[str, Any], Month]]:
        found = [
            (invoice, self.months.setdefault(invoice["id"], Month(invoice["id"])))
            for plan in self.plans
            for invoice in self._billing.invoices(plan.subscription)
            if invoice["status"] == "paid"
        ]
        self.chance.shuffle(found)
        return found

    def _refund_month(self) -> None:
        for invoice, month in self._paid_months():
            left = PLAN[1] - month.back
            if left and not month.disputes:
                cents = self.chance.choice((left, self.chance.randint(1, left)))
                self._billing.refund_month(invoice, cents)
                month.refunds.append(cents)
                return

    def _dispute_month(self) -> None:
        for invoice, month in self._paid_months():
            left = PLAN[1] - month.back
            if left and not month.disputes:
                cents = self.chance.choice((left, self.chance.randint(1, left)))
                self._billing.dispute_month(invoice, cents)
                month.disputes.append((cents, "open"))
                return

    def _decide_month(self) -> None:
        for invoice, month in self._paid_months():
            if month.disputes and month.disputes[-1][1] == "open":
                end = self.chance.choice(("won", "lost"))
                [dispute] = self.payments.client.v1.disputes.list({"payment_intent": invoice["_intent"]}).data
                self.double.control("close_dispute", dispute=dispute.id, outcome=end)
                month.disputes[-1] = (month.disputes[-1][0], end)
                return

    def _settle(self) -> None:
        """Until a refund that fails has failed: Stripe gives no more back than there is."""
        self._note()
        self.double.control("advance", seconds=self.chance.randint(61, 300))

    def _dispute(self) -> None:
        for bought in self._paid():
            left = PACKS[bought.pack][1] - bought.back
            if left and not bought.disputes:
                cents = self.chance.choice((left, self.chance.randint(1, left)))
                self.double.control("dispute", payment_intent=bought.payment, amount=cents)
                bought.disputes.append((cents, "open"))
                return

    def _decide(self) -> None:
        for bought in self._paid():
            if bought.disputes and bought.disputes[-1][1] == "open":
                end = self.chance.choice(("won", "lost"))
                [dispute] = self.payments.client.v1.disputes.list({"payment_intent": bought.payment}).data
                self.double.control("close_dispute", dispute=dispute.id, outcome=end)
                bought.disputes[-1] = (bought.disputes[-1][0], end)
                return

    def _spend(self) -> None:
        """At most what is available in any order of events: without anything that may have been taken back by then."""
        self._note()
        sure = 5 + sum(PACKS[each.pack][0] - each.most_taken for each in self.bought if each.paid) - self.spent
        if sure > 0:
            credits_ = self.chance.randint(1, sure)
            self.spent += credits_
            self.events.append(LifeEvent(self.double.account.world.now, None, credits_))

    def _subscribe(self) -> None:
        if not self.plans:
            self._billing.subscriptions.subscribe(self.user_id)  # the page is open when an operator gives the plan
            if self.chance.random() < 0.25:
                self.contract = self.double.account.world.now
            subscription = self._billing.subscribe_now()
            self.plans.append(Plan(subscription, self.double.account.world.now))

    def _subscribe_twice(self) -> None:
        if self.plans and self.second is None and self._alive():
            self.second = self._billing.subscribe_at_stripe(like=self.plans[0].subscription)

    def _toggle(self) -> None:
        for plan in self._alive() if not self._with_second else []:
            there = self._subscription(plan)
            self.payments.set_cancel_at_period_end(plan.subscription, cancel=not there["cancel_at_period_end"])

    def _end(self) -> None:
        for plan in self._alive():
            if self.chance.random() < 0.5:
                self.payments.client.v1.subscriptions.cancel(plan.subscription)
            else:  # it is not paid any more
                self.double.control("subscription_card", subscription=plan.subscription, card=DECLINED_LATER)

    def _lose_customer(self) -> None:
        """The customer is deleted at Stripe. Not while there is a subscription, which would end with it."""
        customer = self.records.customer(self.user_id, live=False)
        if customer is None or self._alive():
            return
        with suppress(stripe.InvalidRequestError):  # it was deleted before, and we have no event of that
            self.payments.client.v1.customers.delete(customer.customer_id)
        if self.chance.random() < 0.7:
            self._buy()

    def _months(self) -> None:
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            self.double.control("advance", days=self.chance.choice((5, 29, 31)))
            self._note()

    def _wait(self) -> None:
        self.double.control("advance", days=self.chance.randint(0, 3))

    def _paid(self) -> list[Bought]:
        paid = [each for each in self.bought if each.paid]
        self.chance.shuffle(paid)
        return paid

    def _alive(self) -> list[Plan]:
        return [plan for plan in self.plans if self._subscription(plan)["status"] in ("active", "past_due")]

    def _subscription(self, plan: Plan) -> dict[str, Any]:
        return self.double.account.world.objects[plan.subscription]

    # --- the expected result ------------------------------------------------------------------------------------------

    def expected(self) -> Final:
        """In plain numbers, by the rules of the README."""
        monthly, rollover, plan = self._months_of_plan()
        taken = tuple(each.taken for each in self.bought)
        worth = 5 + sum(PACKS[each.pack][0] for each in self.bought if each.paid) - sum(taken) - self.spent
        if self.contract is not None:  # months that were paid for beside it are never over
            paid = [invoice for invoice, _ in self._paid_months()]
            worth += PLAN[0] * len(paid) - sum(self.months[each["id"]].taken for each in paid)
        shown = self.second or (self.plans[0].subscription if self.plans else None)
        there = self.double.account.world.objects[shown] if shown is not None else {}
        status, ending = there.get("status", "none"), bool(there.get("cancel_at_period_end"))
        if self.contract is not None and status not in ("active", "trialing"):
            status, ending = "granted", False
        return Final(
            monthly=monthly,
            rollover=rollover,
            purchased=max(worth, 0),
            debt=max(-worth, 0),
            plan=plan,
            subscription=status,
            ending=ending,
            paid=tuple(each.paid for each in self.bought),
            taken=taken,
        )

    def _months_of_plan(self) -> tuple[int, int, str]:
        if not self.plans:
            return 0, 0, "free"
        [plan] = self.plans
        there = self._subscription(plan)
        ended = there["ended_at"]
        paid = {invoice["lines"]["data"][0]["period"]["start"]: month.taken for invoice, month in self._paid_months()}
        began = plan.began
        if self.contract is not None:
            began, ended = self.contract, None
        monthly = rollover = 0
        for number in itertools.count():
            start, end = _boundary(began, number), _boundary(began, number + 1)
            if start > self.ends:
                break
            monthly, rollover = 0, monthly
            if self.contract is not None:
                monthly = 200
            elif start in paid:
                monthly = 200 - paid[start]
            if ended is not None and start <= ended < end:
                monthly = 0
        return monthly, rollover, "free" if ended is not None else "plus"

    # --- the actual result --------------------------------------------------------------------------------------------

    def final(self, billing: Billing) -> Final:
        billing.at = datetime.fromtimestamp(self.ends, UTC)
        account = billing.account
        state = billing.subscriptions.state(self.user_id)
        purchases = [self._purchase(billing, each) for each in self.bought]
        buckets = account.buckets
        return Final(
            monthly=buckets.monthly,
            rollover=buckets.rollover,
            purchased=buckets.purchased,
            debt=account.debt,
            plan=account.plan.value,
            subscription=state.status,
            ending=state.cancel_at_period_end,
            paid=tuple(purchase.granted for purchase in purchases),
            taken=tuple(purchase.taken_refund + purchase.taken_dispute for purchase in purchases),
        )

    def _purchase(self, billing: Billing, bought: Bought) -> Purchase:
        purchase = billing.records.purchase(billing.user_id, bought.purchase)
        assert purchase is not None
        return purchase

    def elsewhere(self, ledger: Ledger, records: PurchaseRecords) -> Billing:
        """The same user on a ledger without any event yet: it has only what the user asked for."""
        for bought in self.bought:
            assert records.save(replace(self._purchase(self._billing, bought), revision=0))
        customer = self.records.customer(self.user_id, live=False)
        if customer is not None:
            first, *others = (*customer.former, customer.customer_id)
            assert records.save(replace(customer, customer_id=first, former=(), number=0, gone=False, revision=0))
            for customer_id in others:
                before = records.customer(self.user_id, live=False)
                assert before is not None
                assert records.save(before.replaced_by(customer_id, customer.created_at))
        offers = self.records.subscription(self.user_id).offers
        if offers:
            assert records.save(Subscription(user_id=self.user_id, offers=offers))
        billing = Billing(ledger, records, self.double, self.payments, self.user_id)
        if self.contract is not None:
            given = datetime.fromtimestamp(self.contract, UTC)
            order = OperatorRequest(reference="contract", reason="A contract", operator="anna")
            ChangePlan(ledger, allowance=PLAN[0])(self.user_id, AccountPlan.PLUS, order, until=None, now=given)
        if self.repriced:
            billing.sell(replace(billing.prices, plan=replace(billing.prices.plan, price_cents=2500)))
        return billing

    def in_memory(self) -> Billing:
        ledger = InMemoryLedger()
        return self.elsewhere(ledger, ledger.records)

    def deliver(self, billing: Billing, order: Iterable[LifeEvent], *, at_the_end: bool) -> Final:
        """The result of events in this order: each at its own time, or all of them at the end of the life."""
        for number, each in enumerate(order):
            billing.at = datetime.fromtimestamp(self.ends if at_the_end else each.at, UTC)
            if each.event is not None:
                applied = billing.send(each.event)
                assert applied.outcome is not Outcome.QUARANTINED or (
                    applied.subject == self.second and applied.reason == "second_subscription"
                )
            else:
                spend(billing, each.spends, f"run_{self.user_id}_{number}")
        return self.final(billing)

    def reconcile(self, billing: Billing) -> None:
        """The comparison with Stripe makes up for lost events and leaves no difference unrepaired."""
        billing.at = datetime.fromtimestamp(self.ends, UTC)
        compare = Reconcile(
            payments=self.payments,
            records=billing.records,
            apply_payment=billing.apply_payment,
            clock=billing.clock,
            live=False,
        )
        left = {(each.cause, each.purchase_id, each.detail) for each in compare(window=None).differences}
        expected = {(Cause.MISMATCH, self.second, "second_subscription")} if self.second is not None else set()
        assert left == expected
        assert compare(window=None).repaired == ()

    # --- orders in which events may arrive ----------------------------------------------------------------------------

    def permutations(self) -> Iterator[Sequence[LifeEvent]]:
        return itertools.permutations(self.events)

    def disorder(self, chance: random.Random, *, copies: float = 0.2, lost: float = 0.0) -> list[LifeEvent]:
        """Any possible order: no event arrives before it has occurred, and a user spends what has been granted. A share
        `copies` of the events arrives more than once, and a share `lost` does not arrive."""
        order: list[LifeEvent] = []
        waiting: list[LifeEvent] = []
        last = max((place for place, each in enumerate(self.events) if each.event is None), default=-1)
        for place, event in enumerate(self.events):
            if event.event is None:
                now = [each for each in waiting if _grants(each) or chance.random() < 0.5]
                waiting = [each for each in waiting if each not in now]
                chance.shuffle(now)
                order += [*now, event]
                waiting += [each for each in now if chance.random() < copies]
            elif chance.random() >= lost or (_grants(event) and place < last):
                waiting += [event] * (2 if chance.random() < copies else 1)
        chance.shuffle(waiting)
        return order + waiting

    def delayed(self, chance: random.Random) -> list[LifeEvent]:
        """Each event arrives 0 to 40 days after it occurred; some arrive twice. Only for lives without spending."""
        assert all(each.event is not None for each in self.events)
        order = []
        for event in self.events:
            for _ in range(chance.choice((1, 1, 1, 2))):
                delay = int(40 * DAY * chance.random() ** chance.choice((1, 8)))
                order.append(event._replace(at=min(event.at + delay, self.ends)))
        chance.shuffle(order)
        return sorted(order, key=lambda event: event.at)


def _grants(each: LifeEvent) -> bool:
    return each.event is not None and each.event["type"] == "payment_intent.succeeded"


def spend(billing: Billing, credits_: int, run_id: str) -> None:
    """A run that costs `credits_`."""
    now = billing.clock()
    hold = a_hold(run_id, credits_, now, session_id=f"ses_{run_id}")
    placed = billing.ledger.place_hold(billing.user_id, hold, limit=20, now=now)
    assert isinstance(placed, Held), f"{credits_} cannot be spent: {placed}"
    ended = billing.ledger.settle(
        placed.account, hold, charging(hold, credits_, now), conversation(billing.user_id, hold, now)
    )
    assert ended.by_us


def _boundary(anchor: int, months: int) -> int:
    """The time `months` months after `anchor`: the same day and time, or the month's last day."""
    began = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(began.year * 12 + began.month - 1 + months, 12)
    day = min(began.day, calendar.monthrange(year, month + 1)[1])
    return int(began.replace(year=year, month=month + 1, day=day).timestamp())


def live_through(name: str, begin: Callable[[Life], Billing]) -> int:
    """Play a life in order, in disorder, late, and with lost events, which the comparison repairs. Returns how many
    events were delivered. Raises AssertionError if one result is not the expected one."""
    life = Life(name)
    chance, expected = random.Random(f"{name} orders"), life.expected()
    delivered = 0

    def check(way: str, final: Final) -> None:
        assert final == expected, f"{name}, {way}: got\n{final}\ninstead of\n{expected}"

    check("in order", life.deliver(begin(life), life.events, at_the_end=False))
    for _ in range(3):
        order = life.disorder(chance)
        delivered += len(order)
        check("in disorder", life.deliver(begin(life), order, at_the_end=True))
    if all(each.event is not None for each in life.events):
        order = life.delayed(chance)
        delivered += len(order)
        check("late", life.deliver(begin(life), order, at_the_end=False))
    billing = begin(life)
    life.deliver(billing, life.disorder(chance, lost=0.5), at_the_end=True)
    life.reconcile(billing)
    check("with losses that were made up for", life.final(billing))
    return delivered + 2 * len(life.events)
