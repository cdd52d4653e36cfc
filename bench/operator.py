"""The operator of a load, behind HTTP on loopback: plans, erasures, and the passing of a month.

    POST /plan  {"user": ...}    PRPM+ without a subscription, once per user
    POST /erase {"user": ...}    as `./playground erase`
    POST /month {}               a month passes at the stand-in for Stripe, then for every account

An order that the rules refuse is a 409 with the code of its error.
"""

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.invoke import call
from local.till import Till
from operate.change_plan import ChangePlan
from operate.erase_account import EraseAccount
from operate.operator_request import OperatorRequest
from operate.person import person_of
from operate.stack import Stack
from playground.adapters.prices import load_prices
from playground.domain.account import Plan
from playground.domain.calendar import iso
from playground.domain.erasure import pseudonym_of
from playground.domain.errors import PlaygroundError

MONTH_DAYS = 32  # more than any month has, so that everybody crosses one boundary


class Operator:
    def __init__(self, stack: Stack) -> None:
        assert stack.state is not None
        self._stack, self._state = stack, stack.state
        self._ledger = stack.ledger
        self._eraser = person_of(stack)
        self._months = 0

    def plan(self, user: str) -> None:
        """Begin PRPM+ for the user. Raises PlaygroundError."""
        order = OperatorRequest(reference=f"load-{user}", reason="Under load", operator="load")
        ChangePlan(self._ledger, allowance=load_prices().plan.credits)(
            user, Plan.PLUS, order, until=None, now=datetime.now(UTC)
        )

    def erase(self, user: str) -> None:
        """Raises PlaygroundError."""
        EraseAccount(
            ledger=self._ledger, eraser=self._eraser, new_pseudonym=lambda: pseudonym_of(secrets.randbits(130))
        )(user, now=datetime.now(UTC))

    def month(self) -> None:
        """Let Stripe renew the subscriptions, and have every account cross the boundary. Repeated: another month."""
        self._months += 1
        Till(self._state["stripe_url"]).control("advance", days=MONTH_DAYS)
        at = datetime.now(UTC) + timedelta(days=MONTH_DAYS * self._months)
        status, failure, _ = call(self._state["runtime_url"], "reset", {"task": "advance", "at": iso(at)})
        if status != 200 or failure is not None:
            raise RuntimeError(f"reset: {status} {failure}")


def answer(operator: Operator, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
    orders: dict[str, Callable[[], None]] = {
        "/plan": lambda: operator.plan(body["user"]),
        "/erase": lambda: operator.erase(body["user"]),
        "/month": operator.month,
    }
    if path not in orders:
        return 404, {"error": "no_such_order"}
    try:
        orders[path]()
    except PlaygroundError as error:
        return 409, {"error": error.code}
    except Exception as error:
        return 500, {"error": type(error).__name__, "message": str(error)}
    return 200, {}


@contextmanager
def serving(operator: Operator) -> Iterator[str]:
    """Take orders until the end; the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = answer(operator, self.path, body)
            payload = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="operator")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
