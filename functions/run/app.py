"""POST /playground/run and /playground/compare: spend credits on a prompt, or on variants of one, and answer with the
whole of what that gave."""

import json

from playground import wiring
from playground.asgi import WebApp
from playground.http import IDLE_TIMEOUT, Api, answers, authenticator
from playground.schemas.common import IdempotencyKey
from playground.schemas.compare import CompareAnswer, CompareBody
from playground.schemas.run import Include, RunAnswer, RunBody
from playground.settings import RunSettings
from playground.usecases.browse_sessions import ReadEarlierTurns

settings = RunSettings.load()
store = wiring.store()
run_prompt = wiring.run_prompt(settings, store)
read_earlier = ReadEarlierTurns(sessions=wiring.sessions(settings, store))
compare_prompts = wiring.compare_prompts(settings, store, run_prompt)
api = Api(settings, authenticate=authenticator(settings, wiring.secrets_client), timeout=IDLE_TIMEOUT)
app = api.app
handler = api
web = WebApp(api)


@app.post(
    "/playground/run",
    tags=["runs"],
    responses=answers(RunAnswer, 400, 401, 402, 403, 404, 409, 413, 422, 429, 502, 503, 504),
)
def run(body: RunBody, idempotency_key: IdempotencyKey = None, include: Include = None) -> RunAnswer:
    """Spend credits on one prompt. Answers when the model has, which may take minutes. Who is cut off repeats the
    request with the same key, or reads on at GET /playground/runs/{run_id}/stream."""
    answer = run_prompt(
        api.user_id,
        body.request(),
        idempotency_key=idempotency_key,
        seconds_left=api.seconds_left,
        show_standing=api.show_standing,
    )
    return RunAnswer.of(answer, read_earlier(answer.run.session_id, answer.turn) if include else ())


@app.post(
    "/playground/compare",
    tags=["runs"],
    responses=answers(CompareAnswer, 400, 401, 402, 403, 404, 409, 413, 422, 429, 503),
)
def compare(body: CompareBody, idempotency_key: IdempotencyKey = None) -> CompareAnswer:
    """Spend credits on one input in two to four variants, which are asked at the same time. The credits of all are held
    in one step, or none. Each variant is a run of its own: what it costs is charged, and one that fails costs nothing
    and does not take the others' answers."""
    compared = compare_prompts(
        api.user_id,
        body.requests(),
        idempotency_key=idempotency_key,
        seconds_left=api.seconds_left,
        show_standing=api.show_standing,
    )
    return CompareAnswer.of(compared, lambda error: json.loads(api.failure(error, api.request_id)))
