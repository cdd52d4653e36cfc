"""POST /webhooks/stripe/credits: what Stripe tells becomes credits."""

import base64
import binascii
import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from playground import wiring
from playground.adapters.dynamo_payments import DynamoPayments
from playground.adapters.prices import load_prices
from playground.adapters.secrets import read_secret
from playground.adapters.stripe_events import BadDeliveryError, EventReader, PayloadError
from playground.adapters.stripe_payments import PaymentsError, StripePayments
from playground.domain.errors import PlaygroundError
from playground.http import utc_now
from playground.observability import Metric, count, flush_metrics, logger, report_payment
from playground.settings import WebhookSettings
from playground.usecases.apply_payment import ApplyPayment

settings = WebhookSettings.load()
secret = read_secret(wiring.secrets_client(), settings.stripe_secret_arn)
store = wiring.store(settings)
payments = StripePayments(api_key=secret["api_key"], base_url=settings.stripe_base_url)
read_event = EventReader(secret["webhook_secrets"])
apply_payment = ApplyPayment(
    ledger=wiring.ledger(settings, store),
    records=DynamoPayments(store, settings.ledger_table),
    payments=payments,
    prices=load_prices(),
    live=wiring.is_live(secret["api_key"]),
    clock=utc_now,
)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Whatever is not 2xx, Stripe sends again: only what is not to be believed is refused for good, with 400."""
    request_id = (event.get("requestContext") or {}).get("requestId")
    logger.set_correlation_id(request_id)
    try:
        return _answered(event, request_id)
    finally:
        flush_metrics()


def _answered(event: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    try:
        told = read_event(_raw(event), headers.get("stripe-signature"), utc_now())
    except BadDeliveryError as error:
        count(Metric.DELIVERY_REFUSED)
        logger.warning("delivery refused", reason=error.reason)
        return _answer(400, {"error": "invalid_delivery", "message": "No event.", "request_id": request_id})
    except PayloadError as error:
        count(Metric.UNHANDLED_ERROR)
        logger.error("event in an unknown shape", what=str(error))
        return _failed(500, "internal_error", request_id)
    try:
        applied = apply_payment(told)
    except PlaygroundError as error:
        status = 503 if error.code in ("store_unavailable", "payments_unavailable") else 500
        count(Metric.REFUSED if status == 503 else Metric.UNHANDLED_ERROR)
        what = getattr(error, "what", None)
        logger.error("event not applied", event_id=told.event_id, type=told.type, error=error.code, what=what)
        return _failed(status, error.code if status == 503 else "internal_error", request_id)
    except PaymentsError as error:
        count(Metric.UNHANDLED_ERROR)
        logger.error("event not applied", event_id=told.event_id, type=told.type, error=str(error))
        return _failed(500, "internal_error", request_id)
    except Exception as error:  # Stripe must hear of it; what it says may hold anything
        count(Metric.UNHANDLED_ERROR)
        logger.error("event not applied", event_id=told.event_id, type=told.type, error=type(error).__name__)
        return _failed(500, "internal_error", request_id)
    report_payment(told, applied)
    return _answer(200, {"received": True})


def _raw(event: dict[str, Any]) -> bytes:
    """The body as it was signed. API Gateway may have packed it as base64."""
    body = event.get("body") or ""
    try:
        return base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    except (binascii.Error, ValueError):
        raise BadDeliveryError("malformed") from None


def _failed(status: int, code: str, request_id: str | None) -> dict[str, Any]:
    answer = {"error": code, "message": "Please send it again.", "request_id": request_id}
    return _answer(status, answer, {"Retry-After": ["5"]} if status == 503 else {})


def _answer(status: int, body: dict[str, Any], headers: dict[str, list[str]] | None = None) -> dict[str, Any]:
    return {
        "statusCode": status,
        "multiValueHeaders": {
            "Content-Type": ["application/json"],
            "Cache-Control": ["no-store"],
            **(headers or {}),
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }
