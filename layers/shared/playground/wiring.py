"""Composition: builds adapters from a function's settings. Clients are made once per process.

Each adapter is imported in the function that builds it, so that a Lambda function loads only the adapters that it uses.
tests/infrastructure/test_imports.py lists what each function may load.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from playground.adapters.aws import make_client
from playground.adapters.clock import utc_now
from playground.adapters.secrets import read_secret
from playground.adapters.snapshots import after_restore
from playground.adapters.time_limit import obey_time_limit, time_limit
from playground.domain.sharing import ShareKeys
from playground.observability import current_trace_id, report_retry, report_run, report_times, report_unreadable
from playground.settings import (
    AnonymousSettings,
    CatalogSettings,
    CreditsSettings,
    EstimateSettings,
    LedgerSettings,
    MoneySettings,
    RunSettings,
    SessionsSettings,
)

if TYPE_CHECKING:
    from playground.adapters.claude import ClaudeModel
    from playground.adapters.dynamo_catalog import DynamoCatalog
    from playground.adapters.dynamo_checkpoints import DynamoCheckpoints
    from playground.adapters.dynamo_ledger import DynamoLedger
    from playground.adapters.dynamo_lookup import DynamoLookup
    from playground.adapters.dynamo_sessions import DynamoSessions
    from playground.adapters.dynamo_store import DynamoStore
    from playground.domain.anonymous import VisitorKeys
    from playground.usecases.compare_prompts import ComparePrompts
    from playground.usecases.run_prompt import RunPrompt

# An answer within 2 s, 3 attempts: the caller waits less than 29 s.
_LIMITS = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 3, "mode": "standard"})


@cache
def client(service: str) -> Any:
    made = make_client(service, _LIMITS)
    obey_time_limit(made)
    after_restore(made.close)  # its connections; it makes others
    return made


def secrets_client() -> Any:
    return client("secretsmanager")


def store() -> "DynamoStore":
    from playground.adapters.dynamo_store import Backoff, DynamoStore, connect

    made = connect()
    after_restore(made.close)
    return DynamoStore(made, Backoff(on_retry=report_retry))


def ledger(settings: MoneySettings, store: "DynamoStore") -> "DynamoLedger":
    """Without `sessions_table`, everything works except `settle`."""
    from playground.adapters.dynamo_ledger import DynamoLedger

    sessions_table = settings.sessions_table if isinstance(settings, LedgerSettings) else ""
    return DynamoLedger(
        store, ledger_table=settings.ledger_table, sessions_table=sessions_table, report=report_unreadable
    )


def sessions(settings: CreditsSettings, store: "DynamoStore") -> "DynamoSessions":
    from playground.adapters.dynamo_sessions import DynamoSessions
    from playground.adapters.texts import TurnTexts

    texts = TurnTexts(lambda: client("s3"), settings.content_bucket)
    return DynamoSessions(store, settings.sessions_table, texts, report=report_unreadable)


def share_keys(settings: SessionsSettings) -> ShareKeys:
    """Raises ValueError if a secret is too short. The secret generated with the stack is the oldest."""
    secret = read_secret(secrets_client(), settings.share_secret_arn)
    return ShareKeys([*(secret.get("secrets") or ()), *([secret["generated"]] if "generated" in secret else ())])


def visitor_keys(settings: AnonymousSettings) -> "VisitorKeys":
    """Raises ValueError if the secret is too short."""
    from playground.domain.anonymous import VisitorKeys

    return VisitorKeys(read_secret(secrets_client(), settings.visitor_secret_arn, "generated")["generated"])


def is_live(stripe_key: str) -> bool:
    """Whether a Stripe key is of live mode. Raises ValueError for an invalid key."""
    kind, _, rest = stripe_key.partition("_")
    mode = rest.partition("_")[0]
    if kind not in ("sk", "rk") or mode not in ("live", "test"):
        raise ValueError("the API key for Stripe must begin with sk_live_, sk_test_, rk_live_ or rk_test_")
    return mode == "live"


def catalog(settings: CatalogSettings, store: "DynamoStore") -> "DynamoCatalog":
    from playground.adapters.dynamo_catalog import DynamoCatalog

    return DynamoCatalog(
        store,
        table_name=settings.catalog_table,
        bucket=settings.content_bucket,
        s3=lambda: client("s3"),
        report=report_unreadable,
    )


def checkpoints(settings: LedgerSettings, store: "DynamoStore") -> "DynamoCheckpoints":
    from playground.adapters.dynamo_checkpoints import DynamoCheckpoints

    return DynamoCheckpoints(store, settings.sessions_table)


def model(settings: EstimateSettings | AnonymousSettings) -> "ClaudeModel":
    """Loads the SDK of the model's provider. Raises SecretError, or StoreUnavailableError, without a key."""
    from playground.adapters.claude import ClaudeModel

    def key() -> str:
        return str(read_secret(secrets_client(), settings.anthropic_secret_arn, "api_key")["api_key"])

    made = ClaudeModel(api_key=key(), base_url=settings.anthropic_base_url)
    after_restore(lambda: made.begin_anew(key()))
    return made


def run_prompt(settings: RunSettings, store: "DynamoStore") -> "RunPrompt":
    """Everything that a run needs. Loads the SDK of the model's provider."""
    from playground.adapters.ids import id_maker
    from playground.adapters.prices import load_prices
    from playground.domain.custom_prompts import CustomPrompts
    from playground.usecases.live_runs import LiveRuns
    from playground.usecases.run_prompt import RunPrompt

    packages = catalog(settings, store)
    money = ledger(settings, store)
    return RunPrompt(
        ledger=money,
        lookup=lookup(settings, store, packages),
        sessions=sessions(settings, store),
        catalog=packages,
        model=model(settings),
        prices=load_prices().with_rate_limits_times(settings.rate_limit_factor),
        clock=utc_now,
        new_id=id_maker(utc_now),
        max_open_runs=settings.max_open_runs,
        custom_prompts=CustomPrompts(settings.custom_prompts),
        model_timeout_seconds=settings.model_timeout_seconds,
        report=report_run,
        report_times=report_times,
        time_limit=time_limit,
        live=LiveRuns(ledger=money, checkpoints=checkpoints(settings, store), clock=utc_now, time_limit=time_limit),
        trace_id=current_trace_id,
    )


def compare_prompts(settings: RunSettings, store: "DynamoStore", run_prompt: "RunPrompt") -> "ComparePrompts":
    from playground.adapters.ids import id_maker
    from playground.usecases.compare_prompts import ComparePrompts

    return ComparePrompts(
        run_prompt=run_prompt,
        ledger=ledger(settings, store),
        clock=utc_now,
        new_id=id_maker(utc_now),
        time_limit=time_limit,
    )


def lookup(settings: EstimateSettings, store: "DynamoStore", catalog: "DynamoCatalog") -> "DynamoLookup":
    from playground.adapters.dynamo_lookup import DynamoLookup

    return DynamoLookup(
        store,
        catalog,
        ledger_table=settings.ledger_table,
        sessions_table=settings.sessions_table,
        catalog_table=settings.catalog_table,
        report=report_unreadable,
    )
