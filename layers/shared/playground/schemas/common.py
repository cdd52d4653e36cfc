"""What bodies of several functions have in common."""

from datetime import datetime
from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Header
from pydantic import AfterValidator, BaseModel, Field, PlainSerializer

from playground.domain.calendar import iso
from playground.domain.sessions import Turn
from playground.domain.text import is_blank

Moment = Annotated[datetime, PlainSerializer(iso, return_type=str)]


def plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def not_blank(text: str) -> str:
    if is_blank(text):
        raise ValueError("must not be blank: nothing of it can be seen")
    return text


def one_of(values: tuple[str, ...]) -> AfterValidator:
    def check(text: str | None) -> str | None:
        if text is not None and text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return AfterValidator(check)


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        description="Names this attempt: repeating the request with the same key gives the first outcome, for ever",
    ),
]


UNREADABLE_TURN = "Whether what is stored of this message is damaged: then its content is empty"
UNREADABLE = "What belongs here and cannot be read; an operator has been told"


class Message(BaseModel):
    role: Literal["user", "assistant"]
    content: str
    timestamp: Moment
    tokens: int
    unreadable: Annotated[bool, Field(description=UNREADABLE_TURN)] = False


def messages(turn: Turn) -> list[Message]:
    """A turn, as the contract shows it."""
    return [
        Message(
            role="user",
            content=turn.input,
            timestamp=turn.asked_at,
            tokens=turn.input_tokens,
            unreadable=turn.unreadable,
        ),
        Message(
            role="assistant",
            content=turn.answer,
            timestamp=turn.answered_at,
            tokens=turn.output_tokens,
            unreadable=turn.unreadable,
        ),
    ]
