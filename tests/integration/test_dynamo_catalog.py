"""The catalogue on a real engine: what is published once is read the same for ever, whoever publishes beside it."""

import hashlib
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from local.engine import Engine
from local.resources import client
from playground.adapters import dynamo_catalog
from playground.adapters.dynamo_catalog import CorruptPackageError, DynamoCatalog, package_key
from playground.adapters.dynamo_keys import head_key
from playground.adapters.dynamo_store import Backoff, DynamoStore
from playground.domain.errors import InvalidRequestError, StoreUnavailableError, VersionExistsError
from playground.domain.packages import Asset, Example, PackageVersion, package_uuid
from playground.domain.variables import Variable

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def dynamodb(engine: Engine) -> Iterator[Any]:
    made = client("dynamodb", engine.endpoint_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def s3(engine: Engine) -> Iterator[Any]:
    made = client("s3", engine.endpoint_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    name = f"content-{uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name


def new_table(dynamodb: Any) -> str:
    name = f"catalog-{uuid4().hex}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    return name


@pytest.fixture(scope="module")
def table(dynamodb: Any) -> str:
    return new_table(dynamodb)


@pytest.fixture
def catalog(dynamodb: Any, s3: Any, table: str, bucket: str) -> DynamoCatalog:
    """Over the table that the tests of this module share; each has packages of its own."""
    return DynamoCatalog(DynamoStore(dynamodb), table_name=table, bucket=bucket, s3=s3)


@pytest.fixture
def name() -> str:
    return f"@acme/p{uuid4().hex}"


def a_package(name: str, version: str = "1.0.0", **changes: Any) -> PackageVersion:
    package = PackageVersion(
        package_id=package_uuid(name) or "",
        name=name,
        version=version,
        description=f"Says {version}.",
        format="claude",
        subtype="skill",
        prompt=f"# Prompt of {version}\n",
        files=("SKILL.md", "EXAMPLES.md"),
        published_at=NOW,
        tags=("one", "two"),
        license="MIT",
        author="Ada",
    )
    return replace(package, **changes)


def noise(characters: int) -> str:
    """Text that does not compress well, always the same."""
    digests = (hashlib.sha512(str(number).encode()).hexdigest() for number in range(characters // 128 + 1))
    return "".join(digests)[:characters]


# --- publishing and reading -------------------------------------------------------------------------------------------


def test_reads_what_was_published(catalog: DynamoCatalog, name: str) -> None:
    package = a_package(name)

    assert catalog.publish(package)

    assert catalog.version(name, None) == package
    assert catalog.version(name, "1.0.0") == package
    assert catalog.version(package.package_id, None) == package
    assert catalog.version(package.package_id.upper(), "1.0.0") == package


def test_assets_and_acknowledged_characters_are_kept(catalog: DynamoCatalog, name: str) -> None:
    assets = (Asset(path="a/logo.png", size=123, media_type="image/png"), Asset(path="b", size=0, media_type="x/y"))
    package = a_package(name, assets=assets, hidden=(("bidi_control", 2), ("zero_width", 1)))

    assert catalog.publish(package)

    assert catalog.version(name, None) == package
    assert catalog.version(name, "1.0.0") == package
    summary = catalog.summary(name)
    assert summary is not None
    assert (summary.assets, summary.hidden) == (package.assets, package.hidden)


def test_assets_are_content_and_an_acknowledgement_is_not(catalog: DynamoCatalog, name: str) -> None:
    catalog.publish(a_package(name))

    assert not catalog.publish(a_package(name, hidden=(("zero_width", 1),)))
    with pytest.raises(VersionExistsError):
        catalog.publish(a_package(name, assets=(Asset(path="a", size=1, media_type="x/y"),)))


def test_what_was_imported_by_an_earlier_version_is_the_same_content(
    catalog: DynamoCatalog, dynamodb: Any, table: str, name: str
) -> None:
    """The digest of a package without assets, worked out as it always was."""
    package = a_package(name)
    content = [
        *(package.name, package.version, package.description, package.format, package.subtype, package.prompt),
        *(package.files, package.tags, package.license, package.author),
    ]
    catalog.publish(package)

    key = {"pk": {"S": f"PACKAGE#{package.package_id}"}, "sk": {"S": "VERSION#1.0.0"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    assert item["content_sha256"]["S"] == hashlib.sha256(json.dumps(content).encode()).hexdigest()
    assert not item.keys() & {"assets", "hidden"}


def test_the_largest_list_of_files_fits_into_an_item(
    catalog: DynamoCatalog, dynamodb: Any, table: str, name: str
) -> None:
    """1,000 assets with 100,000 bytes of paths, beside the largest prompt that is kept in the item, and in HEAD."""
    assets = tuple(Asset(path=f"{number:0100d}", size=50_000_000, media_type=f"{'m' * 72}") for number in range(1_000))
    package = a_package(name, assets=assets, prompt=noise(100_000), description="é" * 1_000)

    assert catalog.publish(package)
    assert catalog.version(name, None) == package
    key = {"pk": {"S": f"PACKAGE#{package.package_id}"}, "sk": {"S": "HEAD"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    versions = 1_000 * 67  # the most versions, of the longest names
    assert len(json.dumps(item, default=lambda value: "x" * len(value))) + versions < 400_000  # as JSON it is longer


def test_optional_fields_may_be_absent(catalog: DynamoCatalog, name: str) -> None:
    package = a_package(name, license=None, author=None, tags=())

    catalog.publish(package)

    assert catalog.version(name, None) == package


@pytest.mark.parametrize(
    ("package_id", "version"),
    [
        ("@acme/unheard-of", None),
        ("@acme/unheard-of", "1.0.0"),
        ("11111111-2222-3333-4444-555555555555", None),
        ("no id at all", None),
        ("", None),
        ("@acme/" + "x" * 5_000, None),
    ],
)
def test_finds_nothing_for_what_is_no_package(catalog: DynamoCatalog, package_id: str, version: str | None) -> None:
    assert catalog.version(package_id, version) is None
    assert catalog.summary(package_id) is None


@pytest.mark.parametrize("version", ["2.0.0", "", "latest", "HEAD", "1.0.0#", "9" * 5_000])
def test_finds_nothing_for_what_is_no_version_of_it(catalog: DynamoCatalog, name: str, version: str) -> None:
    catalog.publish(a_package(name))

    assert catalog.version(name, version) is None


def test_publishing_the_same_again_changes_nothing(
    catalog: DynamoCatalog, dynamodb: Any, table: str, name: str
) -> None:
    catalog.publish(a_package(name))
    before = everything(dynamodb, table, name)

    assert not catalog.publish(a_package(name, published_at=LATER))

    assert everything(dynamodb, table, name) == before


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "# Another\n"},
        {"description": "Another."},
        {"format": "cursor"},
        {"subtype": "agent"},
        {"files": ("SKILL.md",)},
        {"tags": ("one",)},
        {"license": None},
        {"author": "Bob"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_version_never_changes(
    catalog: DynamoCatalog, dynamodb: Any, table: str, name: str, change: dict[str, Any]
) -> None:
    catalog.publish(a_package(name))
    before = everything(dynamodb, table, name)

    with pytest.raises(VersionExistsError, match=rf"{name} 1\.0\.0"):
        catalog.publish(a_package(name, **change))

    assert everything(dynamodb, table, name) == before


def test_a_newer_version_is_what_an_unpinned_read_gives(catalog: DynamoCatalog, name: str) -> None:
    versions = ["1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.2.0", "1.10.0"]
    for number, version in enumerate(versions):
        assert catalog.publish(a_package(name, version))
        newest = catalog.version(name, None)
        assert newest == a_package(name, version)
        summary = catalog.summary(name)
        assert summary is not None
        assert summary.versions == tuple(reversed(versions[: number + 1]))
    for version in versions:
        assert catalog.version(name, version) == a_package(name, version)


def test_an_older_version_extends_the_list_only(catalog: DynamoCatalog, name: str) -> None:
    catalog.publish(a_package(name, "2.0.0"))

    assert catalog.publish(a_package(name, "1.9.0"))
    assert catalog.publish(a_package(name, "2.0.0-rc.1"))

    assert catalog.version(name, None) == a_package(name, "2.0.0")
    assert catalog.version(name, "1.9.0") == a_package(name, "1.9.0")
    for summary in (catalog.summary(name), listed(catalog, name)):
        assert summary is not None
        assert summary.latest_version == "2.0.0"
        assert summary.description == "Says 2.0.0."
        assert summary.versions == ("2.0.0", "2.0.0-rc.1", "1.9.0")


def test_the_number_of_versions_is_bounded(catalog: DynamoCatalog, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo_catalog, "MAX_VERSIONS", 2)
    catalog.publish(a_package(name, "1.0.0"))
    catalog.publish(a_package(name, "1.0.1"))

    with pytest.raises(InvalidRequestError, match="versions"):
        catalog.publish(a_package(name, "1.0.2"))
    assert not catalog.publish(a_package(name, "1.0.1"))


def test_the_summary_shows_the_beginning_of_the_prompt(catalog: DynamoCatalog, name: str) -> None:
    catalog.publish(a_package(name, prompt="word " * 1_000))

    summary = catalog.summary(name)

    assert summary is not None
    assert summary.preview == "word " * 299 + "word…"
    assert len(summary.preview) <= 1_500
    assert summary.prompt_characters == 5_000
    assert len(listed(catalog, name).preview) <= 300


def test_an_item_can_be_read_by_the_lookup(catalog: DynamoCatalog, dynamodb: Any, table: str, name: str) -> None:
    catalog.publish(a_package(name))

    for version in (None, "1.0.0"):
        key = package_key(table, name, version)
        assert key is not None
        request = {table: {"Keys": [key.raw]}}
        (item,) = dynamodb.batch_get_item(RequestItems=request)["Responses"][table]
        assert catalog.package_of_item(item) == a_package(name)

    assert package_key(table, "no id", None) is None
    assert package_key(table, name, "no version") is None


# --- large prompts ----------------------------------------------------------------------------------------------------


def test_a_prompt_that_compresses_well_stays_in_its_item(
    catalog: DynamoCatalog, s3: Any, bucket: str, name: str
) -> None:
    package = a_package(name, prompt="again and again\n" * 60_000)

    catalog.publish(package)

    assert catalog.version(name, None) == package
    assert objects(s3, bucket, package) == []


def test_a_large_prompt_is_in_the_bucket(catalog: DynamoCatalog, s3: Any, bucket: str, name: str) -> None:
    package = a_package(name, prompt=noise(999_000) + " ÄÖÜ")
    digest = hashlib.sha256(package.prompt.encode()).hexdigest()

    assert catalog.publish(package)
    assert not catalog.publish(package)

    assert objects(s3, bucket, package) == [f"packages/{package.package_id}/1.0.0/{digest}"]
    assert catalog.version(name, None) == package
    assert catalog.version(name, "1.0.0") == package


def test_the_border_between_item_and_bucket(catalog: DynamoCatalog, s3: Any, bucket: str, name: str) -> None:
    prompt = next(
        noise(size) for size in range(60_000, 200_000, 64) if len(zlib.compress(noise(size).encode())) > 60_000
    )
    inline, outside = a_package(name, "1.0.0", prompt=prompt[:-400]), a_package(name, "1.0.1", prompt=prompt)
    catalog.publish(inline)
    assert objects(s3, bucket, inline) == []
    catalog.publish(outside)
    assert len(objects(s3, bucket, outside)) == 1


def test_the_client_of_the_bucket_is_made_when_it_is_needed(
    dynamodb: Any, s3: Any, table: str, bucket: str, name: str
) -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(s3)
        return s3

    catalog = DynamoCatalog(DynamoStore(dynamodb), table_name=table, bucket=bucket, s3=make)
    catalog.publish(a_package(name, "1.0.0"))
    assert catalog.version(name, None) is not None
    assert made == []
    catalog.publish(a_package(name, "1.0.1", prompt=noise(200_000)))
    assert catalog.version(name, None) is not None
    assert len(made) == 1


def test_a_prompt_that_was_tampered_with_is_refused(catalog: DynamoCatalog, s3: Any, bucket: str, name: str) -> None:
    package = a_package(name, prompt=noise(200_000))
    catalog.publish(package)
    (key,) = objects(s3, bucket, package)

    for content in (b"obey me", package.prompt.encode() + b" ", b"\xff", b"x" * 3_000_000, b""):
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        with pytest.raises(CorruptPackageError) as caught:
            catalog.version(name, None)
        assert name not in str(caught.value)

    s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(CorruptPackageError):
        catalog.version(name, "1.0.0")


def test_a_prompt_that_was_tampered_with_in_its_item_is_refused(
    catalog: DynamoCatalog, dynamodb: Any, table: str, name: str
) -> None:
    catalog.publish(a_package(name))

    for content in (zlib.compress(b"obey me"), b"not compressed"):
        dynamodb.update_item(
            TableName=table,
            Key=head_key(table, package_uuid(name) or "").raw,
            UpdateExpression="SET prompt = :prompt",
            ExpressionAttributeValues={":prompt": {"B": content}},
        )
        with pytest.raises(CorruptPackageError):
            catalog.version(name, None)


def test_an_immutable_prompt_is_downloaded_once(
    catalog: DynamoCatalog, s3: Any, bucket: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (a_package(name, f"1.0.{number}", prompt=str(number) + noise(200_000)) for number in range(2))
    catalog.publish(first)
    catalog.publish(second)
    downloads = count_calls(s3, monkeypatch, "get_object")

    for _ in range(3):
        assert catalog.version(name, "1.0.0") == first
    assert len(downloads) == 1

    monkeypatch.setattr(catalog, "_prompts", dynamo_catalog._Prompts(300_000))  # room for one
    for _ in range(2):
        assert catalog.version(name, "1.0.0") == first
        assert catalog.version(name, "1.0.1") == second
    assert len(downloads) == 5


# --- lists and searches -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(dynamodb: Any, s3: Any, bucket: str) -> DynamoCatalog:
    """A catalogue of its own with 25 packages."""
    catalog = DynamoCatalog(DynamoStore(dynamodb), table_name=new_table(dynamodb), bucket=bucket, s3=s3)
    for number in range(25):
        tags = ("even", "Straße") if number % 2 == 0 else ("odd",)
        description = "Reviews SQL." if number in (3, 17) else "Does something."
        catalog.publish(a_package(f"@acme/p{number:02d}", tags=tags, description=description))
    return catalog


def pages(catalog: DynamoCatalog, text: str, limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    after = None
    while True:
        summaries, after = catalog.search(text, after=after, limit=limit)
        found.append([summary.name.removeprefix("@acme/p") for summary in summaries])
        if after is None:
            return found


def test_lists_all_by_name_page_by_page(shelf: DynamoCatalog) -> None:
    everything = [f"{number:02d}" for number in range(25)]

    assert pages(shelf, "", 10) == [everything[:10], everything[10:20], everything[20:]]
    assert pages(shelf, " ", 25) == [everything]
    assert pages(shelf, "", 100) == [everything]
    assert pages(shelf, "", 1) == [[each] for each in everything]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sql", ["03", "17"]),
        ("REVIEWS sql", ["03", "17"]),
        ("sql  reviews", ["03", "17"]),
        ("p03 sql", ["03"]),
        ("p04 sql", []),
        (" p1", [f"{number}" for number in range(10, 20)]),
        ("@ACME/P04", ["04"]),
        ("odd", [f"{number:02d}" for number in range(1, 25, 2)]),
        ("STRASSE", [f"{number:02d}" for number in range(0, 25, 2)]),
        ("Prompt of", []),
        ("nobody has this", []),
    ],
)
def test_searches_name_description_and_tags_in_any_case(shelf: DynamoCatalog, text: str, expected: list[str]) -> None:
    for limit in (1, 2, 100):
        assert [each for page in pages(shelf, text, limit) for each in page] == expected


def test_a_search_reads_a_bounded_number_of_packages(
    shelf: DynamoCatalog, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamo_catalog, "SEARCHED_ITEMS", 2)
    queries = count_calls(dynamodb, monkeypatch, "query")

    summaries, after = shelf.search("nobody has this", after=None, limit=10)

    assert (list(summaries), after) == ([], "@acme/p09")
    assert len(queries) == dynamo_catalog.SEARCH_QUERIES
    assert [each for page in pages(shelf, "sql", 10) for each in page] == ["03", "17"]


# --- beside each other, and when the store fails ----------------------------------------------------------------------


def at_once(count: int, act: Callable[[int], bool]) -> list[bool]:
    """`act` in `count` threads that start together."""
    gate = threading.Barrier(count)

    def wait_and_act(number: int) -> bool:
        gate.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_act, range(count)))


def test_versions_that_are_published_at_once_are_all_there(catalog: DynamoCatalog, name: str) -> None:
    packages = [a_package(name, f"1.{number}.0") for number in range(24)]

    assert at_once(24, lambda number: catalog.publish(packages[number])) == [True] * 24

    newest_first = tuple(f"1.{number}.0" for number in reversed(range(24)))
    for summary in (catalog.summary(name), listed(catalog, name)):
        assert summary is not None
        assert summary.versions == newest_first
        assert summary.latest_version == "1.23.0"
        assert summary.description == "Says 1.23.0."
    assert catalog.version(name, None) == packages[-1]


def test_the_same_version_published_at_once_is_new_once(catalog: DynamoCatalog, name: str) -> None:
    answers = at_once(16, lambda _: catalog.publish(a_package(name)))

    assert sorted(answers) == [False] * 15 + [True]


def test_of_two_contents_under_one_version_one_stays(catalog: DynamoCatalog, name: str) -> None:
    def publish(number: int) -> bool:
        try:
            return catalog.publish(a_package(name, prompt=f"# {number}\n"))
        except VersionExistsError:
            return False

    answers = at_once(16, publish)

    assert answers.count(True) == 1
    stored = catalog.version(name, None)
    assert stored == catalog.version(name, "1.0.0")
    assert stored is not None
    assert stored.prompt == f"# {answers.index(True)}\n"


def test_conflicts_are_tried_again_after_a_pause_that_grows(
    dynamodb: Any, s3: Any, table: str, bucket: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    store = DynamoStore(dynamodb, Backoff(sleep=pauses.append, random=lambda: 1.0))
    catalog = DynamoCatalog(store, table_name=table, bucket=bucket, s3=s3)
    fail_first(dynamodb, monkeypatch, "transact_write_items", [cancelled("TransactionConflict")] * 3)

    assert catalog.publish(a_package(name))

    assert pauses == [0.008, 0.016, 0.032]


def test_endless_conflicts_end_as_unavailable(
    dynamodb: Any, s3: Any, table: str, bucket: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    store = DynamoStore(dynamodb, Backoff(sleep=pauses.append))
    catalog = DynamoCatalog(store, table_name=table, bucket=bucket, s3=s3)
    fail_first(dynamodb, monkeypatch, "transact_write_items", [cancelled("None", "TransactionConflict")] * 1_000)

    with pytest.raises(StoreUnavailableError):
        catalog.publish(a_package(name))

    assert len(pauses) == store.backoff.tries - 1
    assert all(0 <= pause <= store.backoff.cap for pause in pauses)
    assert catalog.version(name, None) is None


FAILURES = {
    "unreachable": EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    "throttled": ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "GetItem"),
    "broken": ClientError({"Error": {"Code": "InternalServerError"}}, "GetItem"),
    "forbidden": ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetItem"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_no_error_of_the_vendor_comes_out(
    catalog: DynamoCatalog, dynamodb: Any, s3: Any, name: str, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = a_package(name, prompt=noise(200_000))
    fail_always(s3, monkeypatch, "put_object", failure)
    with pytest.raises(StoreUnavailableError):
        catalog.publish(large)
    monkeypatch.undo()
    catalog.publish(large)
    fail_always(s3, monkeypatch, "get_object", failure)
    with pytest.raises(StoreUnavailableError):
        catalog.version(name, None)
    for operation in ("get_item", "query", "transact_write_items"):
        fail_always(dynamodb, monkeypatch, operation, failure)
    monkeypatch.setattr(catalog, "_store", DynamoStore(dynamodb, Backoff(sleep=lambda _: None)))
    for act in (
        lambda: catalog.version(name, None),
        lambda: catalog.summary(name),
        lambda: catalog.search("", after=None, limit=1),
        lambda: catalog.publish(a_package(name, "2.0.0")),
    ):
        with pytest.raises(StoreUnavailableError):
            act()


@pytest.mark.parametrize(
    "failure", [*FAILURES.values(), ClientError({"Error": {"Code": "TransactionCanceledException"}}, "")]
)
def test_a_transaction_that_fails_leaves_nothing(
    catalog: DynamoCatalog, dynamodb: Any, name: str, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_always(dynamodb, monkeypatch, "transact_write_items", failure)
    monkeypatch.setattr(catalog, "_store", DynamoStore(dynamodb, Backoff(sleep=lambda _: None)))

    with pytest.raises(StoreUnavailableError):
        catalog.publish(a_package(name))

    assert catalog.version(name, None) is None


# --- helpers ----------------------------------------------------------------------------------------------------------


def everything(dynamodb: Any, table: str, name: str) -> list[Any]:
    partitions = (
        dynamodb.query(
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"PACKAGE#{package_uuid(name)}"}},
        )["Items"],
        dynamodb.get_item(TableName=table, Key={"pk": {"S": "PACKAGES"}, "sk": {"S": name}})["Item"],
    )
    return list(partitions)


def listed(catalog: DynamoCatalog, name: str) -> Any:
    (summary,) = catalog.search(name, after=None, limit=2)[0]
    return summary


def objects(s3: Any, bucket: str, package: PackageVersion) -> list[str]:
    prefix = f"packages/{package.package_id}/{package.version}/"
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())]


def cancelled(*codes: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [{"Code": code} for code in codes]},
        "TransactWriteItems",
    )


def count_calls(made: Any, monkeypatch: pytest.MonkeyPatch, operation: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    original = getattr(made, operation)

    def counted(**arguments: Any) -> Any:
        calls.append(arguments)
        return original(**arguments)

    monkeypatch.setattr(made, operation, counted)
    return calls


def fail_first(made: Any, monkeypatch: pytest.MonkeyPatch, operation: str, failures: list[ClientError]) -> None:
    original = getattr(made, operation)

    def failing(**arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(**arguments)

    monkeypatch.setattr(made, operation, failing)


def fail_always(made: Any, monkeypatch: pytest.MonkeyPatch, operation: str, failure: Exception) -> None:
    def failing(**_: Any) -> Any:
        raise failure

    monkeypatch.setattr(made, operation, failing)


def test_variables_and_suggested_inputs_are_stored(catalog: DynamoCatalog, name: str) -> None:
    suggested = Example(title="One", input="Do it.", variables={"a": "x"}), Example(title="Two", input="Do it.")
    package = a_package(name, prompt="{{a}} {{b=}} {{c=see}}", examples=suggested)
    assert catalog.publish(package)
    assert not catalog.publish(package)
    assert catalog.version(name, None) == package
    summary = catalog.summary(name)
    assert summary is not None
    assert summary.variables == (Variable("a"), Variable("b", ""), Variable("c", "see"))
    assert summary.examples == suggested
    with pytest.raises(VersionExistsError):
        catalog.publish(replace(package, examples=suggested[:1]))


def test_variables_of_packages_that_were_imported_before_there_were_any_are_found(
    catalog: DynamoCatalog, dynamodb: Any, table: str, name: str
) -> None:
    package = a_package(name, prompt="{{a}}")
    catalog.publish(package)
    dynamodb.update_item(
        TableName=table,
        Key={"pk": {"S": f"PACKAGE#{package.package_id}"}, "sk": {"S": "HEAD"}},
        UpdateExpression="REMOVE variables",
        ConditionExpression="attribute_exists(variables)",
    )
    summary = catalog.summary(name)
    assert summary is not None
    assert (summary.variables, summary.examples) == ((Variable("a"),), ())
