"""Published packages, and the description of this API. Public."""

from functools import cache
from pathlib import Path as FilePath
from typing import Annotated

from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from playground import wiring
from playground.adapters.catalog_snapshot import SnapshotCatalog
from playground.adapters.clock import utc_now
from playground.adapters.dynamo_usage import DynamoUsage
from playground.adapters.ranking import SnapshotRanking
from playground.domain.errors import InvalidRequestError, PackageNotFoundError, StoreUnavailableError, UnreadableError
from playground.domain.packages import PackageKind
from playground.http import Answers, Api, answers
from playground.observability import report_unreadable
from playground.schemas.catalog import PackageDetails, PackageList, PackageUsageAnswer, SearchAnswer
from playground.schemas.common import Cursor
from playground.schemas.published import FirstPage
from playground.settings import CatalogFunctionSettings
from playground.usecases.browse_catalog import (
    DEFAULT_PAGE,
    MAX_PAGE,
    MAX_QUERY_CHARACTERS,
    ListPackages,
    ListPopular,
    ListRelevant,
    ReadPackage,
    SearchPackages,
)
from playground.usecases.read_usage import DEFAULT_DAYS, MAX_DAYS, ReadPackageUsage

# Made from the code of all functions by `make openapi`; a test fails when it is out of date.
OPENAPI = FilePath(__file__).with_name("openapi.json")

SORTS = ["relevance", "name", "runs"]
SEARCHED = (
    "What is searched for in names, descriptions and tags: words, or a sentence. The packages in which most of its "
    "words occur come first; a word also finds those that begin with it"
)

settings = CatalogFunctionSettings.load()
store = wiring.store()
catalog = SnapshotCatalog(wiring.catalog(settings, store))
usage = DynamoUsage(store, settings.spend_table, report=report_unreadable)
list_packages = ListPackages(catalog)
list_relevant = ListRelevant(catalog)
list_popular = ListPopular(catalog, SnapshotRanking(usage))
search_packages = SearchPackages(catalog)
read_package = ReadPackage(catalog)
read_usage = ReadPackageUsage(usage=usage, clock=utc_now)
# Public and the same for everybody. Refusals are not cached.
api = Api(
    settings,
    max_age={
        "/packages": 60,
        "/search": 60,
        "/packages/<package_id>": 10,
        "/packages/<package_id>/<name>": 10,
        "/playground/analytics/packages/<package_id>": 60,
        "/playground/analytics/packages/<package_id>/<name>": 60,
        "/openapi.json": 300,
    },
)
app = api.app
OPENAPI_ANSWERS = Answers({"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}})
handler = api


@app.get(
    "/packages", tags=["packages"], operation_id="listPackages", responses=answers(PackageList, StoreUnavailableError)
)
def packages(
    q: Annotated[str, Query(max_length=MAX_QUERY_CHARACTERS, description=SEARCHED)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    cursor: Cursor = None,
    sort: Annotated[str, Query(json_schema_extra={"enum": SORTS})] = "relevance",
) -> PackageList:
    """Packages to try: those that match `q` best first, without `q` by name. `sort=name` and `sort=runs` (most runs
    first, as of a minute ago at most) have only packages in which all words of `q` occur. A page may be shorter than
    `limit`; the end is where next_cursor is null. A cursor is of one order."""
    if sort not in SORTS:
        raise InvalidRequestError("sort", f"must be one of {', '.join(SORTS)}", got=sort)
    if sort == "relevance":
        page = list_relevant(q, limit=limit, cursor=cursor)
    else:
        page = (list_popular if sort == "runs" else list_packages)(q, limit=limit, cursor=cursor)
    return PackageList.of(page.packages, next_cursor=page.next_cursor)


@app.get(
    "/search", tags=["packages"], operation_id="searchPackages", responses=answers(SearchAnswer, StoreUnavailableError)
)
def search(
    q: Annotated[str, Query(max_length=MAX_QUERY_CHARACTERS, description=SEARCHED)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    cursor: Cursor = None,
    format: Annotated[str | None, Query(max_length=64, description="As in a package: claude, for example")] = None,  # noqa: A002
    subtype: Annotated[str | None, Query(max_length=64, description="As in a package: skill, for example")] = None,
    offset: FirstPage = 0,
) -> SearchAnswer:
    """Packages as in GET /packages by relevance, of a format or subtype, and how many there are in all."""
    found = search_packages(q, kind=PackageKind(format=format, subtype=subtype), limit=limit, cursor=cursor)
    return SearchAnswer.of_search(found, limit=limit)


# Before /packages/<package_id>/<name>, which it would otherwise match.
@app.get(
    "/packages/by-id/<package_id>",
    tags=["packages"],
    operation_id="getPackageById",
    deprecated=True,
    responses=answers(PackageDetails, PackageNotFoundError, StoreUnavailableError),
)
def package_by_id(
    package_id: Annotated[str, Path(max_length=200, description="UUID or encoded name")],
) -> PackageDetails:
    """The same as GET /packages/{package_id}, where earlier clients look for it."""
    return PackageDetails.of(read_package(package_id))


@app.get(
    "/packages/<package_id>",
    tags=["packages"],
    operation_id="getPackage",
    responses=answers(PackageDetails, PackageNotFoundError, StoreUnavailableError),
)
def package(package_id: Annotated[str, Path(max_length=200)]) -> PackageDetails:
    """One package by UUID or encoded name (%40scope%2Fname), with the beginning of its prompt."""
    return PackageDetails.of(read_package(package_id))


@app.get(
    "/packages/<package_id>/<name>",
    tags=["packages"],
    operation_id="getPackageByName",
    responses=answers(PackageDetails, PackageNotFoundError, StoreUnavailableError),
)
def package_by_name(
    package_id: Annotated[str, Path(max_length=80, description="@scope")],
    name: Annotated[str, Path(max_length=120)],
) -> PackageDetails:
    """One package by name: /packages/@scope/name."""
    return PackageDetails.of(read_package(f"{package_id}/{name}"))


Days = Annotated[int, Query(ge=1, le=MAX_DAYS, description="Days (UTC) up to today that `days` covers")]


@app.get(
    "/playground/analytics/packages/<package_id>",
    tags=["packages"],
    operation_id="getPackageUsage",
    responses=answers(PackageUsageAnswer, PackageNotFoundError, StoreUnavailableError, UnreadableError),
)
def package_usage(
    package_id: Annotated[str, Path(max_length=200)],
    days: Days = DEFAULT_DAYS,
) -> PackageUsageAnswer:
    """How much a package is used, by UUID or encoded name (%40scope%2Fname). No user is named, and below five users
    only the number of runs is told. A run counts a moment after it ended."""
    return _usage_of(package_id, days)


@app.get(
    "/playground/analytics/packages/<package_id>/<name>",
    tags=["packages"],
    operation_id="getPackageUsageByName",
    responses=answers(PackageUsageAnswer, PackageNotFoundError, StoreUnavailableError, UnreadableError),
)
def package_usage_by_name(
    package_id: Annotated[str, Path(max_length=80, description="@scope")],
    name: Annotated[str, Path(max_length=120)],
    days: Days = DEFAULT_DAYS,
) -> PackageUsageAnswer:
    """The same by name: /playground/analytics/packages/@scope/name."""
    return _usage_of(f"{package_id}/{name}", days)


def _usage_of(package_id: str, days: int) -> PackageUsageAnswer:
    summary = read_package(package_id)
    return PackageUsageAnswer.of(summary, read_usage(summary.name, days=days))


@app.get("/openapi.json", tags=["about"], operation_id="getOpenApi", responses=OPENAPI_ANSWERS)
def openapi() -> Response[str]:
    """This document."""
    return Response(status_code=200, content_type=content_types.APPLICATION_JSON, body=_document())


@cache
def _document() -> str:
    return OPENAPI.read_text(encoding="utf-8")
