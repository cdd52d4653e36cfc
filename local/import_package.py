"""Puts packages into the catalogue of the running stack, or of a deployed one: `make import PACKAGE=file.tar.gz`."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from botocore.exceptions import BotoCoreError

from local.command import command
from local.where import BUCKET, CATALOG, NowhereError, add_places, cause, find, where
from playground.adapters.archives import MAX_ARCHIVE_BYTES, MAX_FILES_BYTES, MAX_MEMBERS, PackageRefusedError, shown
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.packages import (
    MAX_PROMPT_BYTES,
    ImportRequest,
    PackageSet,
    packages_in_folder,
    packages_in_tarball,
)
from playground.adapters.prices import load_prices
from playground.domain.account import Plan
from playground.domain.errors import PlaygroundError
from playground.domain.packages import PackageVersion, is_bare_name, is_package_name

BYTES_PER_TOKEN = 3  # guessed rather too many
_SCOPE = re.compile(r"@?[a-z0-9][a-z0-9._-]{0,63}")
_SHOWN_ASSETS = 20

DESCRIPTION = f"""\
Put packages into the catalogue, so that they can be tried.

FILE is a package as the registry stores it: a .tar.gz with prpm.json and the files that are listed there, at its root
or in one folder. A folder with the same contents will do, too. It has to be a prompt (a skill, agent, slash command,
rule, ...). If prpm.json describes several packages, all that have files here are imported, or the one that NAME says.

A name without a scope needs one, as the registry would add it: NAME=@scope/name, or SCOPE=scope for all such names of
the files. If prpm.json names an organization, that is the scope.

The listed text files, UTF-8, are the prompt. Images, fonts and other files that are no text are listed as assets and
left out of it. A prompt may have {MAX_PROMPT_BYTES:,} bytes; with FIT=1 what is too much becomes an asset, too.
The archive may have {MAX_ARCHIVE_BYTES:,} bytes, {MAX_FILES_BYTES:,} unpacked, and {MAX_MEMBERS:,} files and folders.

A package with characters that a reader does not see and the model does (marks of direction, zero-width and tag
characters, variation selectors without an emoji, escape sequences of terminals) is refused, and the places are shown.
ACKNOWLEDGE_HIDDEN=1 imports it all the same and records what was found.

A version that is published is immutable: importing the same content again changes nothing, another content under the
same version is refused. What is read without a version is the newest one by semantic versioning, whatever the order of
the imports.
"""
EPILOG = f"""\
{where(CATALOG, BUCKET)}\
  Needed are dynamodb:GetItem, PutItem and UpdateItem on the table and s3:PutObject on packages/* in the bucket.

exit status:
  0  the packages are in the catalogue, new or as they were
  1  one was refused or could not be stored; the reason is on stderr. Of a file with a refused package nothing is
     stored; other files are
  2  the command line is wrong

examples:
  make import PACKAGE=review-1.0.2.tar.gz
  make import PACKAGE=tidy-1.0.0.tar.gz NAME=@acme/tidy
  make import PACKAGE=my-package/ SCOPE=acme
  make import PACKAGE=a.tar.gz ARGS="b.tar.gz c.tar.gz"
  make import PACKAGE=x.tar.gz ARGS="--catalog-table playground-CatalogTable-1A2B --bucket playground-content-3c4d"
"""


@dataclass(slots=True)
class _Import:
    """How the import of some files went."""

    outcomes: Counter[str]
    failed: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("import", "PACKAGE=... [NAME=...] [SCOPE=...] [FIT=1] [ACKNOWLEDGE_HIDDEN=1]", DESCRIPTION, EPILOG)
    parser.add_argument("files", metavar="FILE", nargs="+", help="a package: a .tar.gz, or a folder")
    parser.add_argument("--name", type=_name, help="the package that is meant, @scope/name (NAME)")
    parser.add_argument("--scope", type=_scope, help="the scope of names that have none (SCOPE)")
    parser.add_argument("--fit", action="store_true", help="leave texts that do not fit out of the prompt (FIT=1)")
    parser.add_argument(
        "--acknowledge-hidden",
        action="store_true",
        help="import characters that cannot be seen, and record them (ACKNOWLEDGE_HIDDEN=1)",
    )
    add_places(parser, CATALOG, BUCKET)
    options = parser.parse_args(arguments)
    if not all(options.files):
        parser.error("which package? make import PACKAGE=file.tar.gz")
    if options.name and len(options.files) > 1:
        parser.error(f"NAME={options.name} is one package; there are {len(options.files)} files")
    try:
        with find(parser, options) as found:
            catalog = DynamoCatalog(
                table_name=found.names[CATALOG.name],
                bucket=found.names[BUCKET.name],
                dynamodb=found.client("dynamodb"),
                s3=found.client("s3"),
            )
            done = _imported(catalog, options)
    except (NowhereError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    if done.outcomes.total() > 1 or len(options.files) > 1:
        print(", ".join(f"{count} {outcome}" for outcome, count in sorted(done.outcomes.items())))
    return 1 if done.failed else 0


def _name(text: str) -> str:
    if not is_package_name(text) and not is_bare_name(text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no name of a package; it must be like @scope/name")
    return text


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is no scope; it must be like acme: lower-case letters, digits, dots, hyphens, underscores"
        )
    return text.removeprefix("@")


def _imported(catalog: DynamoCatalog, options: argparse.Namespace) -> _Import:
    done = _Import(Counter())
    request = ImportRequest(
        published_at=datetime.now(UTC),
        name=options.name,
        scope=options.scope,
        acknowledge_hidden=options.acknowledge_hidden,
        fit=options.fit,
    )
    for file in options.files:
        try:
            found = read(Path(file), request)
            for package in found.packages:
                is_new = catalog.publish(package)
                done.outcomes["imported" if is_new else "already there"] += 1
                print(f"{'imported' if is_new else 'already there, unchanged:'} {described(package)}")
                for note in notes(package):
                    print(f"  {note}")
            for name, why in found.skipped:
                done.outcomes["skipped"] += 1
                print(f"skipped {name}: {why}")
        except PlaygroundError as error:
            done.failed = True
            done.outcomes["refused"] += 1
            print(f"{_file(file)}: {error.message}{cause(error)}", file=sys.stderr)
            for note in error.notes if isinstance(error, PackageRefusedError) else ():
                print(f"  {note}", file=sys.stderr)
        except OSError as error:
            done.failed = True
            done.outcomes["refused"] += 1
            print(f"{_file(file)}: {error.strerror or error}", file=sys.stderr)
    return done


def _file(name: str) -> str:
    """The name of a file as it was given; escaped if it may look like another one."""
    return name if name.isascii() and name.isprintable() else json.dumps(name)


def read(path: Path, request: ImportRequest) -> PackageSet:
    """The packages in a tarball or a folder. Raises PackageRefusedError, OSError."""
    if path.is_dir():
        return packages_in_folder(path, request)
    with path.open("rb") as file:
        return packages_in_tarball(file.read(MAX_ARCHIVE_BYTES + 1), request)


def described(package: PackageVersion) -> str:
    size = len(package.prompt.encode())
    tokens = round(_tokens(package), -2 if size >= 3_000 else -1)
    return f"{package.name} {package.version} (package_id {package.package_id}, {size:,} bytes, ~{tokens:,.0f} tokens)"


def notes(package: PackageVersion) -> Iterator[str]:
    """What whoever imports it should know besides."""
    for asset in package.assets[:_SHOWN_ASSETS]:
        yield f"not in the prompt: {shown(asset.path)} ({asset.size:,} bytes, {asset.media_type})"
    if len(package.assets) > _SHOWN_ASSETS:
        yield f"not in the prompt: {len(package.assets) - _SHOWN_ASSETS:,} more files"
    if package.hidden:
        yield "hidden characters, acknowledged: " + ", ".join(f"{count:,} {kind}" for kind, count in package.hidden)
    budgets = load_prices().context_budget_tokens
    free, plus = budgets[Plan.FREE.value], budgets[Plan.PLUS.value]
    if _tokens(package) > plus:
        yield f"may be too long for any plan: PRPM+ takes {plus:,} tokens, input and conversation included"
    elif _tokens(package) > free:
        yield f"may be too long without PRPM+: the free plan takes {free:,} tokens, input and conversation included"


def _tokens(package: PackageVersion) -> float:
    """About how many tokens the prompt has."""
    return len(package.prompt.encode()) / BYTES_PER_TOKEN


if __name__ == "__main__":
    sys.exit(main())
