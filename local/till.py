"""The customer's side of the running stack's stand-in for Stripe: paying what was bought.

A purchase is found by its id in the metadata of its PaymentIntent, `purchase_id`.
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from local.stripe_keys import API_KEY


class CannotPayError(Exception):
    """The purchase was not paid; the message says why."""


@dataclass(frozen=True, slots=True)
class Till:
    """The customer's side of the stand-in for Stripe."""

    url: str

    def pay(self, purchase: str, card: str) -> dict[str, Any]:
        """The PaymentIntent afterwards. Raises CannotPayError."""
        if "'" in purchase or not purchase.strip():
            raise CannotPayError(f"PURCHASE must be an id such as pur_...; got {purchase!r}")
        query = urlencode({"query": f"metadata['purchase_id']:'{purchase}'", "limit": 1})
        found = self._call("GET", f"/v1/payment_intents/search?{query}", None)
        if not found["data"]:
            raise CannotPayError(f"there is no purchase {purchase}")
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
