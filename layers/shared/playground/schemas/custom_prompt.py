"""Bodies of the routes for custom prompts, as published clients read them."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from playground.domain.custom_prompts import (
    MAX_CHARACTERS,
    MAX_USEFUL_CHARACTERS,
    MIN_CHARACTERS,
    MIN_USEFUL_CHARACTERS,
    CustomPrompts,
)
from playground.domain.errors import InvalidRequestError
from playground.domain.pricing import PriceTable
from playground.domain.runs import RunRequest
from playground.domain.sessions import Turn
from playground.schemas.common import Body, RequestBody
from playground.schemas.run import PRICES, CustomPromptText, Input, MaxTokens, ModelName, RunAnswer, SessionId
from playground.usecases.run_prompt import PaidAnswer


class CustomRunBody(RequestBody):
    custom_prompt: CustomPromptText = None
    input: Input
    session_id: SessionId = None
    model: ModelName = PRICES.default_model
    max_tokens: MaxTokens = None

    @model_validator(mode="after")
    def _has_a_prompt(self) -> Self:
        if self.custom_prompt is None and self.session_id is None:
            raise InvalidRequestError("custom_prompt", "must be given, unless session_id names a session that has one")
        return self

    def request(self) -> RunRequest:
        """The request of the domain."""
        return RunRequest(**self.model_dump(), names_model="model" in self.model_fields_set)


class CustomRunAnswer(RunAnswer):
    is_custom_prompt: bool = True
    warnings: Annotated[
        list[str], Field(description="What may make the prompt work badly; left out if there is nothing")
    ] = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _without_empty_warnings(self, serialize: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        # Without a declared type: OpenAPI would know no field beyond it.
        shown: dict[str, Any] = serialize(self)
        return shown if self.warnings else {name: value for name, value in shown.items() if name != "warnings"}

    @classmethod
    def of_custom(cls, answer: PaidAnswer, warnings: Sequence[str], earlier: Sequence[Turn] = ()) -> Self:
        return cls(**RunAnswer.of(answer, earlier).model_dump(), warnings=list(warnings))


class Requirements(Body):
    verified_author: Annotated[bool, Field(description="Whether a plan or being a verified author is needed")]
    github_linked: bool
    description: str


class Limits(Body):
    max_prompt_length: int
    min_prompt_length: int
    recommended_length: str
    max_tokens_output: int
    max_conversation_turns: Annotated[int | None, Field(description="null: as many as credits pay for")]
    timeout_seconds: int


class Multiplier(Body):
    credit_multiplier: int
    description: str
    example: str


class Sandbox(Body):
    tools_enabled: bool
    description: str
    why: str


class CustomPromptInfo(Body):
    available: Annotated[bool, Field(description="Whether this deployment runs custom prompts at all")]
    requirements: Requirements
    limits: Limits
    pricing: Multiplier
    sandbox: Sandbox
    tips: list[str]

    @classmethod
    def of(cls, prices: PriceTable, switch: CustomPrompts, *, timeout_seconds: float) -> Self:
        terms = prices.custom_prompt
        assert terms is not None, "the current table has terms"
        restricted = switch is CustomPrompts.PLANS
        first, base = prices.tiers.steps[0]
        model = prices.models[prices.default_model]
        return cls(
            available=switch is not CustomPrompts.OFF,
            requirements=Requirements(
                verified_author=restricted,
                github_linked=False,
                description=f"For {prices.plan.name} and for verified authors."
                if restricted
                else "For everybody with an account."
                if switch is CustomPrompts.EVERYBODY
                else "Custom prompts are switched off.",
            ),
            limits=Limits(
                max_prompt_length=MAX_CHARACTERS,
                min_prompt_length=MIN_CHARACTERS,
                recommended_length=f"{MIN_USEFUL_CHARACTERS} to {MAX_USEFUL_CHARACTERS:,} characters",
                max_tokens_output=terms.max_output_tokens,
                max_conversation_turns=None,
                timeout_seconds=round(timeout_seconds),
            ),
            pricing=Multiplier(
                credit_multiplier=terms.factor,
                description=f"The credits of the size tiers times {terms.factor}.",
                example=f"{first:,} tokens of {model.name}: {base * model.factor * terms.factor} credits "
                f"instead of {base * model.factor}.",
            ),
            sandbox=Sandbox(
                tools_enabled=False,
                description="The model answers in text. It has no tools, no files and no network.",
                why="A prompt that nobody has reviewed must not be able to do anything but answer.",
            ),
            tips=[
                "Say who the model is, what it gets and what it should answer.",
                "Give an example of a good answer.",
                "Keep it short: the prompt is part of every turn and of its price.",
            ],
        )
