"""The baseline for cold starts and warm runs: a handler as Powertools' documentation has it, all at the top.

Powertools' logger, metrics, validating resolver and idempotency, and its tracer if aws-xray-sdk is installed; boto3,
pynamodb and a client, jwt, pydantic, and with REFERENCE=full anthropic and stripe, too. In the full form it makes runs:
it reads account and package, counts the prompt, takes the most that a run may cost by a conditional write, asks Claude,
and gives the rest back in one transaction that stores the answer. A crash loses credits.
"""

import importlib.util
import os
import uuid
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
from pynamodb.connection import Connection
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

TABLE = os.environ.get("REFERENCE_TABLE", "reference")
FULL = os.environ.get("REFERENCE") == "full"
HELD, SPENT = 3, 1  # credits of a run

logger = Logger(service="reference")
metrics = Metrics(namespace="Reference", service="reference")
app = APIGatewayRestResolver(enable_validation=True, cors=CORSConfig(allow_origin="http://127.0.0.1"))
dynamodb = boto3.resource("dynamodb")
s3 = boto3.client("s3")
secrets = boto3.client("secretsmanager")
connection = Connection()
persistence = DynamoDBPersistenceLayer(table_name=os.environ.get("REFERENCE_IDEMPOTENCY_TABLE", TABLE))
config = IdempotencyConfig(
    event_key_jmespath='[requestContext.requestId, headers."Idempotency-Key"]', expires_after_seconds=3600
)


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


class Package(Model):
    class Meta:
        table_name = TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    text = UnicodeAttribute()


class RunRecord(Model):
    class Meta:
        table_name = TABLE

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    package = UnicodeAttribute()
    input = UnicodeAttribute()
    response = UnicodeAttribute()
    input_tokens = NumberAttribute()
    output_tokens = NumberAttribute()
    credits_spent = NumberAttribute()


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
    run_id: str
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
    user, run_id = user_id(), uuid.uuid4().hex
    account = Account.get(user, "ACCOUNT", consistent_read=True)
    package = Package.get(body.package_id, "PACKAGE")
    prompt: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "system": [{"type": "text", "text": package.text, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": body.input}],
    }
    counted = messages.count_tokens(**prompt)
    account.update(actions=[Account.balance.add(-HELD)], condition=Account.balance >= HELD)
    logger.info("held", extra={"run_id": run_id, "input_tokens": counted.input_tokens})
    message = messages.create(**prompt, max_tokens=4096)
    text = "".join(block.text for block in message.content if block.type == "text")
    record = RunRecord(
        user,
        f"RUN#{run_id}",
        package=body.package_id,
        input=body.input,
        response=text,
        input_tokens=message.usage.input_tokens,
        output_tokens=message.usage.output_tokens,
        credits_spent=SPENT,
    )
    with TransactWrite(connection=connection) as settle:
        settle.update(account, actions=[Account.balance.add(HELD - SPENT)])
        settle.save(Entry(user, f"ENTRY#{run_id}", amount=-SPENT, description=body.package_id))
        settle.save(record)
    metrics.add_metric(name="Runs", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="OutputTokens", unit=MetricUnit.Count, value=message.usage.output_tokens)
    logger.info("settled", extra={"run_id": run_id, "credits": SPENT})
    return Answer(run_id=run_id, response=text, credits_spent=SPENT)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
@metrics.log_metrics
@idempotent(persistence_store=persistence, config=config)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
