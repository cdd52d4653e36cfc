"""What Stripe is answered."""

from pydantic import BaseModel


class ReceivedAnswer(BaseModel):
    received: bool
