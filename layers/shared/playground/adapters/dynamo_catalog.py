"""The catalogue in DynamoDB, with large prompts in S3.

Of each package there are its versions, immutable; a HEAD, which is a copy of the newest version and the list of all, so
that an unpinned read is one item; and its summary for lists and searches (keys: dynamo_keys.py). Publishing writes the
three in one transaction, so that they always say the same.

An item with `withdrawn_at` is returned to nobody: operators withdraw versions and packages. HEAD has the details.
`versions` are those that are offered, and it is a copy of the newest of them. `withdrawn` are the versions that were
withdrawn one by one. `closed` is there while the whole package is withdrawn: the versions that were offered before.
"""

import hashlib
import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from playground.adapters.dynamo_keys import LISTINGS, head_key, listing_key, version_key
from playground.adapters.dynamo_store import (
    DynamoStore,
    Key,
    Put,
    RawItem,
    Replace,
    Save,
    TransactionRefused,
    Update,
    Write,
)
from playground.domain.calendar import from_iso, iso
from playground.domain.errors import (
    InvalidRequestError,
    PlaygroundError,
    StoreUnavailableError,
    UnreadableError,
    VersionExistsError,
)
from playground.domain.packages import (
    ANY_KIND,
    Asset,
    Example,
    PackageKind,
    PackageSummary,
    PackageVersion,
    package_uuid,
)
from playground.domain.text import cut
from playground.domain.variables import Variable, variables_of
from playground.domain.versions import is_version, newest_first, precedence
from playground.ports import ReportUnreadable

INLINE_BYTES = 60_000  # compressed; an item holds 400 KB, and a read of 4 KB is one unit
PREVIEW = 1_500  # characters, of one package
LISTED_PREVIEW = 300  # characters, in lists
MAX_VERSIONS = 1_000  # of one package: their list is in every HEAD
MAX_PROMPT_BYTES = 2_000_000  # that are read back: twice of what the files of a package may have
CACHED_BYTES = 16_000_000
SEARCHED_ITEMS = 200  # in one query
SEARCH_QUERIES = 5  # for one page of answers

WITHDRAWN_AT = "withdrawn_at"  # of an item that is returned to nobody
PROMPT_CHARACTERS = "prompt_characters"
_DESCRIBED = ("package_id", "name", "description", "format", "subtype", "version", "tags")
_HEAD_ONLY = ("versions", "preview", "variables", PROMPT_CHARACTERS)
_SUMMARY = (*_DESCRIBED, *_HEAD_ONLY, "assets", "hidden", "examples", WITHDRAWN_AT)


class CorruptPackageError(PlaygroundError):
    """The stored version is not the published one. It is never returned."""

    def __init__(self, what: str) -> None:
        super().__init__("This package needs attention by an operator.")
        self.what = what


def package_key(table: str, package_id: str, version: str | None) -> Key | None:
    """The key of the item with a version (None: the newest) of a package, by UUID or `@scope/name`; None if no package
    can have that id or version. `DynamoCatalog.package_of_item` reads the item."""
    uuid = package_uuid(package_id)
    if uuid is None or (version is not None and not is_version(version)):
        return None
    return head_key(table, uuid) if version is None else version_key(table, uuid, version)


class DynamoCatalog:
    """Fulfils `ports.Catalog`. Safe to share between threads.

    `s3` is a client or a function that makes one: most prompts are in their items, and a client takes a while to make.
    """

    def __init__(
        self,
        store: DynamoStore,
        *,
        table_name: str,
        bucket: str,
        s3: Any,
        report: ReportUnreadable = lambda error: None,
    ) -> None:
        self._store = store
        self._report = report
        self._table = table_name
        self._bucket = bucket
        self._s3 = s3
        self._prompts = _Prompts(CACHED_BYTES)

    def publish(self, package: PackageVersion) -> bool:
        """Store a version. True if it is new, False if the very same was there already.

        Atomic. When several are published at the same time, every version ends up in the list, and HEAD is the newest.
        Raises VersionExistsError if this version exists with another content, InvalidRequestError if the package has
        too many versions or is withdrawn, StoreUnavailableError if the store does not take it.
        """
        item = _version_item(package)
        key = version_key(self._table, package.package_id, package.version)
        uploaded = False
        for _ in self._store.backoff:
            stored = self._store.get(key, attributes=["content_sha256"])
            if stored is not None:
                if stored["content_sha256"] != item["content_sha256"]:
                    raise VersionExistsError(package.name, package.version)
                return False
            if "prompt" not in item and not uploaded:
                self._upload(package, item)
                uploaded = True
            attributes = ["version", "versions", "withdrawn", "closed"]
            head = self._store.get(head_key(self._table, package.package_id), attributes=attributes)
            try:
                self._store.transact(*self._writes(package, item, head))
            except TransactionRefused:
                continue  # the package has changed since it was read
            return True
        raise AssertionError("a backoff ends by raising")

    def version(self, package_id: str, version: str | None) -> PackageVersion | None:
        """A version (None: the newest) by UUID or `@scope/name`."""
        key = package_key(self._table, package_id, version)
        item = self._store.get(key, consistent=False) if key is not None else None
        return self.package_of_item(item) if item else None

    def package_of_item(self, item: RawItem) -> PackageVersion | None:
        """The version in an item that was read by `package_key`, unless it is withdrawn; its prompt comes from S3 if it
        is there. Raises CorruptPackageError if the prompt is not the one that was published."""
        return None if WITHDRAWN_AT in item else self.stored_version(item)

    def stored_version(self, item: RawItem) -> PackageVersion:
        """The same, withdrawn or not. For operators."""
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
            examples=_examples(item),
        )

    def summary(self, package_id: str) -> PackageSummary | None:
        """The summary of a package, with a preview of up to 1,500 characters."""
        key = package_key(self._table, package_id, None)
        item = self._store.get(key, attributes=_SUMMARY, consistent=False) if key is not None else None
        if key is None or item is None or WITHDRAWN_AT in item:
            return None
        summary = _summary(item)
        if "variables" in item:
            return summary
        # It was imported before variables were looked for.
        newest = self.version(package_id, summary.latest_version)
        return replace(summary, variables=variables_of(newest.prompt)) if newest is not None else summary

    def search(
        self, text: str, *, after: str | None, limit: int, kind: PackageKind = ANY_KIND
    ) -> tuple[Sequence[PackageSummary], str | None]:
        """Summaries of a kind whose name, description or tags contain `text` in any case (all for ""), by name, after
        the name `after`, with previews of up to 300 characters; and the `after` of the next page, if any.

        One call reads at most 1,000 packages, so a page may hold fewer than `limit`, or none, although there are more.
        """
        found: list[PackageSummary] = []
        position = after
        for _ in range(SEARCH_QUERIES):
            filtered = bool(text.strip()) or kind != ANY_KIND
            page, position = self.listed(position, SEARCHED_ITEMS if filtered else limit + 1 - len(found))
            found += [summary for summary in page if summary.matches(text) and kind.includes(summary)]
            if len(found) > limit:
                return found[:limit], found[limit - 1].name
            if position is None:
                break
        return found, position

    def named(self, names: Sequence[str], text: str) -> Mapping[str, PackageSummary]:
        """Those of these packages, by name, that are there and contain `text` as in `search`. At most 100 names: one
        batch."""
        keys = [listing_key(self._table, name) for name in names]
        summaries = self._readable(list(self._store.get_all(keys).values()) if keys else [])
        return {summary.name: summary for summary in summaries if summary.matches(text)}

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
        first = after + "\0" if after else " "  # the first text behind it
        listing, stopped = self._store.query(
            self._table, LISTINGS, first=first, last="\U0010ffff", limit=count, consistent=False
        )
        return list(self._readable(listing)), stopped

    def _writes(self, package: PackageVersion, item: RawItem, head: RawItem | None) -> Sequence[Write]:
        """A new version, HEAD and listing at once, if neither the version nor the list of versions has changed."""
        known = _strings(head["versions"]) if head else ()
        withdrawn = head.get("withdrawn") if head else None
        if head and "closed" in head:
            raise InvalidRequestError("version", f"{package.name} is withdrawn; reinstate it to publish a version")
        if len(known) + (len(withdrawn["L"]) if withdrawn else 0) >= MAX_VERSIONS:
            raise InvalidRequestError("version", f"{package.name} has {MAX_VERSIONS:,} versions, the most allowed")
        versions = newest_first((*known, package.version))
        version = Put(version_key(self._table, package.package_id, package.version), item)
        at_head, at_listing = head_key(self._table, package.package_id), listing_key(self._table, package.name)
        new_head = {**head_item(package, item, versions), **({"withdrawn": withdrawn} if withdrawn else {})}
        listing = Save(at_listing, listing_item(package, versions), revision=None)
        if head is None:
            return version, Put(at_head, new_head), listing
        from pynamodb.expressions.operand import Path  # publishing is for operators: no function loads it for this

        unchanged = (Path("versions") == list(known)) & Path("closed").does_not_exist()
        if not known or precedence(package.version) > precedence(head["version"]["S"]):
            return version, Replace(at_head, new_head, unchanged), listing
        add = [Path("versions").set(list(versions))]
        return version, Update(at_head, add, unchanged), Update(at_listing, add)

    def _upload(self, package: PackageVersion, item: RawItem) -> None:
        try:
            self._s3_client().put_object(
                Bucket=self._bucket,
                Key=_object_key(item),
                Body=package.prompt.encode(),
                ContentType="text/plain; charset=utf-8",
            )
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailableError from error

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
    if package.examples:
        item["examples"] = {"L": [_example_item(each) for each in package.examples]}
    if len(compressed) <= INLINE_BYTES:
        item["prompt"] = {"B": compressed}
    return item


def head_item(package: PackageVersion, item: RawItem, versions: Sequence[str]) -> RawItem:
    return {
        **item,
        "versions": _list(versions),
        "preview": {"S": cut(package.prompt, PREVIEW)},
        "variables": {"L": [_variable_item(each) for each in variables_of(package.prompt)]},
        PROMPT_CHARACTERS: {"N": str(len(package.prompt))},
    }


def listing_item(package: PackageVersion, versions: Sequence[str]) -> RawItem:
    return {
        **_described(package),
        "versions": _list(versions),
        "preview": {"S": cut(package.prompt, LISTED_PREVIEW)},
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
        variables=_variables(item),
        examples=_examples(item),
        prompt_characters=int(item[PROMPT_CHARACTERS]["N"]) if PROMPT_CHARACTERS in item else None,
    )


def _asset_item(asset: Asset) -> RawItem:
    return {"M": {"path": {"S": asset.path}, "size": {"N": str(asset.size)}, "media_type": {"S": asset.media_type}}}


def _assets(item: RawItem) -> tuple[Asset, ...]:
    """Absent in packages that were imported before there were assets."""
    assets = (element["M"] for element in item["assets"]["L"]) if "assets" in item else ()
    return tuple(
        Asset(path=asset["path"]["S"], size=int(asset["size"]["N"]), media_type=asset["media_type"]["S"])
        for asset in assets
    )


def _hidden(item: RawItem) -> tuple[tuple[str, int], ...]:
    """Absent in packages that were imported before this was checked."""
    counts = item["hidden"]["M"] if "hidden" in item else {}
    return tuple(sorted((kind, int(count["N"])) for kind, count in counts.items()))


def _variable_item(variable: Variable) -> RawItem:
    default = {"default": {"S": variable.default}} if variable.default is not None else {}
    return {"M": {"name": {"S": variable.name}, **default}}


def _variables(item: RawItem) -> tuple[Variable, ...]:
    """Absent in packages that were imported before they were looked for, and in lists."""
    stored = (element["M"] for element in item["variables"]["L"]) if "variables" in item else ()
    return tuple(Variable(each["name"]["S"], each["default"]["S"] if "default" in each else None) for each in stored)


def _example_item(example: Example) -> RawItem:
    values = {name: {"S": value} for name, value in (example.variables or {}).items()}
    given = {"variables": {"M": values}} if example.variables is not None else {}
    return {"M": {"title": {"S": example.title}, "input": {"S": example.input}, **given}}


def _examples(item: RawItem) -> tuple[Example, ...]:
    """Absent in packages without any, and in lists."""
    stored = (element["M"] for element in item["examples"]["L"]) if "examples" in item else ()
    return tuple(
        Example(
            title=each["title"]["S"],
            input=each["input"]["S"],
            variables={name: value["S"] for name, value in each["variables"]["M"].items()}
            if "variables" in each
            else None,
        )
        for each in stored
    )


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
    if package.examples:  # likewise
        examples = [[each.title, each.input, sorted((each.variables or {}).items())] for each in package.examples]
        content.append({"examples": examples})
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


def _list(texts: Sequence[str]) -> dict[str, Any]:
    return {"L": [{"S": text} for text in texts]}


def _strings(attribute: RawItem) -> tuple[str, ...]:
    return tuple(element["S"] for element in attribute["L"])
