"""POST /playground/anonymous-run: try a package without a login. Public; off unless the deployment switches it on."""

from playground import wiring
from playground.adapters.claude import ClaudeModel, most_prompt_tokens
from playground.adapters.dynamo_anonymous import DynamoAnonymousBudget
from playground.adapters.ids import id_maker
from playground.adapters.prices import load_prices
from playground.adapters.secrets import read_secret
from playground.adapters.time_limit import time_limit
from playground.domain.errors import (
    AnonymousBudgetUsedError,
    AnonymousRunsOffError,
    AnonymousRunUsedError,
    ContextTooLongError,
    ModelError,
    ModelOverloadedError,
    ModelTimedOutError,
    PackageNotFoundError,
    StoreUnavailableError,
)
from playground.domain.pricing import NANO_PER_CENT
from playground.http import Api, answers, utc_now
from playground.observability import report_anonymous_run
from playground.schemas.anonymous import AnonymousRunAnswer, AnonymousRunBody
from playground.settings import AnonymousSettings
from playground.usecases.run_anonymously import RunAnonymously

MODEL = "haiku"

settings = AnonymousSettings.load()
store = wiring.store()
model = ClaudeModel(
    api_key=read_secret(wiring.secrets_client(), settings.anthropic_secret_arn, "api_key")["api_key"],
    base_url=settings.anthropic_base_url,
    retries=0,  # a reservation covers one attempt
)
run_anonymously = RunAnonymously(
    budget=DynamoAnonymousBudget(store, settings.visitors_table),
    catalog=wiring.catalog(settings, store),
    model=model,
    price=load_prices().models[MODEL],
    keys=wiring.visitor_keys(settings),
    most_prompt_tokens=most_prompt_tokens,
    clock=utc_now,
    new_id=id_maker(utc_now),
    is_on=settings.anonymous_runs,
    budget_nano=settings.anonymous_budget_cents * NANO_PER_CENT,
    model_timeout_seconds=settings.model_timeout_seconds,
    report=report_anonymous_run,
    time_limit=time_limit,
)
api = Api(settings)
app = api.app
handler = api


@app.post(
    "/playground/anonymous-run",
    tags=["runs"],
    operation_id="runAnonymously",
    responses=answers(
        AnonymousRunAnswer,
        AnonymousRunsOffError,
        PackageNotFoundError,
        ContextTooLongError,
        AnonymousRunUsedError,
        AnonymousBudgetUsedError,
        ModelError,
        ModelOverloadedError,
        ModelTimedOutError,
        StoreUnavailableError,
    ),
)
def anonymous_run(body: AnonymousRunBody) -> AnonymousRunAnswer:
    """Run a package once a day without a login, with a short answer of the smallest model. Not stored."""
    answer = run_anonymously(
        body.package_uuid,
        body.input,
        address=api.source_address,
        seconds_left=api.seconds_left,
        package_as_sent=body.package_id,
    )
    return AnonymousRunAnswer.of(answer)
