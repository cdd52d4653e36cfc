"""The baseline for cold starts: a handler as Powertools' documentation would have it, with everything at the top.

Powertools' logger, metrics, validating resolver and idempotency, and its tracer if aws-xray-sdk is installed; boto3,
pynamodb and a client, jwt, pydantic, and with REFERENCE=full anthropic and stripe, too. It reads an account and, in the
full form, asks Claude; a crash loses credits, and a race grants them.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Annotated, Any

import boto3
import jwt
import pydantic
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent
from aws_lambda_powertools.utilities.typing import LambdaContext
from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

TABLE = os.environ.get("REFERENCE_TABLE", "reference")
FULL = os.environ.get("REFERENCE") == "full"

logger = Logger(service="reference")
metrics = Metrics(namespace="Reference", service="reference")
app = APIGatewayRestResolver(enable_validation=True, cors=CORSConfig(allow_origin="http://127.0.0.1"))
dynamodb = boto3.resource("dynamodb")
s3 = boto3.client("s3")
secrets = boto3.client("secretsmanager")
persistence = DynamoDBPersistenceLayer(table_name=TABLE)
config = IdempotencyConfig(event_key_jmespath="requestContext.requestId", expires_after_seconds=3600)


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


traced: Callable[..., Any] = untraced
if importlib.util.find_spec("aws_xray_sdk") is not None:
    from aws_lambda_powertools import Tracer

    tracer = Tracer(service="reference")
    traced = tracer.capture_method

if FULL:
    import anthropic
    import stripe

    claude = anthropic.Anthropic(api_key="bench", base_url=os.environ.get("ANTHROPIC_BASE_URL"))
    payments = stripe.StripeClient("sk_test_bench")
    messages = claude.messages


class Account(Model):
    class Meta:
        table_name = TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    balance = NumberAttribute(default=0)
    plan = UnicodeAttribute(default="free")


class Entry(Model):
    class Meta:
        table_name = TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    amount = NumberAttribute()
    description = UnicodeAttribute()


class Balance(pydantic.BaseModel):
    balance: int
    plan: str


class HistoryRow(pydantic.BaseModel):
    amount: int
    description: str


class History(pydantic.BaseModel):
    entries: list[HistoryRow]


class Purchase(pydantic.BaseModel):
    package: str = pydantic.Field(min_length=1, max_length=64)


class Bought(pydantic.BaseModel):
    client_secret: str


class Run(pydantic.BaseModel):
    package_id: str
    input: str = pydantic.Field(min_length=1, max_length=10_000)


class Answer(pydantic.BaseModel):
    response: str
    credits_spent: int


def user_id() -> str:
    token = app.current_event.headers["Authorization"].removeprefix("Bearer ")
    claims: dict[str, Any] = jwt.decode(
        token, os.environ["REFERENCE_SECRET"], algorithms=["HS256"], options={"verify_aud": False}
    )
    return str(claims["sub"])


@app.get("/credits")
@traced
def credits_() -> Balance:
    """The caller's balance."""
    account = Account.get(user_id(), "ACCOUNT", consistent_read=True)
    return Balance(balance=int(account.balance), plan=account.plan)


@app.get("/credits/history")
@traced
def history(limit: Annotated[int, Query(ge=1, le=100)] = 50) -> History:
    """The caller's entries."""
    entries = Entry.query(user_id(), Entry.sk.startswith("ENTRY#"), limit=limit)
    return History(entries=[HistoryRow(amount=int(each.amount), description=each.description) for each in entries])


@app.post("/credits/purchase")
@traced
def purchase(body: Annotated[Purchase, Body()]) -> Bought:
    """Begin to buy a pack."""
    intent = payments.v1.payment_intents.create({"amount": 500, "currency": "usd", "metadata": {"pack": body.package}})
    return Bought(client_secret=str(intent.client_secret))


@app.post("/run")
@traced
def run(body: Annotated[Run, Body()]) -> Answer:
    """Spend credits on one prompt."""
    account = Account.get(user_id(), "ACCOUNT", consistent_read=True)
    message = claude.messages.create(
        model="claude-sonnet-5-5", max_tokens=1024, messages=[{"role": "user", "content": body.input}]
    )
    account.update(actions=[Account.balance.add(-1)])
    metrics.add_metric(name="Runs", unit=MetricUnit.Count, value=1)
    text = "".join(block.text for block in message.content if block.type == "text")
    return Answer(response=text, credits_spent=1)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
@metrics.log_metrics
@idempotent(persistence_store=persistence, config=config)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
