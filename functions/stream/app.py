"""Runs as server-sent events: a new one, one that is being made or has ended, and comparisons."""

import re
import time
from collections.abc import Sequence
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header, Path

from playground import wiring
from playground.adapters.time_limit import time_limit
from playground.asgi import WebApp
from playground.domain.errors import (
    InvalidRequestError,
    RunInProgressError,
    RunNotFoundError,
    SessionNotFoundError,
    UnreadableError,
)
from playground.domain.sessions import Turn
from playground.http import FAILED_RUNS, REFUSED_RUNS, STREAM_TIMEOUT, Api, authenticator, streams, utc_now
from playground.observability import flush_metrics, report_run
from playground.schemas.common import IdempotencyKey
from playground.schemas.compare import CompareBody
from playground.schemas.run import Include, RunBody
from playground.settings import RunSettings
from playground.sse import encoded, encoded_comparison
from playground.usecases.browse_sessions import ReadEarlierTurns
from playground.usecases.run_prompt import PaidAnswer
from playground.usecases.stream_comparison import StreamComparison
from playground.usecases.stream_run import OFFSET, FollowRun, RunStream, StreamRun

settings = RunSettings.load()
store = wiring.store()
sessions = wiring.sessions(settings, store)
read_earlier = ReadEarlierTurns(sessions=sessions, time_limit=time_limit)
follow = FollowRun(
    ledger=wiring.ledger(settings, store),
    sessions=sessions,
    checkpoints=wiring.checkpoints(settings, store),
    clock=utc_now,
    sleep=time.sleep,
    report=report_run,
    time_limit=time_limit,
)
run_prompt = wiring.run_prompt(settings, store)
stream_run = StreamRun(run_prompt=run_prompt, follow=follow, ended=flush_metrics)
stream_comparison = StreamComparison(
    compare_prompts=wiring.compare_prompts(settings, store, run_prompt), ended=flush_metrics
)
authenticate = authenticator(settings, wiring.secrets_client)
api = Api(settings, authenticate=authenticate, timeout=STREAM_TIMEOUT)
app = api.app
handler = api
web = WebApp(api)

Offset = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=32,
        json_schema_extra={"pattern": "^[0-9]{1,9}$"},
        description="The id of the last delta that was read: characters of the answer. The stream goes on behind it",
    ),
]


@app.post(
    "/playground/run/stream",
    tags=["runs"],
    operation_id="streamRun",
    responses=streams(*REFUSED_RUNS, SessionNotFoundError, *FAILED_RUNS, UnreadableError),
)
def run_stream(
    body: RunBody, idempotency_key: IdempotencyKey = None, last_event_id: Offset = None, include: Include = None
) -> Response[str]:
    """Spend credits on one prompt, and read the answer while it is written: `run`, then `delta`s, at the end `done`
    with the body that POST /playground/run answers, or `error`. What is refused before the model is asked is a plain
    error with its status. Who is cut off repeats the request with the same key and goes on behind the last delta: it is
    one run."""
    request = body.request()
    return _sent(
        stream_run(
            api.user_id,
            request,
            idempotency_key=idempotency_key,
            seconds_left=api.seconds_left,
            offset=_offset(last_event_id),
            show_standing=api.show_standing,
            is_verified_author=request.is_custom and api.claims(authenticate.is_verified_author),
        ),
        include,
    )


@app.post(
    "/playground/compare/stream",
    tags=["runs"],
    operation_id="streamComparison",
    responses=streams(*REFUSED_RUNS, *FAILED_RUNS, compared=True),
)
def compare_stream(body: CompareBody, idempotency_key: IdempotencyKey = None) -> Response[str]:
    """Spend credits on one input in two to four variants, and read the answers while they are written. Every event says
    the `index` of its variant: `run`, then `delta`s, and `done` or `error`. The last one is `end`, with the credits
    that were spent. Who is cut off reads each run on by itself."""
    requests = body.requests()
    found = stream_comparison(
        api.user_id,
        requests,
        idempotency_key=idempotency_key,
        seconds_left=api.seconds_left,
        show_standing=api.show_standing,
        is_verified_author=any(each.is_custom for each in requests) and api.claims(authenticate.is_verified_author),
    )
    request_id = api.request_id
    return api.stream(encoded_comparison(found.events, lambda error: api.failure(error, request_id)), found.wait)


@app.get(
    "/playground/runs/<run_id>/stream",
    tags=["runs"],
    operation_id="followRun",
    responses=streams(RunNotFoundError, SessionNotFoundError, RunInProgressError, *FAILED_RUNS, UnreadableError),
)
def stream(
    run_id: Annotated[str, Path(max_length=64)], last_event_id: Offset = None, include: Include = None
) -> Response[str]:
    """The stream of one of the caller's runs from a character on, while it is made and afterwards. A run that has
    failed is its error."""
    return _sent(follow(api.user_id, run_id, offset=_offset(last_event_id), seconds_left=api.seconds_left), include)


def _offset(last_event_id: str | None) -> int:
    """Raises InvalidRequestError."""
    if last_event_id is None:
        return 0
    if not re.fullmatch("[0-9]{1,9}", last_event_id):
        raise InvalidRequestError(OFFSET, "must be the id of a delta: how many characters were read, such as 120")
    return int(last_event_id)


def _sent(found: RunStream, include: str | None) -> Response[str]:
    request_id = api.request_id
    ends = time.monotonic() + api.seconds_left

    def earlier(answer: PaidAnswer) -> Sequence[Turn]:
        return read_earlier(answer.run.session_id, answer.turn, seconds_left=ends - time.monotonic())

    events = encoded(found.events, lambda error: api.failure(error, request_id), earlier if include else None)
    return api.stream(events, found.wait)
