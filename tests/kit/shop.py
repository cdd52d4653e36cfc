"""A user who buys through the handlers, and Stripe, whose events are sent to the webhook by hand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from doubles.stripe import StripeDouble
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.account import Account
from playground.http import utc_now
from tests.handlers import Answer, Handlers
from tests.support import all_entries, check_invariants

VISA, DECLINED = "pm_card_visa", "pm_card_chargeDeclined"


@dataclass
class Shop:
    """One user with a purse, and Stripe."""

    handlers: Handlers
    ledger: DynamoLedger
    double: StripeDouble
    user_id: str
    seen: set[str] = field(default_factory=set)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, key: str | None = None) -> Answer:
        return self.handlers.call(method, path, body, user=self.user_id, key=key)

    def buy(self, pack: str = "small", key: str | None = None) -> Mapping[str, Any]:
        answer = self.call("POST", "/playground/credits/purchase", {"package": pack}, key)
        assert answer.status == 200, answer.body
        bought: Mapping[str, Any] = answer.body
        return bought

    def payment_of(self, purchase: Mapping[str, Any]) -> str:
        return str(purchase["client_secret"].partition("_secret_")[0])

    def pay(self, purchase: Mapping[str, Any], card: str = VISA) -> str:
        payment = self.payment_of(purchase)
        self.double.control("pay", payment_intent=payment, card=card)
        return payment

    def new_events(self) -> list[dict[str, Any]]:
        """Events that Stripe has made and not sent yet, oldest first."""
        events = [event for event in self.double.events() if event["id"] not in self.seen]
        self.seen |= {event["id"] for event in events}
        return events

    def deliver(self) -> list[int]:
        """Send what is new to the webhook, in order: the statuses."""
        return [self.send(event).status for event in self.new_events()]

    def send(self, event: Mapping[str, Any], **changes: Any) -> Answer:
        return self.handlers.deliver(json.dumps(event), **changes)

    @property
    def account(self) -> Account:
        account = self.ledger.account(self.user_id, utc_now())
        check_invariants(account, all_entries(self.ledger, self.user_id))
        return account

    def history(self) -> list[tuple[str, int]]:
        assert self.account.version > 0
        return [(entry.type.value, entry.amount) for entry in all_entries(self.ledger, self.user_id)]
