"""Puts the sample packages in local/packages into the catalogue of the laptop stack."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from local.process import ROOT
from local.resources import client
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.packages import read_folder

PACKAGES = ROOT / "local" / "packages"


def sample_folders() -> list[Path]:
    return sorted(manifest.parent for manifest in PACKAGES.glob("*/prpm.json"))


@contextmanager
def local_catalog(environment: Mapping[str, str], endpoint_url: str) -> Iterator[DynamoCatalog]:
    """The catalogue in the store at `endpoint_url`, with the names in CATALOG_TABLE and CONTENT_BUCKET."""
    dynamodb, s3 = client("dynamodb", endpoint_url), client("s3", endpoint_url)
    try:
        yield DynamoCatalog(
            DynamoStore(dynamodb),
            table_name=environment["CATALOG_TABLE"],
            bucket=environment["CONTENT_BUCKET"],
            s3=s3,
        )
    finally:
        dynamodb.close()
        s3.close()


def seed(environment: Mapping[str, str], endpoint_url: str) -> int:
    """Publish every sample package; says how many there are. Repeating it changes nothing.

    Raises VersionExistsError if a sample was changed but not its version.
    """
    now = datetime.now(UTC)
    packages = [read_folder(folder, published_at=now) for folder in sample_folders()]
    with local_catalog(environment, endpoint_url) as catalog:
        for package in packages:
            catalog.publish(package)
    return len(packages)
