"""The controls: what a person or a test can do that Stripe's API cannot, at `/_control/...`.

The customer at the browser, the bank, the dashboard, the clock, the network: all of them act through here.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from doubles.stripe.account import Account
from doubles.stripe.cards import SHORT, full_name
from doubles.stripe.catalog import plan_of
from doubles.stripe.invoices import AFTER_RETRIES
from doubles.stripe.outages import KINDS, Outages
from doubles.stripe.refunds import DISPUTE_REASONS
from doubles.stripe.webhooks import MAX_AT_ONCE, MAX_COPIES, ORDERS, Mode
from doubles.stripe.wire import ApiError, Obj, Params, invalid, refused
from doubles.stripe.world import mode_of, plain

MAX_ROUNDS: Final = 100


@dataclass(frozen=True, slots=True)
class Control:
    method: str
    allowed: tuple[str, ...]
    help: str
    call: Callable[["Controls", Params], Any]
    locked: bool = True


class Controls:
    def __init__(self, account: Account, outages: Outages) -> None:
        self.account = account
        self.world = account.world
        self.outages = outages
        self.calls: dict[str, int] = {}

    def __call__(self, method: str, name: str, values: dict[str, Any]) -> Any:
        """Raises ApiError."""
        if name == "":
            return {key: f"{control.method} {control.help}" for key, control in CONTROLS.items()}
        control = CONTROLS.get(name)
        if control is None or control.method != method:
            raise ApiError(404, "invalid_request_error", f"No control {method} {name}; GET /_control lists them all.")
        params = Params(values, control.allowed)
        if not control.locked:
            return control.call(self, params)
        with self.account.lock:
            self.world.advance(self.world.now)
            with self.world.all_or_nothing():
                return plain(control.call(self, params))

    # ------------------------------------------------------------ the customer

    def pay(self, params: Params) -> Obj:
        intent = self._object("payment_intent", params.needed("payment_intent"))
        payments, card = self.account.payments, self._card(params)
        with self._as(intent):
            method = self.account.customers.new_method(card)
            given = Params({"payment_method": method["id"]}, ("payment_method",))
            payments.confirm(intent["id"], given, from_browser=True)
            if intent["status"] == "requires_action" and params.flag("authenticate", default=True):
                payments.authenticate(intent["id"], successfully=True)
                if intent["last_payment_error"] is not None:
                    error = intent["last_payment_error"]
                    raise refused(error["message"], error["code"])
        return intent

    def authenticate(self, params: Params) -> Obj:
        intent = self._object("payment_intent", params.needed("payment_intent"))
        outcome = params.choice("outcome", ("succeed", "fail"), "succeed")
        with self._as(intent):
            return self.account.payments.authenticate(intent["id"], successfully=outcome == "succeed")

    def checkout(self, params: Params) -> Obj:
        session = self._object("checkout.session", params.needed("session"))
        action, email = params.choice("action", ("pay", "decline", "expire"), "pay"), params.text("email")
        card = "pm_card_visa_chargeDeclined" if action == "decline" else self._card(params)
        with self._as(session):
            if action == "expire":
                return self.account.checkout.expire_now(session["id"], params)
            decline = self.account.checkout.pay(session, card, email)
        if decline is not None and action == "pay":
            raise refused(decline.message, decline.code)
        return session

    def subscription_card(self, params: Params) -> Obj:
        subscription, card = self._object("subscription", params.needed("subscription")), self._card(params)
        with self._as(subscription):
            given = {"default_payment_method": self.account.customers.new_method(card)["id"]}
            update = self.account.subscriptions.update
            return update(subscription["id"], Params(given, ("default_payment_method",)))

    # ------------------------------------------------------------ the bank and the dashboard

    def terms(self, params: Params) -> Obj:
        """From the next invoice on, without prorations."""
        subscription = self._object("subscription", params.needed("subscription"))
        with self._as(subscription):
            item = subscription["items"]["data"][0]
            if "price" in params:
                price = self._object("price", params.needed("price"))
                item = {**item, "price": plain(price), "plan": plan_of(price)}
            items = {**subscription["items"], "data": [item]}
            names = ("percent_off", "tax_percent")
            numbers = {f"_{name}": params.integer(name, lowest=0, highest=100) for name in names if name in params}
            previous = self.world.update(subscription, items=items, **numbers)
            if previous:
                self.world.emit("customer.subscription.updated", subscription, previous)
        return subscription

    def balance(self, params: Params) -> Obj:
        customer = self._object("customer", params.needed("customer"))
        credit = params.integer("credit", lowest=0) or 0
        with self._as(customer):
            self.world.update(customer, balance=customer["balance"] - credit)
        return customer

    def refund(self, params: Params) -> Obj:
        with self._as(self._charge(params)):
            return self.account.refunds.create(params)

    def settle_refund(self, params: Params) -> Obj:
        refund = self._object("refund", params.needed("refund"))
        outcome = params.choice("outcome", ("succeed", "fail"), "succeed")
        with self._as(refund):
            self.account.refunds.settle(refund, outcome == "fail")
        return refund

    def dispute(self, params: Params) -> Obj:
        charge = self._charge(params)
        reason = params.choice("reason", DISPUTE_REASONS, "fraudulent")
        assert reason is not None
        amount, inquiry = params.integer("amount", lowest=1), params.flag("inquiry")
        with self._as(charge):
            return self.account.disputes.open(charge, reason=reason, amount=amount, inquiry=inquiry)

    def close_dispute(self, params: Params) -> Obj:
        dispute = self._object("dispute", params.needed("dispute"))
        outcome = params.choice("outcome", ("won", "lost", "withdrawn"))
        if outcome is None:
            raise params.missing("outcome")
        with self._as(dispute):
            return self.account.disputes.finish(dispute, outcome)

    def portal(self, params: Params) -> Obj:
        with self.world.calling(params.flag("live"), None, None):
            return self.account.checkout.save_portal(saved=params.flag("saved", default=True))

    # ------------------------------------------------------------ time

    def clock(self, _params: Params) -> Obj:
        return {
            "now": self.world.now,
            "skipped_seconds": round(self.world.clock.skipped),
            "waiting": len(self.world.due),
        }

    def advance(self, params: Params) -> Obj:
        days, seconds, to = (params.integer(name, lowest=0) for name in ("days", "seconds", "to"))
        if days is None and seconds is None and to is None:
            raise params.missing("days")
        until = (to or self.world.now) + (days or 0) * 86_400 + (seconds or 0)
        if until < self.world.now:
            raise invalid("The clock does not go backwards.", "to")
        return {"steps": self.world.advance(until), "now": self.world.now}

    def rules(self, params: Params) -> Obj:
        rules = self.account.invoices.rules
        draft = params.integer("draft_seconds", lowest=0)
        rules.draft_seconds = rules.draft_seconds if draft is None else draft
        rules.after_retries = params.choice("after_retries", AFTER_RETRIES, rules.after_retries) or ""
        if "retry_seconds" in params:
            if not all(word.isascii() and word.isdigit() for word in params.words("retry_seconds")):
                raise invalid("Invalid array", "retry_seconds")
            rules.retry_seconds = tuple(int(word) for word in params.words("retry_seconds"))
        return asdict(rules)

    # ------------------------------------------------------------ the network

    def outage(self, params: Params) -> Obj:
        return asdict(self.outages.add(params))

    def recover(self, _params: Params) -> Obj:
        self.outages.clear()
        return {"recovered": True}

    def endpoint(self, params: Params) -> Obj:
        with self.world.calling(params.flag("live"), None, None):
            endpoint = self.account.outbox.add_endpoint(
                params.needed("url"), params.text("secret"), params.words("events") or ("*",)
            )
        return {**endpoint, "secret": endpoint["_secrets"][0]}

    def rotate(self, params: Params) -> Obj:
        endpoint = self._object("webhook_endpoint", params.needed("endpoint"))
        secret, keep = params.needed("secret"), params.flag("keep", default=True)
        with self._as(endpoint):
            return self.account.outbox.rotate(endpoint["id"], secret, keep=keep)

    def mode(self, params: Params) -> Obj:
        order = params.choice("order", ORDERS, ORDERS[0])
        assert order is not None
        self.account.outbox.mode = Mode(
            hold=params.flag("hold"),
            drop=params.flag("drop"),
            copies=params.integer("copies", lowest=1, highest=MAX_COPIES) or 1,
            delay=params.integer("delay", lowest=0) or 0,
            order=order,
            types=tuple(params.words("types")),
            times=params.integer("times", lowest=1),
        )
        return asdict(self.account.outbox.mode)

    def deliver(self, params: Params) -> list[Obj]:
        parallel = params.integer("parallel", lowest=1, highest=MAX_AT_ONCE) or 1
        age = params.integer("age") or 0
        done: list[Obj] = []
        for _ in range(params.integer("rounds", lowest=1, highest=MAX_ROUNDS) or 1):
            sent = self.account.outbox.deliver(parallel=parallel, age=age)
            if not sent:
                break
            done.extend(sent)
        return done

    def release(self, _params: Params) -> list[Obj]:
        return self.account.outbox.release()

    def replay(self, params: Params) -> list[Obj]:
        return self.account.outbox.replay(params.needed("event"))

    def deliveries(self, params: Params) -> list[Obj]:
        return self.account.outbox.deliveries(params.text("event"))

    def counts(self, _params: Params) -> Obj:
        objects = {kind: len(identifiers) for kind, identifiers in self.world.kinds.items() if identifiers}
        return {"calls": dict(sorted(self.calls.items())), "objects": objects}

    # ------------------------------------------------------------ finding

    def _object(self, kind: str, identifier: str) -> Obj:
        """An object of either mode. Raises ApiError."""
        obj = self.world.find(kind, identifier)
        if obj is None:
            raise ApiError(404, "invalid_request_error", f"No such {kind}: '{identifier}'", code="resource_missing")
        return obj

    def _charge(self, params: Params) -> Obj:
        if "charge" in params:
            return self._object("charge", params.needed("charge"))
        intent = self._object("payment_intent", params.needed("payment_intent"))
        if intent["latest_charge"] is None:
            raise refused(f"This PaymentIntent ({intent['id']}) has no charge.")
        return self._object("charge", intent["latest_charge"])

    def _card(self, params: Params) -> str:
        name = params.text("card") or "visa"
        card = full_name(name)
        if card is None:
            raise invalid(
                f"No such test card: '{name}'; there are {', '.join(SHORT)}, and Stripe's pm_card_...", "card"
            )
        return card

    def _as(self, obj: Obj) -> Any:
        return self.world.calling(mode_of(obj), None, None)


CONTROLS: Final[dict[str, Control]] = {
    "pay": Control(
        "POST",
        ("payment_intent", "card", "authenticate"),
        "payment_intent, card=visa, authenticate=true: pay it, as the customer does in the browser",
        Controls.pay,
    ),
    "authenticate": Control(
        "POST",
        ("payment_intent", "outcome"),
        "payment_intent, outcome=succeed|fail: the customer comes back from the bank's page",
        Controls.authenticate,
    ),
    "checkout": Control(
        "POST",
        ("session", "action", "card", "email"),
        "session, action=pay|decline|expire, card=visa, email: what the customer does on the pay page",
        Controls.checkout,
    ),
    "subscription_card": Control(
        "POST",
        ("subscription", "card"),
        "subscription, card=visa: what renewals are paid with from now on",
        Controls.subscription_card,
    ),
    "terms": Control(
        "POST",
        ("subscription", "price", "percent_off", "tax_percent"),
        "subscription, price, percent_off, tax_percent: another price, a coupon, a tax for the invoices to come",
        Controls.terms,
    ),
    "balance": Control(
        "POST",
        ("customer", "credit"),
        "customer, credit: cents that invoices of the customer use before a card is charged",
        Controls.balance,
    ),
    "refund": Control(
        "POST",
        ("payment_intent", "charge", "amount", "reason", "metadata"),
        "payment_intent or charge, amount, reason: refund in the dashboard",
        Controls.refund,
    ),
    "settle_refund": Control(
        "POST",
        ("refund", "outcome"),
        "refund, outcome=succeed|fail: the bank says what became of it",
        Controls.settle_refund,
    ),
    "dispute": Control(
        "POST",
        ("payment_intent", "charge", "reason", "amount", "inquiry"),
        "payment_intent or charge, reason=fraudulent, amount, inquiry=false: the cardholder disputes it",
        Controls.dispute,
    ),
    "close_dispute": Control(
        "POST",
        ("dispute", "outcome"),
        "dispute, outcome=won|lost|withdrawn: the end of a dispute",
        Controls.close_dispute,
    ),
    "portal": Control(
        "POST",
        ("saved", "live"),
        "saved=true, live=false: save the customer portal's settings in the dashboard, or an account without them",
        Controls.portal,
    ),
    "clock": Control("GET", (), "the double's time", Controls.clock),
    "advance": Control(
        "POST",
        ("days", "seconds", "to"),
        "days, seconds, or to (a Unix time): let time pass, with all that happens in it",
        Controls.advance,
    ),
    "rules": Control(
        "POST",
        ("draft_seconds", "retry_seconds", "after_retries"),
        f"draft_seconds=3600, retry_seconds, after_retries={'|'.join(AFTER_RETRIES)}: the account's billing settings",
        Controls.rules,
    ),
    "outage": Control(
        "POST",
        ("kind", "calls", "status", "seconds", "work", "method", "path", "type", "code", "param"),
        f"kind={'|'.join(KINDS)}, calls=1, status=500, seconds, work=false, method, path, type, code, param: be unwell",
        Controls.outage,
        locked=False,
    ),
    "recover": Control("POST", (), "be well again, at once", Controls.recover, locked=False),
    "endpoint": Control(
        "POST",
        ("url", "secret", "events", "live"),
        "url, secret, events, live=false: send events there",
        Controls.endpoint,
    ),
    "rotate": Control(
        "POST",
        ("endpoint", "secret", "keep"),
        "endpoint, secret, keep=true: a new secret; the old ones sign as well while they are kept",
        Controls.rotate,
    ),
    "mode": Control(
        "POST",
        ("hold", "drop", "copies", "delay", "order", "types", "times"),
        f"hold, drop, copies=1, delay=0 (seconds), order={'|'.join(ORDERS)}, types, times: how events travel from "
        "now on; without parameters as usual",
        Controls.mode,
    ),
    "deliver": Control(
        "POST",
        ("parallel", "age", "rounds"),
        "parallel=1, age=0 (seconds of the signature), rounds=1: send what is due now and say what was answered",
        Controls.deliver,
        locked=False,
    ),
    "release": Control("POST", (), "let go the events that are held", Controls.release),
    "replay": Control("POST", ("event",), "event: send it once more", Controls.replay),
    "deliveries": Control("GET", ("event",), "event: what was sent and what was answered", Controls.deliveries),
    "counts": Control("GET", (), "how often each route was called, and how many objects there are", Controls.counts),
}
