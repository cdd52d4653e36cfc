"""Bodies of the functions run and estimate, which read the same request."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from playground.adapters.prices import load_prices
from playground.domain.custom_prompts import MAX_CHARACTERS, MIN_CHARACTERS
from playground.domain.errors import InvalidRequestError
from playground.domain.packages import PACKAGE_NAME, UUID_TEXT, package_uuid
from playground.domain.runs import RunRequest
from playground.domain.sessions import Turn
from playground.domain.variables import (
    MAX_NAME_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    MAX_VALUES_CHARACTERS,
    MAX_VARIABLES,
    check_values,
)
from playground.schemas.common import MAX_MAX_TOKENS, Body, Message, RequestBody, messages, not_blank, one_of, plain
from playground.usecases.estimate_run import Estimate
from playground.usecases.run_prompt import PaidAnswer

PRICES = load_prices()
MODELS = tuple(PRICES.models)
EFFORTS = tuple(sorted({effort for model in PRICES.models.values() for effort in model.efforts}))


def _known_package(text: str) -> str:
    if package_uuid(text) is None:
        raise ValueError("must be a UUID or @scope/name")
    return text


def _if_any(check: Callable[[str], str]) -> Callable[[str | None], str | None]:
    return lambda text: check(text) if text is not None else None


_PACKAGE_ID = Field(
    max_length=200,
    validation_alias=AliasChoices("package_id", "packageId"),
    description="UUID or @scope/name",
    examples=["@playground/code-reviewer"],
    json_schema_extra={"pattern": f"^({PACKAGE_NAME}|{UUID_TEXT})$"},
)

PackageId = Annotated[str, _PACKAGE_ID, AfterValidator(plain), AfterValidator(_known_package)]
PackageIdIfAny = Annotated[
    str | None, _PACKAGE_ID, AfterValidator(_if_any(plain)), AfterValidator(_if_any(_known_package))
]
CustomPromptText = Annotated[
    str | None,
    Field(
        min_length=MIN_CHARACTERS,
        max_length=MAX_CHARACTERS,
        validation_alias=AliasChoices("custom_prompt", "customPrompt"),
        description="A system prompt of your own in place of a package, for accounts that are entitled to it: "
        f"{MIN_CHARACTERS} to {MAX_CHARACTERS:,} characters. A session goes on with the one that it began with",
    ),
    AfterValidator(_if_any(plain)),
    AfterValidator(_if_any(not_blank)),
]
Input = Annotated[
    str,
    Field(
        min_length=1,
        max_length=10_000,
        validation_alias=AliasChoices("input", "userInput", "user_input"),
        description="What to ask; 1 to 10,000 characters, not blank",
    ),
    AfterValidator(plain),
    AfterValidator(not_blank),
]
PackageVersionText = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=64,
        pattern=r"^[0-9A-Za-z.+-]+$",
        validation_alias=AliasChoices("package_version", "packageVersion"),
        description="Run exactly this version; the newest if left out",
    ),
]
SessionId = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=64,
        pattern=r"^[0-9A-Za-z_-]+$",
        validation_alias=AliasChoices("session_id", "sessionId", "conversation_id", "conversationId"),
        description="Continue this session; a new one is opened if left out",
    ),
]
ModelName = Annotated[
    str,
    one_of(MODELS),
    Field(json_schema_extra={"enum": list(MODELS)}, description="Which Claude"),
]
MaxTokens = Annotated[
    int | None,
    Field(
        strict=True,
        ge=1,
        le=MAX_MAX_TOKENS,
        validation_alias=AliasChoices("max_tokens", "maxTokens"),
        description=f"Longest answer in tokens, thinking included; {PRICES.default_max_tokens} if left out",
    ),
]
UseNoPrompt = Annotated[
    bool,
    Field(
        strict=True,
        validation_alias=AliasChoices("use_no_prompt", "useNoPrompt"),
        description="Run without the package's prompt, to compare",
    ),
]
Effort = Annotated[
    str | None,
    one_of(EFFORTS),
    Field(json_schema_extra={"enum": [*EFFORTS, None]}, description="How much the model should think"),
]


def _within_bounds(values: Any) -> Any:
    if isinstance(values, dict):
        check_values(values)  # before pydantic, which would name a field of any length
    return values


def _bounds_of_variables(schema: dict[str, Any]) -> None:
    """Say in OpenAPI what `check_values` checks, as far as a schema can."""
    for option in schema.get("anyOf", ()):
        if option.get("type") == "object":
            option["maxProperties"] = MAX_VARIABLES
            option["propertyNames"] = {"pattern": f"^[A-Za-z0-9_]{{1,{MAX_NAME_CHARACTERS}}}$"}
            option["additionalProperties"] = {"type": "string", "maxLength": MAX_VALUE_CHARACTERS}


Variables = Annotated[
    dict[str, Annotated[str, Field(strict=True)]] | None,
    Field(
        description="Values for the placeholders of the package's text, by name. A session goes on with those that it "
        f"began with. At most {MAX_VARIABLES} of at most {MAX_VALUE_CHARACTERS:,} characters, "
        f"{MAX_VALUES_CHARACTERS:,} together. Without this field the text stays as it is",
        examples=[{"language": "Python"}],
        json_schema_extra=_bounds_of_variables,
    ),
    BeforeValidator(_within_bounds),
]


class PromptChoice(RequestBody):
    """Fields that say what is run: a package, or a custom prompt."""

    package_id: PackageIdIfAny = None
    custom_prompt: CustomPromptText = None
    package_version: PackageVersionText = None
    use_no_prompt: UseNoPrompt = False
    variables: Variables = None

    def check_prompt(self, *, goes_on: bool) -> None:
        """Raises InvalidRequestError, unless one of the two is given, or neither and the session has a custom prompt;
        and for what only packages have beside a custom prompt."""
        if self.package_id is not None:
            if self.custom_prompt is not None:
                raise InvalidRequestError("custom_prompt", "must not be beside package_id: a run has one of the two")
            return
        if self.custom_prompt is None and not goes_on:
            raise InvalidRequestError("package_id", "must be given, or custom_prompt in its place")
        for name in ("package_version", "use_no_prompt", "variables"):
            if getattr(self, name) not in (None, False):
                raise InvalidRequestError(name, "must not be given without package_id: only packages have it")

    def what_is_run(self) -> dict[str, Any]:
        """The fields of `RunRequest` about the package."""
        sent = self.package_id
        return {"package_id": package_uuid(sent) or "" if sent is not None else None, "package_as_sent": sent}


class RunBody(PromptChoice):
    """Of a run, and of the estimate of one."""

    input: Input
    session_id: SessionId = None
    model: ModelName = PRICES.default_model
    max_tokens: MaxTokens = None
    effort: Effort = None
    temperature: Annotated[
        float | None,
        Field(strict=True, ge=0, le=1, allow_inf_nan=False, description="Only for models that take it"),
    ] = None

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        self.check_prompt(goes_on=self.session_id is not None)
        return self

    def request(self) -> RunRequest:
        """The request of the domain."""
        fields = {**self.model_dump(), **self.what_is_run()}
        return RunRequest(**fields, names_model="model" in self.model_fields_set)


Include = Annotated[
    Literal["conversation"] | None,
    Query(description="`conversation`: answer with the session's earlier turns, too"),
]

OMITTED = (
    "How many turns of the session were not sent: the oldest, because they do not fit or cannot be afforded, "
    "and those that the model declined"
)


StopReason = Annotated[
    str,
    Field(
        description="Why the answer ends: the model's reason, which may be one that is not known yet; or `cancelled`",
        examples=["end_turn", "max_tokens", "cancelled"],
    ),
]


class RunAnswer(Body):
    run_id: str
    session_id: str
    response: str
    stop_reason: StopReason
    credits_spent: int
    credits_remaining: Annotated[int, Field(description="Balance right after this run was charged")]
    tokens_used: int
    input_tokens: int
    output_tokens: int
    duration_ms: int
    model: Annotated[str, Field(description="The provider's id of the model that answered")]
    price_version: str
    max_tokens: Annotated[int, Field(description="The limit of this answer")]
    max_tokens_reduced: Annotated[bool, Field(description="Whether that is less than asked for, to be affordable")]
    turns_omitted: Annotated[int, Field(description=OMITTED)]
    conversation: Annotated[
        list[Message],
        Field(
            description="This turn; with include=conversation, or where the operator switched that on, after the "
            "earlier ones, the newest that fit"
        ),
    ]
    earlier_turns: Annotated[
        int, Field(description="Turns of the session before those in `conversation`: GET /playground/sessions/{id}")
    ]

    @classmethod
    def of(cls, answer: PaidAnswer, earlier: Sequence[Turn] = ()) -> Self:
        """`earlier`: turns before the one of `answer`, oldest first."""
        run, turn = answer.run, answer.turn
        measured = run.measured
        assert measured is not None, "a settled run was measured"
        return cls(
            run_id=run.run_id,
            session_id=run.session_id,
            response=turn.answer,
            stop_reason=measured.stop_reason,
            credits_spent=run.charged,
            credits_remaining=run.balance_after or 0,
            tokens_used=measured.usage.billed_tokens,
            input_tokens=measured.usage.prompt_tokens,
            output_tokens=measured.usage.output_tokens,
            duration_ms=measured.duration_ms,
            model=run.model_id or "",
            price_version=run.price_version or "",
            max_tokens=run.max_tokens or 0,
            max_tokens_reduced=(run.max_tokens or 0) < (run.wanted_max_tokens or 0),
            turns_omitted=run.turns_omitted,
            conversation=[message for each in (*earlier, turn) for message in messages(each)],
            earlier_turns=turn.number - 1 - len(earlier),
        )


class EstimateAnswer(Body):
    estimated_credits: Annotated[int, Field(description="For an answer of typical length")]
    max_credits: Annotated[int, Field(description="The most that the run can cost; what is held while it runs")]
    estimated_tokens: int
    prompt_tokens: int
    model: str
    can_afford: bool
    current_balance: int
    available: int
    max_tokens: int
    turns_omitted: Annotated[int, Field(description=OMITTED)]
    affordable_max_tokens: Annotated[int, Field(description="0 if not even the shortest answer can be paid for")]
    price_version: str
    approximate: Annotated[
        bool, Field(description="Whether the prompt's tokens were estimated, upward, because they could not be counted")
    ]

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        return cls(
            estimated_credits=estimate.estimated_credits,
            max_credits=estimate.max_credits,
            estimated_tokens=estimate.estimated_tokens,
            prompt_tokens=estimate.prompt_tokens,
            model=estimate.model_id,
            can_afford=estimate.can_afford,
            current_balance=estimate.balance,
            available=estimate.available,
            max_tokens=estimate.max_tokens,
            turns_omitted=estimate.turns_omitted,
            affordable_max_tokens=estimate.affordable_max_tokens,
            price_version=estimate.price_version,
            approximate=estimate.guessed,
        )
