"""Stripe's test cards: what each of them does when it is charged, refunded or disputed."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from doubles.stripe.wire import Obj


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a bank says no."""

    code: str
    decline_code: str
    message: str

    @property
    def seller_message(self) -> str:
        return "The bank did not return any further details with this decline."


def _declined(decline_code: str, message: str, code: str = "card_declined") -> Decline:
    return Decline(code, decline_code, message)


GENERIC: Final = _declined("generic_decline", "Your card was declined.")
INSUFFICIENT: Final = _declined("insufficient_funds", "Your card has insufficient funds.")
AUTHENTICATION: Final = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)


@dataclass(frozen=True, slots=True)
class Card:
    """What a test card does."""

    brand: str = "visa"
    last4: str = "4242"
    decline: Decline | None = None
    authentication: bool = False  # the customer has to confirm payments that they are present for
    dispute: str | None = None  # the reason of the dispute that follows every payment
    inquiry: bool = False  # the dispute is an inquiry: no funds are withdrawn
    refund: str = "succeeded"  # the status of refunds; pending ones succeed later, failing ones fail
    bank_debit: bool = False  # succeeds or fails only after a while

    @property
    def type(self) -> str:
        return "us_bank_account" if self.bank_debit else "card"


CARDS: Final[Mapping[str, Card]] = MappingProxyType(
    {
        "pm_card_visa": Card(),
        "pm_card_visa_debit": Card(last4="5556"),
        "pm_card_mastercard": Card("mastercard", "4444"),
        "pm_card_amex": Card("amex", "8431"),
        "pm_card_visa_chargeDeclined": Card(last4="0002", decline=GENERIC),
        "pm_card_visa_chargeDeclinedInsufficientFunds": Card(last4="9995", decline=INSUFFICIENT),
        "pm_card_visa_chargeDeclinedLostCard": Card(
            last4="9987", decline=_declined("lost_card", "Your card was declined.")
        ),
        "pm_card_visa_chargeDeclinedStolenCard": Card(
            last4="9979", decline=_declined("stolen_card", "Your card was declined.")
        ),
        "pm_card_chargeDeclinedExpiredCard": Card(
            last4="0069", decline=_declined("expired_card", "Your card has expired.", "expired_card")
        ),
        "pm_card_chargeDeclinedIncorrectCvc": Card(
            last4="0127",
            decline=_declined("incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc"),
        ),
        "pm_card_chargeDeclinedProcessingError": Card(
            last4="0119",
            decline=_declined(
                "processing_error",
                "An error occurred while processing your card. Try again in a little bit.",
                "processing_error",
            ),
        ),
        "pm_card_chargeCustomerFail": Card(last4="0341", decline=GENERIC),
        "pm_card_authenticationRequired": Card(last4="3184", authentication=True),
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": Card(
            last4="9995", authentication=True, decline=INSUFFICIENT
        ),
        "pm_card_threeDSecure2Required": Card(last4="3220", authentication=True),
        "pm_card_createDispute": Card(last4="0259", dispute="fraudulent"),
        "pm_card_createDisputeProductNotReceived": Card(last4="2685", dispute="product_not_received"),
        "pm_card_createDisputeInquiry": Card(last4="1976", dispute="fraudulent", inquiry=True),
        "pm_card_pendingRefund": Card(last4="7726", refund="pending"),
        "pm_card_refundFail": Card(last4="5126", refund="failing"),
        "pm_usBankAccount_success": Card("us_bank_account", "6789", bank_debit=True),
        "pm_usBankAccount_insufficientFunds": Card("us_bank_account", "2227", bank_debit=True, decline=INSUFFICIENT),
    }
)
_SAME: Final = {
    "pm_card_chargeDeclined": "pm_card_visa_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_us": "pm_card_visa",
    "pm_card_bypassPending": "pm_card_visa",
    "pm_card_threeDSecureRequired": "pm_card_threeDSecure2Required",
    "pm_card_authenticationRequiredOnSetup": "pm_card_authenticationRequired",
}
# Short names for the command line.
SHORT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "visa": "pm_card_visa",
        "mastercard": "pm_card_mastercard",
        "declined": "pm_card_visa_chargeDeclined",
        "insufficient_funds": "pm_card_visa_chargeDeclinedInsufficientFunds",
        "authentication": "pm_card_authenticationRequired",
        "dispute": "pm_card_createDispute",
        "pending_refund": "pm_card_pendingRefund",
        "refund_fails": "pm_card_refundFail",
        "bank_debit": "pm_usBankAccount_success",
    }
)
# The same for a drop-down list.
LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "visa": "Visa 4242: succeeds",
        "mastercard": "Mastercard 4444: succeeds",
        "declined": "Visa 0002: is declined",
        "insufficient_funds": "Visa 9995: insufficient funds",
        "authentication": "Visa 3184: the bank asks first (3-D Secure)",
        "dispute": "Visa 0259: succeeds, then is disputed",
        "pending_refund": "Visa 7726: refunds take a minute",
        "refund_fails": "Visa 5126: refunds fail",
        "bank_debit": "Bank debit: succeeds after an hour",
    }
)


def full_name(name: str) -> str | None:
    """The name that CARDS has for a test card, also for `visa` and `tok_visa`; None if there is none."""
    name = SHORT.get(name, name)
    if name.startswith("tok_"):
        name = f"pm_card_{name.removeprefix('tok_')}"
    name = _SAME.get(name, name)
    return name if name in CARDS else None


def card_details(card: Card) -> Obj:
    """The `card` of a payment method."""
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": f"fp{card.last4}",
        "funding": "credit",
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def charged_details(card: Card, amount: int) -> Obj:
    """The `payment_method_details` of a charge, which has fewer fields of a card."""
    if card.bank_debit:
        return {card.type: {**bank_details(card), "mandate": None}, "type": card.type}
    kept = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "wallet")
    details = {name: value for name, value in card_details(card).items() if name in kept}
    details |= {"amount_authorized": amount, "network": card.brand, "three_d_secure": None}
    return {"card": details, "type": "card"}


def bank_details(card: Card) -> Obj:
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "fingerprint": f"fp{card.last4}",
        "last4": card.last4,
        "routing_number": "110000000",
    }
