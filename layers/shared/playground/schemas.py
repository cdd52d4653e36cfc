"""Bodies of the contract, as they are read and written. The OpenAPI document is made from them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from aws_lambda_powertools.event_handler.openapi.params import Header
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from playground.adapters.prices import load_prices
from playground.domain.calendar import iso
from playground.domain.packages import package_uuid
from playground.domain.runs import RunRequest
from playground.domain.sessions import Turn
from playground.domain.text import is_blank

PRICES = load_prices()
MODELS = tuple(PRICES.models)
EFFORTS = tuple(sorted({effort for model in PRICES.models.values() for effort in model.efforts}))
MOST_MAX_TOKENS = 32_000  # what a buffered answer can carry in time, and one item of the store can hold

Moment = Annotated[datetime, PlainSerializer(iso, return_type=str)]


def _known_package(text: str) -> str:
    if package_uuid(text) is None:
        raise ValueError("must be a UUID or @scope/name")
    return text


def _plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _not_blank(text: str) -> str:
    if is_blank(text):
        raise ValueError("must not be blank: nothing of it can be seen")
    return text


def _one_of(values: tuple[str, ...]) -> AfterValidator:
    def check(text: str | None) -> str | None:
        if text is not None and text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return AfterValidator(check)


PackageId = Annotated[
    str,
    Field(
        max_length=200,
        validation_alias=AliasChoices("package_id", "packageId"),
        description="UUID or @scope/name",
        examples=["@playground/code-reviewer"],
    ),
    AfterValidator(_plain),
    AfterValidator(_known_package),
]
Input = Annotated[
    str,
    Field(
        min_length=1,
        max_length=10_000,
        validation_alias=AliasChoices("input", "userInput", "user_input"),
        description="What to ask; 1 to 10,000 characters, not blank",
    ),
    AfterValidator(_plain),
    AfterValidator(_not_blank),
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
    _one_of(MODELS),
    Field(json_schema_extra={"enum": list(MODELS)}, description="Which Claude"),
]
MaxTokens = Annotated[
    int | None,
    Field(
        strict=True,
        ge=1,
        le=MOST_MAX_TOKENS,
        validation_alias=AliasChoices("max_tokens", "maxTokens"),
        description=f"Longest answer in tokens, thinking included; {PRICES.default_max_tokens} if left out",
    ),
]
UseNoPrompt = Annotated[
    bool,
    Field(
        strict=True,
        validation_alias=AliasChoices("use_no_prompt", "useNoPrompt"),
        description="Leave the package's prompt out, to compare",
    ),
]


class EstimateBody(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    package_id: PackageId
    input: Input
    package_version: PackageVersionText = None
    session_id: SessionId = None
    model: ModelName = PRICES.default_model
    max_tokens: MaxTokens = None
    use_no_prompt: UseNoPrompt = False

    def request(self) -> RunRequest:
        """What is asked for, in the words of the domain."""
        fields = {**self.model_dump(), "package_id": package_uuid(self.package_id) or ""}
        return RunRequest(**fields, names_model="model" in self.model_fields_set, package_as_sent=self.package_id)


class RunBody(EstimateBody):
    effort: Annotated[
        str | None,
        _one_of(EFFORTS),
        Field(json_schema_extra={"enum": [*EFFORTS, None]}, description="How much the model should think"),
    ] = None
    temperature: Annotated[
        float | None,
        Field(strict=True, ge=0, le=1, allow_inf_nan=False, description="Only for models that take it"),
    ] = None


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


OMITTED = (
    "How many turns of the session were left out: the oldest, because they do not fit or cannot be paid for, "
    "and those that the model declined"
)


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


class RunAnswer(BaseModel):
    run_id: str
    session_id: str
    response: str
    stop_reason: str
    credits_spent: int
    credits_remaining: Annotated[int, Field(description="Balance right after this run was charged")]
    tokens_used: int
    input_tokens: int
    output_tokens: int
    duration_ms: int
    model: Annotated[str, Field(description="The provider's id of the model that answered")]
    price_version: str
    max_tokens: Annotated[int, Field(description="What the answer was limited to")]
    max_tokens_reduced: Annotated[bool, Field(description="Whether that is less than asked for, to be affordable")]
    turns_omitted: Annotated[int, Field(description=OMITTED)]
    conversation: list[Message]


class EstimateAnswer(BaseModel):
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
        bool, Field(description="Whether the prompt's tokens could not be counted: then all of it is rather too high")
    ]


class Breakdown(BaseModel):
    monthly: int
    rollover: int
    purchased: int


class Monthly(BaseModel):
    allocated: int
    used: int
    remaining: int
    reset_at: Moment | None


class Rollover(BaseModel):
    amount: int
    expires_at: Moment | None


class CreditsAnswer(BaseModel):
    balance: Annotated[int, Field(description="monthly + rollover + purchased")]
    available: Annotated[int, Field(description="balance − held")]
    held: Annotated[int, Field(description="Set aside for runs that are at work")]
    debt: int
    monthly: Monthly
    rollover: Rollover
    purchased: int
    breakdown: Breakdown
    plan: str


class PurchaseBody(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    package: Annotated[
        str,
        Field(strict=True, max_length=50, json_schema_extra={"enum": [pack.id for pack in PRICES.packs]}),
    ]


class PurchaseAnswer(BaseModel):
    client_secret: Annotated[str, Field(description="For the provider's form in the browser; keep it nowhere")]
    credits: int
    price: Annotated[int, Field(description="Cents")]
    purchase_id: str


class ReceivedAnswer(BaseModel):
    received: bool


ReturnUrl = Annotated[
    str | None, Field(strict=True, max_length=2000, description="A page of the front end; its own one if left out")
]


class SubscribeBody(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    success_url: Annotated[ReturnUrl, Field(validation_alias=AliasChoices("success_url", "successUrl"))] = None
    cancel_url: Annotated[ReturnUrl, Field(validation_alias=AliasChoices("cancel_url", "cancelUrl"))] = None


class UrlAnswer(BaseModel):
    url: Annotated[str, Field(description="A page of the payment provider")]


class SubscriptionAnswer(BaseModel):
    is_active: bool
    status: Annotated[str, Field(description="The provider's word; `granted` if an operator set the plan, or `none`")]
    cancel_at_period_end: bool
    current_period_end: Moment | None


class Transaction(BaseModel):
    id: str
    seq: int
    amount: int
    balance_after: int
    type: str
    description: str
    buckets: Breakdown
    session_id: str | None
    run_id: str | None
    purchase_id: str | None
    created_at: Moment
    business_key: Annotated[str, Field(description="Names what caused this line; there is one line for it, for ever")]
    previous_hash: Annotated[str, Field(description="Hash of the line before")]
    hash: Annotated[str, Field(description="SHA-256 over this line and the hash of the line before")]


class HistoryAnswer(BaseModel):
    transactions: list[Transaction]
    next_cursor: str | None
    unreadable: Annotated[list[int], Field(description=f"Numbers (seq). {UNREADABLE}")] = []


class PackAnswer(BaseModel):
    id: str
    name: str
    credits: int
    price: Annotated[int, Field(description="in cents")]
    price_formatted: str
    per_credit_cost: Annotated[float, Field(description="in cents")]
    bonus: Annotated[int, Field(description="Percent more credits for the money than in the smallest pack")]
    description: str
    popular: bool


class PacksAnswer(BaseModel):
    packages: list[PackAnswer]


class PricingAnswer(BaseModel):
    name: str
    price: Annotated[int, Field(description="in cents")]
    price_formatted: str
    currency: str
    interval: str
    credits: int
    price_version: str


class UnpaidAnswer(BaseModel):
    cost_nano_dollars: int
    usage_source: Annotated[
        Literal["reported", "estimated"],
        Field(description="estimated: the provider did not report all of it; what is missing is counted upward"),
    ]


class ReceiptAnswer(BaseModel):
    run_id: str
    status: Literal["held", "settled", "released", "expired"]
    session_id: str
    model: str
    ceiling: int
    started_at: Moment
    ended_at: Moment | None = None
    package: str | None = None
    package_version: str | None = None
    model_id: str | None = None
    stop_reason: str | None = None
    duration_ms: int | None = None
    credits_spent: int = 0
    overrun: Annotated[int, Field(description="Credits above the ceiling: never charged")] = 0
    buckets: Breakdown | None = None
    balance_after: int | None = None
    usage: dict[str, int] | None = None
    price: dict[str, int] | None = None
    unpaid: Annotated[
        UnpaidAnswer | None, Field(description="What a run without an answer cost the service; never charged")
    ] = None
    price_version: str | None = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    wanted_max_tokens: int | None = None
    entry_seq: int | None = None
    entry_hash: str | None = None
    error: dict[str, Any] | None = None
    response: Annotated[str | None, Field(description="The answer, while its session exists")] = None


# --- sessions ---------------------------------------------------------------------------------------------------------


class SessionListed(BaseModel):
    session_id: str
    package_id: str
    package: str
    package_version: str
    use_no_prompt: bool
    model: str
    title: Annotated[str, Field(description="How the first input begins")]
    turns: int
    credits_spent: Annotated[int, Field(description="By the runs of this session; turns that were copied cost nothing")]
    tokens_used: int
    duration_ms: int
    created_at: Moment
    updated_at: Moment
    forked: Annotated[bool, Field(description="Whether it began as a copy of a shared conversation")]
    shared: bool


class SessionList(BaseModel):
    sessions: list[SessionListed]
    next_cursor: str | None
    unreadable: Annotated[list[str], Field(description=f"Ids of sessions. {UNREADABLE}")] = []


class ShareStatus(BaseModel):
    share_url: Annotated[
        str | None, Field(description="null if it was made with a secret that is gone; sharing again makes another one")
    ]
    shared_at: Moment
    expires_at: Moment | None
    expired: bool
    hidden: Annotated[bool, Field(description="By reports or an operator: nobody can see it")]
    turns: Annotated[int, Field(description="How far the snapshot goes")]
    views: int
    helpful: int
    not_helpful: int


class SessionAnswer(SessionListed):
    share: ShareStatus | None
    conversation: list[Message]
    next_cursor: Annotated[
        str | None, Field(description="Where a conversation goes on that is too long for one answer")
    ]


class DeletedAnswer(BaseModel):
    deleted: bool


Comment = Annotated[str, Field(max_length=1000), AfterValidator(_plain)]
_HELPFUL = Field(strict=True, validation_alias=AliasChoices("is_helpful", "isHelpful"))


class ShareBody(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    expires_in_days: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=365,
            validation_alias=AliasChoices("expires_in_days", "expiresInDays"),
            description="When the link dies by itself; never if left out",
        ),
    ] = None
    acknowledge_findings: Annotated[
        bool,
        Field(
            strict=True,
            validation_alias=AliasChoices("acknowledge_findings", "acknowledgeFindings"),
            description="Share it although there is what looks like a secret",
        ),
    ] = False


class ShareAnswer(BaseModel):
    share_token: str
    share_url: str
    turns: int
    shared_at: Moment
    expires_at: Moment | None


class UnsharedAnswer(BaseModel):
    shared: bool


class SharedMessage(BaseModel):
    role: Literal["user", "assistant"]
    content: str
    timestamp: Moment
    unreadable: Annotated[bool, Field(description=UNREADABLE_TURN)] = False


class SharedAnswer(BaseModel):
    package_id: str
    package: str
    package_version: str
    model: str
    title: str
    turns: int
    created_at: Moment
    shared_at: Moment
    conversation: list[SharedMessage]
    next_cursor: str | None


class VoteBody(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    is_helpful: Annotated[bool, _HELPFUL]
    comment: Comment = ""


class VoteAnswer(BaseModel):
    is_helpful: bool
    comment: str
    given_at: Moment


class ReportBody(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    reason: Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_plain), AfterValidator(_not_blank)]


class ReportAnswer(BaseModel):
    reported: bool


class RunFeedbackBody(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    rating: Annotated[int | None, Field(strict=True, ge=1, le=5)] = None
    is_helpful: Annotated[bool | None, _HELPFUL] = None
    comment: Comment = ""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rating is None and self.is_helpful is None:
            raise ValueError("needs a rating or is_helpful")
        return self


class RunFeedbackAnswer(BaseModel):
    run_id: str
    rating: int | None
    is_helpful: bool | None
    comment: str
    given_at: Moment


class PackageListed(BaseModel):
    id: str
    name: str
    description: str
    format: str
    subtype: str
    latest_version: str
    versions: list[str]
    preview: Annotated[str, Field(description="Characters that cannot be seen are written as [U+202E]")]
    tags: list[str]


class AssetListed(BaseModel):
    path: str
    size: Annotated[int, Field(description="Bytes")]
    media_type: str


class PackageDetails(PackageListed):
    assets: Annotated[list[AssetListed], Field(description="Files that are not part of the prompt")]
    hidden_characters: Annotated[
        dict[str, int],
        Field(description="How many characters of each kind in it cannot be seen; an operator has acknowledged them"),
    ]


class PackageList(BaseModel):
    packages: list[PackageListed]
    next_cursor: str | None
