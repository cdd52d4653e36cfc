"""A user who gets all the money of their months back keeps none of their credits, however those were used meanwhile.

Random lives, each from its own seed: holds that end for anything between nothing and all of it, boundaries, refunds,
disputes, credit notes, packs, another allowance, subscriptions that end and begin again, and events that come in
disorder, twice or not at all. In the end every month is paid back and compared with Stripe. Then there is one right
answer, whatever the order was: welcome credits + packs that were kept - what runs cost = balance - debt.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import stripe

from doubles.stripe import StripeDouble
from doubles.stripe.wire import ApiError
from playground.domain.account import Account, Hold
from playground.domain.entries import EntryType
from playground.domain.errors import AlreadySubscribedError
from playground.domain.runs import RunStatus
from playground.ports import Held
from playground.usecases.reconcile import Cause, Reconcile
from tests.fakes import InMemoryLedger, a_hold, charging, conversation, receipt
from tests.kit.billing import Billing, payment_of, stripe_in_process
from tests.kit.extent import examples
from tests.support import all_entries

LIVES = 80
EPOCH = 1_801_353_600  # 2027-01-31, so that months differ in length
WELCOME = 5
PACK_CENTS = 500
CARDS = ("pm_card_visa", "pm_card_visa", "pm_card_refundFail")
LEASE = timedelta(days=400)  # no hold of these lives expires
RUNNING = ("active", "past_due")
OPEN = ("needs_response", "under_review")


class Life:
    """What one user does, and what happens to them. `history` is what a failed life prints."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.double = StripeDouble(base=lambda: EPOCH, seed=seed)
        ledger = InMemoryLedger()
        self.billing = Billing(ledger, ledger.records, self.double, stripe_in_process(self.double), f"user-{seed}")
        self.history: list[str] = []
        self._holds: dict[str, tuple[Hold, Account]] = {}
        self._runs = 0
        self._undelivered: list[dict[str, Any]] = []
        self._subscriptions: list[str] = []
        self._packs: dict[str, int] = {}

    def live(self) -> None:
        """Anything, in any order. The invariants hold after each step."""
        steps = {
            self._wait: 20,
            self._hear_some: 15,
            self._hold: 15,
            self._end_a_hold: 15,
            self._subscribe_or_cancel: 10,
            self._lose_a_month: 10,
            self._buy: 5,
            self._refund_a_pack: 3,
            self._change_the_allowance: 3,
        }
        for _ in range(self.random.randint(8, 30)):
            (step,) = self.random.choices(list(steps), weights=list(steps.values()))
            with suppress(ApiError, stripe.StripeError, AlreadySubscribedError):  # Stripe or we may refuse: that is all
                step()
            self._note(step.__name__)

    def return_everything(self) -> None:
        """All holds end, all subscriptions end, all months are paid back, and all events are delivered and compared."""
        for run_id in list(self._holds):
            self._end(run_id)
        for subscription in self._running():
            self.billing.payments.client.v1.subscriptions.cancel(subscription)
        for dispute in [each for month in self._paid_months() for each in self._disputes(month, *OPEN)]:
            self.double.control("close_dispute", dispute=dispute["id"], outcome="won")
        for _ in range(3):  # a refund that fails is tried again
            for month in self._paid_months():
                lost = sum(each["amount"] for each in self._disputes(month, "lost"))
                if rest := month["amount_paid"] - self._refunded(month) - lost:
                    with suppress(ApiError):
                        self.billing.refund_month(month, rest)
            self.billing.wait(seconds=300)
        self._hear(self._news())
        self._note("everything returned")

    def compare(self) -> None:
        """With Stripe, twice: the second comparison finds nothing to mend."""
        billing = self.billing
        reconcile = Reconcile(
            payments=billing.payments,
            records=billing.records,
            apply_payment=billing.apply_payment,
            clock=billing.clock,
            live=False,
        )
        reconcile(window=None, everything=True)
        again = reconcile(window=None, everything=True)
        assert not again.repaired
        assert all(each.cause is Cause.QUARANTINED for each in again.differences), again.differences
        self._note("compared")

    def is_all_returned(self) -> bool:
        """False for a life with a card whose refunds fail for good: its months are kept, and so are their credits."""
        months = [self.billing.records.month(self.billing.user_id, each["id"]) for each in self._paid_months()]
        return all(each.amount_refunded + each.amount_disputed >= each.amount for each in months if each)

    def check(self) -> None:
        account, records = self.billing.account, self.billing.records
        entries = all_entries(self.billing.ledger, self.billing.user_id)
        spent = -sum(entry.amount for entry in entries if entry.type is EntryType.SPEND)
        owners = filter(None, map(records.purchase_of, self._packs))
        bought = [purchase for owner in owners if (purchase := records.purchase(*owner)) and purchase.granted]
        kept = sum(each.credits - each.taken_refund - each.taken_dispute for each in bought)
        assert (account.held, account.lapsed, account.reclaimed_monthly, account.reclaimed_rollover) == (0, 0, 0, 0)
        assert (account.buckets.monthly, account.buckets.rollover) == (0, 0)
        assert account.balance - account.debt == WELCOME + kept - spent

    # --- steps --------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        self.billing.wait(days=self.random.choice((0, 0, 1, 5, 28, 31, 31)), seconds=self.random.randint(0, 7_200))

    def _hear_some(self) -> None:
        news = self._news()
        self.random.shuffle(news)
        delivered = self.random.randint(0, len(news))
        self._undelivered = news[delivered:]
        self._hear([event for event in news[:delivered] if self.random.random() > 0.1])  # the others are lost

    def _hold(self) -> None:
        """Half of the time, all that there is."""
        billing, available = self.billing, self.billing.account.available
        if not available:
            return
        self._runs += 1
        ceiling = self.random.choice((available, self.random.randint(1, available)))
        hold = a_hold(f"run_{self._runs}", ceiling, billing.clock(), session_id=f"ses_{self._runs}", lease=LEASE)
        placed = billing.ledger.place_hold(billing.user_id, hold, limit=20, now=billing.clock())
        if isinstance(placed, Held):
            self._holds[hold.run_id] = hold, placed.account

    def _end_a_hold(self) -> None:
        if self._holds:
            self._end(self.random.choice(list(self._holds)))

    def _subscribe_or_cancel(self) -> None:
        if running := self._running():
            if self.random.random() < 0.3:
                self.billing.payments.client.v1.subscriptions.cancel(running[0])
        else:
            self._subscriptions.append(self.billing.subscribe(self.random.choice(CARDS)))

    def _lose_a_month(self) -> None:
        """By a refund, a dispute, or a credit note; or a dispute about it ends."""
        months = self._paid_months()
        if not months:
            return
        month = self.random.choice(months)
        if dispute := next(iter(self._disputes(month, *OPEN)), None):
            self.double.control("close_dispute", dispute=dispute["id"], outcome=self.random.choice(("won", "lost")))
            return
        left = month["amount_paid"] - self._refunded(month)
        if left < 1 or self._disputes(month, "won", "lost"):
            return
        cents = self.random.choice((left, self.random.randint(1, left)))
        way = self.random.choices(("refund", "dispute", "note"), weights=(3, 1, 1))[0]
        if way == "refund":
            self.billing.refund_month(month, cents)
        elif way == "dispute":
            self.billing.dispute_month(month, cents)
        else:
            note: Any = {"invoice": month["id"], "amount": cents, "refund_amount": cents}
            self.billing.payments.client.v1.credit_notes.create(note)

    def _buy(self) -> None:
        offer = self.billing.buy("small")
        self._packs[payment_of(offer)] = PACK_CENTS
        self.billing.pay(offer)

    def _refund_a_pack(self) -> None:
        if left := [payment for payment, cents in self._packs.items() if cents]:
            payment = self.random.choice(left)
            cents = self.random.randint(1, self._packs[payment])
            self.double.control("refund", payment_intent=payment, amount=cents)
            self._packs[payment] -= cents

    def _change_the_allowance(self) -> None:
        prices = self.billing.prices
        credits_ = 400 if prices.plan.credits == 200 else 200
        self.billing.sell(replace(prices, plan=replace(prices.plan, credits=credits_)))

    # --- what they are made of ----------------------------------------------------------------------------------------

    def _end(self, run_id: str) -> None:
        """For nothing, for all that is held, or for a part of it."""
        billing, now = self.billing, self.billing.clock()
        hold, account = self._holds.pop(run_id)
        cost = self.random.choice((0, hold.ceiling, self.random.randint(1, hold.ceiling)))
        if cost:
            billing.ledger.settle(account, hold, charging(hold, cost, now), conversation(billing.user_id, hold, now))
        else:
            billing.ledger.release(billing.user_id, receipt(billing.user_id, hold, RunStatus.RELEASED, now))

    def _news(self) -> list[dict[str, Any]]:
        return self._undelivered + self.billing.new_events()

    def _hear(self, events: list[dict[str, Any]]) -> None:
        self._undelivered = [event for event in self._undelivered if event not in events]
        for event in events:
            for _ in range(self.random.choices((1, 2), weights=(9, 1))[0]):
                self.billing.send(event)

    def _running(self) -> list[str]:
        objects = self.double.account.world.objects
        return [each for each in self._subscriptions if objects[each]["status"] in RUNNING]

    def _paid_months(self) -> list[dict[str, Any]]:
        invoices = [invoice for each in self._subscriptions for invoice in self.billing.invoices(each)]
        return [invoice for invoice in invoices if invoice["status"] == "paid"]

    def _refunded(self, month: Mapping[str, Any]) -> int:
        refunds = self._about(month, "refund")
        return sum(each["amount"] for each in refunds if each["status"] != "failed")

    def _disputes(self, month: Mapping[str, Any], *statuses: str) -> list[dict[str, Any]]:
        return [each for each in self._about(month, "dispute") if each["status"] in statuses]

    def _about(self, month: Mapping[str, Any], kind: str) -> Iterator[dict[str, Any]]:
        return (each for each in self.double.account.world.all(kind) if each["payment_intent"] == month["_intent"])

    def _note(self, what: str) -> None:
        account = self.billing.account
        buckets = account.buckets
        self.history.append(
            f"{self.billing.clock():%m-%d %H:%M} {what:<24} {buckets.monthly}, {buckets.rollover}, {buckets.purchased};"
            f" held {account.held}, debt {account.debt}, lapsed {account.lapsed}"
        )


def test_no_credits_are_left_of_months_that_were_paid_back_and_none_are_taken_twice() -> None:
    returned = 0
    for seed in range(examples(LIVES)):
        life = Life(seed)
        try:
            life.live()
            life.return_everything()
            life.compare()
            if life.is_all_returned():
                returned += 1
                life.check()
        except Exception as error:
            error.add_note(f"seed {seed}:\n" + "\n".join(life.history))
            raise
    assert returned >= examples(LIVES) // 3  # else it would show nothing
