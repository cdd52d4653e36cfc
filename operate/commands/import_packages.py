"""Puts a package into the catalogue of the running stack, or of a deployed one: `make import PACKAGE=file.tar.gz`."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from botocore.exceptions import BotoCoreError
from operate.command import command
from operate.where import BUCKET, CATALOG, NowhereError, add_places, cause, find, where

from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.packages import MAX_BYTES, read_folder, read_tarball
from playground.domain.errors import PlaygroundError
from playground.domain.packages import PackageVersion

BYTES_PER_TOKEN = 3  # guessed rather too many

DESCRIPTION = """\
Put a package into the catalogue, so that it can be tried.

FILE is a package as the registry stores it: a .tar.gz with prpm.json at its root and the files that are listed there.
A folder with the same contents will do, too. It has to be a prompt (a skill, agent, slash command, rule, ...), text in
UTF-8, and at most 1,000,000 bytes with at most 100 files.

A version that is published is immutable: importing the same content again changes nothing, another content under the
same version is refused. What is read without a version is the newest one by semantic versioning, whatever the order of
the imports.
"""
EPILOG = f"""\
{where(CATALOG, BUCKET)}\
  Needed are dynamodb:GetItem, PutItem and UpdateItem on the table and s3:PutObject on packages/* in the bucket.

exit status:
  0  the package is in the catalogue, new or as it was
  1  it was refused or could not be stored; the reason is on stderr
  2  the command line is wrong

examples:
  make import PACKAGE=review-1.0.2.tar.gz
  make import PACKAGE=my-package/
  make import PACKAGE=x.tar.gz ARGS="--catalog-table playground-CatalogTable-1A2B --bucket playground-content-3c4d"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("import", "PACKAGE=...", DESCRIPTION, EPILOG)
    parser.add_argument("file", metavar="FILE", help="the package: a .tar.gz, or a folder")
    add_places(parser, CATALOG, BUCKET)
    options = parser.parse_args(arguments)
    if not options.file:
        parser.error("which package? make import PACKAGE=file.tar.gz")
    try:
        with find(parser, options) as found:
            package = read(Path(options.file))
            catalog = DynamoCatalog(
                table_name=found.names[CATALOG.name],
                bucket=found.names[BUCKET.name],
                dynamodb=found.client("dynamodb"),
                s3=found.client("s3"),
            )
            is_new = catalog.publish(package)
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
        return 1
    except (NowhereError, OSError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'imported' if is_new else 'already there, unchanged:'} {described(package)}")
    return 0


def read(path: Path) -> PackageVersion:
    """The package in a tarball or a folder. Raises PackageRefusedError, OSError."""
    now = datetime.now(UTC)
    if path.is_dir():
        return read_folder(path, published_at=now)
    with path.open("rb") as file:
        return read_tarball(file.read(MAX_BYTES + 1), published_at=now)


def described(package: PackageVersion) -> str:
    size = len(package.prompt.encode())
    tokens = round(size / BYTES_PER_TOKEN, -2 if size >= 3_000 else -1)
    return f"{package.name} {package.version} (package_id {package.package_id}, {size:,} bytes, ~{tokens:,.0f} tokens)"


if __name__ == "__main__":
    sys.exit(main())
