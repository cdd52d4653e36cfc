"""Bodies of comparisons."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from playground.domain.comparisons import MAX_VARIANTS, MIN_VARIANTS, repeated
from playground.domain.errors import InvalidRequestError
from playground.domain.packages import package_uuid
from playground.domain.runs import RunRequest
from playground.schemas.common import RequestBody
from playground.schemas.run import (
    PRICES,
    Effort,
    Input,
    MaxTokens,
    ModelName,
    PackageId,
    PackageVersionText,
    RunAnswer,
    UseNoPrompt,
)
from playground.usecases.compare_prompts import Compared
from playground.usecases.run_prompt import PaidAnswer


class Variant(RequestBody):
    """What is run on the input of a comparison; fields as of a run."""

    package_id: PackageId
    package_version: PackageVersionText = None
    model: ModelName = PRICES.default_model
    max_tokens: MaxTokens = None
    use_no_prompt: UseNoPrompt = False
    effort: Effort = None

    def request(self, text: str) -> RunRequest:
        fields = {**self.model_dump(), "package_id": package_uuid(self.package_id) or ""}
        return RunRequest(
            **fields, input=text, names_model="model" in self.model_fields_set, package_as_sent=self.package_id
        )


class CompareBody(RequestBody):
    input: Input
    variants: Annotated[
        list[Variant],
        Field(min_length=MIN_VARIANTS, max_length=MAX_VARIANTS, description="Each must differ from the others"),
    ]

    def requests(self) -> Sequence[RunRequest]:
        return [variant.request(self.input) for variant in self.variants]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        same = repeated(self.requests(), PRICES.default_max_tokens)
        if same is not None:
            first, second = same
            raise InvalidRequestError(f"variants.{second}", f"must differ from variants.{first}")
        return self


class VariantFailure(BaseModel):
    """A variant without an answer, as the error that answers such a run. Some have more fields."""

    model_config = ConfigDict(extra="allow")

    error: str
    message: str
    request_id: str | None


class CompareAnswer(BaseModel):
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
