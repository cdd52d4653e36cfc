"""Bodies of the function anonymous."""

from typing import Annotated, Self

from pydantic import Field

from playground.domain.account import SIGNUP_CREDITS
from playground.domain.packages import package_uuid
from playground.schemas.common import Body, RequestBody
from playground.schemas.run import Input, PackageId
from playground.usecases.run_anonymously import AnonymousAnswer

MESSAGE = (
    f"This was today's run without a login. Log in to go on: a new account has {SIGNUP_CREDITS} credits to start with."
)


class AnonymousRunBody(RequestBody):
    """The newest version of the package is run."""

    package_id: PackageId
    input: Input

    @property
    def package_uuid(self) -> str:
        return package_uuid(self.package_id) or ""


class AnonymousRunAnswer(Body):
    response: str
    tokens_used: int
    duration_ms: int
    model: Annotated[str, Field(description="The provider's id of the model that answered")]
    login_required: Annotated[bool, Field(description="Always true: the next run needs a login")]
    message: Annotated[str, Field(description="What to do next, for a person")]

    @classmethod
    def of(cls, answer: AnonymousAnswer) -> Self:
        return cls(
            response=answer.text,
            tokens_used=answer.tokens_used,
            duration_ms=answer.duration_ms,
            model=answer.model_id,
            login_required=True,
            message=MESSAGE,
        )
