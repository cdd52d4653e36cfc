"""The Stripe double in a browser: payment pages, publishable keys, CORS."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import stripe

from doubles import html
from doubles.stripe import StripeDouble
from doubles.stripe.cards import LABELS, SHORT
from tests.kit.extent import HANG_SECONDS

T0 = 1_790_000_000
PUBLISHABLE = {"Authorization": "Bearer pk_test_1"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


def ask(
    method: str, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=HANG_SECONDS)
    try:
        target = address.path + (f"?{address.query}" if address.query else "")
        connection.request(method, target, urlencode(form) if form else None, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


@pytest.fixture
def double() -> Iterator[StripeDouble]:
    with StripeDouble(base=lambda: T0, seed=1) as running:
        yield running


@pytest.fixture
def client(double: StripeDouble) -> stripe.StripeClient:
    return stripe.StripeClient("sk_test_1", base_addresses={"api": double.url}, max_network_retries=0)


@pytest.fixture
def intent(client: stripe.StripeClient) -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(
        {"amount": 1000, "currency": "usd", "description": "<b>Medium</b>", "metadata": {"user_id": "alice"}}
    )


@pytest.fixture
def pay_url(double: StripeDouble, intent: stripe.PaymentIntent) -> str:
    return f"{double.url}/pay/{intent.client_secret}"


def pay(url: str, card: str) -> Answer:
    return ask("POST", url, {"action": "pay", "card": card})


# ---------------------------------------------------------------- the payment page


def test_a_payment_page_shows_what_is_paid_for_and_every_test_card(pay_url: str) -> None:
    page = ask("GET", pay_url)

    assert page.status == 200
    assert "$10.00" in page.text
    assert "&lt;b&gt;Medium&lt;/b&gt;" in page.text
    assert "<b>" not in page.text
    assert set(re.findall(r'<option value="(\w+)">', page.text)) == set(LABELS) == set(SHORT)


def test_a_payment_page_pays(double: StripeDouble, client: stripe.StripeClient, intent: Any, pay_url: str) -> None:
    answer = pay(pay_url, "visa")

    assert (answer.status, answer.headers["Location"]) == (303, pay_url)
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    page = ask("GET", pay_url).text
    assert "Paid." in page
    assert "<form" not in page
    (receipt,) = re.findall(r'href="([^"]+)"', page)
    assert "$10.00" in ask("GET", receipt).text
    assert pay(pay_url, "visa").headers["Location"] == pay_url  # pressed twice: the page says what came of it
    assert len(list(client.v1.charges.list())) == 1


def test_a_declined_card_may_be_followed_by_another(client: stripe.StripeClient, intent: Any, pay_url: str) -> None:
    assert pay(pay_url, "declined").status == 303
    page = ask("GET", pay_url).text
    assert "Your card was declined." in page
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"

    pay(pay_url, "mastercard")
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize(("action", "status"), [("confirm", "succeeded"), ("fail", "requires_payment_method")])
def test_a_payment_page_asks_for_authentication(
    double: StripeDouble, client: stripe.StripeClient, intent: Any, pay_url: str, action: str, status: str
) -> None:
    bank = pay(pay_url, "authentication").headers["Location"]
    assert bank == f"{double.url}/authenticate/{intent.id}"
    assert bank in ask("GET", pay_url).text  # for who has closed the bank's page

    back = ask("POST", bank, {"action": action})
    assert back.headers["Location"].startswith(f"{pay_url}?")
    assert client.v1.payment_intents.retrieve(intent.id).status == status
    assert ("Paid." if action == "confirm" else "failed authentication") in ask("GET", back.headers["Location"]).text


@pytest.mark.parametrize(
    ("card", "text"),
    [("bank_debit", "within an hour"), (None, "This payment was canceled.")],
    ids=["debit", "canceled"],
)
def test_a_payment_page_shows_its_outcome(
    client: stripe.StripeClient, intent: Any, pay_url: str, card: str | None, text: str
) -> None:
    if card is None:
        client.v1.payment_intents.cancel(intent.id)
    else:
        pay(pay_url, card)

    assert text in ask("GET", pay_url).text


def test_a_payment_page_shows_what_was_answered_to_its_events(intent: Any) -> None:
    statuses = iter((500, 200))
    endpoint = ("http://127.0.0.1:1/", None)
    with StripeDouble(base=lambda: T0, seed=1, endpoints=[endpoint], send=lambda *_: next(statuses)) as double:
        client = stripe.StripeClient("sk_test_1", base_addresses={"api": double.url})
        url = f"{double.url}/pay/{client.v1.payment_intents.create({'amount': 500, 'currency': 'usd'}).client_secret}"
        waiting = ask("GET", url).text
        assert "<dt>payment_intent.created</dt><dd>waits to be sent</dd>" in waiting
        assert '<meta http-equiv="refresh" content="1">' in waiting
        double.deliver_pending()
        answered = ask("GET", url).text
        assert "<dd>answered with 500; sent again later</dd>" in answered
        assert "refresh" not in answered


def test_a_payment_page_needs_the_whole_client_secret(double: StripeDouble, intent: Any, pay_url: str) -> None:
    for other in (intent.id, f"{intent.id}_secret_", pay_url.rpartition("/")[2][:-1], f"{intent.id}_secret_é"):
        address = f"{double.url}/pay/{other.replace('é', '%C3%A9')}"
        assert ask("GET", address).status == 404
        assert pay(address, "visa").status == 404


def test_pages_load_and_run_nothing_and_are_not_cached(double: StripeDouble, client: Any, pay_url: str) -> None:
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://front.example/done",
            "cancel_url": "http://127.0.0.1:9/x",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "<script>"}},
                }
            ],
        }
    )
    for url, origins in ((pay_url, double.url), (session.url, "http://127.0.0.1:9 https://front.example")):
        page = ask("GET", url)
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert f"form-action 'self' {origins};" in policy
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in page.headers["Cache-Control"]
        assert "<script" not in page.text
        assert not re.search(r"\b(src|onclick|style)=", page.text)


def test_an_url_cannot_be_injected_into_the_policy(double: StripeDouble, client: Any) -> None:
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://front.example; script-src *;/",
            "line_items": [
                {"quantity": 1, "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "x"}}}
            ],
        }
    )
    assert "script-src" not in ask("GET", session.url).headers["Content-Security-Policy"]


def test_links_are_http_or_https() -> None:
    assert html.link("javascript:alert(1)", "<Back>") == "&lt;Back&gt;"
    assert html.link('https://a/"x', "Back") == '<a href="https://a/&quot;x">Back</a>'


def test_invoices_have_a_page(double: StripeDouble, client: Any) -> None:
    customer = client.v1.customers.create({"payment_method": "pm_card_visa"})
    method = client.v1.customers.payment_methods.list(customer.id).data[0].id
    price = client.v1.prices.create(
        {"currency": "usd", "unit_amount": 2000, "recurring": {"interval": "month"}, "product_data": {"name": "PRPM+"}}
    )
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "default_payment_method": method}
    )
    page = ask("GET", client.v1.invoices.retrieve(made.latest_invoice).hosted_invoice_url)
    assert (page.status, "$20.00" in page.text, "<dd>paid</dd>" in page.text) == (200, True, True)


# ---------------------------------------------------------------- calls from a browser


def confirm_url(double: StripeDouble, intent: Any) -> str:
    return f"{double.url}/v1/payment_intents/{intent.id}/confirm"


def test_a_browser_confirms_with_a_publishable_key_and_the_client_secret(double: StripeDouble, intent: Any) -> None:
    form = {
        "client_secret": intent.client_secret,
        "payment_method_data[type]": "card",
        "payment_method_data[card][token]": "tok_visa",
        "return_url": "http://127.0.0.1/",
        "key": "pk_test_1",
    }
    answer = ask("POST", confirm_url(double, intent), form)

    assert (answer.status, answer.body["status"]) == (200, "succeeded")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert {"metadata", "customer", "latest_charge"}.isdisjoint(answer.body)
    asked = f"{double.url}/v1/payment_intents/{intent.id}?{urlencode({'client_secret': intent.client_secret})}"
    assert ask("GET", asked, headers=PUBLISHABLE).body == answer.body


def test_a_declined_card_in_a_browser_says_nothing_about_the_customer(double: StripeDouble, intent: Any) -> None:
    form = {
        "client_secret": intent.client_secret,
        "payment_method": "pm_card_visa_chargeDeclined",
        "use_stripe_sdk": "true",
    }
    answer = ask("POST", confirm_url(double, intent), form, PUBLISHABLE)

    assert (answer.status, answer.body["error"]["code"]) == (402, "card_declined")
    assert "metadata" not in answer.body["error"]["payment_intent"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"  # or the page could not read why


@pytest.mark.parametrize(
    ("secret", "code"), [(None, "parameter_missing"), ("pi_x_secret_y", "payment_intent_invalid_parameter")]
)
def test_a_publishable_key_alone_has_no_access(
    double: StripeDouble, client: Any, intent: Any, secret: str | None, code: str
) -> None:
    form = {"payment_method": "pm_card_visa", "use_stripe_sdk": "true", **({"client_secret": secret} if secret else {})}
    answer = ask("POST", confirm_url(double, intent), form, PUBLISHABLE)

    assert (answer.status, answer.body["error"]["code"], answer.body["error"]["param"]) == (400, code, "client_secret")
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "payment_intents"), ("GET", "customers"), ("POST", "refunds"), ("POST", "payment_intents/{id}")],
)
def test_other_calls_need_a_secret_key(double: StripeDouble, intent: Any, method: str, path: str) -> None:
    answer = ask(method, f"{double.url}/v1/{path.format(id=intent.id)}", headers=PUBLISHABLE)

    assert (answer.status, answer.body["error"]["code"]) == (403, "secret_key_required")


def test_a_publishable_key_expands_nothing(double: StripeDouble, intent: Any) -> None:
    query = urlencode({"client_secret": intent.client_secret, "expand[]": "customer"})
    asked = f"{double.url}/v1/payment_intents/{intent.id}?{query}"
    assert ask("GET", asked, headers=PUBLISHABLE).status == 400


def test_a_preflight_is_answered_as_by_stripe(double: StripeDouble, intent: Any) -> None:
    asked = {
        "Origin": "http://localhost:5173",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = ask("OPTIONS", confirm_url(double, intent), headers=asked)

    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    odd = ask("OPTIONS", confirm_url(double, intent), headers={**asked, "Access-Control-Request-Headers": "a b"})
    assert odd.headers["Access-Control-Allow-Headers"] is None


def test_other_pages_may_not_call_the_controls(double: StripeDouble) -> None:
    answer = ask("GET", f"{double.url}/_control", headers={"Origin": "https://evil.example"})
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert ask("OPTIONS", f"{double.url}/_control/pay").headers["Access-Control-Allow-Origin"] is None
