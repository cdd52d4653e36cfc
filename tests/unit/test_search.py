"""Which packages a text finds, and in which order."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from playground.adapters.catalog_snapshot import SnapshotCatalog
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.domain.errors import InvalidRequestError
from playground.domain.packages import PackageKind, PackageSummary
from playground.domain.search import MAX_WORDS, Query, ranked
from playground.usecases.browse_catalog import FoundPackages, ListRelevant, PackagePage, SearchPackages


def a_package(name: str, description: str = "", *tags: str, format: str = "claude") -> PackageSummary:  # noqa: A002
    return PackageSummary(
        package_id=name,
        name=name,
        description=description,
        format=format,
        subtype="skill",
        latest_version="1.0.0",
        versions=("1.0.0",),
        preview="",
        tags=tags,
    )


PACKAGES = (
    a_package("@acme/api-designer", "Designs an HTTP API; examples to paste.", "http"),
    a_package("@acme/code-reviewer", "Reviews a piece of code or a diff.", "python", "quality"),
    a_package("@acme/codex", "Something about books.", format="cursor"),
    a_package("@acme/sql-explainer", "Explains a PostgreSQL query.", "sql"),
    a_package("@acme/straße", "Finds a street. 翻訳する人", "ROAD"),
)


class Table(DynamoCatalog):
    """The list of packages as the table has it, without a store."""

    def __init__(self, summaries: Sequence[PackageSummary]) -> None:
        self._summaries = sorted(summaries, key=lambda summary: summary.name)

    def listed(self, after: str | None, count: int) -> tuple[Sequence[PackageSummary], str | None]:
        behind = [summary for summary in self._summaries if after is None or summary.name > after]
        return behind[:count], behind[count - 1].name if len(behind) > count else None


def found(text: str) -> list[str]:
    return [summary.name.removeprefix("@acme/") for _, summary in ranked(PACKAGES, Query.of(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("something that reviews my python code", ["code-reviewer", "codex"]),
        ("code reviewer", ["code-reviewer", "codex"]),
        ("I'd like something to explain SQL to me", ["sql-explainer"]),
        ("design api", ["api-designer"]),
        ("DESIGNING APIS", ["api-designer"]),
        ("cod", ["code-reviewer", "codex"]),
        ("codex code", ["codex", "code-reviewer"]),
        ("@acme/codex", ["codex", "api-designer", "code-reviewer", "sql-explainer", "straße"]),
        ("STRASSE", ["straße"]),
        ("人", ["straße"]),
        ("gres", []),  # not the beginning of a word
        ("something", ["codex"]),  # looked for if there is nothing else
        ("nobody has this", []),
    ],
)
def test_the_best_match_comes_first(text: str, expected: list[str]) -> None:
    assert found(text) == expected


def test_a_package_in_whose_name_the_words_are_comes_before_others_with_as_many() -> None:
    packages = [a_package("@a/a", "Writes a summary."), a_package("@a/summary", "Writes.")]
    assert [summary.name for _, summary in ranked(packages, Query.of("write summary"))] == ["@a/summary", "@a/a"]


def test_no_more_than_so_many_words_are_looked_for() -> None:
    assert len(Query.of(" ".join(f"w{number}" for number in range(100))).words) == MAX_WORDS


@pytest.mark.parametrize("max_listed", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_have_each_package_once_also_those_behind_the_list(max_listed: int, limit: int) -> None:
    """The ranked ones first, then those that there is no room for, by name."""
    index = SnapshotCatalog(Table(PACKAGES), max_listed=max_listed)
    names: list[str] = []
    cursor: str | None = None
    for _ in range(20):
        page = ListRelevant(index)("sql code review", limit=limit, cursor=cursor)
        assert len(page.packages) <= limit
        names += [summary.name for summary in page.packages]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert cursor is None
    assert sorted(names) == ["@acme/code-reviewer", "@acme/codex", "@acme/sql-explainer"]
    assert names[0] == "@acme/code-reviewer" or max_listed == 1


def test_many_packages_behind_the_list_are_read_in_bounded_pages() -> None:
    many = [a_package(f"@many/p{number:04}", "code" if number == 2_500 else "") for number in range(3_000)]
    index = SnapshotCatalog(Table(many), max_listed=10)
    sizes, cursor = [], None
    for _ in range(10):
        page = ListRelevant(index)("code", cursor=cursor)
        sizes.append(len(page.packages))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sizes == [0, 0, 1]


def test_a_search_filters_by_kind_and_counts_what_matches_in_part() -> None:
    search = SearchPackages(SnapshotCatalog(Table(PACKAGES)))
    assert search("code reviewer", kind=PackageKind()) == FoundPackages(a_page(PACKAGES[1], PACKAGES[2]), 2)
    assert search("code reviewer", kind=PackageKind(format="cursor")) == FoundPackages(a_page(PACKAGES[2]), 1)
    assert search(" ", kind=PackageKind()) == FoundPackages(a_page(*PACKAGES), 5)
    assert SearchPackages(SnapshotCatalog(Table(PACKAGES), max_listed=2))("code", kind=PackageKind()).total is None


def a_page(*summaries: PackageSummary) -> PackagePage:
    return PackagePage(list(summaries), None)


def test_a_new_version_of_the_description_is_what_is_searched() -> None:
    clock = [0.0]
    table = Table(PACKAGES)
    index = SnapshotCatalog(table, monotonic=lambda: clock[0])
    assert ListRelevant(index)("poems").packages == []
    table._summaries = [replace(PACKAGES[0], description="Poems.")]
    clock[0] = 61.0
    assert [summary.name for summary in ListRelevant(index)("poems").packages] == ["@acme/api-designer"]


@pytest.mark.parametrize(
    "cursor", ["", "@acme/codex", "WyIxIl0", "WyIxIiwiMSIsIjEiLCJhIl0", "WyI5OTkiLCIxIiwiMSIsIkBhL2EiXQ"]
)
def test_a_cursor_of_another_list_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequestError):
        ListRelevant(SnapshotCatalog(Table(PACKAGES)))("code", cursor=cursor)
