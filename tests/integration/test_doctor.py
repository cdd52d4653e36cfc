"""`playground doctor`: every check passes on a stack that is as it should be, and finds the one thing that is not."""

import copy
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from doubles.claude.server import ClaudeDouble
from doubles.loopback import LoopbackServer
from doubles.stripe import StripeDouble
from local.engine import Engine
from local.resources import client
from local.state_file import write_state
from local.template import Description
from operate.cli import run
from operate.commands import doctor as doctor_command
from operate.doctor import INDEXES, NEEDED_EVENTS, TOKEN_VARIABLE, WEBHOOK_PATH, Doctor, examined
from operate.stack import AUTH, RESOURCES
from playground.adapters.prices import load_prices
from tests.kit.deployed import deploy

SECRET = "a secret of the doctor, long enough for HS256"
GOOD = {
    "AuthSecret": {"secrets": [SECRET]},
    "ShareSecret": {"secrets": [], "generated": "g" * 32},
    "VisitorSecret": {"generated": "g" * 32},
    "AnthropicSecret": {"api_key": "key-of-claude"},
    "StripeSecret": {"api_key": "sk_test_of_the_doctor", "webhook_secrets": ["whsec_0123456789abcdef"]},
}
ALL = list(Doctor(None).checks())  # type: ignore[arg-type]  # names only
_numbers = itertools.count(1)

Answers = dict[str, tuple[int, Any]]


class ScriptedServer:
    """Answers `METHOD path` (without the query) as `answers` says; 404 otherwise."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                name = f"{self.command} {self.path.partition('?')[0]}"
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((name, dict(self.headers), body))
                status, answer = outer.answers.get(name, (404, {"error": "route_not_found"}))
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_one  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                pass

        self._server = LoopbackServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()


def api_answers() -> Answers:
    package = {"id": "@acme/tidy", "name": "@acme/tidy"}
    demanding = {"id": "@acme/asks", "name": "@acme/asks"}
    return {
        "GET /api/v1/playground/models": (200, {"models": []}),
        "GET /api/v1/playground/credits": (401, {"error": "unauthorized"}),
        "GET /api/v1/packages": (200, {"packages": [demanding, package], "next_cursor": None}),
        "GET /api/v1/packages/by-id/%40acme%2Fasks": (200, {"variables": [{"name": "tone", "default": None}]}),
        "GET /api/v1/packages/by-id/%40acme%2Ftidy": (200, {"variables": [{"name": "tone", "default": "kind"}]}),
        "POST /api/v1/playground/run": (200, {"run_id": "run_1", "credits_spent": 1}),
        "GET /api/v1/playground/runs/run_1": (200, {"run_id": "run_1", "credits_spent": 1}),
    }


@dataclass
class Patient:
    """A stack whose parts the tests break. Its secrets are its own."""

    engine: Engine
    folder: Path
    api: ScriptedServer
    stripe: StripeDouble
    state: dict[str, Any]
    secrets: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(GOOD))

    def examine(self, check: str) -> tuple[str, str, str | None]:
        """Outcome, detail and advice of one check."""
        from operate.stack import open_stack

        self.save()
        with open_stack(None) as stack:
            result = examined(check, Doctor(stack, run_as=self.state.get("run_as")).checks()[check])
        return result.outcome.value, result.detail, result.advice

    def save(self) -> None:
        number = next(_numbers)
        secretsmanager = client("secretsmanager", self.engine.endpoint_url)
        for name, value in self.secrets.items():
            made = f"doctor-{os.getpid()}-{number}-{name}"
            text = value if isinstance(value, str) else json.dumps(value)
            secretsmanager.create_secret(Name=made, SecretString=text)
            self.state["secrets"][name] = made
        secretsmanager.close()
        write_state(self.folder, self.state)

    @property
    def environment(self) -> dict[str, str]:
        environment: dict[str, str] = self.state["functions"]["RunFunction"]["environment"]
        return environment


@pytest.fixture(scope="module")
def stripe_account() -> Iterator[StripeDouble]:
    with StripeDouble(base=time.time, seed=1) as double:
        double.control("portal")
        yield double


@pytest.fixture
def patient(
    engine: Engine,
    description: Description,
    claude: ClaudeDouble,
    stripe_account: StripeDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Patient]:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with ScriptedServer(api_answers()) as api:
        environment = {
            "AUTH_ALGORITHM": "HS256",
            "AUTH_ISSUER": "https://issuer.test",
            "AUTH_AUDIENCE": "playground",
            "AUTH_JWKS_URL": "",
            "ANTHROPIC_BASE_URL": claude.url,
            "STRIPE_BASE_URL": stripe_account.url,
        }
        state = {
            "pid": os.getpid(),
            "api_url": f"{api.url}/api",
            "engine_url": engine.endpoint_url,
            "stripe_url": stripe_account.url,
            "tables": {table.logical_id: table.name for table in description.tables.values()},
            "secrets": {},
            "functions": {"RunFunction": {"short_name": "run", "environment": environment}},
        }
        with stripe_account.account.lock:
            stripe_account.account.outbox.add_endpoint(f"{api.url}/api/v1{WEBHOOK_PATH}", "whsec_0123456789abcdef")
        yield Patient(engine, tmp_path, api, stripe_account, state)
        with stripe_account.account.lock:
            for endpoint in list(stripe_account.account.world.all("webhook_endpoint")):
                stripe_account.account.world.remove(endpoint)


def endpoint_of(patient: Patient) -> dict[str, Any]:
    endpoint: dict[str, Any] = patient.stripe.account.world.all("webhook_endpoint")[0]
    return endpoint


def test_a_stack_that_is_as_it_should_be(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    patient.save()

    assert run(["doctor", "--run", "alice"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[8:].partition(": ")[0] for line in lines[:-1]] == ALL
    outcomes = {line[8:].partition(": ")[0]: line[:8].strip() for line in lines[:-1]}
    assert [name for name, outcome in outcomes.items() if outcome != "ok"] == ["key set", "alarms"]
    assert lines[-1] == f"no check failed ({len(ALL)} checks)"


def test_what_it_finds_as_json(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    patient.secrets["AnthropicSecret"] = {"api_key": "not-set"}
    patient.save()

    assert run(["doctor", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    by_name = {each["check"]: each for each in document["checks"]}
    assert list(by_name) == ALL
    failed = {name for name, each in by_name.items() if each["outcome"] == "FAIL"}
    models = {f"model {price.model_id}" for price in load_prices().models.values()}
    assert failed == {"secret AnthropicSecret", *models}
    assert all(by_name[name]["advice"] for name in failed)
    assert by_name["run"]["outcome"] == "skipped"
    assert "key-of-claude" not in json.dumps(document)


def _secret(name: str, value: Any) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        patient.secrets[name] = value

    return change


def _answer(request: str, status: int, body: Any) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        patient.api.answers[request] = (status, body)
        patient.state["run_as"] = "alice"

    return change


def _table(name: str, other: str) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        patient.state["tables"][name] = patient.state["tables"].get(other, other)

    return change


def _endpoint(**changes: Any) -> Callable[[Patient], None]:
    def change(patient: Patient) -> None:
        with patient.stripe.account.lock:
            patient.stripe.account.world.update(endpoint_of(patient), **changes)

    return change


def _environment(**changes: str) -> Callable[[Patient], None]:
    return lambda patient: patient.environment.update(changes)


STRIPE_GOOD = GOOD["StripeSecret"]
BROKEN: list[tuple[str, Callable[[Patient], None], str]] = [
    ("secret AuthSecret", _secret("AuthSecret", {"secrets": []}), "no secret to verify tokens with"),
    ("secret AuthSecret", _secret("AuthSecret", {"secrets": ["short"]}), "is 5 bytes"),
    ("secret AuthSecret", _secret("AuthSecret", "nonsense"), "is not JSON"),
    ("secret AuthSecret", _secret("AuthSecret", {"secrets": 5}), "TypeError"),
    ("secret ShareSecret", _secret("ShareSecret", {"secrets": ["short"]}), ""),
    ("secret VisitorSecret", _secret("VisitorSecret", {}), "has no generated"),
    ("secret AnthropicSecret", _secret("AnthropicSecret", {"api_key": "not-set"}), "has no api_key yet"),
    ("secret StripeSecret", _secret("StripeSecret", {**STRIPE_GOOD, "api_key": "key"}), "must begin with sk_live_"),
    ("secret StripeSecret", _secret("StripeSecret", {**STRIPE_GOOD, "webhook_secrets": []}), "signing secrets"),
    ("key set", _environment(AUTH_ALGORITHM="RS256"), "https://"),
    ("table LedgerTable", _table("LedgerTable", "no-such-table"), "DescribeTable: ResourceNotFoundException"),
    ("table LedgerTable", _table("LedgerTable", "SpendTable"), "lacks the index by_due, by_end, by_lease"),
    ("table SessionsTable", _table("SessionsTable", "SpendTable"), "lacks the index by_owner"),
    ("table CatalogTable", _table("CatalogTable", ""), "has no CatalogTableName"),
    ("Stripe webhook", _endpoint(url="http://127.0.0.1:1/elsewhere"), "no endpoint has the address"),
    ("Stripe webhook", _endpoint(status="disabled"), "is disabled"),
    (
        "Stripe webhook",
        _endpoint(enabled_events=sorted(NEEDED_EVENTS - {"invoice.paid", "refund.failed"})),
        "lacks invoice.paid, refund.failed",
    ),
    ("Stripe webhook", _secret("StripeSecret", {**STRIPE_GOOD, "api_key": "nonsense"}), "AuthenticationError 401"),
    ("API", _answer("GET /api/v1/playground/credits", 500, {"error": "internal_error"}), "is 500, not 401"),
    ("API", _answer("GET /api/v1/playground/models", 200, b"<html>"), "JSONDecodeError"),
    ("API", lambda patient: patient.state.update(api_url="http://127.0.0.1:1/api"), "ConnectionRefusedError"),
    ("run", _answer("POST /api/v1/playground/run", 402, {"error": "insufficient_credits"}), "402 insufficient_credits"),
    ("run", _answer("GET /api/v1/playground/runs/run_1", 404, {}), "its receipt (404)"),
    (
        "run",
        _answer("GET /api/v1/playground/runs/run_1", 200, {"run_id": "run_1", "credits_spent": 2}),
        "spent 1, and its receipt (200) says 2",
    ),
    ("run", _answer("GET /api/v1/packages", 200, {"packages": []}), "none of the first"),
]


@pytest.mark.parametrize(("check", "damage", "said"), BROKEN, ids=[f"{n}-{each[0]}" for n, each in enumerate(BROKEN)])
def test_what_is_broken_is_found(patient: Patient, check: str, damage: Callable[[Patient], None], said: str) -> None:
    damage(patient)

    outcome, detail, advice = patient.examine(check)
    assert (outcome, said in detail) == ("FAIL", True), detail
    assert advice
    assert not any(secret in f"{detail}{advice}" for secret in (SECRET, "short", "nonsense", "whsec_0123"))


def test_a_portal_without_settings_is_found(patient: Patient) -> None:
    with StripeDouble(base=time.time, seed=1) as new:
        patient.environment["STRIPE_BASE_URL"] = new.url
        assert patient.examine("Stripe portal")[:2] == ("FAIL", "the customer portal has no settings")


def test_a_model_that_claude_does_not_have_is_found(patient: Patient) -> None:
    model = next(iter(load_prices().models.values())).model_id
    assert patient.examine(f"model {model}")[0] == "ok"
    answer = {"type": "error", "error": {"type": "not_found_error", "message": f"model: {model}"}}
    patient.api.answers["POST /v1/messages/count_tokens"] = (404, answer)
    patient.environment["ANTHROPIC_BASE_URL"] = patient.api.url
    assert patient.examine(f"model {model}")[:2] == ("FAIL", "Claude answers 404")


def test_the_key_set_is_fetched_where_tokens_are_signed_with_its_keys(patient: Patient) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    patient.api.answers["GET /keys"] = (200, {"keys": [jwk]})
    patient.environment.update(AUTH_ALGORITHM="EdDSA", AUTH_JWKS_URL=f"{patient.api.url}/keys")
    assert patient.examine("key set")[:2] == ("ok", "keys: 1")
    assert patient.examine("secret AuthSecret")[0] == "skipped"
    patient.api.answers["GET /keys"] = (503, {})
    assert patient.examine("key set")[:2] == ("FAIL", "status 503")


def test_a_run_is_made_once_for_the_user_with_a_short_lived_token(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.state["run_as"] = "alice"
    assert patient.examine("run")[0] == "ok"
    [(_, headers, body)] = [each for each in patient.api.asked if each[0] == "POST /api/v1/playground/run"]
    assert json.loads(body)["package_id"] == "@acme/tidy"
    assert headers["Idempotency-Key"].startswith("doctor-")
    patient.environment["AUTH_ALGORITHM"] = "RS256"
    assert "only the issuer can sign" in patient.examine("run")[1]
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-issuer")
    assert patient.examine("run")[0] == "ok"
    assert patient.api.asked[-1][1]["Authorization"] == "Bearer of-the-issuer"


def test_a_deployed_stack_needs_protected_tables(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    dynamodb = client("dynamodb", patient.engine.endpoint_url)
    table = f"doctor-{os.getpid()}"
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=False,
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    try:
        name = deploy(patient.engine, {"SpendTableName": table}, monkeypatch)

        assert "can be deleted" in examine(name, "table SpendTable")[1]
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=True)
        assert examine(name, "table SpendTable")[0] == "ok"
        assert examine(name, "API") == ("FAIL", f"the stack {name} has no output ApiUrl")
    finally:
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)
        dynamodb.close()


def subscriptions(*arns: str) -> bytes:
    """What SNS answers."""
    members = "".join(f"<member><SubscriptionArn>{arn}</SubscriptionArn></member>" for arn in arns)
    return (
        '<ListSubscriptionsByTopicResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        "<ListSubscriptionsByTopicResult>"
        f"<Subscriptions>{members}</Subscriptions></ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>"
    ).encode()


def test_alarms_need_a_topic_with_a_subscriber(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = "arn:aws:sns:us-east-1:000000000000:alarms"
    with_topic = deploy(patient.engine, {}, monkeypatch, {"AlarmTopicArn": topic})
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", patient.api.url)

    assert examine(deploy(patient.engine, {}, monkeypatch), "alarms") == ("FAIL", "alarms notify nobody")
    for arns, found in (
        ((), ("FAIL", "nobody is subscribed to the topic (0 unconfirmed)")),
        (("PendingConfirmation",), ("FAIL", "nobody is subscribed to the topic (1 unconfirmed)")),
        (("PendingConfirmation", f"{topic}:1"), ("ok", "subscriptions: 1")),
    ):
        patient.api.answers["POST /"] = (200, subscriptions(*arns))
        assert examine(with_topic, "alarms") == found


def examine(stack_name: str, check: str) -> tuple[str, str]:
    from operate.stack import open_stack

    with open_stack(stack_name) as stack:
        result = examined(check, Doctor(stack).checks()[check])
    return result.outcome.value, result.detail


def test_the_indexes_are_those_of_the_template(description: Description) -> None:
    indexes = {table.logical_id: frozenset(_indexes(table)) for table in description.tables.values()}
    assert {name: found for name, found in indexes.items() if found} == dict(INDEXES)


def _indexes(table: Any) -> list[str]:
    return [index["IndexName"] for index in table.properties.get("GlobalSecondaryIndexes", ())]


def test_every_secret_of_the_template_is_looked_at(description: Description) -> None:
    secrets = {secret.logical_id for secret in description.secrets.values()}
    assert {name.removeprefix("secret ") for name in ALL if name.startswith("secret ")} == secrets
    assert {resource.logical_id for resource in RESOURCES if resource.kind == "secrets"} == secrets
    assert AUTH in RESOURCES
    assert doctor_command.command.name == "doctor"
