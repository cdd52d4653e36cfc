"""Bodies of comparisons."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from playground.domain.comparisons import MAX_VARIANTS, MIN_VARIANTS, repeated
from playground.domain.errors import InvalidRequestError
from playground.domain.runs import RunRequest
from playground.domain.variables import check_values
from playground.schemas.common import Body, RequestBody, check_names
from playground.schemas.run import (
    PRICES,
    Effort,
    Input,
    MaxTokens,
    ModelName,
    PromptChoice,
    RunAnswer,
)
from playground.usecases.compare_prompts import Compared, naming_variant
from playground.usecases.run_prompt import PaidAnswer


class Variant(PromptChoice):
    """What is run on the input of a comparison; fields as of a run."""

    model: ModelName = PRICES.default_model
    max_tokens: MaxTokens = None
    effort: Effort = None

    def request(self, text: str) -> RunRequest:
        fields = {**self.model_dump(), **self.what_is_run()}
        return RunRequest(**fields, input=text, names_model="model" in self.model_fields_set)


class CompareBody(RequestBody):
    input: Input
    variants: Annotated[
        list[Variant],
        Field(min_length=MIN_VARIANTS, max_length=MAX_VARIANTS, description="Each must differ from the others"),
    ]

    def requests(self) -> Sequence[RunRequest]:
        return [variant.request(self.input) for variant in self.variants]

    @field_validator("variants", mode="before")
    @classmethod
    def _names_and_variables(cls, variants: Any) -> Any:
        """Before the variants, which do not know their places."""
        for index, variant in enumerate(variants if isinstance(variants, list) else ()):
            with naming_variant(index):
                check_names(Variant, variant)
                values = variant.get("variables") if isinstance(variant, dict) else None
                if isinstance(values, dict):
                    check_values(values)
        return variants

    @model_validator(mode="after")
    def _differ(self) -> Self:
        for index, variant in enumerate(self.variants):
            with naming_variant(index):
                variant.check_prompt(goes_on=False)
        same = repeated(self.requests(), PRICES)
        if same is not None:
            first, second = same
            raise InvalidRequestError(f"variants.{second}", f"must differ from variants.{first}")
        return self


class VariantFailure(Body):
    """A variant without an answer, as the error that answers such a run. Some have more fields."""

    model_config = ConfigDict(extra="allow")

    error: str
    message: str
    request_id: str | None


class CompareAnswer(Body):
    comparison_id: Annotated[str, Field(description="The sessions of all variants name it")]
    credits_spent: Annotated[int, Field(description="By all variants together")]
    results: Annotated[
        list[RunAnswer | VariantFailure],
        Field(description="In the order of the variants: each the body of POST /playground/run, or of an error"),
    ]

    @classmethod
    def of(cls, compared: Compared, failure: Callable[[Exception], Mapping[str, Any]]) -> Self:
        return cls(
            comparison_id=compared.comparison_id,
            credits_spent=compared.credits_spent,
            results=[
                RunAnswer.of(outcome)
                if isinstance(outcome, PaidAnswer)
                else VariantFailure.model_validate(failure(outcome))
                for outcome in compared.outcomes
            ],
        )
