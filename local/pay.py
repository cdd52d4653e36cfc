"""Pays a purchase at the running stack's stand-in for Stripe: `make pay PURCHASE=pur_... [CARD=visa]`.

The purchase is found by its id in the metadata of its PaymentIntent, `purchase_id`.
"""

import http.client
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from doubles.stripe.cards import SHORT
from local.stripe_keys import API_KEY
from operate.command import command, given
from operate.where import NowhereError, running


class CannotPayError(Exception):
    """The purchase was not paid; the message says why."""


@dataclass(frozen=True, slots=True)
class Till:
    """The customer's side of the stand-in for Stripe."""

    url: str

    def pay(self, purchase: str, card: str) -> dict[str, Any]:
        """The PaymentIntent afterwards. Raises CannotPayError."""
        if "'" in purchase or not purchase.strip():
            raise CannotPayError("that is no id of a purchase: make pay PURCHASE=pur_...")
        query = urlencode({"query": f"metadata['purchase_id']:'{purchase}'", "limit": 1})
        found = self._call("GET", f"/v1/payment_intents/search?{query}", None)
        if not found["data"]:
            raise CannotPayError(f"no PaymentIntent has the purchase {purchase}")
        return self.control("pay", payment_intent=found["data"][0]["id"], card=card)

    def control(self, name: str, **parameters: str | int) -> dict[str, Any]:
        """What docs/stripe-double.md says of the control; the object afterwards. Raises CannotPayError."""
        answer: dict[str, Any] = self._call("POST", f"/_control/{name}", parameters)
        return answer

    def _call(self, method: str, path: str, body: Mapping[str, str | int] | None) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise CannotPayError(answer["error"]["message"])
        return answer


def main() -> int:
    parser = command(
        "pay",
        "PURCHASE=pur_... [CARD=visa]",
        "Pay a purchase with a test card, as a customer would in the browser.",
        f"Cards: {', '.join(SHORT)}, or one of Stripe's own names, such as pm_card_amex.",
    )
    parser.add_argument("purchase", help="the purchase_id that the API answered")
    parser.add_argument("--card", type=given, default="visa", help="a test card (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        state = running()
        if state.get("stripe_url") is None:
            raise CannotPayError("the stack uses the real Stripe: pay in the browser, with one of its test cards")
        intent = Till(state["stripe_url"]).pay(arguments.purchase, arguments.card)
    except (CannotPayError, NowhereError, OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{intent['id']} {intent['status']}: {intent['amount'] / 100:.2f} {intent['currency'].upper()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
