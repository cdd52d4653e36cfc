"""POST /webhooks/stripe/credits: applies Stripe's events to accounts."""

from playground import wiring
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.prices import load_prices
from playground.adapters.secrets import read_secret
from playground.adapters.stripe_events import EventReader
from playground.adapters.stripe_payments import StripePayments
from playground.domain.errors import (
    InvalidDeliveryError,
    PaymentsRejectedError,
    PaymentsUnavailableError,
    StoreUnavailableError,
    UnreadableError,
)
from playground.http import Api, answers, utc_now
from playground.payment_reports import report_payment
from playground.schemas.webhook import ReceivedAnswer
from playground.settings import WebhookSettings
from playground.usecases.apply_payment import ApplyPayment

settings = WebhookSettings.load()
secret = read_secret(wiring.secrets_client(), settings.stripe_secret_arn, "api_key")
store = wiring.store()
read_event = EventReader(secret["webhook_secrets"])
apply_payment = ApplyPayment(
    ledger=wiring.ledger(settings, store),
    records=DynamoPurchaseRecords(store, settings.ledger_table),
    payments=StripePayments(api_key=secret["api_key"], base_url=settings.stripe_base_url),
    prices=load_prices(),
    live=wiring.is_live(secret["api_key"]),
    clock=utc_now,
)
api = Api(settings, raw_bodies=True)
app = api.app
handler = api


@app.post(
    "/webhooks/stripe/credits",
    tags=["payments"],
    operation_id="receiveStripeEvent",
    responses=answers(
        ReceivedAnswer,
        InvalidDeliveryError,
        PaymentsUnavailableError,
        PaymentsRejectedError,
        StoreUnavailableError,
        UnreadableError,
    ),
)
def stripe_credits() -> ReceivedAnswer:
    """For Stripe only, which signs the body. Stripe repeats an event for three days until the answer is 2xx."""
    event = read_event(api.raw_body, api.header("stripe-signature"), utc_now())
    report_payment(event, apply_payment(event))
    return ReceivedAnswer(received=True)
