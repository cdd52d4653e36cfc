"""The baseline for the streams: a common, simpler implementation of the same job, without its guarantees.

    python -m uvicorn bench.reference:app

Starlette, the SDK's `messages.stream()`, a pydantic model per event, Powertools and boto3's resources. It checks a
token, reads an account and a package, counts the prompt, reserves credits, streams, charges, and stores the turn. It
has no idempotency, resumption or cancellation, and a crash loses credits: it is a lower bound of such a function.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import boto3
import jwt
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MAX_TOKENS = 4096
RESERVED = 3  # credits

logger = Logger(service="reference")
metrics = Metrics(namespace="Reference", service="reference")
claude = anthropic.AsyncAnthropic(api_key="bench", base_url=os.environ["ANTHROPIC_BASE_URL"])
table = boto3.resource("dynamodb").Table(os.environ["REFERENCE_TABLE"])


class RunBody(BaseModel):
    package_id: str
    input: str = Field(min_length=1, max_length=10_000)


class RunEvent(BaseModel):
    run_id: str
    max_tokens: int


class DeltaEvent(BaseModel):
    text: str


class DoneEvent(BaseModel):
    run_id: str
    response: str
    stop_reason: str | None
    input_tokens: int
    output_tokens: int
    duration_ms: int


async def run(request: Request) -> Response:
    token = request.headers["authorization"].removeprefix("Bearer ")
    user_id = jwt.decode(token, os.environ["REFERENCE_SECRET"], algorithms=["HS256"], options={"verify_aud": False})[
        "sub"
    ]
    body = RunBody.model_validate_json(await request.body())
    account = (await asyncio.to_thread(table.get_item, Key={"pk": user_id, "sk": "ACCOUNT"}))["Item"]
    package = (await asyncio.to_thread(table.get_item, Key={"pk": body.package_id, "sk": "PACKAGE"}))["Item"]
    if account["balance"] < RESERVED:
        return JSONResponse({"error": "insufficient_credits"}, 402)
    prompt: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "system": [{"type": "text", "text": package["text"], "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": body.input}],
    }
    counted = await claude.messages.count_tokens(**prompt)
    await asyncio.to_thread(
        table.update_item,
        Key={"pk": user_id, "sk": "ACCOUNT"},
        UpdateExpression="SET balance = balance - :reserved",
        ConditionExpression="balance >= :reserved",
        ExpressionAttributeValues={":reserved": RESERVED},
    )
    logger.info("held", extra={"user_id": user_id, "input_tokens": counted.input_tokens})
    return StreamingResponse(events(user_id, prompt), media_type="text/event-stream")


async def events(user_id: str, prompt: dict[str, Any]) -> AsyncIterator[str]:
    run_id, started = f"run_{uuid.uuid4().hex}", time.monotonic()
    yield sent("run", RunEvent(run_id=run_id, max_tokens=MAX_TOKENS))
    async with claude.messages.stream(**prompt, max_tokens=MAX_TOKENS) as stream:
        async for text in stream.text_stream:
            yield sent("delta", DeltaEvent(text=text))
        message = await stream.get_final_message()
    done = DoneEvent(
        run_id=run_id,
        response="".join(block.text for block in message.content if block.type == "text"),
        stop_reason=message.stop_reason,
        input_tokens=message.usage.input_tokens,
        output_tokens=message.usage.output_tokens,
        duration_ms=round((time.monotonic() - started) * 1000),
    )
    await asyncio.to_thread(
        table.update_item,
        Key={"pk": user_id, "sk": "ACCOUNT"},
        UpdateExpression="SET balance = balance + :back",
        ExpressionAttributeValues={":back": RESERVED - 1},
    )
    await asyncio.to_thread(table.put_item, Item={"pk": user_id, "sk": f"RUN#{run_id}", **done.model_dump()})
    metrics.add_metric(name="Runs", unit=MetricUnit.Count, value=1)
    metrics.add_metric(name="OutputTokens", unit=MetricUnit.Count, value=done.output_tokens)
    logger.info("settled", extra={"user_id": user_id, "run_id": run_id, "duration_ms": done.duration_ms})
    metrics.flush_metrics()
    yield sent("done", done)


def sent(name: str, event: BaseModel) -> str:
    return f"event: {name}\ndata: {event.model_dump_json()}\n\n"


async def ready(_: Request) -> Response:
    return Response()


app = Starlette(routes=[Route("/run", run, methods=["POST"]), Route("/_ready", ready)])
