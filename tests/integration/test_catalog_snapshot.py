"""What an instance keeps of the catalogue: the same answers as the table, for far fewer reads, and never for long."""

import random
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from bench.transport import Transport
from bench.units import item_size
from local.engine import Engine
from local.resources import client
from playground.adapters.catalog_snapshot import (
    LIFE_SECONDS,
    MAX_SUMMARIES,
    RETRY_SECONDS,
    STALE_SECONDS,
    SUMMARY_SECONDS,
    SnapshotCatalog,
)
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.errors import StoreUnavailableError
from playground.domain.packages import PackageVersion, package_uuid
from playground.ports import CatalogReader
from tests.conftest import NOW
from tests.handlers import Handlers

MANY = 120
WORDS = ("review", "test", "write", "plan", "deploy")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def a_package(name: str, version: str = "1.0.0", description: str = "") -> PackageVersion:
    return PackageVersion(
        package_id=package_uuid(name) or "",
        name=name,
        version=version,
        description=description or f"{version}: {name}",
        format="claude",
        subtype="skill",
        prompt=f"# Prompt of {version}\n" * 40,
        files=("SKILL.md",),
        published_at=NOW,
        tags=("one",),
    )


@pytest.fixture(scope="module")
def dynamodb(engine: Engine) -> Iterator[Any]:
    made = client("dynamodb", engine.endpoint_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def catalog(dynamodb: Any) -> DynamoCatalog:
    """With many packages, which no test changes."""
    catalog = new_catalog(dynamodb)
    rng = random.Random(1)
    for number in range(MANY):
        catalog.publish(a_package(f"@acme/p{number:03}", description=" ".join(rng.sample(WORDS, 2))))
    return catalog


def new_catalog(dynamodb: Any) -> DynamoCatalog:
    name = f"catalog-{uuid4().hex}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    return DynamoCatalog(DynamoStore(dynamodb), table_name=name, bucket="none", s3=None)


def read_units(dynamodb: Any, catalog: CatalogReader, requests: int) -> float:
    """What so many searches of strangers cost, by DynamoDB's rules: half a unit for each 4 KB of a query."""
    units = 0.0

    def add(parsed: dict[str, Any], **_: Any) -> None:
        nonlocal units
        units += -(-sum(map(item_size, parsed["Items"])) // 4096) / 2

    dynamodb.meta.events.register("after-call.dynamodb.Query", add)
    try:
        for number in range(requests):
            catalog.search(f"{WORDS[number % len(WORDS)]} zzz", after=None, limit=20)
    finally:
        dynamodb.meta.events.unregister("after-call.dynamodb.Query", add)
    return units


def test_searches_of_strangers_read_the_list_once_a_minute(dynamodb: Any, catalog: DynamoCatalog) -> None:
    """One that finds nothing reads most: everything, each time."""
    before = read_units(dynamodb, catalog, 100)
    clock = Clock()
    after = read_units(dynamodb, SnapshotCatalog(catalog, monotonic=clock), 100)
    assert before > 90 * after
    assert before / 100 > 5  # units for each search
    assert after < 40


@pytest.mark.parametrize("max_listed", [1, 50, MANY - 1, MANY, MANY + 1])
def test_it_answers_as_the_table_does(catalog: DynamoCatalog, max_listed: int) -> None:
    """Also for packages that it has no room for."""
    snapshot = SnapshotCatalog(catalog, max_listed=max_listed)
    rng = random.Random(max_listed)
    for _ in range(4):
        text = rng.choice(["", " ", "REVIEW", "plan", "p00", "@acme/p119", "nothing"])
        limit = rng.choice([9, 20, 100])
        found = [pages(each, text, limit) for each in (catalog, snapshot)]
        assert found[0] == found[1], (text, limit)


def pages(catalog: CatalogReader, text: str, limit: int) -> list[str]:
    names: list[str] = []
    after: str | None = None
    for _ in range(MANY + 2):
        page, after = catalog.search(text, after=after, limit=limit)
        assert len(page) <= limit
        names += [summary.name for summary in page]
        if after is None:
            return names
    raise AssertionError("no end")


def test_a_package_that_was_just_published_is_there_at_once_and_found_within_a_minute(dynamodb: Any) -> None:
    catalog, clock = new_catalog(dynamodb), Clock()
    snapshot = SnapshotCatalog(catalog, monotonic=clock)
    assert snapshot.search("", after=None, limit=9) == ([], None)
    assert snapshot.summary("@acme/new") is None
    catalog.publish(a_package("@acme/new"))
    by_name, by_id = snapshot.summary("@acme/new"), snapshot.summary(package_uuid("@acme/new") or "")
    assert by_name is not None
    assert by_name == by_id == catalog.summary("@acme/new")
    assert snapshot.search("", after=None, limit=9) == ([], None)
    clock.seconds += LIFE_SECONDS
    assert [found.name for found in snapshot.search("", after=None, limit=9)[0]] == ["@acme/new"]


def test_a_new_version_is_shown_within_ten_seconds(dynamodb: Any) -> None:
    catalog, clock = new_catalog(dynamodb), Clock()
    snapshot = SnapshotCatalog(catalog, monotonic=clock)
    seen = []
    for version in ("1.0.0", "2.0.0"):
        catalog.publish(a_package("@acme/new", version))
        with Transport().at(dynamodb) as transport:
            seen += [snapshot.summary("@acme/new") for _ in range(50)]
        assert len(transport.calls) == (1 if version == "1.0.0" else 0)
    clock.seconds += SUMMARY_SECONDS
    seen.append(snapshot.summary("@acme/new"))
    assert [summary and summary.latest_version for summary in seen] == ["1.0.0"] * 100 + ["2.0.0"]


def test_no_more_packages_are_kept_than_there_is_room_for(dynamodb: Any, catalog: DynamoCatalog) -> None:
    snapshot = SnapshotCatalog(catalog, monotonic=Clock())
    for number in range(MAX_SUMMARIES + 50):
        snapshot.summary(f"@acme/p{number % MANY:03}")
        snapshot.summary(f"@acme/missing-{number}")
        snapshot.summary("no name")
    assert len(snapshot._summaries) <= MAX_SUMMARIES


def test_of_many_that_need_the_list_one_reads_it(dynamodb: Any, catalog: DynamoCatalog) -> None:
    clock = Clock()
    snapshot = SnapshotCatalog(catalog, monotonic=clock)
    for _ in range(2):
        barrier = threading.Barrier(16)

        def ask(barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            assert len(snapshot.search("", after=None, limit=5)[0]) == 5

        with Transport(latency=0.05).at(dynamodb) as transport:
            threads = [threading.Thread(target=ask) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(transport.calls) == 1
        clock.seconds += LIFE_SECONDS


def test_an_older_list_is_better_than_none(dynamodb: Any) -> None:
    catalog, clock = new_catalog(dynamodb), Clock()
    catalog.publish(a_package("@acme/one"))
    snapshot = SnapshotCatalog(catalog, monotonic=clock)
    assert snapshot.search("", after=None, limit=5)[0]
    with broken(dynamodb) as asked:
        clock.seconds += LIFE_SECONDS
        assert snapshot.search("", after=None, limit=5)[0]
        assert snapshot.search("", after=None, limit=5)[0]
        assert len(asked) == 1  # a store in trouble is not asked by everybody
        clock.seconds += RETRY_SECONDS
        assert snapshot.search("", after=None, limit=5)[0]
        assert len(asked) == 2
        clock.seconds += STALE_SECONDS
        with pytest.raises(StoreUnavailableError):
            snapshot.search("", after=None, limit=5)
        with pytest.raises(StoreUnavailableError):
            SnapshotCatalog(catalog, monotonic=clock).search("", after=None, limit=5)
    assert snapshot.search("", after=None, limit=5)[0]


class broken:  # noqa: N801 - a context
    """The store answers nothing but 400s."""

    def __init__(self, dynamodb: Any) -> None:
        self.events = dynamodb.meta.events
        self.asked: list[str] = []

    def __enter__(self) -> list[str]:
        self.events.register("before-call.dynamodb.Query", self._refuse)
        return self.asked

    def __exit__(self, *_: object) -> None:
        self.events.unregister("before-call.dynamodb.Query", self._refuse)

    def _refuse(self, model: Any, **_: Any) -> tuple[Any, dict[str, Any]]:
        self.asked.append(model.name)
        error = {"Error": {"Code": "ThrottlingException", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        return type("Response", (), {"status_code": 400})(), error


@pytest.mark.parametrize(
    ("path", "status", "cache"),
    [
        ("/packages", 200, "public, max-age=60"),
        ("/packages?limit=0", 400, "no-store"),
        ("/packages/@playground/code-reviewer", 200, "public, max-age=10"),
        ("/packages/%40playground%2Fcode-reviewer", 200, "public, max-age=10"),
        ("/packages/@playground/nothing", 404, "no-store"),
        ("/openapi.json", 200, "public, max-age=300"),
    ],
)
def test_good_answers_may_be_kept_and_others_not(handlers: Handlers, path: str, status: int, cache: str) -> None:
    """A 404 that is kept somewhere would hide a package that was just published."""
    answer = handlers.call("GET", path)
    assert (answer.status, answer.headers["Cache-Control"]) == (status, cache)
    assert answer.headers["Vary"] == "Origin"
