"""The account: all parts of the stand-in, wired together."""

import random
import threading
import time
from collections.abc import Callable, Sequence

from doubles.stripe.catalog import Catalog
from doubles.stripe.checkout import Checkout
from doubles.stripe.credit_notes import CreditNotes
from doubles.stripe.customers import Customers
from doubles.stripe.expand import Expander
from doubles.stripe.idempotency import Keys
from doubles.stripe.invoices import BillingRules, Invoices
from doubles.stripe.payments import Payments
from doubles.stripe.refunds import Disputes, Refunds
from doubles.stripe.subscriptions import Subscriptions
from doubles.stripe.webhooks import RETRY_DELAYS, Outbox, Send, send_over_http
from doubles.stripe.wire import Obj
from doubles.stripe.world import Clock, World, listing, plain


class Account:
    """The parts share one world and one lock; callers of the parts hold the lock."""

    def __init__(
        self,
        *,
        base: Callable[[], float] = time.time,
        randomness: random.Random | None = None,
        send: Send = send_over_http,
        signing_time: Callable[[], float] = time.time,
        retry_delays: Sequence[int] = RETRY_DELAYS,
        rules: BillingRules | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.world = World(Clock(base), randomness or random.SystemRandom())
        self.outbox = Outbox(self.world, self.lock, send=send, signing_time=signing_time, retry_delays=retry_delays)
        self.keys = Keys(self.world)
        self.customers = Customers(self.world)
        self.payments = Payments(self.world, self.customers)
        self.refunds = Refunds(self.world, self.payments)
        self.disputes = Disputes(self.world, self.payments)
        self.catalog = Catalog(self.world)
        self.invoices = Invoices(self.world, self.customers, self.payments, rules or BillingRules())
        self.credit_notes = CreditNotes(self.world, self.invoices, self.refunds)
        self.subscriptions = Subscriptions(self.world, self.customers, self.invoices)
        self.customers.on_delete = self.subscriptions.end_all_of
        self.checkout = Checkout(self.world, self.customers, self.payments, self.catalog, self.subscriptions)
        self.expander = Expander(
            self.world,
            {
                ("charge", "refunds"): self._refunds_of,
                ("checkout.session", "line_items"): self.checkout.lines_of,
                ("invoice", "confirmation_secret"): self.invoices.secret_of,
                ("invoice", "payments"): self.invoices.payments_of,
            },
        )

    def _refunds_of(self, charge: Obj) -> Obj:
        refunds = [plain(refund) for refund in self.refunds.of_charge(charge)]
        return listing(f"/v1/charges/{charge['id']}/refunds", refunds[:10], len(refunds) > 10)
