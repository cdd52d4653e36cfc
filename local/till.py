"""Pays purchases at the running stack's stand-in for Stripe, as the customer.

A purchase is found by its id in the metadata of its PaymentIntent, `purchase_id`.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from local.stripe_keys import API_KEY

PAGE = 100  # PaymentIntents, the most of one page


class CannotPayError(Exception):
    """The purchase was not paid; the message says why."""


class NoPurchaseError(CannotPayError):
    """There is no such purchase."""


@dataclass(frozen=True, slots=True)
class Till:
    """A client of the stand-in for Stripe that acts as the customer."""

    url: str

    def pay(self, purchase: str, card: str) -> dict[str, Any]:
        """Pay a purchase; the PaymentIntent afterwards. Raises CannotPayError, NoPurchaseError."""
        payment = self._payment_of(purchase)
        if payment is None:
            raise NoPurchaseError(f"there is no purchase {purchase}")
        return self.control("pay", payment_intent=payment, card=card)

    def _payment_of(self, purchase: str) -> str | None:
        """The id of a purchase's PaymentIntent, from a search of all, newest first."""
        page: dict[str, str | int] = {"limit": PAGE}
        while True:
            found = self._call("GET", f"/v1/payment_intents?{urlencode(page)}", None)
            for payment in found["data"]:
                if payment["metadata"].get("purchase_id") == purchase:
                    return str(payment["id"])
            if not found["has_more"]:
                return None
            page["starting_after"] = found["data"][-1]["id"]

    def control(self, name: str, **parameters: str | int) -> dict[str, Any]:
        """Call a control of docs/stripe-double.md; the object afterwards. Raises CannotPayError."""
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
