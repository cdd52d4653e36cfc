"""`playground import file.tar.gz`: put packages into the catalogue."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from operate.errors import cause
from operate.helptext import more_help
from operate.options import dry_run, note, on_a_stack, show, with_progress, working_on
from operate.stack import BUCKET, CATALOG
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
MAX_SHOWN_ASSETS = 20
_SCOPE = re.compile(r"@?[a-z0-9][a-z0-9._-]{0,63}")


class PackageName(click.ParamType[str]):
    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_package_name(value) and not is_bare_name(value):
            self.fail(f"{shown(value)} is no name of a package; it must be like @scope/name", param, ctx)
        return str(value)


class Scope(click.ParamType[str]):
    name = "scope"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _SCOPE.fullmatch(value):
            expected = "lower-case letters, digits, dots, hyphens, underscores"
            self.fail(f"{shown(value)} is no scope; it must be like acme: {expected}", param, ctx)
        return str(value).removeprefix("@")


@dataclass(slots=True)
class Outcomes:
    """How the import of some files went."""

    packages: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return Counter([*(str(each["outcome"]) for each in self.packages), *("refused" for _ in self.refused)])


@click.command(
    "import",
    epilog=more_help(
        {
            "Names": "A name without a scope needs one, as the registry would add it: --name @scope/name, or "
            "--scope for "
            "all such names of the files. If prpm.json names an organization, that is the scope. If it "
            "describes several "
            "packages, all that have files here are imported, or the one that --name says.",
            "The prompt": f"The listed text files, UTF-8. Images, fonts and other files that are no text are listed as "
            f"assets and left out of it. A prompt may have {MAX_PROMPT_BYTES:,} bytes; with --fit what is too "
            f"much becomes "
            f"an asset, too. The archive may have {MAX_ARCHIVE_BYTES:,} bytes, {MAX_FILES_BYTES:,} unpacked, and "
            f"{MAX_MEMBERS:,} files and folders.",
            "Hidden characters": "A package with characters that a reader does not see and the model does (marks of "
            "direction, zero-width and tag characters, variation selectors without an emoji, escape sequences of "
            "terminals) is refused, and the places are shown. --acknowledge-hidden imports it all the same and records "
            "what was found.",
            "Versions": "A version that is published is immutable: importing the same content again changes nothing, "
            "another content under the same version is refused. What is read without a version is the newest one by "
            "semantic versioning, whatever the order of the imports.",
        },
        rights=[
            "dynamodb:GetItem, PutItem, UpdateItem on the catalogue's table",
            "s3:PutObject on packages/* of the bucket",
        ],
        statuses={
            0: "the packages are in the catalogue, new or as they were",
            1: "one was refused or could not be stored; the reason is on stderr. Of a file with a refused "
            "package nothing "
            "is stored; other files are",
            4: None,
        },
        examples=[
            "./playground import review-1.0.2.tar.gz",
            "./playground import tidy-1.0.0.tar.gz --name @acme/tidy",
            "./playground import my-package/ --scope acme",
            "./playground import packages/*.tar.gz --stack playground-prod",
        ],
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", type=PackageName(), help="The package that is meant: @scope/name.")
@click.option("--scope", type=Scope(), help="The scope of names that have none.")
@click.option("--fit", is_flag=True, help="Leave texts that do not fit out of the prompt.")
@click.option("--acknowledge-hidden", is_flag=True, help="Import characters that cannot be seen, and record them.")
@dry_run
@on_a_stack
def command(
    files: tuple[Path, ...],
    name: str | None,
    scope: str | None,
    fit: bool,
    acknowledge_hidden: bool,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> int:
    """Put packages into the catalogue, so that they can be tried.

    FILE is a package as the registry stores it: a .tar.gz with prpm.json and the files that are listed there, at its
    root or in one folder. A folder with the same contents will do, too. It has to be a prompt: a skill, agent, slash
    command, rule, ...
    """
    if name is not None and len(files) > 1:
        raise click.UsageError(f"--name {name} is one package; there are {len(files)} files")
    now = datetime.now(UTC)
    request = ImportRequest(published_at=now, name=name, scope=scope, acknowledge_hidden=acknowledge_hidden, fit=fit)
    done = Outcomes()
    with working_on(stack_name) as stack:
        catalog = DynamoCatalog(
            stack.store,
            table_name=stack.name_of(CATALOG),
            bucket=stack.name_of(BUCKET),
            s3=stack.client("s3"),
        )
        for file in with_progress(files, "importing", length=len(files)):
            import_file(file, request, None if dry_run else catalog, done, quiet=as_json)
    if as_json:
        show({"packages": done.packages, "refused": done.refused, "counts": done.counts}, "", as_json=True)
    elif done.counts.total() > 1 or len(files) > 1:
        click.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(done.counts.items())))
    return 1 if done.refused else 0


def import_file(
    file: Path, request: ImportRequest, catalog: DynamoCatalog | None, done: Outcomes, *, quiet: bool
) -> None:
    """Publish what is in a file; without a catalogue only say what is. A refusal is noted, and the others go on."""
    try:
        found = read(file, request)
        for package in found.packages:
            outcome = "would be imported"
            if catalog is not None:
                outcome = "imported" if catalog.publish(package) else "already there"
            done.packages.append(
                {
                    "file": str(file),
                    "name": package.name,
                    "version": package.version,
                    "package_id": package.package_id,
                    "outcome": outcome,
                    "notes": list(notes(package)),
                }
            )
            if not quiet:
                said = "already there, unchanged:" if outcome == "already there" else outcome
                click.echo(f"{said} {described(package)}")
                for each in notes(package):
                    click.echo(f"  {each}")
        for skipped, why in found.skipped:
            done.packages.append({"file": str(file), "name": skipped, "outcome": "skipped", "notes": [why]})
            if not quiet:
                click.echo(f"skipped {skipped}: {why}")
    except PlaygroundError as error:
        more = error.notes if isinstance(error, PackageRefusedError) else ()
        done.refused.append({"file": str(file), "error": error.message, "notes": list(more)})
        note(f"{_shown_path(file)}: {error.message}{cause(error)}")
        for each in more:
            note(f"  {each}")
    except OSError as error:
        done.refused.append({"file": str(file), "error": error.strerror or str(error), "notes": []})
        note(f"{_shown_path(file)}: {error.strerror or error}")


def _shown_path(path: Path) -> str:
    """The name of a file as it was given; escaped if it may look like another one."""
    name = str(path)
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
    """Further notes for the importer."""
    for asset in package.assets[:MAX_SHOWN_ASSETS]:
        yield f"not in the prompt: {shown(asset.path)} ({asset.size:,} bytes, {asset.media_type})"
    if len(package.assets) > MAX_SHOWN_ASSETS:
        yield f"not in the prompt: {len(package.assets) - MAX_SHOWN_ASSETS:,} more files"
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
