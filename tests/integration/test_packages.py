"""Packages as the registry makes them, from the archive to an answer: imported, shown and run."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from local.engine import CREDENTIALS, Engine
from local.resources import client
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.packages import ImportRequest, packages_in_tarball
from tests.conftest import NOW
from tests.handlers import Handlers
from tests.support import CATALOG_TABLE

HIDDEN = "".join(chr(0xE0000 + ord(letter)) for letter in "Do it.")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200_000)


@pytest.fixture
def catalog(handlers: Handlers, engine: Engine) -> Iterator[DynamoCatalog]:
    environment = {**CREDENTIALS, **handlers.description.functions["CatalogFunction"].environment}
    dynamodb, s3 = client("dynamodb", engine.endpoint_url), client("s3", engine.endpoint_url)
    yield DynamoCatalog(DynamoStore(dynamodb), table_name=CATALOG_TABLE, bucket=environment["CONTENT_BUCKET"], s3=s3)
    dynamodb.close()
    s3.close()


def publish(catalog: DynamoCatalog, files: Mapping[str, str | bytes], **manifest: Any) -> list[str]:
    """Import an archive of these files; the names of its packages. Names without a scope get the scope `acme`."""
    content = {"version": "1.0.0", "description": "Made.", "format": "claude", "files": list(files), **manifest}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in {**files, "prpm.json": json.dumps(content)}.items():
            member = tarfile.TarInfo(f"package/{name}")
            data = text if isinstance(text, bytes) else text.encode()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    request = ImportRequest(published_at=NOW, scope="acme", acknowledge_hidden=True)
    found = packages_in_tarball(gzip.compress(buffer.getvalue()), request)
    for package in found.packages:
        assert catalog.publish(package)
    return [package.name for package in found.packages]


def run(handlers: Handlers, name: str, user_id: str, **more: Any) -> Any:
    body = {"package_id": name, "input": "Hello", **more}
    return handlers.call("POST", "/playground/run", body, user=user_id)


def test_a_skill_with_assets_is_shown_and_run_without_them(
    handlers: Handlers, catalog: DynamoCatalog, user_id: str
) -> None:
    files = {"logo.png": PNG, "SKILL.md": "# Draw\n\nDraw logos.", "f.ttf": bytes(50_000), "more.md": "More."}
    (name,) = publish(catalog, files, name="draw", subtype="skill")

    shown = handlers.call("GET", f"/packages/{name}")
    answer = run(handlers, name, user_id)

    assert (shown.status, shown.body["assets"], shown.body["hidden_characters"]) == (
        200,
        [
            {"path": "logo.png", "size": len(PNG), "media_type": "image/png"},
            {"path": "f.ttf", "size": 50_000, "media_type": "font/ttf"},
        ],
        {},
    )
    assert (answer.status, answer.body["credits_spent"]) == (200, 1)
    assert answer.body["input_tokens"] < 200  # 250 KB of assets would be many more


def test_packages_of_one_archive_are_run_each_on_its_own(
    handlers: Handlers, catalog: DynamoCatalog, user_id: str
) -> None:
    files = {"one.md": "# One of two", "two.md": "# Two of two"}
    common = {"version": "1.0.0", "description": "Made.", "format": "cursor"}
    packages = [{**common, "name": f"{number}-of-two", "files": [f"{number}.md"]} for number in ("one", "two")]

    names = publish(catalog, files, packages=packages)

    assert names == ["@acme/one-of-two", "@acme/two-of-two"]
    for name in names:
        assert handlers.call("GET", f"/packages/{name}").body["subtype"] == "rule"
        assert run(handlers, name, user_id).status == 200


def test_hidden_characters_are_escaped_where_a_package_is_shown_and_sent_as_they_are(
    handlers: Handlers, catalog: DynamoCatalog, user_id: str
) -> None:
    prompt = f"# Tidy\n\nTidy up.{HIDDEN}\u202e \U0001f468\u200d\U0001f469\u200d\U0001f467"
    (name,) = publish(catalog, {"a.md": prompt}, name="hides", description=f"Tidies{HIDDEN} up.", tags=["a\u200bb"])

    shown = handlers.call("GET", f"/packages/{name}").body
    (listed,) = handlers.call("GET", "/packages?q=hides").body["packages"]

    escaped = "".join(f"[U+{ord(tag):04X}]" for tag in HIDDEN)
    for package in (shown, listed):
        assert package["preview"] == f"# Tidy\n\nTidy up.{escaped}[U+202E] \U0001f468\u200d\U0001f469\u200d\U0001f467\n"
        assert package["description"] == f"Tidies{escaped} up."
        assert package["tags"] == ["a[U+200B]b"]
    assert shown["hidden_characters"] == {"bidi_control": 1, "tag_character": 12, "zero_width": 1}
    stored = catalog.version(name, None)
    assert stored is not None
    assert HIDDEN in stored.prompt
    assert run(handlers, name, user_id).status == 200


def test_what_an_earlier_version_imported_is_shown_escaped_too(
    handlers: Handlers, catalog: DynamoCatalog, engine: Engine, user_id: str
) -> None:
    """It has no list of assets, and nobody has looked for hidden characters."""
    (name,) = publish(catalog, {"a.md": f"# Old{HIDDEN}"}, name="of-old")
    dynamodb = client("dynamodb", engine.endpoint_url)
    stored = catalog.version(name, None)
    assert stored is not None
    for sort_key in ("HEAD", "VERSION#1.0.0"):
        dynamodb.update_item(
            TableName=CATALOG_TABLE,
            Key={"pk": {"S": f"PACKAGE#{stored.package_id}"}, "sk": {"S": sort_key}},
            UpdateExpression="REMOVE assets, #hidden",
            ExpressionAttributeNames={"#hidden": "hidden"},
        )
    dynamodb.close()

    shown = handlers.call("GET", f"/packages/{name}").body

    assert (shown["assets"], shown["hidden_characters"]) == ([], {})
    assert shown["preview"] == "# Old" + "".join(f"[U+{ord(tag):04X}]" for tag in HIDDEN) + "\n"
    assert run(handlers, name, user_id).status == 200
