"""Puts a package into the catalogue of the running stack, or of a deployed one: `make import PACKAGE=file.tar.gz`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from local.engine import CREDENTIALS
from local.seed import local_catalog
from local.settings import state_dir
from local.state_file import read_state
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
EPILOG = """\
where to:
  By default into the stack that `make run` has started, which it finds in STATE_DIR/stack.json (STATE_DIR: .local).
  With --table and --bucket into a deployed one. Their names are the outputs CatalogTableName and ContentBucketName of
  the stack; credentials and region are found as by the AWS CLI (AWS_PROFILE, AWS_REGION, ...). Needed are
  dynamodb:GetItem, PutItem and UpdateItem on the table and s3:PutObject on packages/* in the bucket.

exit status:
  0  the package is in the catalogue, new or as it was
  1  it was refused or could not be stored; the reason is on stderr
  2  the command line is wrong

examples:
  make import PACKAGE=review-1.0.2.tar.gz
  python -m local.import_package my-package/
  python -m local.import_package --table playground-CatalogTable-1A2B --bucket playground-contentbucket-3c4d x.tar.gz
"""


class NoStackError(Exception):
    """There is no catalogue to import into."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.import_package",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the package: a .tar.gz, or a folder")
    parser.add_argument("--table", help="name of the catalogue's DynamoDB table in a deployed stack")
    parser.add_argument("--bucket", help="name of the content bucket in a deployed stack")
    options = parser.parse_args(arguments)
    if not options.file:
        parser.error("which package? make import PACKAGE=file.tar.gz")
    if (options.table is None) != (options.bucket is None):
        parser.error("--table and --bucket belong together")
    try:
        package = read(Path(options.file))
        with deployed(options.table, options.bucket) if options.table else running() as catalog:
            is_new = catalog.publish(package)
    except PlaygroundError as error:
        print(f"{error.message}{_cause(error)}", file=sys.stderr)
        return 1
    except (NoStackError, OSError, BotoCoreError) as error:
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


@contextmanager
def running() -> Iterator[DynamoCatalog]:
    """The catalogue of the stack on this machine. Raises NoStackError."""
    folder = state_dir()
    state = read_state(folder)
    if state is None:
        raise NoStackError(
            f"no stack is running with its state in {folder}: start one with `make run`, or name the table and bucket "
            "of a deployed one with --table and --bucket"
        )
    environment = {**CREDENTIALS, **state["functions"]["CatalogFunction"]["environment"]}
    with local_catalog(environment, state["engine_url"]) as catalog:
        yield catalog


@contextmanager
def deployed(table: str, bucket: str) -> Iterator[DynamoCatalog]:
    """The catalogue of a deployed stack, with the credentials of whoever calls. Raises BotoCoreError."""
    config = Config(connect_timeout=5, read_timeout=30)
    dynamodb, s3 = boto3.client("dynamodb", config=config), boto3.client("s3", config=config)
    try:
        yield DynamoCatalog(table_name=table, bucket=bucket, dynamodb=dynamodb, s3=s3)
    finally:
        dynamodb.close()
        s3.close()


def described(package: PackageVersion) -> str:
    size = len(package.prompt.encode())
    tokens = round(size / BYTES_PER_TOKEN, -2 if size >= 3_000 else -1)
    return f"{package.name} {package.version} (package_id {package.package_id}, {size:,} bytes, ~{tokens:,.0f} tokens)"


def _cause(error: BaseException) -> str:
    """What the store said, for an operator who can do something about it."""
    return f" ({error.__cause__})" if error.__cause__ else ""


if __name__ == "__main__":
    sys.exit(main())
