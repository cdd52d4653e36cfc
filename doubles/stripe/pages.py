"""The few pages that a customer sees: Checkout, the bank's question, the billing portal. Plain forms, no scripts."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final
from urllib.parse import parse_qsl, urlencode

from doubles.stripe.account import Account
from doubles.stripe.cards import SHORT, full_name
from doubles.stripe.checkout import summary
from doubles.stripe.wire import ApiError, Obj, Params
from doubles.stripe.world import mode_of

CONTENT_TYPE: Final = "text/html; charset=utf-8"

Page = tuple[int, str | None, str]  # status, where to go instead, HTML


def page(account: Account, method: str, path: str, form: str) -> Page:
    """What a browser gets. Buttons do what a customer can do, with test cards."""
    values = dict(parse_qsl(form, max_num_fields=20))
    name, _, identifier = path.strip("/").rpartition("/")
    with account.lock:
        account.world.advance(account.world.now)
        obj = account.world.objects.get(identifier)
        kinds = {"c/pay": "checkout.session", "authenticate": "payment_intent", "p/session": "billing_portal.session"}
        if obj is None or obj["object"] != kinds.get(name):
            return 404, None, _html("Not found", "<p>This page is not here, or not any more.</p>")
        with account.world.calling(mode_of(obj), None, None):
            actions = {"c/pay": _checkout, "authenticate": _authenticate, "p/session": _portal}
            try:
                with account.world.all_or_nothing():
                    return actions[name](account, obj, method, values)
            except ApiError as error:
                return error.status, None, _html("Not possible", f"<p>{escape(error.message)}</p>")


def _checkout(account: Account, session: Obj, method: str, values: Mapping[str, str]) -> Page:
    notice = ""
    if session["status"] != "open":
        return 200, None, _html("Checkout", f"<p>This session is {escape(session['status'])}.</p>")
    if method == "POST":
        if values.get("action") == "cancel":
            return 303, session["cancel_url"] or session["success_url"], ""
        card = full_name(values.get("card", "")) or "pm_card_visa"
        if values.get("action") == "decline":
            card = "pm_card_visa_chargeDeclined"
        decline = account.checkout.pay(session, card, values.get("email") or None)
        if decline is None:
            return 303, session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]), ""
        notice = f"<p><strong>{escape(decline.message)}</strong></p>"
    email = session["customer_email"] or (session["customer_details"] or {}).get("email") or ""
    fields = (
        f'<p><label>E-mail <input name="email" value="{escape(email)}"></label></p>'
        f'<p><label>Card <select name="card">{_options(SHORT)}</select></label></p>'
    )
    buttons = _buttons({"pay": "Pay", "decline": "Pay with a card that is declined", "cancel": "Cancel"})
    return 200, None, _html("Checkout", f"<p>{escape(summary(session))}</p>{notice}{_form(fields + buttons)}")


def _authenticate(account: Account, intent: Obj, method: str, values: Mapping[str, str]) -> Page:
    if intent["status"] != "requires_action":
        return 200, None, _html("Your bank", f"<p>Nothing to confirm: this payment is {escape(intent['status'])}.</p>")
    if method == "POST":
        back = (intent["next_action"].get("redirect_to_url") or {}).get("return_url")
        account.payments.authenticate(intent["id"], successfully=values.get("action") == "confirm")
        status = "succeeded" if intent["status"] in ("succeeded", "processing") else "failed"
        if back is None:
            return 200, None, _html("Your bank", f"<p>The payment {status}.</p>")
        facts = {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": status,
        }
        return 303, f"{back}{'&' if '?' in back else '?'}{urlencode(facts)}", ""
    buttons = _buttons({"confirm": "It is me", "fail": "It is not me"})
    return 200, None, _html("Your bank", f"<p>Do you pay {intent['amount']} {intent['currency']}?</p>{_form(buttons)}")


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
        return 303, f"/p/session/{session['id']}", ""
    parts = []
    for identifier, each in subscriptions.items():
        hidden = f'<input type="hidden" name="subscription" value="{escape(identifier)}">'
        ending = each["cancel_at"] is not None
        buttons = _buttons({"resume": "Resume"} if ending else {"cancel": "Cancel at the end of the period"})
        cards = f'<select name="card">{_options(SHORT)}</select>{_buttons({"card": "Use this card"})}'
        state = f"{each['status']}{', ending' if ending else ''}"
        parts.append(f"<p>{escape(identifier)}: {escape(state)}</p>{_form(hidden + buttons + cards)}")
    if session["return_url"]:
        parts.append(f'<p><a href="{escape(session["return_url"])}">Back</a></p>')
    return 200, None, _html("Your subscriptions", "".join(parts) or "<p>There is none.</p>")


def _html(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    note = "<p><small>A local stand-in for Stripe. No money moves.</small></p>"
    return f"<!doctype html><html><head>{head}</head><body><h1>{escape(title)}</h1>{body}{note}</body></html>"


def _form(fields: str) -> str:
    return f'<form method="post">{fields}</form>'


def _buttons(actions: Mapping[str, str]) -> str:
    buttons = [f'<button name="action" value="{name}">{escape(text)}</button>' for name, text in actions.items()]
    return f"<p>{' '.join(buttons)}</p>"


def _options(names: Iterable[str]) -> str:
    return "".join(f"<option>{escape(name)}</option>" for name in names)
