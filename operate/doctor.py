"""Checks of a whole stack: what a deployment needs and no other check sees, one result for each.

A check never changes anything, except `run`, which spends a credit of the user it is given. No result has a secret in
it.
"""

import http.client
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlsplit

import anthropic
import jwt
import stripe
from botocore.exceptions import ClientError

from operate.errors import CannotDoError
from operate.stack import (
    ANTHROPIC,
    AUTH,
    CATALOG,
    LEDGER,
    SESSIONS,
    SHARE,
    SPEND,
    STRIPE,
    VISITOR,
    VISITORS,
    Resource,
    Stack,
)
from playground import wiring
from playground.adapters.key_set import FETCH_SECONDS, KeySetError, fetch
from playground.adapters.prices import load_prices
from playground.adapters.secrets import SecretError, read_secret
from playground.adapters.stripe_events import READERS, EventReader
from playground.adapters.stripe_payments import StripePayments
from playground.adapters.tokens import key_set, shared_secrets
from playground.domain.anonymous import VisitorKeys
from playground.domain.errors import StoreUnavailableError
from playground.domain.sharing import ShareKeys

WEBHOOK_PATH = "/webhooks/stripe/credits"
# The older name of `refund.updated`, which Stripe sends to old endpoints only.
NEEDED_EVENTS = frozenset(READERS) - {"charge.refund.updated"}
INDEXES: Mapping[str, frozenset[str]] = {
    "LedgerTable": frozenset({"by_lease", "by_due", "by_end"}),
    "SessionsTable": frozenset({"by_owner"}),
}
TABLES = (LEDGER, SESSIONS, CATALOG, VISITORS, SPEND)
TOKEN_VARIABLE = "PLAYGROUND_TOKEN"  # noqa: S105 - the name of a variable # nosec B105
MODEL_SECONDS = 20.0
API_SECONDS = 15.0
RUN_SECONDS = 120.0
MAX_ANSWER_BYTES = 1_000_000
MAX_PACKAGES = 20  # that are looked through for one without variables
RUN_INPUT = "Answer with one word: ready."


class Outcome(StrEnum):
    OK = "ok"
    FAILED = "FAIL"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found. `advice` says what to do about a failure."""

    check: str
    outcome: Outcome
    detail: str
    advice: str | None = None


class WrongError(Exception):
    """A check failed: what is wrong, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


class SkippedError(Exception):
    """A check does not apply; the message says why."""


Check = Callable[[], str]
"""Returns what was found. Raises WrongError, SkippedError, or whatever reading the stack raises."""

GENERAL_ADVICE = "see that it can be reached from here, with these credentials and rights, and try again"


class Doctor:
    """All checks of one stack. `run_as`: the user who pays for the run; None for no run."""

    def __init__(self, stack: Stack, *, run_as: str | None = None, package: str | None = None) -> None:
        self._stack = stack
        self._run_as = run_as
        self._package = package

    def checks(self) -> Mapping[str, Check]:
        return {
            "secret AuthSecret": self.auth_secret,
            "secret ShareSecret": self.share_secret,
            "secret VisitorSecret": self.visitor_secret,
            "secret AnthropicSecret": self.anthropic_secret,
            "secret StripeSecret": self.stripe_secret,
            "key set": self.issuer_keys,
            **{f"table {table.logical_id}": self._table(table) for table in TABLES},
            "Stripe webhook": self.webhook,
            "Stripe portal": self.portal,
            **{f"model {price.model_id}": self._model(price.model_id) for price in load_prices().models.values()},
            "alarms": self.alarms,
            "API": self.api,
            "run": self.run,
        }

    def __call__(self) -> Iterator[Result]:
        """Each result as soon as it is known. A check that fails does not keep the others from being made."""
        for name, check in self.checks().items():
            yield examined(name, check)

    # --- secrets ------------------------------------------------------------------------------------------------------

    def auth_secret(self) -> str:
        algorithm = self._setting("AUTH_ALGORITHM", "AuthAlgorithm")
        if not algorithm.startswith("HS"):
            raise SkippedError(f"tokens are signed with {algorithm}, by keys of the key set")
        secrets = self._secret(AUTH).get("secrets") or []
        shared_secrets(secrets, algorithm)
        return f"{len(secrets)} for {algorithm}"

    def share_secret(self) -> str:
        secret = self._secret(SHARE)
        ShareKeys([*(secret.get("secrets") or ()), *([secret["generated"]] if "generated" in secret else ())])
        return "set"

    def visitor_secret(self) -> str:
        VisitorKeys(self._secret(VISITOR, "generated")["generated"])
        return "set"

    def anthropic_secret(self) -> str:
        self._secret(ANTHROPIC, "api_key")
        return "set"

    def stripe_secret(self) -> str:
        secret = self._secret(STRIPE, "api_key")
        live = wiring.is_live(secret["api_key"])
        secrets = secret.get("webhook_secrets")
        EventReader(secrets if isinstance(secrets, list) else [])
        return f"{'live' if live else 'test'} mode, signing secrets: {len(secrets or ())}"

    def _secret(self, resource: Resource, *needed: str) -> dict[str, Any]:
        return read_secret(self._stack.client("secretsmanager"), self._stack.name_of(resource), *needed)

    # --- what is outside ----------------------------------------------------------------------------------------------

    def issuer_keys(self) -> str:
        algorithm = self._setting("AUTH_ALGORITHM", "AuthAlgorithm")
        if algorithm.startswith("HS"):
            raise SkippedError(f"tokens are signed with {algorithm}, by AuthSecret")
        url = self._setting("AUTH_JWKS_URL", "AuthJwksUrl")
        advice = "set the parameter AuthJwksUrl to the https:// address of the issuer's key set"
        try:
            key_set(url)
            keys = fetch(url, FETCH_SECONDS)
        except (KeySetError, ValueError) as error:
            raise WrongError(str(error), advice) from None
        return f"keys: {len(keys)}"

    def _stripe(self) -> stripe.StripeClient:
        api_key = str(self._secret(STRIPE, "api_key")["api_key"])
        return StripePayments(
            api_key=api_key, base_url=self._setting("STRIPE_BASE_URL", "StripeBaseUrl") or None
        ).client

    def webhook(self) -> str:
        if self._stack.state is not None and self._stack.state.get("stripe_url") is None:
            raise SkippedError("the real Stripe cannot reach this machine; `stripe listen` forwards its events")
        url = self._webhook_url()
        found = list(self._stripe().v1.webhook_endpoints.list({"limit": 100}).auto_paging_iter())
        here = [endpoint for endpoint in found if endpoint.url == url]
        if not here:
            raise WrongError(f"no endpoint has the address {url}", f"add {url} at Stripe, under Developers, Webhooks")
        enabled = [endpoint for endpoint in here if endpoint.status == "enabled"]
        if not enabled:
            raise WrongError(
                f"the endpoint {here[0].id} is disabled", "enable it at Stripe, under Developers, Webhooks"
            )
        sent = {kind for endpoint in enabled for kind in endpoint.enabled_events}
        missing = sorted(NEEDED_EVENTS - sent) if "*" not in sent else []
        if missing:
            raise WrongError(
                f"{enabled[0].id} lacks {', '.join(missing)}", "add these events to the endpoint at Stripe"
            )
        if len(enabled) > 1:
            return f"{enabled[0].id} and {len(enabled) - 1} more with the same address: each event comes several times"
        return f"{enabled[0].id}, all {len(NEEDED_EVENTS)} events"

    def _webhook_url(self) -> str:
        if self._stack.state is not None:
            return f"{self._api_url()}{WEBHOOK_PATH}"
        return self._output("StripeWebhookUrl")

    def portal(self) -> str:
        found = self._stripe().v1.billing_portal.configurations.list({"is_default": True, "active": True}).data
        if not found:
            raise WrongError(
                "the customer portal has no settings",
                "save them once at Stripe, under Settings, Billing, Customer portal, in this mode (test or live)",
            )
        return f"{found[0].id}"

    def _model(self, model_id: str) -> Check:
        def check() -> str:
            """Counting tokens is free, and uses key, address and model as a run does."""
            base_url = self._setting("ANTHROPIC_BASE_URL", "AnthropicBaseUrl") or None
            api_key = str(self._secret(ANTHROPIC, "api_key")["api_key"])
            with anthropic.Anthropic(
                api_key=api_key, base_url=base_url, timeout=MODEL_SECONDS, max_retries=1
            ) as client:
                count = client.messages.count_tokens(model=model_id, messages=[{"role": "user", "content": RUN_INPUT}])
            return f"counts {count.input_tokens} tokens"

        return check

    # --- AWS ----------------------------------------------------------------------------------------------------------

    def _table(self, resource: Resource) -> Check:
        def check() -> str:
            name = self._stack.name_of(resource)
            table = self._stack.client("dynamodb").describe_table(TableName=name)["Table"]
            if table["TableStatus"] != "ACTIVE":
                raise WrongError(f"{name} is {table['TableStatus']}", "wait until it is ACTIVE, and try again")
            indexes = {index["IndexName"]: index["IndexStatus"] for index in table.get("GlobalSecondaryIndexes", ())}
            needed = INDEXES.get(resource.logical_id, frozenset[str]())
            missing = sorted(needed - indexes.keys())
            if missing:
                raise WrongError(f"{name} lacks the index {', '.join(missing)}", "deploy template.yaml again")
            waiting = [f"{index} is {status}" for index, status in sorted(indexes.items()) if status != "ACTIVE"]
            if waiting:
                raise WrongError(f"{name}: {', '.join(waiting)}", "wait until it is ACTIVE, and try again")
            if self._stack.state is None and not table.get("DeletionProtectionEnabled"):
                raise WrongError(
                    f"{name} can be deleted by anybody with the right", "deploy with the parameter ProtectTables=true"
                )
            return f"active, indexes: {', '.join(sorted(indexes)) or 'none'}"

        return check

    def alarms(self) -> str:
        if self._stack.state is not None:
            raise SkippedError("there are no alarms on this machine")
        topic = self._stack.parameters.get("AlarmTopicArn", "")
        if not topic:
            raise WrongError("alarms notify nobody", "deploy with the parameter AlarmTopicArn=arn:aws:sns:...")
        sns = self._stack.client("sns")
        pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
        arns = [each["SubscriptionArn"] for page in pages for each in page["Subscriptions"]]
        confirmed = [arn for arn in arns if arn.startswith("arn:")]
        if not confirmed:
            raise WrongError(
                f"nobody is subscribed to the topic ({len(arns)} unconfirmed)",
                f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint ADDRESS; confirm it",
            )
        return f"subscriptions: {len(confirmed)}"

    # --- the API ------------------------------------------------------------------------------------------------------

    def api(self) -> str:
        """Functions do not start without their secrets, so an answer says more than that the address is right."""
        advice = "the log of the function says why; GET /playground/credits needs AuthSecret, or the key set"
        for path, expected in (("/playground/models", 200), ("/playground/credits", 401)):
            status, _ = self._call("GET", path, seconds=API_SECONDS)
            if status != expected:
                raise WrongError(f"GET {path} without a token is {status}, not {expected}", advice)
        return self._api_url()

    def run(self) -> str:
        """One run of the cheapest model, and its receipt."""
        if self._run_as is None:
            raise SkippedError("it costs a credit; --run USER makes it for USER")
        token = self._token(self._run_as)
        model = min(load_prices().models.values(), key=lambda price: (price.factor, price.output_nano)).name
        package = self._package or self._some_package()
        body = {"package_id": package, "input": RUN_INPUT, "model": model}
        status, answer = self._call(
            "POST", "/playground/run", body, token=token, key=f"doctor-{uuid.uuid4()}", seconds=RUN_SECONDS
        )
        if status != 200:
            raise WrongError(f"the run of {package} is {status} {answer.get('error')}", "the log of run says why")
        run_id, spent = str(answer["run_id"]), answer["credits_spent"]
        status, receipt = self._call("GET", f"/playground/runs/{quote(run_id)}", token=token, seconds=API_SECONDS)
        if status != 200 or receipt.get("run_id") != run_id or receipt.get("credits_spent") != spent:
            raise WrongError(
                f"{run_id} spent {spent}, and its receipt ({status}) says {receipt.get('credits_spent')}",
                f"./playground audit {self._run_as}",
            )
        return f"{run_id} of {package} with {model}: {spent} credits, as its receipt says"

    def _some_package(self) -> str:
        """The name of the first package all of whose variables have defaults."""
        status, answer = self._call("GET", f"/packages?limit={MAX_PACKAGES}", seconds=API_SECONDS)
        for listed in answer.get("packages", ()) if status == 200 else ():
            _, details = self._call("GET", f"/packages/by-id/{quote(listed['id'], safe='')}", seconds=API_SECONDS)
            if all(variable["default"] is not None for variable in details.get("variables", ())):
                return str(listed["name"])
        raise WrongError(
            f"none of the first {MAX_PACKAGES} packages of the catalogue can be run without variables ({status})",
            "./playground import FILE, or name a package with --package",
        )

    def _token(self, user: str) -> str:
        given = os.environ.get(TOKEN_VARIABLE, "")
        if given:
            return given
        algorithm = self._setting("AUTH_ALGORITHM", "AuthAlgorithm")
        if not algorithm.startswith("HS"):
            raise WrongError(
                f"only the issuer can sign tokens with {algorithm}", f"put a token of {user} into {TOKEN_VARIABLE}"
            )
        now = datetime.now(UTC)
        claims = {
            "iss": self._setting("AUTH_ISSUER", "AuthIssuer"),
            "aud": self._setting("AUTH_AUDIENCE", "AuthAudience"),
            "sub": user,
            "exp": now + timedelta(minutes=5),
        }
        return jwt.encode(claims, self._secret(AUTH)["secrets"][0], algorithm=algorithm)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float,
        token: str | None = None,
        key: str | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and body. `seconds` limits each wait for a piece of the answer."""
        address = urlsplit(f"{self._api_url()}{path}")
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=seconds)
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= {"Idempotency-Key": key} if key is not None else {}
        target = address.path + (f"?{address.query}" if address.query else "")
        try:
            connection.request(method, target, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            answer = json.loads(response.read(MAX_ANSWER_BYTES))
        finally:
            connection.close()
        return response.status, answer if isinstance(answer, dict) else {}

    def _api_url(self) -> str:
        return f"{self._stack.state['api_url']}/v1" if self._stack.state is not None else self._output("ApiUrl")

    def _output(self, name: str) -> str:
        value = self._stack.names.get(name)
        if not value:
            raise CannotDoError(f"{self._stack.described} has no output {name}")
        return value

    def _setting(self, variable: str, parameter: str) -> str:
        """What the functions have: of a deployed stack the parameter that they get it from."""
        if self._stack.state is None:
            return self._stack.parameters.get(parameter, "")
        found = [
            function["environment"][variable]
            for function in self._stack.state["functions"].values()
            if variable in function["environment"]
        ]
        return str(found[0]) if found else ""


def examined(name: str, check: Check) -> Result:
    """The result of one check, whatever it raises."""
    try:
        return Result(name, Outcome.OK, check())
    except SkippedError as reason:
        return Result(name, Outcome.SKIPPED, str(reason))
    except WrongError as wrong:
        return Result(name, Outcome.FAILED, str(wrong), wrong.advice)
    except (SecretError, CannotDoError) as error:
        return Result(name, Outcome.FAILED, str(error), "docs/deploy.md says what to put there")
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "ClientError")
        return Result(name, Outcome.FAILED, f"{error.operation_name}: {code}", GENERAL_ADVICE)
    except anthropic.APIStatusError as error:
        advice = "see ANTHROPIC_BASE_URL, the key in AnthropicSecret, and whether the account may use the model"
        return Result(name, Outcome.FAILED, f"Claude answers {error.status_code}", advice)
    except stripe.StripeError as error:
        advice = "see the key in StripeSecret, its mode, and, if it is restricted, its rights to read"
        return Result(name, Outcome.FAILED, f"{type(error).__name__} {error.http_status or ''}".rstrip(), advice)
    except StoreUnavailableError as error:
        return Result(name, Outcome.FAILED, f"it cannot be read{_cause(error)}", GENERAL_ADVICE)
    except ValueError as error:
        # Of ours, about the form of a secret: they name what is wrong, never the value. A decoder's would quote it.
        own = type(error) is ValueError
        return Result(name, Outcome.FAILED, str(error) if own else type(error).__name__, GENERAL_ADVICE)
    except Exception as error:
        return Result(name, Outcome.FAILED, type(error).__name__, GENERAL_ADVICE)


def _cause(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, ClientError):
        return f": {cause.response.get('Error', {}).get('Code', 'ClientError')}"
    return f": {type(cause).__name__}" if cause is not None else ""
