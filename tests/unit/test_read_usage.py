"""ReadUsage, ReadPackageUsage and the order of packages by runs, over fakes."""

import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest

from playground.adapters.ranking import LIFE_SECONDS, RETRY_SECONDS, SnapshotRanking
from playground.domain.errors import InvalidRequestError, StoreUnavailableError
from playground.domain.packages import PackageVersion, package_uuid
from playground.domain.runs import Run
from playground.domain.spend import Counters, PackageTotals, Rank, UsagePlace, ranking_of
from playground.usecases.browse_catalog import ListPopular
from playground.usecases.read_usage import MIN_USERS_SHOWN, ReadPackageUsage, ReadUsage, UsagePage
from tests.conftest import NOW
from tests.fakes import InMemoryCatalog, InMemorySpend, paid_run, unpaid_run

TODAY = NOW.date()


def counted(*runs: Run) -> InMemorySpend:
    spend = InMemorySpend()
    spend.counted.update({run.run_id: run for run in runs})
    return spend


def a_run(number: int, user: str = "alice", *, days_ago: int = 0, package: str | None = "@acme/tidy") -> Run:
    at = NOW - timedelta(days=days_ago)
    return paid_run(user, f"run_{number}", at, cost_nano=1 << number, charged=number + 1, package=package)


def read_usage(*runs: Run) -> ReadUsage:
    return ReadUsage(usage=counted(*runs), clock=lambda: NOW)


def read_package_usage(*runs: Run) -> ReadPackageUsage:
    return ReadPackageUsage(usage=counted(*runs), clock=lambda: NOW)


def all_pages(read: ReadUsage, limit: int) -> list[UsagePage]:
    pages = [read("alice", limit=limit)]
    while pages[-1].following is not None:
        pages.append(read("alice", limit=limit, after=pages[-1].following))
    return pages


def test_the_rows_of_a_user_and_their_totals() -> None:
    failed = unpaid_run("alice", "run_failed", NOW, cost_nano=5)
    page = read_usage(a_run(0), a_run(1), a_run(2, days_ago=1), a_run(3, "bob"), failed)("alice")

    assert [(row.day, row.package, row.counters.runs, row.counters.failed) for row in page.rows] == [
        (TODAY - timedelta(days=1), "@acme/tidy", 1, 0),
        (TODAY, "@acme/tidy", 2, 1),
    ]
    assert page.totals == Counters(
        runs=3, failed=1, credits=6, input_tokens=120, output_tokens=180, cost_nano=7 + 5, unpaid_nano=5
    )
    assert page.following is None


@pytest.mark.parametrize(("days", "runs"), [(1, 1), (2, 2), (30, 2), (31, 3), (90, 4)])
def test_days_are_counted_from_today_on_backwards(days: int, runs: int) -> None:
    read = read_usage(*(a_run(number, days_ago=ago) for number, ago in enumerate([0, 1, 30, 89, 90])))
    page = read("alice", days=days)

    assert page.totals.runs == runs
    assert (page.first, page.last) == (TODAY - timedelta(days=days - 1), TODAY)


@pytest.mark.parametrize("days", [0, -1, 91])
def test_days_out_of_bounds_are_named(days: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_usage()("alice", days=days)
    assert caught.value.facts["field"] == "days"
    with pytest.raises(InvalidRequestError) as caught:
        read_package_usage()("@acme/tidy", days=days)
    assert caught.value.facts["field"] == "days"


def test_a_limit_and_a_place_out_of_bounds_are_named() -> None:
    for limit in (0, 5001):
        with pytest.raises(InvalidRequestError) as caught:
            read_usage()("alice", limit=limit)
        assert caught.value.facts["field"] == "limit"
    tomorrow = UsagePlace(day=TODAY + timedelta(days=1), package=None, model="sonnet")
    with pytest.raises(InvalidRequestError) as caught:
        read_usage()("alice", after=tomorrow)
    assert caught.value.facts["field"] == "cursor"


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_pages_have_every_row_once(limit: int) -> None:
    chance = random.Random(limit)
    packages = ["@acme/a", "@acme/a-b", "@acme/b", None]
    runs = [a_run(n, days_ago=chance.randrange(9), package=chance.choice(packages)) for n in range(30)]
    read = read_usage(*runs)
    pages = all_pages(read, limit)

    assert [row for page in pages for row in page.rows] == list(read("alice").rows)
    assert sum((page.totals for page in pages), Counters()) == sum(map(Counters.of, runs), Counters())
    assert all(len(page.rows) == limit for page in pages[:-1])


def test_of_a_package_with_few_users_only_the_number_of_runs_is_shown() -> None:
    few = [a_run(number, f"user-{number % (MIN_USERS_SHOWN - 1)}") for number in range(9)]
    usage = read_package_usage(*few)("@acme/tidy")
    assert (usage.totals.counters.runs, usage.users, usage.days) == (9, None, ())

    enough = [*few, a_run(9, "another")]
    usage = read_package_usage(*enough)("@acme/tidy")
    assert (usage.totals.counters.runs, usage.users, usage.days) == (10, MIN_USERS_SHOWN, [(TODAY, 10)])


def test_days_of_a_package_have_all_its_models_and_no_failures() -> None:
    runs = [a_run(number, f"user-{number}", days_ago=number % 3) for number in range(6)]
    failed = unpaid_run("eve", "run_failed", NOW - timedelta(days=5), cost_nano=5)
    usage = read_package_usage(*runs, failed)("@acme/tidy", days=2)

    assert usage.days == [(TODAY - timedelta(days=1), 2), (TODAY, 2)]
    assert (usage.totals.counters.runs, usage.totals.users) == (6, 7)


# --- by runs ----------------------------------------------------------------------------------------------------------


def a_package(name: str) -> PackageVersion:
    return PackageVersion(
        package_id=package_uuid(name) or "",
        name=name,
        version="1.0.0",
        description="odd" if name[-1] in "13579" else "even",
        format="claude",
        subtype="skill",
        prompt="# Prompt",
        files=("SKILL.md",),
        published_at=NOW,
    )


def names_of(list_popular: ListPopular, query: str, limit: int) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    for _ in range(400):
        page = list_popular(query, limit=limit, cursor=cursor)
        assert len(page.packages) <= limit
        found += [summary.name for summary in page.packages]
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("no end")


@pytest.mark.parametrize("limit", [1, 3, 20, 100])
def test_packages_by_runs_then_those_without_any_by_name(limit: int) -> None:
    chance = random.Random(limit)
    names = [f"@acme/p{number:03}" for number in range(130)]
    runs = {name: chance.choice([0, 1, 2, 2, 7, 1000]) for name in chance.sample(names, 60)}
    runs["@acme/withdrawn"] = 50  # its counter is there, it is not
    ranking = ranking_of(
        PackageTotals(package=name, counters=Counters(runs=n, failed=chance.randrange(99))) for name, n in runs.items()
    )
    list_popular = ListPopular(InMemoryCatalog(*map(a_package, names)), lambda: ranking)

    expected = sorted(names, key=lambda name: (-runs.get(name, 0), name))
    assert names_of(list_popular, "", limit) == expected
    assert names_of(list_popular, " ODD ", limit) == [name for name in expected if name[-1] in "13579"]
    assert names_of(list_popular, "nothing", limit) == []


def test_a_page_of_all_packages_says_that_there_are_no_others() -> None:
    ranking = [Rank(5, "@acme/b"), Rank(2, "@acme/a")]
    page = ListPopular(InMemoryCatalog(*map(a_package, ["@acme/a", "@acme/b"])), lambda: ranking)()
    assert ([summary.name for summary in page.packages], page.next_cursor) == (["@acme/b", "@acme/a"], None)


def test_one_call_looks_at_a_thousand_names_at_most() -> None:
    names = [f"@acme/p{number:04}" for number in range(2_500)]
    asked: list[int] = []

    class Watched(InMemoryCatalog):
        def named(self, names: Sequence[str], text: str) -> dict[str, object]:  # type: ignore[override]
            asked.append(len(names))
            return {}

    ranking = [Rank(10_000 - number, name) for number, name in enumerate(names)]
    list_popular = ListPopular(Watched(), lambda: ranking)
    page = list_popular("x")
    assert (sum(asked), max(asked), len(page.packages)) == (1_000, 100, 0)
    assert names_of(list_popular, "x", 20) == []
    assert sum(asked) == 1_000 + 2_500


@pytest.mark.parametrize(
    ("cursor", "field"),
    [("@acme/tidy", "cursor"), ("WyIxIl0", "cursor"), ("WyItMSIsICJAYS9iIl0", "cursor"), ("WyIxIiwgIiJd", "cursor")],
)
def test_a_cursor_of_another_list_is_refused(cursor: str, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ListPopular(InMemoryCatalog(), list)(cursor=cursor)
    assert caught.value.facts["field"] == field


def test_the_ranking_is_read_once_a_minute_and_outlives_the_store() -> None:
    spend, seconds, reads, fails = counted(a_run(0)), [0.0], [0], [False]

    class Watched(InMemorySpend):
        def packages(self) -> Sequence[PackageTotals]:
            reads[0] += 1
            if fails[0]:
                raise StoreUnavailableError
            return spend.packages()

    ranking = SnapshotRanking(Watched(), monotonic=lambda: seconds[0])
    assert ranking() == ranking() == [Rank(1, "@acme/tidy")]
    assert reads == [1]

    spend.counted["run_1"] = a_run(1, package="@acme/other")
    seconds[0] = LIFE_SECONDS
    assert ranking() == [Rank(1, "@acme/other"), Rank(1, "@acme/tidy")]
    assert reads == [2]

    fails[0], seconds[0] = True, 2 * LIFE_SECONDS
    assert len(ranking()) == len(ranking()) == 2
    assert reads == [3]
    seconds[0] += RETRY_SECONDS
    fails[0] = False
    assert len(ranking()) == 2
    assert reads == [4]


def test_without_any_ranking_the_store_is_unavailable() -> None:
    class Down(InMemorySpend):
        def packages(self) -> Sequence[PackageTotals]:
            raise StoreUnavailableError

    with pytest.raises(StoreUnavailableError):
        SnapshotRanking(Down(), monotonic=lambda: 0.0)()


def test_a_day_is_one_of_utc() -> None:
    late = datetime.fromisoformat("2026-12-01T23:59:59.999+00:00")
    read = ReadUsage(usage=counted(paid_run("alice", "run_1", late, cost_nano=1)), clock=lambda: late)
    assert [row.day for row in read("alice", days=1).rows] == [date(2026, 12, 1)]
