"""Published packages, and the description of this API. Public."""

from functools import cache
from pathlib import Path as FilePath
from typing import Annotated

from aws_lambda_powertools.event_handler import Response, content_types
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from playground import wiring
from playground.adapters.catalog_snapshot import SnapshotCatalog
from playground.http import Api, answers
from playground.schemas.catalog import PackageDetails, PackageList
from playground.settings import CatalogSettings
from playground.usecases.browse_catalog import DEFAULT_PAGE, MAX_PAGE, MAX_QUERY_CHARACTERS, ListPackages, ReadPackage

# Made from the code of all functions by `make openapi`; a test fails when it is out of date.
OPENAPI = FilePath(__file__).with_name("openapi.json")

settings = CatalogSettings.load()
store = wiring.store()
catalog = SnapshotCatalog(wiring.catalog(settings, store))
list_packages = ListPackages(catalog)
read_package = ReadPackage(catalog)
# Public and the same for everybody. Refusals are not cached.
api = Api(
    settings,
    max_age={"/packages": 60, "/packages/<package_id>": 10, "/packages/<package_id>/<name>": 10, "/openapi.json": 300},
)
app = api.app
handler = api


@app.get("/packages", tags=["packages"], responses=answers(PackageList, 400, 503))
def packages(
    q: Annotated[
        str, Query(max_length=MAX_QUERY_CHARACTERS, description="Part of the name, the description or a tag")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> PackageList:
    """Packages to try, by name. A page may be shorter than `limit`; the end is where next_cursor is null."""
    page = list_packages(q, limit=limit, cursor=cursor)
    return PackageList.of(page.packages, next_cursor=page.next_cursor)


@app.get("/packages/<package_id>", tags=["packages"], responses=answers(PackageDetails, 400, 404, 503))
def package(package_id: Annotated[str, Path(max_length=200)]) -> PackageDetails:
    """One package by UUID or encoded name (%40scope%2Fname), with the beginning of its prompt."""
    return PackageDetails.of(read_package(package_id))


@app.get("/packages/<package_id>/<name>", tags=["packages"], responses=answers(PackageDetails, 400, 404, 503))
def package_by_name(
    package_id: Annotated[str, Path(max_length=80, description="@scope")],
    name: Annotated[str, Path(max_length=120)],
) -> PackageDetails:
    """One package by name: /packages/@scope/name."""
    return PackageDetails.of(read_package(f"{package_id}/{name}"))


@app.get("/openapi.json", tags=["about"])
def openapi() -> Response[str]:
    """This document."""
    return Response(status_code=200, content_type=content_types.APPLICATION_JSON, body=_document())


@cache
def _document() -> str:
    return OPENAPI.read_text(encoding="utf-8")
