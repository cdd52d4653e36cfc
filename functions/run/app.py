"""POST /playground/run and /playground/compare: spend credits on a prompt, or on variants of one, and answer with the
whole of what that gave."""

import json
from collections.abc import Sequence

from playground import wiring
from playground.adapters.time_limit import time_limit
from playground.asgi import WebApp
from playground.domain.custom_prompts import CustomPrompts, warnings_of
from playground.domain.errors import (
    NotEntitledError,
    SessionNotFoundError,
    UnreadableError,
    VerifiedAuthorRequiredError,
)
from playground.domain.runs import RunRequest
from playground.domain.sessions import Turn
from playground.http import FAILED_RUNS, IDLE_TIMEOUT, REFUSED_RUNS, Api, answers, authenticator
from playground.schemas.common import IdempotencyKey
from playground.schemas.compare import CompareAnswer, CompareBody
from playground.schemas.custom_prompt import CustomPromptInfo, CustomRunAnswer, CustomRunBody
from playground.schemas.run import PRICES, Include, RunAnswer, RunBody
from playground.settings import RunFunctionSettings
from playground.usecases.browse_sessions import ReadEarlierTurns
from playground.usecases.run_prompt import PaidAnswer

INFO = "/custom-prompt/info"

settings = RunFunctionSettings.load()
store = wiring.store()
run_prompt = wiring.run_prompt(settings, store)
read_earlier = ReadEarlierTurns(sessions=wiring.sessions(settings, store), time_limit=time_limit)
compare_prompts = wiring.compare_prompts(settings, store, run_prompt)
authenticate = authenticator(settings, wiring.secrets_client)
api = Api(settings, authenticate=authenticate, public=frozenset({INFO}), timeout=IDLE_TIMEOUT)
app = api.app
handler = api
web = WebApp(api)


@app.post(
    "/playground/run",
    tags=["runs"],
    operation_id="runPackage",
    responses=answers(RunAnswer, *REFUSED_RUNS, SessionNotFoundError, *FAILED_RUNS, UnreadableError),
)
def run(body: RunBody, idempotency_key: IdempotencyKey = None, include: Include = None) -> RunAnswer:
    """Spend credits on one prompt. Answers when the model has, which may take minutes. Who is cut off repeats the
    request with the same key, or reads on at GET /playground/runs/{run_id}/stream."""
    answer = _answered(body.request(), idempotency_key)
    return RunAnswer.of(answer, _earlier(answer, include))


@app.post(
    "/custom-prompt/run",
    tags=["runs"],
    operation_id="runCustomPrompt",
    deprecated=True,
    responses=answers(
        CustomRunAnswer,
        *(error for error in REFUSED_RUNS if error is not NotEntitledError),
        VerifiedAuthorRequiredError,
        SessionNotFoundError,
        *FAILED_RUNS,
        UnreadableError,
    ),
)
def run_custom_prompt(body: CustomRunBody, idempotency_key: IdempotencyKey = None) -> CustomRunAnswer:
    """Spend credits on a custom prompt: as POST /playground/run does with `custom_prompt`, for published clients."""
    try:
        answer = _answered(body.request(), idempotency_key)
    except NotEntitledError as refusal:
        raise VerifiedAuthorRequiredError(is_sold=refusal.is_sold) from None
    return CustomRunAnswer.of_custom(answer, warnings_of(body.custom_prompt or ""), _earlier(answer))


@app.get("/custom-prompt/info", tags=["runs"], operation_id="readCustomPromptInfo", responses=answers(CustomPromptInfo))
def custom_prompt_info() -> CustomPromptInfo:
    """Who may run custom prompts, their limits and what they cost. Public."""
    # Published clients ask with `credentials: include`; a browser shows them the answer only with this.
    api.add_headers({"Access-Control-Allow-Credentials": "true"})
    return CustomPromptInfo.of(
        PRICES, CustomPrompts(settings.custom_prompts), timeout_seconds=settings.model_timeout_seconds
    )


@app.post(
    "/playground/compare",
    tags=["runs"],
    operation_id="comparePackages",
    responses=answers(CompareAnswer, *REFUSED_RUNS),
)
def compare(body: CompareBody, idempotency_key: IdempotencyKey = None) -> CompareAnswer:
    """Spend credits on one input in two to four variants, which are asked at the same time. The credits of all are held
    in one step, or none. Each variant is a run of its own: what it costs is charged, and one that fails costs nothing
    and does not take the others' answers."""
    requests = body.requests()
    compared = compare_prompts(
        api.user_id,
        requests,
        idempotency_key=idempotency_key,
        seconds_left=api.seconds_left,
        show_standing=api.show_standing,
        is_verified_author=any(each.is_custom for each in requests) and api.claims(authenticate.is_verified_author),
    )
    return CompareAnswer.of(compared, lambda error: json.loads(api.failure(error, api.request_id)))


def _answered(request: RunRequest, idempotency_key: str | None) -> PaidAnswer:
    return run_prompt(
        api.user_id,
        request,
        idempotency_key=idempotency_key,
        seconds_left=api.seconds_left,
        show_standing=api.show_standing,
        is_verified_author=request.is_custom and api.claims(authenticate.is_verified_author),
    )


def _earlier(answer: PaidAnswer, include: str | None = None) -> Sequence[Turn]:
    if include is None and not settings.whole_conversation:
        return ()
    return read_earlier(answer.run.session_id, answer.turn, seconds_left=api.seconds_left)
