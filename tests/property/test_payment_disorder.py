"""Whatever order Stripe's events come in, however often and however late: the same credits, debt, plan and purchases.

Each life is compared with the result computed from its own numbers (tests/kit/payment_lives.py). `make soak-payments`
does the same with many more of them.
"""

import random

from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.prices import published_prices
from playground.usecases.audit_account import AuditAccount
from tests.kit.extent import examples, whole_only
from tests.kit.payment_lives import Life, live_through
from tests.support import LEDGER_TABLE, SESSIONS_TABLE

IN_MEMORY = 150
SHORT = 15
LOOKED_AT = 250
ON_THE_ENGINE = 40
MAX_EVENTS_IN_ALL_ORDERS = 5  # events: 120 orders


def test_lives_end_alike_in_every_order_of_events() -> None:
    for number in range(examples(IN_MEMORY)):
        live_through(f"disorder-{number}", lambda life: life.in_memory())


def test_short_lives_end_alike_in_all_orders() -> None:
    lives = 0
    for number in range(1000):
        life = Life(f"short-{number}", steps=2)
        if not 3 <= len(life.events) <= MAX_EVENTS_IN_ALL_ORDERS or any(each.event is None for each in life.events):
            continue
        lives += 1
        for order in life.permutations():
            assert life.deliver(life.in_memory(), order, at_the_end=True) == life.expected(), life.user_id
        if lives == examples(SHORT, minimum=4):
            return
    raise AssertionError(f"only {lives} lives were short")


def test_lives_end_alike_on_the_engine(ledger: DynamoLedger, store: DynamoStore) -> None:
    """And what is stored adds up from its first entry on."""
    records = DynamoPurchaseRecords(store, LEDGER_TABLE)
    archive = DynamoAudit(store, ledger_table=LEDGER_TABLE, sessions_table=SESSIONS_TABLE)
    audit_account = AuditAccount(archive, published_prices)
    for number in range(examples(ON_THE_ENGINE)):
        life = Life(f"engine-disorder-{number}")
        chance = random.Random(number)
        billing = life.elsewhere(ledger, records)
        if number % 2:
            final = life.deliver(billing, life.disorder(chance), at_the_end=True)
        else:
            life.deliver(billing, life.disorder(chance, lost=0.4), at_the_end=True)
            life.reconcile(billing)
            final = life.final(billing)
        assert final == life.expected(), life.user_id
        if not life.spent:  # what is spent here has no run that could be audited
            assert audit_account(life.user_id).findings == ()


@whole_only
def test_lives_are_of_every_kind() -> None:
    """What the others are worth: how many of these lives have what."""
    lives = [Life(f"disorder-{number}") for number in range(LOOKED_AT)]
    ends = [life.expected() for life in lives]
    kinds = {
        "debt": sum(end.debt > 0 for end in ends),
        "taken": sum(any(end.taken) for end in ends),
        "plan": sum(end.plan == "plus" for end in ends),
        "over": sum(end.subscription == "canceled" for end in ends),
        "rollover": sum(end.rollover > 0 for end in ends),
        "ending": sum(end.ending for end in ends),
        "spent": sum(life.spent > 0 for life in lives),
        "refund failed": sum(any(failed for each in life.bought for _, failed in each.refunds) for life in lives),
        "won": sum(any(end == "won" for each in life.bought for _, end in each.disputes) for life in lives),
        "lost": sum(any(end == "lost" for each in life.bought for _, end in each.disputes) for life in lives),
        "in parts": sum(any(len(each.refunds) > 1 for each in life.bought) for life in lives),
    }
    kinds |= {
        "month refunded": sum(any(month.refunds for month in life.months.values()) for life in lives),
        "month won": sum(any(end == "won" for m in life.months.values() for _, end in m.disputes) for life in lives),
        "month lost": sum(any(end == "lost" for m in life.months.values() for _, end in m.disputes) for life in lives),
        "repriced": sum(life.repriced and bool(life.plans) for life in lives),
        "contract": sum(life.contract is not None for life in lives),
        "second": sum(life.second is not None for life in lives),
    }
    assert min(kinds.values()) >= 3, kinds
