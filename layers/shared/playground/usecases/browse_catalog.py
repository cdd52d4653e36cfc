"""ListPackages and ReadPackage: the catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass

from playground.domain.errors import InvalidRequestError, PackageNotFoundError
from playground.domain.packages import PackageSummary, is_package_name
from playground.ports import CatalogReader

MAX_QUERY_CHARACTERS = 200
MAX_PAGE = 100
DEFAULT_PAGE = 20


@dataclass(frozen=True, slots=True)
class PackagePage:
    """`next_cursor` is None at the end. A page may be short or empty without being the last."""

    packages: Sequence[PackageSummary]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ListPackages:
    """A page of the packages that match a text, by name."""

    catalog: CatalogReader

    def __call__(self, query: str = "", *, limit: int = DEFAULT_PAGE, cursor: str | None = None) -> PackagePage:
        """The packages whose name, description or tags contain `query` in any case; all of them for a blank one.

        Raises InvalidRequestError for a query, limit or cursor that is out of bounds.
        """
        if len(query) > MAX_QUERY_CHARACTERS:
            raise InvalidRequestError("q", f"must have at most {MAX_QUERY_CHARACTERS} characters")
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequestError("limit", f"must be 1 to {MAX_PAGE}")
        if cursor is not None and not is_package_name(cursor):
            raise InvalidRequestError("cursor", "must be a next_cursor of an earlier answer")
        packages, after = self.catalog.search(query.strip(), after=cursor, limit=limit)
        return PackagePage(packages, after)


@dataclass(frozen=True, slots=True)
class ReadPackage:
    """One package: its newest version with the beginning of the prompt, and the list of all versions."""

    catalog: CatalogReader

    def __call__(self, package_id: str) -> PackageSummary:
        """The package with this UUID or `@scope/name`. Raises PackageNotFoundError."""
        summary = self.catalog.summary(package_id)
        if summary is None:
            raise PackageNotFoundError(package_id)
        return summary
