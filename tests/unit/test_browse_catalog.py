from collections.abc import Sequence

import pytest

from playground.domain.errors import InvalidRequestError, PackageNotFoundError
from playground.domain.packages import PackageSummary, PackageVersion
from playground.usecases.browse_catalog import ListPackages, PackagePage, ReadPackage

TIDY = PackageSummary(
    package_id="9f2c6b8e-0000-5000-8000-000000000000",
    name="@acme/tidy",
    description="Tidies up.",
    format="claude",
    subtype="skill",
    latest_version="1.0.0",
    versions=("1.0.0",),
    preview="# Tidy",
)


class OnePackage:
    """A catalogue with one package, which says what it was asked."""

    def __init__(self) -> None:
        self.asked: tuple[str, str | None, int] | None = None

    def publish(self, package: PackageVersion) -> bool:
        raise NotImplementedError

    def version(self, package_id: str, version: str | None) -> PackageVersion | None:
        raise NotImplementedError

    def summary(self, package_id: str) -> PackageSummary | None:
        return TIDY if package_id in (TIDY.package_id, TIDY.name) else None

    def search(self, text: str, *, after: str | None, limit: int) -> tuple[Sequence[PackageSummary], str | None]:
        self.asked = (text, after, limit)
        return [TIDY], TIDY.name


def test_lists_a_page_and_says_where_the_next_one_begins() -> None:
    catalog = OnePackage()

    assert ListPackages(catalog)(" tidy ", limit=1, cursor="@acme/a") == PackagePage([TIDY], "@acme/tidy")
    assert catalog.asked == ("tidy", "@acme/a", 1)


def test_lists_twenty_of_all_if_nothing_is_asked_for() -> None:
    catalog = OnePackage()

    ListPackages(catalog)()

    assert catalog.asked == ("", None, 20)


@pytest.mark.parametrize(
    ("query", "limit", "cursor", "field"),
    [
        ("x" * 201, 20, None, "q"),
        ("", 0, None, "limit"),
        ("", 101, None, "limit"),
        ("", 20, "", "cursor"),
        ("", 20, "PACKAGES", "cursor"),
        ("", 20, "@acme/" + "x" * 2_000, "cursor"),
    ],
)
def test_refuses_what_is_out_of_bounds(query: str, limit: int, cursor: str | None, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ListPackages(OnePackage())(query, limit=limit, cursor=cursor)
    assert caught.value.facts["field"] == field


def test_reads_a_package_by_id_or_name() -> None:
    read_package = ReadPackage(OnePackage())

    assert read_package(TIDY.package_id) == read_package(TIDY.name) == TIDY


def test_says_that_there_is_no_such_package() -> None:
    with pytest.raises(PackageNotFoundError, match="@acme/other"):
        ReadPackage(OnePackage())("@acme/other")
