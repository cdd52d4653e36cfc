"""A stateful stand-in for Stripe on the loopback interface, for the laptop stack and the tests.

    python -m doubles.stripe --port 8083

Real HTTP, forms, errors, idempotency keys, pages, events and signatures: the `stripe` package cannot tell the
difference for what it has. docs/stripe-double.md says what that is, and what is missing.

world        the account's clock, objects and events
wire         errors and parameters as Stripe writes them
customers, payments, refunds, billing, checkout    the state machines
webhooks     endpoints and deliveries
idempotency, outages, control, pages               what surrounds them
api          the table of routes
server       HTTP, and StripeDouble itself
"""

from doubles.stripe.server import StripeDouble

__all__ = ["StripeDouble"]
