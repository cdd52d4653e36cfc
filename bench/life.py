"""The life of one user under load, told with HTTP requests: what `make load` has many users do at the same time.

Standard library only: locust runs it in an environment of its own, where nothing of the service is installed.
"""

import contextlib
import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlencode, urlsplit

from local.event_stream import read_events
from local.stripe_keys import API_KEY

PACKAGE = "@playground/code-reviewer"
INPUT = "def mean(numbers):\n    return sum(numbers) / len(numbers)"
PACK, PACK_CREDITS, PACK_CENTS = "small", 100, 500
SIGNUP_CREDITS = 5
TIMEOUT_SECONDS = 60
ARRIVAL_SECONDS = 30  # until what Stripe has done must be in the balance
POLL_SECONDS = 0.1

# What the API may answer to a correct client that shares the service with others. Anything else is a fault.
REFUSALS = frozenset(
    {
        "insufficient_credits",
        "model_overloaded",
        "rate_limited",
        "run_in_progress",
        "session_conflict",
        "store_unavailable",
        "too_many_runs",
        "checkout_open",
        "in_debt",
    }
)

Record = Callable[[str, float, str | None], None]
"""Receives each step: its name, its seconds, and the code of its error."""


class LifeEndedError(Exception):
    """A step was not answered as it has to be; it is recorded."""


@dataclass(frozen=True, slots=True)
class Places:
    """The servers: the API, the stand-in for Stripe, and the operator of this load."""

    api: str
    stripe: str
    operator: str


@dataclass(slots=True)
class Life:
    """One user, from the first request to the last.

    `delay_seconds`: how long the stand-in for Claude thinks about each answer.
    """

    places: Places
    user: str
    token: str
    chance: Random
    record: Record
    delay_seconds: float = 0.2
    _payment: str = field(default="", init=False)

    def __call__(self) -> None:
        """Live it. What goes wrong is recorded, and ends it."""
        with contextlib.suppress(LifeEndedError):
            self._live()

    def let_a_month_pass(self) -> None:
        """For everybody."""
        with contextlib.suppress(LifeEndedError):
            self._operate("a month passes", "month")

    def _live(self) -> None:
        chance = self.chance
        self._get("sign up", "/playground/credits", balance=SIGNUP_CREDITS)
        has_plan = chance.random() < 0.2
        if has_plan:
            self._operate("plan (operator)", "plan")
        session = self._run()
        self._stream()
        self._continue(session)
        if chance.random() < 0.15:
            self._run(" status=529")
        if chance.random() < 0.8:
            self._buy()
            self._compare()
            self._continue(session)
        if not has_plan and chance.random() < 0.3:
            self._subscribe()
            return
        if self._payment and chance.random() < 0.5:
            self._refund()
        self._get("history", "/playground/credits/history?limit=100")
        self._get("usage", "/playground/analytics/usage?days=2")
        if chance.random() < 0.4:
            self._operate("erase (operator)", "erase")

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _body(self, more: str = "", **fields: object) -> dict[str, object]:
        text = f"{INPUT}\n# {secrets.token_hex(4)} [[claude: delay={self.delay_seconds:g}{more}]]"
        return {"package_id": PACKAGE, "input": text, "model": "haiku", "max_tokens": 512, **fields}

    def _run(self, more: str = "") -> str:
        """Run once; sometimes the reply is taken for lost, and the request repeated."""
        key, body = secrets.token_hex(12), self._body(more)
        answer = self._post("run", "/playground/run", body, key)
        if self.chance.random() < 0.2 and "run_id" in answer and not more:
            self._post("run, repeated", "/playground/run", body, key, run_id=answer["run_id"])
        return str(answer.get("session_id", ""))

    def _continue(self, session: str) -> None:
        if session:
            self._post("run, continued", "/playground/run", self._body(session_id=session), secrets.token_hex(12))

    def _compare(self) -> None:
        variant = {"package_id": PACKAGE, "model": "haiku", "max_tokens": 512}
        variants = [{**variant, "use_no_prompt": without} for without in (False, True)]
        body = {"input": self._body()["input"], "variants": variants}
        self._post("compare", "/playground/compare", body, secrets.token_hex(12))

    def _stream(self) -> None:
        begun, first = time.monotonic(), None
        code: str | None = "stream_cut"
        connection = http.client.HTTPConnection(urlsplit(self.places.api).netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", "/api/v1/playground/run/stream", json.dumps(self._body()), self._headers())
            response = connection.getresponse()
            if response.status != http.client.OK:
                code = code_of(response.status, read_json(response.read()))
            else:
                for event in read_events(response):
                    if event.name == "delta" and first is None:
                        first = time.monotonic() - begun
                    elif event.name == "done":
                        code = None
                    elif event.name == "error":
                        code = code_of(0, event.data)
        except (OSError, http.client.HTTPException, ValueError) as error:
            code = type(error).__name__
        finally:
            connection.close()
        if first is not None:
            self.record("stream, first text", first, None)
        self._recorded("stream, all of it", time.monotonic() - begun, code)

    # --- money --------------------------------------------------------------------------------------------------------

    def _buy(self) -> None:
        key = secrets.token_hex(12)
        purchase = self._post("buy", "/playground/credits/purchase", {"package": PACK}, key)
        if "client_secret" not in purchase:
            return
        payment = str(purchase["client_secret"]).partition("_secret_")[0]
        begun = time.monotonic()
        self._stripe("pay", payment_intent=payment, card="visa")
        self._await("paid, until credited", begun, lambda credits_: credits_["purchased"] >= PACK_CREDITS)
        self._payment = payment

    def _refund(self) -> None:
        cents = self.chance.choice((PACK_CENTS // 10, PACK_CENTS // 4, PACK_CENTS))
        before = self._get("balance", "/playground/credits")
        if "purchased" not in before:
            return
        begun = time.monotonic()
        self._stripe("refund", payment_intent=self._payment, amount=str(cents))
        self._await(
            "refunded, until taken", begun, lambda credits_: credits_["purchased"] < max(1, before["purchased"])
        )

    def _subscribe(self) -> None:
        page = self._post("subscribe", "/playground/subscribe", {}, None)
        if "url" not in page:
            return
        begun = time.monotonic()
        self._stripe("checkout", session=str(page["url"]).rpartition("/")[2].partition("#")[0], card="visa")
        self._await("subscribed, until credited", begun, lambda credits_: credits_["plan"] == "plus")

    def _stripe(self, control: str, **parameters: str) -> None:
        """Do what a customer or a bank does. Not a measurement of ours, but its failure ends the life."""
        connection = http.client.HTTPConnection(urlsplit(self.places.stripe).netloc, timeout=TIMEOUT_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", f"/_control/{control}", urlencode(parameters), headers)
            response = connection.getresponse()
            response.read()
            code = None if response.status == http.client.OK else f"stripe_{response.status}"
        except (OSError, http.client.HTTPException) as error:
            code = type(error).__name__
        finally:
            connection.close()
        if code is not None:
            self._recorded(f"{control} (Stripe)", 0.0, code)

    def _await(self, name: str, begun: float, done: Callable[[Mapping[str, Any]], bool]) -> None:
        while True:
            credits_ = self._get("balance", "/playground/credits")
            spent = time.monotonic() - begun
            if "balance" in credits_ and done(credits_):
                self.record(name, spent, None)
                return
            if spent > ARRIVAL_SECONDS:
                self._recorded(name, spent, "not_in_time")
            time.sleep(POLL_SECONDS)

    def _operate(self, name: str, what: str) -> None:
        """Have the operator do something for this user."""
        self._send(name, self.places.operator, "POST", f"/{what}", {"user": self.user}, {}, {})

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def _get(self, name: str, path: str, **expected: object) -> dict[str, Any]:
        return self._send(name, self.places.api, "GET", f"/api/v1{path}", None, self._headers(), expected)

    def _post(
        self, name: str, path: str, body: Mapping[str, object], key: str | None, **expected: object
    ) -> dict[str, Any]:
        headers = self._headers() | ({"Idempotency-Key": key} if key is not None else {})
        return self._send(name, self.places.api, "POST", f"/api/v1{path}", body, headers, expected)

    def _send(
        self,
        name: str,
        place: str,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        headers: Mapping[str, str],
        expected: Mapping[str, object],
    ) -> dict[str, Any]:
        """The body of the answer, or {} if it was refused. Raises LifeEndedError for anything else."""
        begun = time.monotonic()
        answer: dict[str, Any] = {}
        connection = http.client.HTTPConnection(urlsplit(place).netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, dict(headers))
            response = connection.getresponse()
            answer = read_json(response.read())
            code = None if response.status == http.client.OK else code_of(response.status, answer)
        except (OSError, http.client.HTTPException) as error:
            code = type(error).__name__
        finally:
            connection.close()
        spent = time.monotonic() - begun
        if code is None and any(answer.get(field_) != value for field_, value in expected.items()):
            code = "wrong_answer"
        self._recorded(name, spent, code)
        return answer if code is None else {}

    def _recorded(self, name: str, seconds: float, code: str | None) -> None:
        self.record(name, seconds, code)
        if code is not None and code not in REFUSALS:
            raise LifeEndedError(f"{name}: {code}")


def read_json(body: bytes) -> dict[str, Any]:
    """The object of a body; {} if it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def code_of(status: int, answer: Mapping[str, Any]) -> str:
    """The code of an error, or its status."""
    code = answer.get("error")
    return code if isinstance(code, str) else f"status_{status}"


def people(path: str) -> Iterator[tuple[str, str]]:
    """User and token, line by line."""
    with open(path, encoding="utf-8") as lines:  # noqa: PTH123 - read while it is used
        for line in lines:
            user, _, token = line.rstrip("\n").partition("\t")
            yield user, token
