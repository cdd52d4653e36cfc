"""Bodies of the function catalog."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Self

from pydantic import Field

from playground.domain.hidden import escaped
from playground.domain.packages import Asset, Example, PackageSummary
from playground.domain.spend import Ratings
from playground.domain.variables import Variable
from playground.schemas.common import Body
from playground.usecases.browse_catalog import FoundPackages
from playground.usecases.read_usage import MIN_USERS_SHOWN, PackageUsage


class PackageListed(Body):
    id: str
    name: str
    description: str
    format: str
    subtype: str
    latest_version: str
    versions: list[str]
    preview: Annotated[str, Field(description="Characters that cannot be seen are written as [U+202E]")]
    tags: list[str]

    @classmethod
    def of(cls, summary: PackageSummary) -> Self:
        """What was imported before hidden characters were looked for is escaped, too."""
        return cls(
            id=summary.package_id,
            name=summary.name,
            description=escaped(summary.description),
            format=summary.format,
            subtype=summary.subtype,
            latest_version=summary.latest_version,
            versions=list(summary.versions),
            preview=escaped(summary.preview),
            tags=[escaped(tag) for tag in summary.tags],
        )


class AssetListed(Body):
    path: str
    size: Annotated[int, Field(description="Bytes")]
    media_type: str

    @classmethod
    def of(cls, asset: Asset) -> Self:
        return cls.model_validate(asset, from_attributes=True)


class VariableListed(Body):
    name: str
    default: Annotated[str | None, Field(description="null: it must be given")]

    @classmethod
    def of(cls, variable: Variable) -> Self:
        return cls(name=variable.name, default=escaped(variable.default) if variable.default is not None else None)


class ExampleListed(Body):
    title: str
    input: str
    variables: dict[str, str] | None

    @classmethod
    def of(cls, example: Example) -> Self:
        values = example.variables
        return cls(
            title=escaped(example.title),
            input=escaped(example.input),
            variables={name: escaped(value) for name, value in values.items()} if values is not None else None,
        )


class PackageDetails(PackageListed):
    assets: Annotated[list[AssetListed], Field(description="Files that are not part of the prompt")]
    variables: Annotated[
        list[VariableListed], Field(description="What its text has placeholders for, {{name}} or {{name=default}}")
    ]
    examples: Annotated[list[ExampleListed], Field(description="Inputs that its author suggests")]
    prompt_characters: Annotated[
        int | None,
        Field(description="Of the newest version's text, which `preview` is the beginning of; null if not counted"),
    ]
    hidden_characters: Annotated[
        dict[str, int],
        Field(description="How many characters of each kind in it cannot be seen; an operator has acknowledged them"),
    ]

    @classmethod
    def of(cls, summary: PackageSummary) -> Self:
        return cls(
            **PackageListed.of(summary).model_dump(),
            assets=[AssetListed.of(asset) for asset in summary.assets],
            variables=[VariableListed.of(variable) for variable in summary.variables],
            examples=[ExampleListed.of(example) for example in summary.examples],
            prompt_characters=summary.prompt_characters,
            hidden_characters=dict(summary.hidden),
        )


class PackageList(Body):
    packages: list[PackageListed]
    next_cursor: str | None

    @classmethod
    def of(cls, summaries: Sequence[PackageSummary], *, next_cursor: str | None) -> Self:
        return cls(packages=[PackageListed.of(summary) for summary in summaries], next_cursor=next_cursor)


class PackageDay(Body):
    date: date
    runs: int


class PackageRatings(Body):
    count: Annotated[int, Field(description="Runs that their owners have rated with stars")]
    average: Annotated[float | None, Field(description="Stars, 1 to 5; null without any")]
    helpful: int
    not_helpful: int

    @classmethod
    def of(cls, ratings: Ratings) -> Self:
        average = round(ratings.stars / ratings.rated, 2) if ratings.rated else None
        return cls(count=ratings.rated, average=average, helpful=ratings.helpful, not_helpful=ratings.not_helpful)


class PackageUsageAnswer(Body):
    id: str
    name: str
    runs: Annotated[int, Field(description="Runs that were charged, of all time")]
    users: Annotated[
        int | None,
        Field(
            description=f"Accounts that ever ran it, with or without an answer; null if fewer than {MIN_USERS_SHOWN}"
        ),
    ]
    average_credits: Annotated[
        float | None, Field(description=f"Of a run, of all time; null without runs and below {MIN_USERS_SHOWN} users")
    ]
    ratings: Annotated[
        PackageRatings | None,
        Field(description=f"What owners think of their runs, of all time; null below {MIN_USERS_SHOWN} users"),
    ]
    from_date: Annotated[date, Field(description="The first day (UTC) that `days` covers; the last one is today")]
    days: Annotated[
        list[PackageDay],
        Field(description=f"Days with charged runs, the earliest first; none below {MIN_USERS_SHOWN} users"),
    ]

    @classmethod
    def of(cls, summary: PackageSummary, usage: PackageUsage) -> Self:
        counters = usage.totals.counters
        is_shown = usage.users is not None and counters.runs > 0
        return cls(
            id=summary.package_id,
            name=summary.name,
            runs=counters.runs,
            users=usage.users,
            average_credits=round(counters.credits / counters.runs, 2) if is_shown else None,
            ratings=PackageRatings.of(usage.ratings) if usage.ratings is not None else None,
            from_date=usage.first,
            days=[PackageDay(date=day, runs=runs) for day, runs in usage.days],
        )


class SearchAnswer(PackageList):
    total: Annotated[
        int | None, Field(description="How many packages match in all; null if there are too many to count")
    ]
    limit: int

    @classmethod
    def of_search(cls, found: FoundPackages, *, limit: int) -> Self:
        page = found.page
        return cls(
            packages=[PackageListed.of(summary) for summary in page.packages],
            next_cursor=page.next_cursor,
            total=found.total,
            limit=limit,
        )
