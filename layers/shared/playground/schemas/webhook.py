"""What Stripe is answered."""

from playground.schemas.common import Body


class ReceivedAnswer(Body):
    received: bool
