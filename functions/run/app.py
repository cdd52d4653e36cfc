"""POST /playground/run: spend credits on one prompt, and answer with the whole of what it gave."""

from playground import wiring
from playground.asgi import WebApp
from playground.http import IDLE_TIMEOUT, Api, answers, authenticator
from playground.schemas.common import IdempotencyKey
from playground.schemas.run import RunAnswer, RunBody
from playground.settings import RunSettings

settings = RunSettings.load()
store = wiring.store()
run_prompt = wiring.run_prompt(settings, store)
api = Api(settings, authenticate=authenticator(settings, wiring.secrets_client), timeout=IDLE_TIMEOUT)
app = api.app
handler = api
web = WebApp(api)


@app.post(
    "/playground/run",
    tags=["runs"],
    responses=answers(RunAnswer, 400, 401, 402, 403, 404, 409, 413, 422, 429, 502, 503, 504),
)
def run(body: RunBody, idempotency_key: IdempotencyKey = None) -> RunAnswer:
    """Spend credits on one prompt. Answers when the model has, which may take minutes. Who is cut off repeats the
    request with the same key, or reads on at GET /playground/runs/{run_id}/stream."""
    answer = run_prompt(
        api.user_id,
        body.request(),
        idempotency_key=idempotency_key,
        seconds_left=api.seconds_left,
        show_standing=api.show_standing,
    )
    return RunAnswer.of(answer)
