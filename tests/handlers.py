"""Calls handlers in this process, with the same event files that `./playground invoke` uses."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import pytest
import stripe
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller  # type: ignore[import-untyped]

from doubles.claude.server import ClaudeDouble
from doubles.stripe import StripeDouble
from local.apps import load_apps
from local.engine import CREDENTIALS, Engine
from local.event_stream import read_events
from local.gateway import Router
from local.invoke import with_tokens
from local.resources import create_resources
from local.runtime import MAX_PAYLOAD_BYTES
from local.seed import seed
from local.template import Description, Route, read_template
from local.tokens import Issuer
from playground import wiring
from playground.adapters import prices as shipped_prices
from playground.domain.pricing import PriceTable
from playground.http import EventStream
from tests.kit.described import check_answer
from tests.kit.prices import EXAMPLE
from tests.kit.rights import SERVICES, Rights

WEBHOOK_SECRET = "whsec_of_the_tests_0123456789"
ROOT = Path(__file__).parent.parent
EVENTS = ROOT / "events"


class Context:
    """As much of a Lambda context as handlers look at."""

    aws_request_id = "test"
    function_name = "test"

    def __init__(self, seconds_left: float = 29) -> None:
        self._seconds_left = seconds_left

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds_left * 1000)


def payload_bytes(answer: Mapping[str, Any]) -> int:
    """What Lambda's runtime makes of a handler's answer."""
    payload, _ = LambdaMarshaller().marshal_response(answer)
    return len(payload.encode())


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Handlers:
    """The functions of template.yaml, loaded."""

    apps: Mapping[str, ModuleType]
    tokens: Issuer
    description: Description
    rights: Rights
    clients: Sequence[Any]

    def forget_catalog(self) -> None:
        """As a new instance of the function has it: it has read nothing of the catalogue yet."""
        app: Any = self.apps["catalog"]
        app.catalog.__init__(app.catalog._catalog)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        user: str | None = None,
        key: str | None = None,
        address: str = "203.0.113.7",
        accept: str | None = None,
        seconds_left: float = 29,
        claims: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a request to the function whose route in the template it is; `user` None: without a token. `claims`:
        further ones of the token."""
        raw, _, query = path.partition("?")
        found = Router(self.description.apis[0]).find(method, f"/v1{raw}")
        assert found is not None, f"no route for {method} {path}"
        route, parameters = found
        assert isinstance(route, Route)
        headers = {"Host": "test"}
        if user is not None:
            headers["Authorization"] = f"Bearer {self.tokens.token(user, timedelta(hours=1), **(claims or {}))}"
        if key is not None:
            headers["Idempotency-Key"] = key
        if accept is not None:
            headers["Accept"] = accept
        if body is not None:
            headers["Content-Type"] = "application/json"
        pairs = parse_qsl(query, keep_blank_values=True)
        event = {
            "resource": route.path,
            "path": f"/v1{raw}",
            "httpMethod": method,
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": dict(pairs) or None,
            "multiValueQueryStringParameters": {name: [its for at, its in pairs if at == name] for name, _ in pairs}
            or None,
            "pathParameters": parameters or None,
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "stage": "api",
                "resourcePath": route.path,
                "httpMethod": method,
                "path": f"/api/v1{raw}",
                "identity": {"sourceIp": address},
            },
            "body": json.dumps(body) if body is not None else None,
            "isBase64Encoded": False,
        }
        function = self.description.functions[route.function].short_name
        return self.event(function, event, seconds_left=seconds_left)

    def file(self, name: str, *, user_id: str, changes: Mapping[str, Any] | None = None) -> Answer:
        """Send events/<name>.json as `user_id`; `changes` replace fields of its body, or headers as `header:Name`."""
        text = (EVENTS / f"{name}.json").read_text(encoding="utf-8").replace("{{token}}", f"{{{{token:{user_id}}}}}")
        event = json.loads(with_tokens(text, self.tokens))
        body = dict(json.loads(event["body"])) if changes and event["body"] else {}
        for field, value in (changes or {}).items():
            if field.startswith("header:"):
                event["headers"][field.removeprefix("header:")] = value
                event["multiValueHeaders"][field.removeprefix("header:")] = [value]
            else:
                body[field] = value
        if body:
            event["body"] = json.dumps(body)
        return self.event(name.partition("/")[0], event)

    def deliver(self, body: str, *, signature: str | None = "", packed: bool = False) -> Answer:
        """Post `body` to the webhook as Stripe does; `signature` "": a good one. `packed`: it is in base64."""
        if signature == "":
            signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET)
        path = "/webhooks/stripe/credits"
        headers = {"Content-Type": "application/json"} | ({"Stripe-Signature": signature} if signature else {})
        event = {
            "resource": f"/v1{path}",
            "path": f"/v1{path}",
            "httpMethod": "POST",
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "requestContext": {"requestId": str(uuid.uuid4()), "stage": "api", "path": f"/api/v1{path}"},
            "body": body,
            "isBase64Encoded": packed,
        }
        return self.event("webhook", event)

    def event(self, function: str, event: Mapping[str, Any], *, seconds_left: float = 29) -> Answer:
        with self.rights.of(function):
            answer = self.apps[function].handler(event, Context(seconds_left))
            events = _events(answer.pop("stream")) if "stream" in answer else None
        assert answer["isBase64Encoded"] is False
        assert payload_bytes(answer) <= MAX_PAYLOAD_BYTES
        headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
        is_json = headers.get("Content-Type", "").startswith("application/json")
        body = json.loads(answer["body"]) if is_json else answer["body"]
        found = Answer(answer["statusCode"], headers, events if events is not None else body)
        method, path = str(event.get("httpMethod")), str(event.get("path"))
        routed = Router(self.description.apis[0]).find(method, path)
        route = routed[0] if routed is not None else None
        if (
            method != "OPTIONS"
            and isinstance(route, Route)
            and self.description.functions[route.function].short_name == function
        ):
            check_answer(method, route.path.removeprefix("/v1"), found.status, headers, found.body)
        return found

    def invoke(self, function: str, event: Mapping[str, Any], *, seconds_left: float = 60) -> Any:
        """Call a function that nobody calls over HTTP, as a schedule or a queue does."""
        with self.rights.of(function):
            return self.apps[function].handler(dict(event), Context(seconds_left))


@contextmanager
def loaded(
    description: Description,
    engine: Engine,
    claude: ClaudeDouble,
    stripe_double: StripeDouble,
    prices: PriceTable = EXAMPLE,
    parameters: Mapping[str, str] | None = None,
) -> Iterator[Handlers]:
    """All functions, loaded into this process, over these. Inside of another `loaded` they are others. `parameters` of
    the template are as by default if they are not named.

    They charge and sell by `prices`; by the table that ships they do so in tests/e2e and tests/local.
    """
    secret = "a secret of the tests, 32 bytes at least"
    values = {
        "AuthSecret": json.dumps({"secrets": [secret]}),
        "AnthropicSecret": json.dumps({"api_key": "test"}),
        "StripeSecret": json.dumps({"api_key": "sk_test_handlers", "webhook_secrets": [WEBHOOK_SECRET]}),
    }
    create_resources(description, engine.endpoint_url, values)
    addresses = {"AnthropicBaseUrl": claude.url, "StripeBaseUrl": stripe_double.url}
    local = read_template(ROOT / "template.yaml", {**addresses, **(parameters or {})})
    seed({**CREDENTIALS, **local.functions["CatalogFunction"].environment}, engine.endpoint_url)
    issuer = Issuer(
        secret=secret,
        algorithm=local.parameters["AuthAlgorithm"],
        issuer=local.parameters["AuthIssuer"],
        audience=local.parameters["AuthAudience"],
    )
    outer = os.environ.get("AWS_ENDPOINT_URL")
    wiring.client.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped_prices, "load_prices", lambda: prices)
        apps = load_apps(local, engine.endpoint_url)
    clients = [wiring.client(service) for service in SERVICES]
    clients += [app.store.client for app in apps.values() if hasattr(app, "store")]
    rights = Rights(ROOT / "template.yaml", local)
    for watched in clients:
        rights.watch(watched)
    try:
        yield Handlers(apps, issuer, local, rights, clients)
    finally:
        for app in apps.values():
            for holder, name in ((app, "model"), (getattr(app, "run_prompt", None), "_model")):
                if (model := getattr(holder, name, None)) is not None:
                    model.close()
            if (stream_run := getattr(app, "stream_run", None)) is not None:
                stream_run.run_prompt._model.close()
        for made in (*clients, *(wiring.client(service) for service in SERVICES)):
            made.close()
        wiring.client.cache_clear()
        if outer is not None:
            os.environ["AWS_ENDPOINT_URL"] = outer


def _events(stream: EventStream) -> list[dict[str, Any]]:
    """All events of a stream, as it is read to its end."""
    read = read_events(b"".join(stream.chunks).splitlines(keepends=True))
    stream.wait()
    return [{"event": event.name, **event.data} for event in read]
