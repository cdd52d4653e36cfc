"""The catalogue in DynamoDB, with large prompts in S3.

    pk                sk                  is
    PACKAGE#<uuid>    VERSION#<version>   one version, immutable
    PACKAGE#<uuid>    HEAD                a copy of the newest version, and the list of all, so that an unpinned read
                                          is one item
    PACKAGES          <name>              the summary of one package, for lists and searches

Publishing writes the three in one transaction, so that they always say the same.
"""

import hashlib
import json
import random
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from playground.domain.calendar import from_iso, iso
from playground.domain.errors import (
    InvalidRequestError,
    PlaygroundError,
    StoreUnavailableError,
    UnreadableError,
    VersionExistsError,
)
from playground.domain.packages import Asset, PackageSummary, PackageVersion, package_uuid
from playground.domain.versions import is_version, newest_first, precedence
from playground.ports import ReportUnreadable

RawItem = Mapping[str, Any]
"""An item as DynamoDB spells it: attribute → {type: value}."""

INLINE_BYTES = 60_000  # compressed; an item holds 400 KB, and a read of 4 KB is one unit
PREVIEW = 1_500  # characters, of one package
LISTED_PREVIEW = 300  # characters, in lists
MAX_VERSIONS = 1_000  # of one package: their list is in every HEAD
MAX_PROMPT_BYTES = 2_000_000  # that are read back: twice of what the files of a package may have
CACHED_BYTES = 16_000_000
TRIES = 32  # of a transaction, when others publish the same package
SEARCHED_ITEMS = 200  # in one query
SEARCH_QUERIES = 5  # for one page of answers

_LISTING = "PACKAGES"
_HEAD = "HEAD"
_PASSING = frozenset(
    {
        "ConditionalCheckFailed",  # somebody published meanwhile: look again
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
        "ThrottlingError",
        "ThrottlingException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
    }
)


class CorruptPackageError(PlaygroundError):
    """What is stored of a version is not what was published. It is not given to anybody."""

    def __init__(self, what: str) -> None:
        super().__init__("This package needs attention by an operator.")
        self.what = what


def package_key(package_id: str, version: str | None) -> dict[str, Any] | None:
    """The key of the item with a version (None: the newest) of a package, by UUID or `@scope/name`; None if no package
    can have that id or version. `DynamoCatalog.package_of_item` reads the item."""
    uuid = package_uuid(package_id)
    if uuid is None or (version is not None and not is_version(version)):
        return None
    return _key(f"PACKAGE#{uuid}", _HEAD if version is None else f"VERSION#{version}")


class DynamoCatalog:
    """Fulfils `ports.Catalog`. Safe to share between threads.

    `s3` is a client or a function that makes one: most prompts are in their items, and a client takes a while to make.
    """

    def __init__(
        self,
        *,
        table_name: str,
        bucket: str,
        dynamodb: Any,
        s3: Any,
        sleep: Callable[[float], None] = time.sleep,
        randomness: Callable[[], float] = random.random,
        report: ReportUnreadable = lambda error: None,
    ) -> None:
        self._report = report
        self._table = table_name
        self._bucket = bucket
        self._dynamodb = dynamodb
        self._s3 = s3
        self._sleep = sleep
        self._random = randomness
        self._prompts = _Prompts(CACHED_BYTES)

    def publish(self, package: PackageVersion) -> bool:
        """Store a version. True if it is new, False if the very same was there already.

        Atomic. Whoever publishes at the same time, every version ends up in the list, and HEAD is the newest of them.
        Raises VersionExistsError if this version exists with another content, InvalidRequestError if the package has
        too many versions, StoreUnavailableError if the store does not take it.
        """
        item = _version_item(package)
        uploaded = False
        for number in range(TRIES):
            if number:
                self._sleep(self._random() * min(0.5, 0.01 * 2**number))
            stored = self._get(item["pk"]["S"], item["sk"]["S"], "content_sha256")
            if stored is not None:
                if stored["content_sha256"] != item["content_sha256"]:
                    raise VersionExistsError(package.name, package.version)
                return False
            if "prompt" not in item and not uploaded:
                self._upload(package, item)
                uploaded = True
            head = self._get(item["pk"]["S"], _HEAD, "version, versions")
            if self._written(package, item, head):
                return True
        raise StoreUnavailableError

    def version(self, package_id: str, version: str | None) -> PackageVersion | None:
        """A version (None: the newest) by UUID or `@scope/name`."""
        key = package_key(package_id, version)
        item = key and self._call(self._dynamodb.get_item, TableName=self._table, Key=key).get("Item")
        return self.package_of_item(item) if item else None

    def package_of_item(self, item: RawItem) -> PackageVersion:
        """The version in an item that was read by `package_key`; its prompt comes from S3 if it is there.

        Raises CorruptPackageError if the prompt is not the one that was published.
        """
        return PackageVersion(
            package_id=item["package_id"]["S"],
            name=item["name"]["S"],
            version=item["version"]["S"],
            description=item["description"]["S"],
            format=item["format"]["S"],
            subtype=item["subtype"]["S"],
            prompt=self._prompt(item),
            files=_strings(item["files"]),
            published_at=from_iso(item["published_at"]["S"]),
            tags=_strings(item["tags"]),
            license=item["license"]["S"] if "license" in item else None,
            author=item["author"]["S"] if "author" in item else None,
            assets=_assets(item),
            hidden=_hidden(item),
        )

    def summary(self, package_id: str) -> PackageSummary | None:
        """What there is of a package, with a preview of up to 1,500 characters."""
        key = package_key(package_id, None)
        if key is None:
            return None
        fields = ("package_id", "name", "description", "format", "subtype", "version", "versions", "preview", "tags")
        extra = ("assets", "hidden")
        answer = self._call(
            self._dynamodb.get_item,
            TableName=self._table,
            Key=key,
            ProjectionExpression=", ".join(f"#{field}" for field in (*fields, *extra)),
            ExpressionAttributeNames={f"#{field}": field for field in (*fields, *extra)},
        )
        return _summary(answer["Item"]) if "Item" in answer else None

    def search(self, text: str, *, after: str | None, limit: int) -> tuple[Sequence[PackageSummary], str | None]:
        """Summaries whose name, description or tags contain `text` in any case (all for ""), by name, after the name
        `after`, with previews of up to 300 characters; and the `after` of the next page, if any.

        One call reads at most 1,000 packages, so a page may hold fewer than `limit`, or none, although there are more.
        """
        found: list[PackageSummary] = []
        position = after
        for _ in range(SEARCH_QUERIES):
            page, position = self.listed(position, SEARCHED_ITEMS if text.strip() else limit + 1 - len(found))
            found += [summary for summary in page if is_match(summary, text)]
            if len(found) > limit:
                return found[:limit], found[limit - 1].name
            if position is None:
                break
        return found, position

    def _readable(self, listing: Sequence[RawItem]) -> Iterator[PackageSummary]:
        """What can be read of a part of the list; the rest is reported."""
        for item in listing:
            try:
                yield _summary(item)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                self._report(UnreadableError(f"package {item['sk']['S']}: {error!r}"))

    def listed(self, after: str | None, count: int) -> tuple[Sequence[PackageSummary], str | None]:
        """At most `count` summaries by name, after the name `after`; and where the next ones begin, if there may be
        any. One query, of 1 MB at most."""
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk > :after" if after else "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": _LISTING}} | ({":after": {"S": after}} if after else {}),
            "Limit": count,
        }
        answer = self._call(self._dynamodb.query, **arguments)
        stopped = answer.get("LastEvaluatedKey")
        return list(self._readable(answer["Items"])), stopped["sk"]["S"] if stopped else None

    def _get(self, pk: str, sk: str, attributes: str) -> RawItem | None:
        """Some attributes of an item, as last written."""
        answer = self._call(
            self._dynamodb.get_item,
            TableName=self._table,
            Key=_key(pk, sk),
            ConsistentRead=True,
            ProjectionExpression=attributes,
        )
        item: RawItem | None = answer.get("Item")
        return item

    def _written(self, package: PackageVersion, item: RawItem, head: RawItem | None) -> bool:
        """Write a version, HEAD and listing at once. False if something changed meanwhile, so that it must be decided
        again."""
        known = _strings(head["versions"]) if head else ()
        if len(known) >= MAX_VERSIONS:
            raise InvalidRequestError("version", f"{package.name} has {MAX_VERSIONS:,} versions, the most allowed")
        versions = _list(newest_first((*known, package.version)))
        new_item = self._put(item, ConditionExpression="attribute_not_exists(pk)")
        if head is None:
            unchanged: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        else:
            unchanged = {
                "ConditionExpression": "versions = :known",
                "ExpressionAttributeValues": {":known": head["versions"]},
            }
        if head is None or precedence(package.version) > precedence(head["version"]["S"]):
            writes = [
                new_item,
                self._put(_head_item(package, item, versions), **unchanged),
                self._put(_listing_item(package, item, versions)),
            ]
        else:
            values = {**unchanged.get("ExpressionAttributeValues", {}), ":versions": versions}
            writes = [
                new_item,
                self._set_versions(
                    item["pk"]["S"],
                    _HEAD,
                    ConditionExpression=unchanged["ConditionExpression"],
                    ExpressionAttributeValues=values,
                ),
                self._set_versions(_LISTING, package.name, ExpressionAttributeValues={":versions": versions}),
            ]
        try:
            self._dynamodb.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if _is_passing(error):
                return False
            raise StoreUnavailableError from error
        except BotoCoreError as error:
            raise StoreUnavailableError from error
        return True

    def _put(self, item: RawItem, **condition: Any) -> dict[str, Any]:
        return {"Put": {"TableName": self._table, "Item": item, **condition}}

    def _set_versions(self, pk: str, sk: str, **expressions: Any) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self._table,
                "Key": _key(pk, sk),
                "UpdateExpression": "SET versions = :versions",
                **expressions,
            }
        }

    def _upload(self, package: PackageVersion, item: RawItem) -> None:
        self._call(
            self._s3_client().put_object,
            Bucket=self._bucket,
            Key=_object_key(item),
            Body=package.prompt.encode(),
            ContentType="text/plain; charset=utf-8",
        )

    def _prompt(self, item: RawItem) -> str:
        digest = item["prompt_sha256"]["S"]
        if "prompt" in item:
            return _checked(_inflated(item), item)
        prompt = self._prompts.get(digest)
        if prompt is None:
            prompt = _checked(self._download(item), item)
            self._prompts.put(digest, prompt)
        return prompt

    def _download(self, item: RawItem) -> bytes:
        try:
            answer = self._s3_client().get_object(Bucket=self._bucket, Key=_object_key(item))
            content: bytes = answer["Body"].read(MAX_PROMPT_BYTES + 1)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                raise CorruptPackageError(f"{_named(item)}: the prompt is not in the bucket") from error
            raise StoreUnavailableError from error
        except BotoCoreError as error:
            raise StoreUnavailableError from error
        return content

    def _s3_client(self) -> Any:
        if callable(self._s3):
            self._s3 = self._s3()
        return self._s3

    def _call(self, operation: Callable[..., Any], **arguments: Any) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = operation(**arguments)
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailableError from error
        return answer


class _Prompts:
    """Prompts by digest, the least recently used of them forgotten above a number of characters. What is immutable
    never has to be read twice."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._prompts: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> str | None:
        with self._lock:
            if digest in self._prompts:
                self._prompts.move_to_end(digest)
            return self._prompts.get(digest)

    def put(self, digest: str, prompt: str) -> None:
        with self._lock:
            if digest in self._prompts:
                return
            self._prompts[digest] = prompt
            self._size += len(prompt)
            while self._size > self._capacity:
                _, forgotten = self._prompts.popitem(last=False)
                self._size -= len(forgotten)


# --- items ------------------------------------------------------------------------------------------------------------


def _version_item(package: PackageVersion) -> dict[str, Any]:
    """The immutable item, with the prompt in it unless that is too large."""
    text = package.prompt.encode()
    compressed = zlib.compress(text)
    item = {
        **_key(f"PACKAGE#{package.package_id}", f"VERSION#{package.version}"),
        **_described(package),
        "files": _list(package.files),
        "published_at": {"S": iso(package.published_at)},
        "prompt_sha256": {"S": hashlib.sha256(text).hexdigest()},
        "content_sha256": {"S": _content_digest(package)},
    }
    if package.license is not None:
        item["license"] = {"S": package.license}
    if package.author is not None:
        item["author"] = {"S": package.author}
    if package.assets:
        item["assets"] = {"L": [_asset_item(asset) for asset in package.assets]}
    if package.hidden:
        item["hidden"] = {"M": {kind: {"N": str(count)} for kind, count in package.hidden}}
    if len(compressed) <= INLINE_BYTES:
        item["prompt"] = {"B": compressed}
    return item


def _head_item(package: PackageVersion, item: RawItem, versions: RawItem) -> RawItem:
    preview = {"S": _preview(package.prompt, PREVIEW)}
    return {**item, **_key(item["pk"]["S"], _HEAD), "versions": versions, "preview": preview}


def _listing_item(package: PackageVersion, item: RawItem, versions: RawItem) -> RawItem:
    return {
        **_key(_LISTING, package.name),
        **_described(package),
        "versions": versions,
        "preview": {"S": _preview(package.prompt, LISTED_PREVIEW)},
    }


def _described(package: PackageVersion) -> dict[str, Any]:
    return {
        "package_id": {"S": package.package_id},
        "name": {"S": package.name},
        "version": {"S": package.version},
        "description": {"S": package.description},
        "format": {"S": package.format},
        "subtype": {"S": package.subtype},
        "tags": _list(package.tags),
    }


def _summary(item: RawItem) -> PackageSummary:
    return PackageSummary(
        package_id=item["package_id"]["S"],
        name=item["name"]["S"],
        description=item["description"]["S"],
        format=item["format"]["S"],
        subtype=item["subtype"]["S"],
        latest_version=item["version"]["S"],
        versions=_strings(item["versions"]),
        preview=item["preview"]["S"],
        tags=_strings(item["tags"]),
        assets=_assets(item),
        hidden=_hidden(item),
    )


def _asset_item(asset: Asset) -> RawItem:
    return {"M": {"path": {"S": asset.path}, "size": {"N": str(asset.size)}, "media_type": {"S": asset.media_type}}}


def _assets(item: RawItem) -> tuple[Asset, ...]:
    """None in what was imported before there were assets."""
    assets = (element["M"] for element in item["assets"]["L"]) if "assets" in item else ()
    return tuple(
        Asset(path=asset["path"]["S"], size=int(asset["size"]["N"]), media_type=asset["media_type"]["S"])
        for asset in assets
    )


def _hidden(item: RawItem) -> tuple[tuple[str, int], ...]:
    """None in what was imported before it was looked for."""
    counts = item["hidden"]["M"] if "hidden" in item else {}
    return tuple(sorted((kind, int(count["N"])) for kind, count in counts.items()))


def is_match(summary: PackageSummary, text: str) -> bool:
    """Whether name, description or tags contain `text` in any case."""
    return text.strip().casefold() in _searched(summary)


def _searched(summary: PackageSummary) -> str:
    """What a search looks at, in one case. Line ends keep a match from spanning two fields."""
    return "\n".join((summary.name, summary.description, *summary.tags)).casefold()


def _preview(prompt: str, length: int) -> str:
    return prompt if len(prompt) <= length else prompt[: length - 1].rstrip() + "…"


def _content_digest(package: PackageVersion) -> str:
    """A digest of all that makes a version what it is; when it was published, and who has acknowledged what is in it,
    does not."""
    content: list[Any] = [
        package.name,
        package.version,
        package.description,
        package.format,
        package.subtype,
        package.prompt,
        package.files,
        package.tags,
        package.license,
        package.author,
    ]
    if package.assets:  # only then: digests of what was imported before there were assets stay what they are
        content.append([[asset.path, asset.size, asset.media_type] for asset in package.assets])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _inflated(item: RawItem) -> bytes:
    try:
        return zlib.decompressobj().decompress(item["prompt"]["B"], MAX_PROMPT_BYTES)
    except zlib.error as error:
        raise CorruptPackageError(f"{_named(item)}: the prompt cannot be decompressed") from error


def _checked(content: bytes, item: RawItem) -> str:
    if hashlib.sha256(content).hexdigest() != item["prompt_sha256"]["S"]:
        raise CorruptPackageError(f"{_named(item)}: the prompt is not the one that was published")
    return content.decode()


def _object_key(item: RawItem) -> str:
    return f"packages/{item['package_id']['S']}/{item['version']['S']}/{item['prompt_sha256']['S']}"


def _named(item: RawItem) -> str:
    return f"{item['name']['S']} {item['version']['S']}"


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _list(texts: Sequence[str]) -> dict[str, Any]:
    return {"L": [{"S": text} for text in texts]}


def _strings(attribute: RawItem) -> tuple[str, ...]:
    return tuple(element["S"] for element in attribute["L"])


def _is_passing(error: ClientError) -> bool:
    """Whether another try may succeed, by the reason of each write, never by the message."""
    code = error.response.get("Error", {}).get("Code", "")
    if code != "TransactionCanceledException":
        return code in _PASSING
    reasons = [reason.get("Code", "None") for reason in error.response.get("CancellationReasons", ())]
    decisive = [reason for reason in reasons if reason != "None"]
    return bool(decisive) and all(reason in _PASSING for reason in decisive)
