"""HTTP in one place: routing, authentication, what a request may contain, and the status of each error."""

import base64
import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote, unquote_to_bytes

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response, content_types
from aws_lambda_powertools.event_handler.api_gateway import ResponseBuilder, Route
from aws_lambda_powertools.event_handler.openapi.compat import ModelField
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestUnsupportedContentType, RequestValidationError
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from playground.adapters.clock import utc_now as utc_now
from playground.adapters.secrets import read_secret
from playground.adapters.snapshots import after_restore
from playground.domain import errors
from playground.domain.rates import RateStanding
from playground.observability import (
    Metric,
    begin_trace,
    count,
    flush_metrics,
    logger,
    report_rejected,
    report_stale_keys,
    report_unreadable,
)
from playground.problems import first_problem, whole_number
from playground.settings import ApiSettings, AuthSettings

if TYPE_CHECKING:
    from playground.adapters.tokens import TokenVerifier

# Behind the stage "api" this makes the contract's /api/v1. API Gateway takes the stage off a path, but leaves the
# mapping of a custom domain on it.
BASE_PATH = "/v1"
MAPPED_PATH = f"/api{BASE_PATH}"

METHODS = "GET,POST,DELETE,OPTIONS"  # that pages may send, as the template says for the gateway

STATUS: Mapping[type[errors.PlaygroundError], int] = {
    errors.InvalidRequestError: 400,
    errors.InvalidDeliveryError: 400,
    errors.UnauthorizedError: 401,
    errors.InsufficientCreditsError: 402,
    errors.AccountPausedError: 403,
    errors.NotEntitledError: 403,
    errors.VerifiedAuthorRequiredError: 403,
    errors.AnonymousRunsOffError: 403,
    errors.OwnShareError: 403,
    errors.PackageNotFoundError: 404,
    errors.PriceTableNotFoundError: 404,
    errors.RunNotFoundError: 404,
    errors.SessionNotFoundError: 404,
    errors.SubscriptionNotFoundError: 404,
    errors.AlreadySubscribedError: 409,
    errors.PlanGrantedError: 409,
    errors.PurchaseUnavailableError: 409,
    errors.ShareNotFoundError: 404,
    errors.RunInProgressError: 409,
    errors.RunCancelledError: 409,
    errors.RunEndedError: 409,
    errors.SessionConflictError: 409,
    errors.ShareBlockedError: 409,
    errors.ContextTooLongError: 413,
    errors.FeedbackExistsError: 409,
    errors.IdempotencyConflictError: 422,
    errors.UnsupportedParameterError: 422,
    errors.RateLimitedError: 429,
    errors.TooManyRunsError: 429,
    errors.TooManyFailuresError: 429,
    errors.AnonymousRunUsedError: 429,
    errors.ModelError: 502,
    errors.ModelOverloadedError: 503,
    errors.UnreadableError: 500,
    errors.PaymentsRejectedError: 503,
    errors.RunsPausedError: 503,
    errors.AnonymousBudgetUsedError: 503,
    errors.FreeRunsPausedError: 503,
    errors.PaymentsUnavailableError: 503,
    errors.StoreUnavailableError: 503,
    errors.ModelTimedOutError: 504,
}
"""Unlisted errors are 500, without details."""

GATEWAY_TIMEOUT = timedelta(seconds=29)  # REST APIs wait no longer for a buffered answer, unless a quota says otherwise
IDLE_TIMEOUT = timedelta(minutes=5)  # a regional REST API ends a streamed answer of which nothing comes for so long
STREAM_TIMEOUT = timedelta(minutes=15)  # … and any, after so long
MAX_REQUEST_AGE = timedelta(minutes=5)  # starting an instance and the longest timeout behind the gateway are far below


class Invocation(Protocol):
    """What is used of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True, slots=True)
class EventStream:
    """The body of a streamed answer. `wait` returns when what it tells of is over, read or not."""

    chunks: Iterator[bytes]
    wait: Callable[[], None]


ADDED_HEADERS = "added_headers"  # in the context of a request

Authenticate = Callable[[str | None], str]
EmailOf = Callable[[str | None], str | None]


class Api:
    """One function's HTTP side. `app` takes the routes; an instance is the Lambda handler.

    Every route needs a token unless its path, as the routes spell it (`/things/<id>`), is in `public`, or there is no
    `authenticate`. The token is verified first: without a valid one a caller gets 401 and learns nothing else. On a
    public path a valid token identifies the caller, and an invalid one is ignored. `headers` are added to every answer
    under a path, errors included. `max_age`: for how many seconds a 200 under a public path may be cached; all other
    answers are `no-store`. Fields and query parameters that a route does not declare are refused. With `raw_bodies` any
    body and any query is accepted, and the route reads the bytes. `timeout`: how long the gateway waits for the answer.
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        authenticate: Authenticate | None = None,
        public: frozenset[str] = frozenset(),
        headers: Mapping[str, Mapping[str, str]] | None = None,
        max_age: Mapping[str, int] | None = None,
        raw_bodies: bool = False,
        timeout: timedelta = GATEWAY_TIMEOUT,
        clock: Callable[[], datetime] = lambda: utc_now(),
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._stream: EventStream | None = None  # of the request that is being handled
        self._purchase_url = f"{settings.frontend_url}{settings.credits_page}"
        self._plan_url = f"{settings.frontend_url}{settings.subscription_page}"
        self._cors = CORSConfig(
            allow_origin=settings.frontend_url,
            extra_origins=list(settings.extra_origins),
            allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id"],
            expose_headers=["link", "retry-after", "ratelimit", "ratelimit-policy", "x-amzn-requestid"],
            max_age=600,
        )
        self._authenticate = authenticate
        self._raw_bodies = raw_bodies
        self._public = tuple(_pattern(path) for path in sorted(public))
        self._headers = tuple((_pattern(path), its) for path, its in (headers or {}).items())
        self._max_age = tuple((_pattern(path), seconds) for path, seconds in (max_age or {}).items())
        self.app: APIGatewayRestResolver = _Resolver(enable_validation=True, cors=self._cors, takes_anything=raw_bodies)
        self.app.exception_handler(errors.PlaygroundError)(self._refused)
        self.app.exception_handler([RequestValidationError, RequestUnsupportedContentType])(self._invalid)
        self.app.exception_handler(Exception)(self._unhandled)
        self.app.not_found(self._not_found)

    def __call__(self, event: dict[str, Any], context: "LambdaContext | Invocation") -> dict[str, Any]:
        self._stream = None
        request_id = (event.get("requestContext") or {}).get("requestId")
        logger.set_correlation_id(request_id)
        begin_trace(_headers(event).get("x-amzn-trace-id"))
        self.app.append_context(
            request_id=request_id, lambda_context=context, requested_at=_requested_at(event, self._clock())
        )
        path = _path_of(event)
        try:
            if event.get("httpMethod") == "OPTIONS":
                return self._preflight(_headers(event).get("origin"))
            try:
                path = _canonical(path)
                answer: dict[str, Any] = self.app.resolve(self._admit(event, path), context)  # type: ignore[arg-type]
            except Exception as error:  # the router has its own answer to whatever a route raises; this is before it
                answer = self._early(error, _headers(event).get("origin"))
            if answer["statusCode"] == 200 and (seconds := self._seconds_of(path)):
                answer["multiValueHeaders"] |= {"Cache-Control": [f"public, max-age={seconds}"], "Vary": ["Origin"]}
            answer["multiValueHeaders"].setdefault("Cache-Control", ["no-store"])
            answer["multiValueHeaders"].setdefault("Vary", ["Origin"])
            for name, value in self._headers_of(path).items():
                answer["multiValueHeaders"][name] = [value]
            return {**answer, "stream": self._stream} if self._stream is not None else answer
        finally:
            self.app.clear_context()  # nothing of this request may be there for the next one
            flush_metrics()

    @property
    def user_id(self) -> str:
        """The user of the request's token. Raises UnauthorizedError on a public route without one."""
        user_id = self.app.context.get("user_id")
        if not isinstance(user_id, str):
            raise errors.UnauthorizedError("this route is public")
        return user_id

    @property
    def visitor_id(self) -> str | None:
        """The user of the token on a public route; None without a valid token."""
        user_id = self.app.context.get("user_id")
        return user_id if isinstance(user_id, str) else None

    def email(self, email_of: EmailOf) -> str | None:
        """What `email_of` finds in the request's token."""
        return email_of(_headers(self.app.current_event.raw_event).get("authorization"))

    def preferred(self, offered: Sequence[str]) -> str:
        """The media type of `offered` that the request's Accept header weighs most, the first of equal ones. The first
        one, too, if it accepts none: an answer that it did not ask for is better than none."""
        event = self.app.current_event.raw_event
        values = [
            value
            for name, its in (event.get("multiValueHeaders") or {}).items()
            if name.lower() == "accept"
            for value in its
        ]
        return _preferred(",".join(values) or _headers(event).get("accept", ""), offered)

    def claims(self, claimed: Callable[[str | None], bool]) -> bool:
        """What `claimed` finds in the request's token."""
        return claimed(_headers(self.app.current_event.raw_event).get("authorization"))

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Add headers to the answer of this request, whatever it will be: also an error. A later value replaces an
        earlier one."""
        self.app.append_context(**{ADDED_HEADERS: {**self.app.context.get(ADDED_HEADERS, {}), **headers}})

    def show_standing(self, standing: RateStanding) -> None:
        """Say in the answer where the account stands, as in the IETF's draft of RateLimit headers. `t` are the seconds
        until one more request is admitted; it is left out if nothing is used."""
        reset = f";t={standing.seconds}" if standing.seconds else ""
        self.add_headers(
            {
                "RateLimit-Policy": f'"{standing.name}";q={standing.per_minute};w=60',
                "RateLimit": f'"{standing.name}";r={standing.remaining}{reset}',
            }
        )

    @property
    def source_address(self) -> str:
        """The client's IP address, as the gateway saw it."""
        return str(self.app.current_event.request_context.identity.source_ip or "")

    @property
    def raw_body(self) -> bytes:
        """The body as it was sent, with `raw_bodies`."""
        raw: bytes = self.app.context["raw_body"]
        return raw

    def header(self, name: str) -> str | None:
        """A header of a request with a raw body; `name` in lower case."""
        value: str | None = self.app.context["headers"].get(name)
        return value

    def stream(self, chunks: Iterator[bytes], wait: Callable[[], None]) -> Response[str]:
        """What a route returns to answer with server-sent events. Only `asgi.WebApp` can send them: they are in the
        answer under `stream`."""
        self._stream = EventStream(chunks, wait)
        return Response(200, content_type="text/event-stream", body="", headers={"X-Accel-Buffering": "no"})

    def failure(self, error: Exception, request_id: str | None) -> str:
        """The body that answers `error`, for when the status has been sent."""
        response = self._refused(error) if isinstance(error, errors.PlaygroundError) else self._unhandled(error)
        return json.dumps({**json.loads(response.body or "{}"), "request_id": request_id})

    @property
    def request_id(self) -> str | None:
        """The gateway's id of this request."""
        request_id: str | None = self.app.context.get("request_id")
        return request_id

    @property
    def seconds_left(self) -> float:
        """Seconds, as of now, until Lambda ends this invocation or the gateway gives up on the request, whichever is
        first; 0 or less if that has happened.

        The gateway counts from when it accepts the request, before an instance of the function is found or started.
        """
        context: LambdaContext | Invocation = self.app.context["lambda_context"]
        left: float = context.get_remaining_time_in_millis() / 1000
        requested_at: datetime | None = self.app.context["requested_at"]
        if requested_at is None:
            return left
        return min(left, (requested_at + self._timeout - self._clock()).total_seconds())

    @property
    def takes_raw_bodies(self) -> bool:
        """Whether routes read the bytes of a body, whatever they are, and any query is accepted."""
        return self._raw_bodies

    def is_public(self, path: str) -> bool:
        """Whether the route at `path` (without the base path) needs no token."""
        return self._authenticate is None or any(pattern.fullmatch(path) for pattern in self._public)

    def _admit(self, event: dict[str, Any], path: str) -> dict[str, Any]:
        """The event for the router, with a body and with the canonical path. Raises UnauthorizedError without a valid
        token, and InvalidRequestError for a body that is not a JSON object."""
        headers = _headers(event)
        authorization = headers.get("authorization")
        if self._authenticate is not None:
            if not self.is_public(path):
                self.app.append_context(user_id=self._authenticate(authorization))
            elif authorization is not None:
                with suppress(errors.UnauthorizedError, errors.StoreUnavailableError):
                    self.app.append_context(user_id=self._authenticate(authorization))
        event = {**event, "path": path}
        if self._raw_bodies:
            self.app.append_context(raw_body=_raw(event), headers=headers)
        elif event.get("httpMethod") == "POST":
            if not event.get("body"):
                event |= {"body": "{}", "isBase64Encoded": False}
            _check_body(headers.get("content-type"), event)
            event |= {"headers": {**headers, "content-type": content_types.APPLICATION_JSON}}  # however it was spelt
        return event

    def _seconds_of(self, path: str) -> int:
        return next((seconds for pattern, seconds in self._max_age if pattern.fullmatch(path)), 0)

    def _headers_of(self, path: str) -> Mapping[str, str]:
        return next((its for pattern, its in self._headers if pattern.fullmatch(path)), {})

    def _preflight(self, origin: str | None) -> dict[str, Any]:
        """The answer to a preflight request, whatever path it is for: what asks for one that does not exist learns so
        from the request itself. The gateway answers those of existing paths."""
        headers = {**self._cors.to_dict(origin), "Access-Control-Allow-Methods": METHODS, "Vary": "Origin"}
        sent = {name: [value] for name, value in headers.items()}
        return {"statusCode": 204, "multiValueHeaders": sent, "body": "", "isBase64Encoded": False}

    def _early(self, error: Exception, origin: str | None) -> dict[str, Any]:
        """The answer to an error before routing, with the same headers as any other."""
        response = self._refused(error) if isinstance(error, errors.PlaygroundError) else self._unhandled(error)
        headers = {**response.headers, **self._cors.to_dict(origin), "Content-Type": content_types.APPLICATION_JSON}
        return {
            "statusCode": response.status_code,
            "multiValueHeaders": {name: [str(value)] for name, value in headers.items()},
            "body": response.body,
            "isBase64Encoded": False,
        }

    def _error(self, status: int, code: str, message: str, facts: Mapping[str, errors.Fact]) -> Response[str]:
        body = {"error": code, "message": message, "request_id": self.app.context.get("request_id"), **facts}
        headers: dict[str, str | list[str]] = {"Cache-Control": "no-store"}
        if facts.get("retry_after") is not None:
            headers["Retry-After"] = str(facts["retry_after"])
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(
            status_code=status, content_type=content_types.APPLICATION_JSON, body=json.dumps(body), headers=headers
        )

    def _refused(self, error: errors.PlaygroundError) -> Response[str]:
        status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)
        if status is None:
            return self._unhandled(error)
        facts = dict(error.facts)
        if isinstance(error, errors.InsufficientCreditsError):
            facts["purchase_url"] = self._purchase_url
        if isinstance(error, errors.NotEntitledError) and error.is_sold:
            facts["purchase_url"] = self._plan_url
        if isinstance(error, errors.UnreadableError):
            report_unreadable(error)
        logger.info("refused", error=error.code, status=status, facts=_loggable(error))
        count(Metric.DELIVERY_REFUSED if isinstance(error, errors.InvalidDeliveryError) else Metric.REFUSED)
        if status in (402, 429):
            count(Metric.INSUFFICIENT_CREDITS if status == 402 else Metric.RATE_LIMITED)
        if isinstance(error, errors.PaymentsRejectedError):
            report_rejected(error)
        return self._error(status, error.code, error.message, facts)

    def _invalid(self, error: Exception) -> Response[str]:
        found = error.errors() if isinstance(error, RequestValidationError | RequestUnsupportedContentType) else []
        return self._refused(first_problem(found))

    def _unhandled(self, error: Exception) -> Response[str]:
        # The message of an unknown error may contain a prompt or a key; its type and place are enough.
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        what = getattr(error, "what", None)  # of what is corrupt: made of ids only
        logger.error("unhandled error", error=type(error).__name__, what=what, where=where[-8:])
        count(Metric.UNHANDLED_ERROR)
        return self._error(500, "internal_error", "Something went wrong on our side. Please try again.", {})

    def _not_found(self, _: Exception) -> Response[str]:
        return self._error(404, "route_not_found", "There is no such path or method.", {})


def authenticator(settings: AuthSettings, secrets_client: Callable[[], Any]) -> "TokenVerifier":
    """The verifier that `settings` describe. Raises ValueError if a secret or an address is not good enough."""
    # Imported here: functions without tokens do not load cryptography.
    from playground.adapters.tokens import Keys, TokenVerifier, key_set, shared_secrets

    def keys() -> Keys:
        if not settings.auth_algorithm.startswith("HS"):
            return key_set(settings.auth_jwks_url, report_stale_keys)
        secret = read_secret(secrets_client(), settings.auth_secret_arn)
        return shared_secrets(secret.get("secrets") or [], settings.auth_algorithm)

    verifier = TokenVerifier(
        algorithm=settings.auth_algorithm,
        issuer=settings.auth_issuer,
        audience=settings.auth_audience,
        keys=keys(),
        require_issuer_and_audience=settings.auth_require_issuer_and_audience,
    )
    after_restore(lambda: verifier.use_keys(keys()))
    return verifier


class _Resolver(APIGatewayRestResolver):
    """Routes by the canonical path and decodes its parts once, before they are validated; routes never decode. Refuses
    fields and query parameters that a route does not declare, unless `takes_anything`."""

    def __init__(self, *, takes_anything: bool, **options: Any) -> None:
        super().__init__(**options)
        self._takes_anything = takes_anything

    def _convert_matches_into_route_keys(self, match: re.Match[str]) -> dict[str, str]:
        return {name: unquote(value) for name, value in match.groupdict().items()}

    def _call_route(self, route: Route, route_arguments: dict[str, str]) -> ResponseBuilder[Any]:
        try:
            # For an unknown path Powertools makes a route that answers 404: nothing is checked then.
            if not self._takes_anything and (route in self._static_routes or route in self._dynamic_routes):
                _check_parameters(self.current_event, route.dependant.query_params)
                if route.method == "POST" and not route.dependant.body_params:
                    for name in self.current_event.json_body:
                        raise errors.UnknownFieldError(name, {})
        except errors.InvalidRequestError as error:
            refused = self._call_exception_handler(error, route)
            assert refused is not None, "Api has a handler for our errors"
            return refused
        answer = super()._call_route(route, route_arguments)
        answer.response.headers.update(self.context.get(ADDED_HEADERS, {}))
        return answer


_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _canonical(path: str) -> str:
    """The one spelling of a path, however it was sent: `@a%2fb`, `@a%2Fb` and `%40a%2Fb` are all `%40a%2Fb`.

    A REST API passes a path on as it was sent, in `path` as in `pathParameters`. Here every part is decoded and encoded
    again, so that an encoded slash does not separate parts, and public paths and routes are matched by the same text.
    Raises InvalidRequestError for invalid escapes and for bytes that are not UTF-8.
    """
    try:
        if _NO_ESCAPE.search(path):
            raise ValueError
        return "/".join(quote(unquote_to_bytes(part).decode(), safe="") for part in path.split("/"))
    except ValueError:  # also for surrogates
        raise errors.InvalidRequestError("path", "must be text in UTF-8, percent-encoded") from None


# With or without the mapping of a custom domain.
_BASE = re.compile(f"({MAPPED_PATH}|{BASE_PATH})(?=/)")


def _requested_at(event: Mapping[str, Any], now: datetime) -> datetime | None:
    """When the gateway accepted the request; None if that is missing, in the future or too long ago: clocks differ, and
    events are replayed."""
    milliseconds = (event.get("requestContext") or {}).get("requestTimeEpoch")
    if type(milliseconds) is not int or not 0 < milliseconds <= now.timestamp() * 1000:
        return None
    requested_at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return requested_at if now - requested_at <= MAX_REQUEST_AGE else None


def _path_of(event: Mapping[str, Any]) -> str:
    """The path without the base path, as routes spell it."""
    path = str(event.get("path") or "")
    base = _BASE.match(path)
    return path[base.end() :] if base else path


def _headers(event: Mapping[str, Any]) -> Mapping[str, str]:
    """The request's headers by name in lower case."""
    return {name.lower(): value for name, value in (event.get("headers") or {}).items()}


_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def _preferred(accept: str, offered: Sequence[str]) -> str:
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        given = next((each[2:].strip() for each in parameters if each.startswith("q=")), "1")
        weights[name] = float(given) if _QUALITY.fullmatch(given) else 0.0

    def weight(media_type: str) -> float:
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((weights[each] for each in ranges if each in weights), 0.0)

    return max(offered, key=weight)


def _pattern(path: str) -> re.Pattern[str]:
    """The paths of a route, `/things/<id>` or `/things/{id}`; like the router's, with any trailing slashes."""
    parts = re.split(r"[<{]\w+[>}]", path)
    return re.compile("[^/]+".join(re.escape(part) for part in parts) + "/*")


class ErrorBody(BaseModel):
    """Every error. Some have more fields, the facts that explain it."""

    error: str
    message: str
    request_id: str | None


CSV = "text/csv"
OPTIONAL_TOKEN: list[dict[str, list[str]]] = [{"token": []}, {}]  # for the OpenAPI document: of a public route

ErrorType = type[errors.PlaygroundError]

REFUSED_RUNS: tuple[ErrorType, ...] = (
    errors.InsufficientCreditsError,
    errors.AccountPausedError,
    errors.NotEntitledError,
    errors.PackageNotFoundError,
    errors.RunInProgressError,
    errors.ContextTooLongError,
    errors.IdempotencyConflictError,
    errors.UnsupportedParameterError,
    errors.RateLimitedError,
    errors.TooManyRunsError,
    errors.TooManyFailuresError,
    errors.RunsPausedError,
    errors.FreeRunsPausedError,
    errors.ModelOverloadedError,
)
"""Why a run, or a comparison, may be refused before the model is asked for an answer."""

FAILED_RUNS: tuple[ErrorType, ...] = (
    errors.RunCancelledError,
    errors.SessionConflictError,
    errors.ModelError,
    errors.ModelOverloadedError,
    errors.ModelTimedOutError,
)
"""How a run may end without an answer."""


class Answers(dict[int, OpenAPIResponse]):
    """What a route answers, for the OpenAPI document: its 200, and the `errors` of its own. `compared`: a stream that
    has several runs in it."""

    def __init__(self, ok: OpenAPIResponse, *errors: ErrorType, compared: bool = False) -> None:
        super().__init__({200: ok})
        self.errors = errors
        self.compared = compared


def answers(body: type[BaseModel], *errors: ErrorType, as_csv: bool = False) -> Answers:
    """For the OpenAPI document: a route answers `body`, or one of `errors`. `as_csv`: it answers CSV to those who ask
    for it.

    What any route may answer is not named: tools/openapi.py adds it (a bad request, a token that is not valid, a store
    that does not answer, what API Gateway says). Tests fail on an error that occurs and is not named.
    """
    ok: OpenAPIResponse = {"description": "OK", "content": {"application/json": {"model": body}}}
    if as_csv:
        ok["content"][CSV] = {"schema": {"type": "string"}}
    return Answers(ok, *errors)


def streams(*errors: ErrorType, compared: bool = False) -> Answers:
    """The same, for a route that answers server-sent events of a run, or of those that are compared, or a plain
    error."""
    ok: OpenAPIResponse = {"description": "OK", "content": {"text/event-stream": {"schema": {"type": "object"}}}}
    return Answers(ok, *errors, compared=compared)


def _raw(event: Mapping[str, Any]) -> bytes:
    """The bytes of a body. API Gateway may have encoded them as base64."""
    body = str(event.get("body") or "")
    try:
        return base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    except ValueError:  # also for surrogates
        raise errors.InvalidDeliveryError("malformed") from None


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises InvalidRequestError for a duplicate name: parsers disagree which of them counts."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        raise errors.InvalidRequestError("body", f"must have `{name[: errors.MAX_ECHO_CHARACTERS]}` once")
    return fields


def _check_body(content_type: str | None, event: dict[str, Any]) -> None:
    if content_type is not None and content_type.split(";")[0].strip().lower() != "application/json":
        raise errors.InvalidRequestError("content-type", "must be application/json", got=content_type)
    try:
        value = json.loads(APIGatewayProxyEvent(event).decoded_body or "", object_pairs_hook=_fields_once)
    except (
        ValueError,
        RecursionError,
    ):  # ValueError also for bytes that are not UTF-8 and for numbers that are too long
        raise errors.InvalidRequestError("body", "must be JSON") from None
    if not isinstance(value, dict):
        raise errors.InvalidRequestError("body", "must be a JSON object", got=value)


REPLACED_PARAMETERS = {"offset": "cursor"}  # names of other APIs
_WHOLE_NUMBER = re.compile("-?[0-9]{1,18}")


def _check_parameters(event: BaseProxyEvent, declared: Sequence[ModelField]) -> None:
    """Raises InvalidRequestError for a query parameter that the route does not declare, for a duplicate one, for a
    number that is not written in digits (pydantic also reads `5_0`, `+5`, ` 5` and `5.0`), and for an offset that is
    not that of the first page."""
    known = {field.alias: field.alias for field in declared}
    whole = {field.alias: field.field_info.metadata for field in declared if field.type_ is int}
    single = event.get("queryStringParameters") or {}
    for name, values in {
        **{name: [value] for name, value in single.items()},
        **(event.get("multiValueQueryStringParameters") or {}),
    }.items():
        if name not in known:
            replaced = known.get(REPLACED_PARAMETERS.get(name, ""))
            raise errors.UnknownFieldError(name, known, kind="query parameter", nearest=replaced)
        if len(values) != 1:
            raise errors.InvalidRequestError(name, "must be there once", got=list(values))
        if name in whole and not _WHOLE_NUMBER.fullmatch(values[0]):
            raise errors.InvalidRequestError(name, whole_number(whole[name]), got=values[0])
        if name in REPLACED_PARAMETERS and (int(values[0]) or REPLACED_PARAMETERS[name] in single):
            expected = f"must be 0, which is the first page; use `{REPLACED_PARAMETERS[name]}` for those after it"
            raise errors.InvalidRequestError(name, expected, got=int(values[0]))


def _loggable(error: errors.PlaygroundError) -> Mapping[str, errors.Fact]:
    if isinstance(error, errors.UnauthorizedError | errors.InvalidDeliveryError):
        return {"reason": error.reason}
    if isinstance(error, errors.UnknownFieldError):
        return {"nearest": error.nearest}  # not the name that was sent: it may be anything
    return {
        name: fact
        for name, fact in error.facts.items()
        if fact is None or isinstance(fact, int) or name in ("field", "reason")
    }
