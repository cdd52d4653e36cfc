"""PaymentIntents and charges: the state machine of a payment."""

from collections.abc import Callable
from typing import Any, Final

from doubles.stripe.cards import AUTHENTICATION, CARDS, Card, Decline, charged_details
from doubles.stripe.customers import Customers, billing_details
from doubles.stripe.wire import ApiError, Obj, Params, currency, dollars, invalid, refused, unsupported
from doubles.stripe.world import World, plain

MIN_CHARGE_CENTS: Final = 50  # in US dollars, as at Stripe
MAX_CHARGE_CENTS: Final = 99_999_999
BANK_DEBIT_SECONDS: Final = 3_600  # until a bank debit is decided; days in reality
OPEN: Final = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")
CANCELLATION_REASONS: Final = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
CREATE: Final = (
    "amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "confirmation_method",
    "currency",
    "customer",
    "description",
    "metadata",
    "off_session",
    "payment_method",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "use_stripe_sdk",
)
UPDATE: Final = (
    "amount",
    "currency",
    "customer",
    "description",
    "metadata",
    "payment_method",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
)
CONFIRM: Final = (
    "payment_method",
    "off_session",
    "return_url",
    "receipt_email",
    "setup_future_usage",
    "use_stripe_sdk",
)
TEXTS: Final = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")
LOGS_URL: Final = "https://dashboard.stripe.com/test/logs"


def book(world: World, kind: str, amount: int, currency_: str, source: str, fee: int = 0) -> Obj:
    """A line of the account's balance."""
    fees = [{"amount": fee, "application": None, "currency": currency_, "description": "Fees", "type": "stripe_fee"}]
    return world.add(
        {
            "id": world.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": world.now + 2 * 86_400,
            "balance_type": "payments",
            "created": world.now,
            "currency": currency_,
            "description": None,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": fees if fee else [],
            "net": amount - fee,
            "reporting_category": {"adjustment": "dispute"}.get(kind, kind),
            "source": source,
            "status": "pending",
            "type": kind,
            "_livemode": world.livemode,
        }
    )


class Payments:
    """`listeners` are called when an intent succeeds or fails: invoices and Checkout depend on it."""

    def __init__(self, world: World, customers: Customers) -> None:
        self.world = world
        self.customers = customers
        self.listeners: list[Callable[[Obj], None]] = []
        self.on_charge: list[Callable[[Obj, Card], None]] = []
        world.steps["bank_debit"] = self._settle_bank_debit

    # ------------------------------------------------------------ calls

    def create(self, params: Params) -> Obj:
        amount, currency_ = _amount(params, params.text("currency")), currency(params)
        if params.choice("capture_method", ("automatic", "automatic_async", "manual")) == "manual":
            raise unsupported("manual capture", "capture_method")
        customer = self.customers.usable(params.needed("customer")) if "customer" in params else None
        automatic = params.nested("automatic_payment_methods", ("enabled", "allow_redirects"))
        types = params.words("payment_method_types")
        if automatic.flag("enabled") and types:
            raise invalid(
                "You may only specify one of these parameters: automatic_payment_methods, payment_method_types."
            )
        redirects = automatic.choice("allow_redirects", ("always", "never"), "always")
        confirm = params.flag("confirm")
        for name in ("off_session", "return_url"):
            if name in params and not confirm:
                raise invalid(f"You can only set `{name}` when `confirm` is true.", name)
        metadata, texts = params.metadata(), {name: params.text(name) for name in TEXTS}
        future = params.choice("setup_future_usage", ("off_session", "on_session"))
        token = params.text("payment_method")
        method = self.customers.method_of(customer, token) if token else None
        if confirm and method is None:
            raise _no_method()
        enabled = automatic.flag("enabled", default=not types)
        if confirm and enabled and redirects == "always" and params.text("return_url") is None:
            raise _no_return_url()
        intent = self.new(
            amount,
            currency_,
            customer,
            metadata=metadata,
            automatic_payment_methods={"allow_redirects": redirects, "enabled": True} if enabled else None,
            payment_method=method["id"] if method else None,
            payment_method_types=types or ["card", "us_bank_account"],
            setup_future_usage=future,
            status="requires_confirmation" if method else "requires_payment_method",
            **texts,
        )
        if confirm:
            self._confirm(intent, params)
        return intent

    def update(self, identifier: str, params: Params) -> Obj:
        intent = self.get(identifier)
        if intent["status"] in ("succeeded", "canceled", "processing") and (
            set(UPDATE) & {name for name in UPDATE if name in params} - {"metadata", "description", "receipt_email"}
        ):
            raise _unexpected(intent, f"This PaymentIntent's status is {intent['status']}: it cannot be updated.")
        changes: Obj = {"metadata": params.metadata(intent["metadata"])}
        changes |= {name: params.text(name) for name in TEXTS if name in params}
        if "amount" in params:
            changes["amount"] = _amount(params, intent["currency"])
        if "currency" in params:
            changes["currency"] = currency(params)
        if "setup_future_usage" in params:
            changes["setup_future_usage"] = params.choice("setup_future_usage", ("off_session", "on_session"))
        if "customer" in params:
            changes["customer"] = self.customers.usable(params.needed("customer"))["id"]
        if "payment_method" in params:
            owner = self.world.find("customer", changes.get("customer", intent["customer"]))
            changes["payment_method"] = self.customers.method_of(owner, params.needed("payment_method"))["id"]
            changes["status"] = "requires_confirmation"
        self.world.update(intent, **changes)
        return intent

    def get(self, identifier: str, param: str = "intent") -> Obj:
        return self.world.get("payment_intent", identifier, param)

    def confirm(self, identifier: str, params: Params, *, from_browser: bool = False) -> Obj:
        """As a server, or as Stripe.js does in the browser, which may follow redirects. Raises ApiError 402."""
        intent = self.get(identifier)
        return self._confirm(intent, params, from_browser=from_browser)

    def cancel(self, identifier: str, params: Params) -> Obj:
        intent = self.get(identifier)
        reason = params.choice("cancellation_reason", CANCELLATION_REASONS)
        if intent["status"] not in OPEN:
            allowed = ", ".join(OPEN[:-1]) + f", {OPEN[-1]}"
            raise _unexpected(
                intent,
                f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. "
                f"Only a PaymentIntent with one of the following statuses may be canceled: {allowed}.",
            )
        if "_invoice" in intent:
            raise _unexpected(intent, "You cannot cancel a PaymentIntent that an invoice created: void the invoice.")
        return self.end(intent, reason)

    # ------------------------------------------------------------ the machine

    def new(self, amount: int, currency_: str, customer: Obj | None, **more: Any) -> Obj:
        identifier = self.world.new_id("pi")
        intent: Obj = {
            "id": identifier,
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": 0,
            "application": None,
            "application_fee_amount": None,
            "automatic_payment_methods": None,
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": "automatic_async",
            "client_secret": self.world.new_id(f"{identifier}_secret", 25),
            "confirmation_method": "automatic",
            "created": self.world.now,
            "currency": currency_,
            "customer": customer["id"] if customer else None,
            "customer_account": None,
            "description": None,
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": self.world.livemode,
            "metadata": {},
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_configuration_details": None,
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "processing": None,
            "receipt_email": None,
            "review": None,
            "setup_future_usage": None,
            "shipping": None,
            "source": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "requires_payment_method",
            "transfer_data": None,
            "transfer_group": None,
            **more,
        }
        self.world.add(intent)
        self.world.emit("payment_intent.created", intent)
        return intent

    def _confirm(self, intent: Obj, params: Params, *, from_browser: bool = False) -> Obj:
        status = intent["status"]
        if status in ("succeeded", "canceled", "processing"):
            ended = {
                "succeeded": "it has already succeeded after being previously confirmed",
                "canceled": "it has a status of canceled",
                "processing": "it is processing",
            }
            raise _unexpected(intent, f"You cannot confirm this PaymentIntent because {ended[status]}.")
        if intent["customer"] is not None:
            self.customers.usable(intent["customer"])
        token = params.text("payment_method") or intent["payment_method"]
        if token is None:
            raise _no_method(intent)
        return_url, automatic = params.text("return_url"), intent["automatic_payment_methods"]
        redirects = automatic is not None and automatic["allow_redirects"] == "always"
        if redirects and return_url is None and not from_browser:
            raise _no_return_url()
        method = self.customers.method_of(self.world.find("customer", intent["customer"]), token)
        if "setup_future_usage" in params:
            future = params.choice("setup_future_usage", ("off_session", "on_session"))
            self.world.update(intent, setup_future_usage=future)
        off_session = params.raw("off_session") in ("true", "one_off", "recurring")
        decline = self.attempt(intent, method, off_session=off_session, return_url=return_url)
        if decline is not None:
            raise self.card_error(intent, decline)
        return intent

    def attempt(
        self,
        intent: Obj,
        method: Obj,
        *,
        off_session: bool = False,
        authenticated: bool = False,
        return_url: str | None = None,
    ) -> Decline | None:
        """Try to pay. None if the intent has succeeded, is processing or waits for the customer; else the decline."""
        card = CARDS[method["_card"]]
        self.world.update(intent, payment_method=method["id"], last_payment_error=None, next_action=None)
        if card.authentication and not authenticated:
            if off_session:
                self._decline(intent, method, AUTHENTICATION)
                return AUTHENTICATION
            self._ask_customer(intent, return_url)
            return None
        if card.bank_debit:
            self.world.update(intent, status="processing", processing=None)
            self.world.emit("payment_intent.processing", intent)
            self.world.schedule(intent, "bank_debit", self.world.now + BANK_DEBIT_SECONDS)
            return None
        if card.decline is not None:
            self._decline(intent, method, card.decline)
            return card.decline
        self._succeed(intent, method, card)
        return None

    def authenticate(self, identifier: str, *, successfully: bool) -> Obj:
        """The customer has come back from their bank's page. A decline after that raises nothing."""
        intent = self.get(identifier)
        if intent["status"] != "requires_action":
            raise _unexpected(intent, f"This PaymentIntent's status is {intent['status']}, not requires_action.")
        method = self.world.get("payment_method", intent["payment_method"])
        if successfully:
            self.attempt(intent, method, authenticated=True)
            return intent
        error = {
            "code": "payment_intent_authentication_failure",
            "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
            "message": "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a "
            "new PaymentMethod to attempt to fulfill this PaymentIntent again.",
            "payment_method": plain(method),
            "type": "invalid_request_error",
        }
        self._failed(intent, error)
        return intent

    def end(self, intent: Obj, reason: str | None) -> Obj:
        self.world.unschedule(intent)
        self.world.update(
            intent, status="canceled", canceled_at=self.world.now, cancellation_reason=reason, next_action=None
        )
        self.world.emit("payment_intent.canceled", intent)
        return intent

    def card_error(self, intent: Obj, decline: Decline) -> ApiError:
        error = intent["last_payment_error"]
        return ApiError(
            402,
            "card_error",
            decline.message,
            code=decline.code,
            executed=True,
            charge=intent["latest_charge"],
            decline_code=decline.decline_code,
            payment_intent=plain(intent),
            payment_method=error["payment_method"],
            request_log_url=LOGS_URL,
        )

    def _ask_customer(self, intent: Obj, return_url: str | None) -> None:
        if return_url is not None:
            url = f"{self.world.url}/authenticate/{intent['id']}"
            action: Obj = {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}
        else:
            action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
        self.world.update(intent, status="requires_action", next_action=action)
        self.world.emit("payment_intent.requires_action", intent)

    def _succeed(self, intent: Obj, method: Obj, card: Card) -> None:
        charge = self._charge(intent, method, None)
        if intent["setup_future_usage"] and intent["customer"]:
            self.customers.keep(method, self.world.objects[intent["customer"]])
        self.world.update(
            intent, status="succeeded", amount_received=intent["amount"], latest_charge=charge["id"], next_action=None
        )
        self.world.emit("charge.succeeded", charge)
        self.world.emit("payment_intent.succeeded", intent)
        for listener in self.listeners:
            listener(intent)
        for reaction in self.on_charge:
            reaction(charge, card)

    def _decline(self, intent: Obj, method: Obj, decline: Decline) -> None:
        charge = self._charge(intent, method, decline)
        self.world.update(intent, latest_charge=charge["id"])
        self.world.emit("charge.failed", charge)
        error = {
            "charge": charge["id"],
            "code": decline.code,
            "decline_code": decline.decline_code,
            "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
            "message": decline.message,
            "payment_method": plain(method),
            "type": "card_error",
        }
        self._failed(intent, error)

    def _failed(self, intent: Obj, error: Obj) -> None:
        self.world.update(
            intent,
            status="requires_payment_method",
            last_payment_error=error,
            payment_method=None,
            next_action=None,
        )
        self.world.emit("payment_intent.payment_failed", intent)
        for listener in self.listeners:
            listener(intent)

    def _settle_bank_debit(self, intent: Obj) -> None:
        method = self.world.objects[intent["payment_method"]]
        card = CARDS[method["_card"]]
        if card.decline is not None:
            self._decline(intent, method, card.decline)
        else:
            self._succeed(intent, method, card)

    def _charge(self, intent: Obj, method: Obj, decline: Decline | None) -> Obj:
        world, amount = self.world, intent["amount"]
        identifier = world.new_id("ch")
        outcome = {
            "advice_code": "try_again_later" if decline else None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "declined_by_network" if decline else "approved_by_network",
            "reason": decline.decline_code if decline else None,
            "risk_level": "normal",
            "risk_score": 32,
            "seller_message": decline.seller_message if decline else "Payment complete.",
            "type": "issuer_declined" if decline else "authorized",
        }
        transaction = None
        if decline is None:
            transaction = book(world, "charge", amount, intent["currency"], identifier, round(amount * 0.029) + 30)
        return world.add(
            {
                "id": identifier,
                "object": "charge",
                "amount": amount,
                "amount_captured": 0 if decline else amount,
                "amount_refunded": 0,
                "application": None,
                "application_fee": None,
                "application_fee_amount": None,
                "balance_transaction": transaction["id"] if transaction else None,
                "billing_details": billing_details(world.find("customer", intent["customer"])),
                "calculated_statement_descriptor": "PLAYGROUND",
                "captured": decline is None,
                "created": world.now,
                "currency": intent["currency"],
                "customer": intent["customer"],
                "description": intent["description"],
                "disputed": False,
                "failure_balance_transaction": None,
                "failure_code": decline.code if decline else None,
                "failure_message": decline.message if decline else None,
                "fraud_details": {},
                "livemode": intent["livemode"],
                "metadata": dict(intent["metadata"]),
                "on_behalf_of": None,
                "outcome": outcome,
                "paid": decline is None,
                "payment_intent": intent["id"],
                "payment_method": method["id"],
                "payment_method_details": charged_details(CARDS[method["_card"]], amount),
                "receipt_email": intent["receipt_email"],
                "receipt_number": None,
                "receipt_url": None if decline else f"{world.url}/receipts/{identifier}",
                "refunded": False,
                "review": None,
                "shipping": None,
                "source": None,
                "source_transfer": None,
                "statement_descriptor": intent["statement_descriptor"],
                "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
                "status": "failed" if decline else "succeeded",
                "transfer_data": None,
                "transfer_group": None,
                "_card": method["_card"],
            }
        )


def _amount(params: Params, currency_: str | None) -> int:
    amount = params.integer("amount", lowest=1)
    if amount is None:
        raise params.missing("amount")
    if amount > MAX_CHARGE_CENTS:
        message = f"Amount must be no more than {dollars(MAX_CHARGE_CENTS, currency_ or 'usd')}"
        raise invalid(message, "amount", "amount_too_large")
    if amount < MIN_CHARGE_CENTS and (currency_ or "usd").lower() == "usd":
        raise invalid("Amount must be at least $0.50 usd", "amount", "amount_too_small")
    return amount


def _unexpected(intent: Obj, message: str) -> ApiError:
    return refused(message, "payment_intent_unexpected_state", payment_intent=plain(intent))


def _no_method(intent: Obj | None = None) -> ApiError:
    message = (
        "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
        "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment "
        "method or ConfirmationToken."
    )
    if intent is None:
        return invalid(message, code="payment_intent_unexpected_state")
    return _unexpected(intent, message)


def _no_return_url() -> ApiError:
    return invalid(
        "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these "
        "payment methods might redirect your customer off of your page, you must provide a `return_url`. If you don't "
        "want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and "
        "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents."
    )
