"""The pages that a customer sees: a payment, Checkout, the bank's question, the billing portal, receipts. Plain forms,
no scripts."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from doubles import html
from doubles.stripe.account import Account
from doubles.stripe.cards import LABELS, full_name
from doubles.stripe.checkout import summary
from doubles.stripe.webhooks import UNKNOWN
from doubles.stripe.wire import ApiError, Obj, Params, dollars
from doubles.stripe.world import mode_of

NOTE: Final = "A local stand-in for Stripe. No money moves."
REFRESH_SECONDS: Final = 1  # while events about a payment wait to be sent
MAX_FIELDS: Final = 20
KINDS: Final[Mapping[str, str]] = {
    "pay": "payment_intent",
    "authenticate": "payment_intent",
    "c/pay": "checkout.session",
    "p/session": "billing_portal.session",
    "receipts": "charge",
    "i": "invoice",
}
"""What a page is about, by the beginning of its path. The rest of the path is the object's id; of `pay`, the client
secret of the PaymentIntent."""

_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser gets, or where it goes instead. `leads_to`: addresses that the forms of the page redirect to."""

    status: int
    text: str = ""
    location: str | None = None
    leads_to: tuple[str, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        origins = {f"{address.scheme}://{address.netloc}" for address in map(urlsplit, self.leads_to)}
        found = html.headers(sorted(origin for origin in origins if _ORIGIN.fullmatch(origin)))
        return found if self.location is None else {**found, "Location": self.location}


def page(account: Account, method: str, path: str, form: str) -> Page:
    """The page at `path`. Its buttons do what a customer can do, with test cards."""
    try:
        values = dict(parse_qsl(form, max_num_fields=MAX_FIELDS))
    except ValueError:
        return _page("Not possible", html.paragraph("The form could not be read."), status=400)
    name, _, identifier = path.strip("/").rpartition("/")
    with account.lock:
        account.world.advance(account.world.now)
        obj = _subject(account, name, identifier)
        if obj is None:
            return _page("Not found", html.paragraph("This page does not exist, or not any more."), status=404)
        with account.world.calling(mode_of(obj), None, None):
            try:
                with account.world.all_or_nothing():
                    return ACTIONS[name](account, obj, method, values)
            except ApiError as error:
                return _page("Not possible", html.paragraph(error.message), status=error.status)


def _subject(account: Account, name: str, identifier: str) -> Obj | None:
    """The object that a page is about; None if there is no such page."""
    secret = identifier
    if name == "pay":
        identifier = secret.partition("_secret_")[0]
    obj = account.world.find(KINDS.get(name, ""), identifier)
    if name == "pay" and obj is not None and not hmac.compare_digest(obj["client_secret"].encode(), secret.encode()):
        return None
    return obj


def _pay(account: Account, intent: Obj, method: str, values: Mapping[str, str]) -> Page:
    """What the payment form of a front end does with the client secret."""
    here = f"{account.world.url}/pay/{intent['client_secret']}"
    if method == "POST" and values.get("action") == "pay":
        _confirm(account, intent, values.get("card", ""), return_url=here)
        return Page(303, location=_bank_page(intent) or here)
    body = html.paragraph(dollars(intent["amount"], intent["currency"]), "amount")
    body += html.paragraph(intent["description"]) if intent["description"] else ""
    status = intent["status"]
    if status in ("requires_payment_method", "requires_confirmation"):
        if intent["last_payment_error"] is not None:
            body += html.paragraph(intent["last_payment_error"]["message"], "bad")
        body += html.form(html.choice("card", "Test card", LABELS) + html.buttons({"pay": "Pay"}))
    elif status == "requires_action":
        address = _bank_page(intent)
        body += html.paragraph("The bank asks whether it is you.")
        body += f"<p>{html.link(address, 'Answer the bank')}</p>" if address else ""
    else:
        body += html.paragraph(OUTCOMES[status], "bad" if status == "canceled" else "")
    charge = account.world.find("charge", intent["latest_charge"])
    if charge is not None and charge["receipt_url"]:
        body += f"<p>{html.link(charge['receipt_url'], 'Receipt')}</p>"
    sent = _deliveries(account, intent)
    waiting = any(not each["attempts"] and each["state"] in ("pending", "sending") for each in sent)
    if sent:
        body += f"<h2>Events</h2>{html.facts((each['event_type'], _state_of(each)) for each in sent)}"
    return Page(
        200,
        html.document("Payment", body, NOTE, refresh_seconds=REFRESH_SECONDS if waiting else None),
        leads_to=(account.world.url,),
    )


OUTCOMES: Final[Mapping[str, str]] = {
    "succeeded": "Paid.",
    "processing": "The bank decides about this debit within an hour.",
    "canceled": "This payment was canceled.",
    "requires_capture": "The amount is reserved.",
}


def _confirm(account: Account, intent: Obj, card: str, *, return_url: str) -> None:
    """Try to pay. A decline is no error here: the PaymentIntent keeps it as `last_payment_error`."""
    method = account.customers.new_method(full_name(card) or "pm_card_visa")
    given = {"payment_method": method["id"], "return_url": return_url}
    try:
        account.payments.confirm(intent["id"], Params(given, tuple(given)), from_browser=True)
    except ApiError as error:
        if not error.executed:
            raise


def _bank_page(intent: Obj) -> str | None:
    """Where the customer confirms a payment, if they have to."""
    redirect = (intent["next_action"] or {}).get("redirect_to_url")
    return str(redirect["url"]) if redirect else None


def _deliveries(account: Account, intent: Obj) -> list[Obj]:
    """Deliveries of the events about a PaymentIntent, oldest first."""
    about = {event["id"] for event in account.world.all("event") if event["data"]["object"].get("id") == intent["id"]}
    return [delivery for delivery in account.world.all("delivery") if delivery["event"] in about]


def _state_of(delivery: Obj) -> str:
    if not delivery["attempts"]:
        state = str(delivery["state"])
        return {"pending": "waits to be sent", "sending": "is being sent", "held": "held back"}.get(state, state)
    status = delivery["attempts"][-1]["status"]
    answered = "not answered" if status == UNKNOWN else f"answered with {status}"
    return answered if delivery["state"] != "pending" else f"{answered}; sent again later"


def _checkout(account: Account, session: Obj, method: str, values: Mapping[str, str]) -> Page:
    notice = ""
    if session["status"] != "open":
        back = f"<p>{html.link(_success_url(session), 'Back to the shop')}</p>"
        text = html.paragraph(f"This session is {session['status']}.")
        return _page("Checkout", text + (back if session["status"] == "complete" else ""))
    if method == "POST":
        if values.get("action") == "cancel":
            return Page(303, location=session["cancel_url"] or _success_url(session))
        card = full_name(values.get("card", "")) or "pm_card_visa"
        if values.get("action") == "decline":
            card = "pm_card_visa_chargeDeclined"
        decline = account.checkout.pay(session, card, values.get("email") or None)
        if decline is None:
            return Page(303, location=_success_url(session))
        notice = html.paragraph(decline.message, "bad")
    email = session["customer_email"] or (session["customer_details"] or {}).get("email") or ""
    fields = (
        f'<label>E-mail <input name="email" type="email" value="{escape(email)}"></label>'
        + html.choice("card", "Test card", LABELS)
        + html.buttons({"pay": "Pay", "decline": "Pay with a card that is declined", "cancel": "Cancel"})
    )
    leads_to = tuple(url for url in (session["success_url"], session["cancel_url"]) if url)
    return _page("Checkout", html.paragraph(summary(session)) + notice + html.form(fields), leads_to=leads_to)


def _success_url(session: Obj) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _authenticate(account: Account, intent: Obj, method: str, values: Mapping[str, str]) -> Page:
    if intent["status"] != "requires_action":
        return _page("Your bank", html.paragraph(f"Nothing to confirm: this payment is {intent['status']}."))
    back = (intent["next_action"].get("redirect_to_url") or {}).get("return_url")
    if method == "POST":
        account.payments.authenticate(intent["id"], successfully=values.get("action") == "confirm")
        status = "succeeded" if intent["status"] in ("succeeded", "processing") else "failed"
        if back is None:
            return _page("Your bank", html.paragraph(f"The payment {status}."))
        parameters = {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": status,
        }
        return Page(303, location=f"{back}{'&' if '?' in back else '?'}{urlencode(parameters)}")
    question = html.paragraph(f"Do you pay {dollars(intent['amount'], intent['currency'])}?")
    form = html.form(html.buttons({"confirm": "Yes, it is me", "fail": "No"}))
    return _page("Your bank", question + form, leads_to=(back,) if back else ())


def _portal(account: Account, session: Obj, method: str, values: Mapping[str, str]) -> Page:
    subscriptions = {
        each["id"]: each
        for each in account.world.all("subscription")
        if each["customer"] == session["customer"] and each["status"] != "incomplete_expired"
    }
    if method == "POST":
        chosen, action = values.get("subscription", ""), values.get("action")
        if chosen in subscriptions and action in ("cancel", "resume"):
            wanted = {"cancel_at_period_end": "true" if action == "cancel" else "false"}
            account.subscriptions.update(chosen, Params(wanted, ("cancel_at_period_end",)))
        elif chosen in subscriptions and action == "card":
            method_ = account.customers.new_method(full_name(values.get("card", "")) or "pm_card_visa")
            given = {"default_payment_method": method_["id"]}
            account.subscriptions.update(chosen, Params(given, ("default_payment_method",)))
        return Page(303, location=f"/p/session/{session['id']}")
    parts = []
    for identifier, each in subscriptions.items():
        hidden = f'<input type="hidden" name="subscription" value="{escape(identifier)}">'
        ending = each["cancel_at"] is not None
        cancel = html.buttons({"resume": "Resume"} if ending else {"cancel": "Cancel at the end of the period"})
        card = html.choice("card", "Test card", LABELS) + html.buttons({"card": "Use this card"})
        state = f"{each['status']}{', ends with its period' if ending else ''}"
        parts.append(html.facts((("Subscription", identifier), ("Status", state))) + html.form(hidden + cancel + card))
    if session["return_url"]:
        parts.append(f"<p>{html.link(session['return_url'], 'Back')}</p>")
    return _page("Your subscriptions", ("" if subscriptions else html.paragraph("There is none.")) + "".join(parts))


def _receipt(account: Account, charge: Obj, _method: str, _values: Mapping[str, str]) -> Page:
    if not charge["paid"]:
        return _page("Receipt", html.paragraph("This charge failed: nothing was paid."))
    rows = [("Charge", charge["id"]), ("Status", "refunded" if charge["refunded"] else charge["status"])]
    if charge["description"]:
        rows.append(("For", charge["description"]))
    if charge["amount_refunded"]:
        rows.append(("Refunded", dollars(charge["amount_refunded"], charge["currency"])))
    amount = html.paragraph(dollars(charge["amount"], charge["currency"]), "amount")
    return _page("Receipt", amount + html.facts(rows))


def _invoice(account: Account, invoice: Obj, _method: str, _values: Mapping[str, str]) -> Page:
    amount = html.paragraph(dollars(invoice["total"], invoice["currency"]), "amount")
    rows = (
        ("Invoice", invoice["number"] or invoice["id"]),
        ("Status", invoice["status"]),
        ("Paid", dollars(invoice["amount_paid"], invoice["currency"])),
    )
    return _page("Invoice", amount + html.facts(rows))


ACTIONS: Final = {
    "pay": _pay,
    "authenticate": _authenticate,
    "c/pay": _checkout,
    "p/session": _portal,
    "receipts": _receipt,
    "i": _invoice,
}


def _page(title: str, body: str, *, status: int = 200, leads_to: tuple[str, ...] = ()) -> Page:
    return Page(status, html.document(title, body, NOTE), leads_to=leads_to)
