"""What is withdrawn from the catalogue is given to nobody, on a real engine; what is put back is what it was."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.engine import Engine
from local.resources import client
from local.state_file import write_state
from operate.cli import run
from operate.withdraw_package import WithdrawPackage
from playground.adapters.dynamo_catalog import DynamoCatalog, package_key
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.errors import InvalidRequestError, PackageNotFoundError
from playground.domain.packages import PackageVersion, package_uuid

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BY: dict[str, Any] = {"reason": "Leaks a key", "operator": "anna", "now": NOW}


@pytest.fixture(scope="module")
def dynamodb(engine: Engine) -> Iterator[Any]:
    made = client("dynamodb", engine.endpoint_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def table(dynamodb: Any) -> str:
    name = f"catalog-{uuid4().hex}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    return name


@pytest.fixture
def catalog(store: DynamoStore, table: str) -> DynamoCatalog:
    return DynamoCatalog(store, table_name=table, bucket="none", s3=None)


@pytest.fixture
def withdraw(store: DynamoStore, catalog: DynamoCatalog, table: str) -> WithdrawPackage:
    return WithdrawPackage(store, catalog, table)


@pytest.fixture
def name(catalog: DynamoCatalog) -> str:
    """A package with three versions."""
    name = f"@acme/p{uuid4().hex}"
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        catalog.publish(a_package(name, version))
    return name


def a_package(name: str, version: str) -> PackageVersion:
    return PackageVersion(
        package_id=package_uuid(name) or "",
        name=name,
        version=version,
        description=f"Says {version}.",
        format="claude",
        subtype="skill",
        prompt=f"# Prompt of {version}\n",
        files=("SKILL.md",),
        published_at=NOW,
    )


def seen(catalog: DynamoCatalog, name: str) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    """The version that an unpinned read gives, those that pinned reads give, and those that are listed. Whatever shows
    the package shows the same."""
    newest, summary = catalog.version(name, None), catalog.summary(name)
    listed = [each for each in catalog.search(name, after=None, limit=100)[0] if each.name == name]
    pinned = tuple(version for version in ("2.0.0", "1.1.0", "1.0.0") if catalog.version(name, version) is not None)
    assert (newest is None) is (summary is None) is (not listed)
    if newest is None or summary is None:
        return None, pinned, ()
    assert newest.version == summary.latest_version == listed[0].latest_version
    assert newest == a_package(name, newest.version)
    assert tuple(summary.versions) == tuple(listed[0].versions)
    return newest.version, pinned, tuple(summary.versions)


def everything(dynamodb: Any, table: str, name: str) -> dict[str, Any]:
    """All items of a package but the record of orders."""
    pk = package_key(table, name, None)
    assert pk is not None
    pages = [
        dynamodb.query(
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk.pk}},
            ConsistentRead=True,
        )["Items"],
        [dynamodb.get_item(TableName=table, Key={"pk": {"S": "PACKAGES"}, "sk": {"S": name}}).get("Item")],
    ]
    return {item["sk"]["S"]: item for page in pages for item in page if item and "ORDER#" not in item["sk"]["S"]}


def test_the_newest_version_that_is_left_takes_the_place(
    catalog: DynamoCatalog, withdraw: WithdrawPackage, name: str
) -> None:
    outcome = withdraw(name, "2.0.0", **BY)
    assert outcome.is_new
    assert seen(catalog, name) == ("1.1.0", ("1.1.0", "1.0.0"), ("1.1.0", "1.0.0"))
    assert not withdraw(name, "2.0.0", **BY).is_new
    withdraw(name, "1.0.0", **BY)
    assert seen(catalog, name) == ("1.1.0", ("1.1.0",), ("1.1.0",))
    withdraw(name, "1.1.0", **BY)
    assert seen(catalog, name) == (None, (), ())


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0", None])
def test_what_is_put_back_is_what_it_was(
    catalog: DynamoCatalog, withdraw: WithdrawPackage, dynamodb: Any, table: str, name: str, version: str | None
) -> None:
    before = everything(dynamodb, table, name)
    withdraw(name, version, **BY)
    assert withdraw.reinstate(name, version, **BY).is_new
    assert everything(dynamodb, table, name) == before
    assert not withdraw.reinstate(name, version, **BY).is_new


def test_a_package_is_withdrawn_with_all_its_versions(
    catalog: DynamoCatalog, withdraw: WithdrawPackage, name: str
) -> None:
    """One that was withdrawn before stays withdrawn when the package comes back."""
    withdraw(name, "2.0.0", **BY)
    assert withdraw(name, None, **BY).is_new
    assert seen(catalog, name) == (None, (), ())
    with pytest.raises(InvalidRequestError, match="is withdrawn"):
        catalog.publish(a_package(name, "3.0.0"))
    assert catalog.publish(a_package(name, "1.0.0")) is False
    withdraw(name, "1.0.0", **BY)
    withdraw.reinstate(name, None, **BY)
    assert seen(catalog, name) == ("1.1.0", ("1.1.0",), ("1.1.0",))


def test_a_version_that_is_published_later_leaves_the_others_withdrawn(
    catalog: DynamoCatalog, withdraw: WithdrawPackage, name: str
) -> None:
    for version in ("2.0.0", "1.1.0", "1.0.0"):
        withdraw(name, version, **BY)
    catalog.publish(a_package(name, "0.9.0"))
    newest = catalog.version(name, None)
    assert newest is not None
    assert newest.version == "0.9.0"
    withdraw.reinstate(name, "1.1.0", **BY)
    assert seen(catalog, name) == ("1.1.0", ("1.1.0",), ("1.1.0", "0.9.0"))


def test_a_dry_run_changes_nothing(withdraw: WithdrawPackage, dynamodb: Any, table: str, name: str) -> None:
    before = everything(dynamodb, table, name)
    assert withdraw(name, None, **BY, dry_run=True).offered.versions == ()
    assert everything(dynamodb, table, name) == before


@pytest.mark.parametrize(("package", "version"), [("@acme/none", None), ("no name", None), (None, "9.9.9")])
def test_what_is_not_there_is_not_withdrawn(
    withdraw: WithdrawPackage, name: str, package: str | None, version: str | None
) -> None:
    with pytest.raises(PackageNotFoundError):
        withdraw(package or name, version, **BY)


def test_who_did_it_and_why_is_kept(withdraw: WithdrawPackage, dynamodb: Any, table: str, name: str) -> None:
    withdraw(name, "1.0.0", **BY)
    withdraw(name, "1.0.0", **BY)
    key = package_key(table, name, None)
    assert key is not None
    [order] = dynamodb.query(
        TableName=table,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :order)",
        ExpressionAttributeValues={":pk": {"S": key.pk}, ":order": {"S": "ORDER#"}},
    )["Items"]
    assert [order[field]["S"] for field in ("order", "version", "reason", "operator")] == [
        "withdraw",
        "1.0.0",
        "Leaks a key",
        "anna",
    ]


def test_an_order_that_stopped_on_the_way_is_finished_by_its_repeat(
    catalog: DynamoCatalog, withdraw: WithdrawPackage, dynamodb: Any, table: str, name: str
) -> None:
    """HEAD says that the package is withdrawn, and a version lacks its mark, as after a crash between the writes."""
    withdraw(name, None, **BY)
    key = package_key(table, name, "1.0.0")
    assert key is not None
    dynamodb.update_item(TableName=table, Key=key.raw, UpdateExpression="REMOVE withdrawn_at")
    assert catalog.version(name, "1.0.0") is not None
    withdraw(name, None, **BY)
    assert seen(catalog, name) == (None, (), ())


def test_more_versions_than_a_transaction_takes(catalog: DynamoCatalog, withdraw: WithdrawPackage) -> None:
    name = f"@acme/p{uuid4().hex}"
    versions = [f"1.0.{number}" for number in range(100)]
    for version in versions:
        catalog.publish(a_package(name, version))
    withdraw(name, None, **BY)
    assert [version for version in versions if catalog.version(name, version) is not None] == []
    withdraw.reinstate(name, None, **BY)
    assert [version for version in versions if catalog.version(name, version) is None] == []


def test_publishing_and_withdrawing_at_once_lose_nothing(
    catalog: DynamoCatalog, withdraw: WithdrawPackage, name: str
) -> None:
    with ThreadPoolExecutor(12) as pool:
        published = [pool.submit(catalog.publish, a_package(name, f"3.0.{number}")) for number in range(6)]
        orders = [pool.submit(withdraw, name, version, **BY) for version in ("1.0.0", "1.1.0", "2.0.0")] * 2
        assert all(future.result() for future in published)
        for order in orders:
            order.result()
    assert seen(catalog, name) == ("3.0.5", (), tuple(f"3.0.{number}" for number in reversed(range(6))))


def test_the_commands_say_what_they_did_and_what_is_left(
    engine: Engine,
    table: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"tables": {"CatalogTable": table}, "buckets": {"ContentBucket": "none"}}
    write_state(tmp_path, {"pid": os.getpid(), "engine_url": engine.endpoint_url, **names})
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    two_left, none_left = "2 of 3 versions can be run, the newest is 1.1.0", "0 of 3 versions can be run"
    for words, expected in (
        (["withdraw", name, "--version", "2.0.0", "--dry-run"], f"{name} 2.0.0: would be withdrawn; {two_left}"),
        (["withdraw", name, "--version", "2.0.0"], f"{name} 2.0.0: withdrawn; {two_left}"),
        (["withdraw", name, "--version", "2.0.0"], f"{name} 2.0.0: done before: withdrawn; {two_left}"),
        (["withdraw", name], f"{name}: withdrawn; {none_left}"),
        (["reinstate", name], f"{name}: reinstated; {two_left}"),
    ):
        assert run(words) == 0
        assert capsys.readouterr() == (f"{expected}\n", "")
