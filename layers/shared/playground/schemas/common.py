"""Types that several bodies use."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler.openapi.params import Header, Query
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from playground.domain.calendar import iso
from playground.domain.errors import InvalidRequestError, UnknownFieldError
from playground.domain.sessions import Turn
from playground.domain.text import is_blank

MAX_MAX_TOKENS = 32_000  # what a buffered answer can carry in time, and one item of the store can hold

Moment = Annotated[
    datetime, PlainSerializer(iso, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]


class Body(BaseModel):
    """What requests and answers are made of. Built when it is first used: a request uses few of a function's."""

    model_config = ConfigDict(defer_build=True)


class RequestBody(Body):
    """The body of a request. Only declared fields are accepted, each once, under one of its names."""

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_known_fields(cls, body: Any) -> Any:
        """Raises UnknownFieldError, and InvalidRequestError for two names of one field. Runs before other validation:
        a missing field may only be misspelt."""
        check_names(cls, body)
        return body


def check_names(kind: type[BaseModel], body: Any) -> None:
    """Raises UnknownFieldError for a name that `kind` does not declare, InvalidRequestError for two of one field."""
    names = spellings(kind)
    seen: dict[str, str] = {}
    for spelling in body if isinstance(body, dict) else ():
        name = names.get(spelling)
        if name is None:
            raise UnknownFieldError(spelling, names)
        if name in seen:
            raise InvalidRequestError(spelling, f"must not be beside {seen[name]}, which is the same field")
        seen[name] = spelling


@cache
def spellings(body: type[BaseModel]) -> Mapping[str, str]:
    """The accepted names of the fields of `body`, each with the contract's name."""
    known: dict[str, str] = {}
    for name, field in body.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        known |= {choice: name for choice in choices if isinstance(choice, str)}
    return known


def plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def not_blank(text: str) -> str:
    if is_blank(text):
        raise ValueError("must not be blank: it has no visible character")
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
        description="Names this attempt: the same request with the same key always gets the first outcome",
    ),
]


MAX_CURSOR_CHARACTERS = 400

Cursor = Annotated[
    str | None,
    Query(max_length=MAX_CURSOR_CHARACTERS, description="`next_cursor` of the page before; left out for the first"),
]

UNREADABLE_TURN = "Whether the stored message is damaged; its content is empty then"
UNREADABLE = "Stored records that are damaged and left out; an operator is notified"


class Message(BaseModel):
    role: Literal["user", "assistant"]
    content: str
    timestamp: Moment
    tokens: int
    unreadable: Annotated[bool, Field(description=UNREADABLE_TURN)] = False


def messages(turn: Turn) -> list[Message]:
    """The two messages of a turn."""
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
