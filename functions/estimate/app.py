"""POST /playground/estimate: what a run would cost. Writes no credits."""

from playground import wiring
from playground.adapters.prices import load_prices
from playground.domain.custom_prompts import CustomPrompts
from playground.domain.errors import (
    AccountPausedError,
    ContextTooLongError,
    NotEntitledError,
    PackageNotFoundError,
    RunsPausedError,
    SessionConflictError,
    SessionNotFoundError,
    UnreadableError,
    UnsupportedParameterError,
)
from playground.http import Api, answers, authenticator, utc_now
from playground.schemas.run import EstimateAnswer, RunBody
from playground.settings import EstimateSettings
from playground.usecases.estimate_run import EstimateRun

settings = EstimateSettings.load()
store = wiring.store()
catalog = wiring.catalog(settings, store)
model = wiring.model(settings)
estimate_run = EstimateRun(
    ledger=wiring.ledger(settings, store),
    lookup=wiring.lookup(settings, store, catalog),
    sessions=wiring.sessions(settings, store),
    catalog=catalog,
    model=model,
    prices=load_prices(),
    clock=utc_now,
    count_timeout_seconds=settings.model_timeout_seconds,
    custom_prompts=CustomPrompts(settings.custom_prompts),
)
authenticate = authenticator(settings, wiring.secrets_client)
api = Api(settings, authenticate=authenticate)
app = api.app
handler = api


@app.post(
    "/playground/estimate",
    tags=["runs"],
    operation_id="estimateRun",
    responses=answers(
        EstimateAnswer,
        AccountPausedError,
        NotEntitledError,
        PackageNotFoundError,
        SessionNotFoundError,
        SessionConflictError,
        ContextTooLongError,
        UnsupportedParameterError,
        RunsPausedError,
        UnreadableError,
    ),
)
def estimate(body: RunBody) -> EstimateAnswer:
    """Say what a run would cost and whether the caller can pay for it."""
    request = body.request()
    estimated = estimate_run(
        api.user_id,
        request,
        seconds_left=api.seconds_left,
        is_verified_author=request.is_custom and api.claims(authenticate.is_verified_author),
    )
    return EstimateAnswer.of(estimated)
