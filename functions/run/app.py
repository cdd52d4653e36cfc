"""POST /playground/run: spend credits on one prompt."""

from playground import wiring
from playground.adapters.claude import ClaudeModel
from playground.adapters.ids import id_maker
from playground.adapters.prices import load_prices
from playground.adapters.secrets import read_secret
from playground.adapters.time_limit import time_limit
from playground.http import Api, answers, authenticator, utc_now
from playground.observability import report_run
from playground.schemas.common import IdempotencyKey
from playground.schemas.run import RunAnswer, RunBody
from playground.settings import RunSettings
from playground.usecases.run_prompt import RunPrompt

settings = RunSettings.load()
store = wiring.store()
catalog = wiring.catalog(settings, store)
model = ClaudeModel(
    api_key=read_secret(wiring.secrets_client(), settings.anthropic_secret_arn, "api_key")["api_key"],
    base_url=settings.anthropic_base_url,
)
run_prompt = RunPrompt(
    ledger=wiring.ledger(settings, store),
    lookup=wiring.lookup(settings, store, catalog),
    sessions=wiring.sessions(settings, store),
    catalog=catalog,
    model=model,
    prices=load_prices().with_rate_limits_times(settings.rate_limit_factor),
    clock=utc_now,
    new_id=id_maker(utc_now),
    max_open_runs=settings.max_open_runs,
    model_timeout_seconds=settings.model_timeout_seconds,
    report=report_run,
    time_limit=time_limit,
)
api = Api(settings, authenticate=authenticator(settings, wiring.secrets_client))
app = api.app
handler = api


@app.post(
    "/playground/run",
    tags=["runs"],
    responses=answers(RunAnswer, 400, 401, 402, 403, 404, 409, 413, 422, 429, 502, 503, 504),
)
def run(body: RunBody, idempotency_key: IdempotencyKey = None) -> RunAnswer:
    """Spend credits on one prompt."""
    answer = run_prompt(
        api.user_id,
        body.request(),
        idempotency_key=idempotency_key,
        seconds_left=api.seconds_left,
        show_standing=api.show_standing,
    )
    return RunAnswer.of(answer)
