"""Refunds and disputes."""

from typing import Final

from doubles.stripe.cards import CARDS, Card
from doubles.stripe.payments import Payments, book
from doubles.stripe.wire import Obj, Params, dollars, invalid, refused
from doubles.stripe.world import World

REFUND_SECONDS: Final = 60  # until a pending refund succeeds, or one that fails does so
DISPUTE_FEE: Final = 1_500  # cents
EVIDENCE_DAYS: Final = 9
REASONS: Final = ("duplicate", "fraudulent", "requested_by_customer")
DISPUTE_REASONS: Final = (
    "bank_cannot_process",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "noncompliant",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)
CREATE: Final = ("amount", "charge", "payment_intent", "reason", "metadata", "origin", "currency")
OPEN_DISPUTES: Final = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")


class Refunds:
    def __init__(self, world: World, payments: Payments) -> None:
        self.world = world
        self.payments = payments
        world.steps["refund"] = self.settle

    def create(self, params: Params) -> Obj:
        charge = self._charge(params)
        left = charge["amount"] - charge["amount_refunded"]
        amount = params.integer("amount", lowest=1)
        reason, metadata = params.choice("reason", REASONS), params.metadata()
        if charge["disputed"] and not self._refundable(charge):
            message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
            raise refused(message, "charge_disputed")
        if left == 0:
            raise refused(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
        if amount is not None and amount > left:
            wanted, there = dollars(amount, charge["currency"]), dollars(left, charge["currency"])
            what = "unrefunded amount on charge" if charge["amount_refunded"] else "charge amount"
            raise refused(f"Refund amount ({wanted}) is greater than {what} ({there})", param="amount")
        return self.give_back(charge, amount or left, reason, metadata)

    def update(self, identifier: str, params: Params) -> Obj:
        refund = self.world.get("refund", identifier)
        if previous := self.world.update(refund, metadata=params.metadata(refund["metadata"])):
            self._updated(refund, previous)
        return refund

    def give_back(self, charge: Obj, amount: int, reason: str | None, metadata: dict[str, str]) -> Obj:
        world, fate = self.world, CARDS[charge["_card"]].refund
        identifier = world.new_id("re")
        transaction = book(world, "refund", -amount, charge["currency"], identifier)
        refund = world.add(
            {
                "id": identifier,
                "object": "refund",
                "amount": amount,
                "balance_transaction": transaction["id"],
                "charge": charge["id"],
                "created": world.now,
                "currency": charge["currency"],
                "customer": charge["customer"],
                "destination_details": {
                    "card": {
                        "reference_status": "pending",
                        "reference_type": "acquirer_reference_number",
                        "type": "refund",
                    },
                    "type": "card",
                },
                "metadata": metadata,
                "payment_intent": charge["payment_intent"],
                "payment_method": charge["payment_method"],
                "reason": reason,
                "receipt_number": None,
                "source_transfer_reversal": None,
                "status": "pending" if fate == "pending" else "succeeded",
                "transfer_reversal": None,
                "_livemode": charge["livemode"],
            }
        )
        if fate == "pending":
            world.update(refund, pending_reason="processing")
        if fate != "succeeded":
            world.schedule(refund, "refund", world.now + REFUND_SECONDS)
        total = charge["amount_refunded"] + amount
        previous = world.update(charge, amount_refunded=total, refunded=total == charge["amount"])
        world.emit("refund.created", refund)
        world.emit("charge.refunded", charge, previous)
        return refund

    def settle(self, refund: Obj, fail: bool | None = None) -> None:
        """End a pending refund: as its test card says, or as asked for."""
        world, charge = self.world, self.world.objects[refund["charge"]]
        if fail is None:
            fail = CARDS[charge["_card"]].refund == "failing"
        if refund["status"] == "failed":
            raise refused("The refund has failed already.")
        world.unschedule(refund)
        if not fail:
            previous = world.update(refund, status="succeeded", pending_reason=None)
            if previous:
                self._updated(refund, previous)
            return
        returned = book(world, "refund_failure", refund["amount"], refund["currency"], refund["id"])
        previous = world.update(
            refund,
            status="failed",
            failure_reason="lost_or_stolen_card",
            failure_balance_transaction=returned["id"],
            pending_reason=None,
        )
        world.update(charge, amount_refunded=charge["amount_refunded"] - refund["amount"], refunded=False)
        self._updated(refund, previous)
        world.emit("refund.failed", refund)

    def of_charge(self, charge: Obj) -> list[Obj]:
        """Newest first."""
        return [refund for refund in reversed(self.world.all("refund")) if refund["charge"] == charge["id"]]

    def _updated(self, refund: Obj, previous: Obj) -> None:
        self.world.emit("charge.refund.updated", refund, previous)
        self.world.emit("refund.updated", refund, previous)

    def _charge(self, params: Params) -> Obj:
        if "charge" in params and "payment_intent" not in params:
            charge = self.world.get("charge", params.needed("charge"), "charge")
            if charge["status"] != "succeeded":
                raise refused(f"Charge {charge['id']} has not succeeded; cannot issue a refund.")
            return charge
        if "payment_intent" not in params:
            raise invalid("One of the following params should be provided for this request: payment_intent or charge.")
        intent = self.payments.get(params.needed("payment_intent"), "payment_intent")
        if intent["status"] != "succeeded":
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise refused(message, "payment_intent_unexpected_state")
        found = self.world.objects[intent["latest_charge"]]
        if "charge" in params and params.text("charge") != found["id"]:
            raise invalid("The charge is not one of the PaymentIntent.", "charge")
        return found

    def _refundable(self, charge: Obj) -> bool:
        disputes = [dispute for dispute in self.world.all("dispute") if dispute["charge"] == charge["id"]]
        return all(dispute["is_charge_refundable"] or dispute["status"] == "won" for dispute in disputes)


class Disputes:
    def __init__(self, world: World, payments: Payments) -> None:
        self.world = world
        payments.on_charge.append(self._after_charge)

    def _after_charge(self, charge: Obj, card: Card) -> None:
        if card.dispute is not None:
            self.open(charge, reason=card.dispute, inquiry=card.inquiry)

    def open(self, charge: Obj, *, reason: str = "fraudulent", amount: int | None = None, inquiry: bool = False) -> Obj:
        """Open a dispute of a charge. Funds are withdrawn at once, except for an inquiry."""
        world = self.world
        amount = charge["amount"] if amount is None else amount
        if charge["status"] != "succeeded" or not 0 < amount <= charge["amount"]:
            raise refused("Only what was paid can be disputed.", param="amount")
        if charge["disputed"]:
            raise refused(f"Charge {charge['id']} is disputed already.", "charge_disputed")
        dispute = world.add(
            {
                "id": world.new_id("du"),
                "object": "dispute",
                "amount": amount,
                "balance_transactions": [],
                "charge": charge["id"],
                "created": world.now,
                "currency": charge["currency"],
                "enhanced_eligibility_types": [],
                "evidence": {"enhanced_evidence": {}, "uncategorized_text": None},
                "evidence_details": {
                    "due_by": world.now + EVIDENCE_DAYS * 86_400,
                    "enhanced_eligibility": {},
                    "has_evidence": False,
                    "past_due": False,
                    "submission_count": 0,
                    "submission_method": "not_submitted",
                },
                "is_charge_refundable": inquiry,
                "livemode": charge["livemode"],
                "metadata": {},
                "payment_intent": charge["payment_intent"],
                "payment_method_details": {
                    "card": {
                        "brand": "visa",
                        "case_type": "inquiry" if inquiry else "chargeback",
                        "network": "visa",
                        "network_reason_code": "83",
                    },
                    "type": "card",
                },
                "reason": reason,
                "status": "warning_needs_response" if inquiry else "needs_response",
            }
        )
        world.update(charge, disputed=True)
        if not inquiry:
            self._move(dispute, -amount, DISPUTE_FEE)
        world.emit("charge.dispute.created", dispute)
        if not inquiry:
            world.emit("charge.dispute.funds_withdrawn", dispute)
        return dispute

    def update(self, identifier: str, params: Params) -> Obj:
        """Evidence. As in Stripe's test mode its text decides: winning_evidence or losing_evidence."""
        dispute = self.world.get("dispute", identifier)
        evidence = params.nested("evidence", ("uncategorized_text", "product_description", "customer_name"))
        submit = params.flag("submit", default=True)
        text = evidence.text("uncategorized_text")
        changes: Obj = {"metadata": params.metadata(dispute["metadata"])}
        if "evidence" in params:
            self._must_be_open(dispute)
            changes["evidence"] = {**dispute["evidence"], "uncategorized_text": text}
            details = {**dispute["evidence_details"], "has_evidence": True}
            if submit:
                details |= {"submission_count": details["submission_count"] + 1, "submission_method": "manual"}
                changes["status"] = dispute["status"].replace("needs_response", "under_review")
            changes["evidence_details"] = details
        previous = self.world.update(dispute, **changes)
        if previous:
            self.world.emit("charge.dispute.updated", dispute, previous)
        if "evidence" in params and submit and text in ("winning_evidence", "losing_evidence"):
            self.finish(dispute, "won" if text == "winning_evidence" else "lost")
        return dispute

    def close(self, identifier: str, _params: Params) -> Obj:
        """The merchant accepts the dispute: it is lost."""
        dispute = self.world.get("dispute", identifier)
        self._must_be_open(dispute)
        return self.finish(dispute, "lost")

    def finish(self, dispute: Obj, outcome: str) -> Obj:
        """won, lost, or withdrawn by the cardholder, which Stripe reports as won; an inquiry is just closed."""
        self._must_be_open(dispute)
        inquiry = dispute["status"].startswith("warning_")
        won = outcome in ("won", "withdrawn")
        status = ("warning_closed" if won else "lost") if inquiry else ("won" if won else "lost")
        previous = self.world.update(dispute, status=status)
        if won and not inquiry:
            self._move(dispute, dispute["amount"], 0)
        self.world.emit("charge.dispute.closed", dispute, previous)
        if won and not inquiry:
            self.world.emit("charge.dispute.funds_reinstated", dispute)
        return dispute

    def _must_be_open(self, dispute: Obj) -> None:
        if dispute["status"] not in OPEN_DISPUTES:
            raise refused("This dispute is already closed.", "dispute_already_closed")

    def _move(self, dispute: Obj, amount: int, fee: int) -> None:
        transaction = book(self.world, "adjustment", amount, dispute["currency"], dispute["id"], fee)
        self.world.update(dispute, balance_transactions=[*dispute["balance_transactions"], transaction])
