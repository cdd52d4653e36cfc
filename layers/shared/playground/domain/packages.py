"""Packages: published prompts, by name and version."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from playground.domain.variables import Variable

# Ids are derived from names: a package is found by either with one read, and a repeated import finds the same one.
NAMESPACE = UUID("6f1d3c1e-7f0a-4b8e-9a54-0d9a3c6b5a10")

PACKAGE_NAME = r"@[a-z0-9][a-z0-9._-]{0,63}/[a-z0-9][a-z0-9._-]{0,99}"
UUID_TEXT = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

_NAME = re.compile(PACKAGE_NAME)


_BARE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def is_bare_name(text: str) -> bool:
    """Whether `text` is a name without its scope, as authors write it: the registry adds the scope."""
    return _BARE_NAME.fullmatch(text) is not None


def is_package_name(text: str) -> bool:
    """Whether `text` is of the form `@scope/name`."""
    return _NAME.fullmatch(text) is not None


def package_uuid(package_id: str) -> str | None:
    """The UUID behind a UUID or an `@scope/name`, in its canonical spelling; None for anything else."""
    if is_package_name(package_id):
        return str(uuid5(NAMESPACE, package_id))
    try:
        return str(UUID(package_id)) if len(package_id) == 36 else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file of a package that is not part of its prompt: an image, a font, a text that did not fit."""

    path: str
    size: int  # bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An input that the package's author suggests, with values for the variables of its text."""

    title: str
    input: str
    variables: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageVersion:
    """One immutable version. `prompt` is the text of its `files`, the main one first, without its `assets`. `hidden`:
    invisible characters in it by kind and count, which the importer has acknowledged."""

    package_id: str
    name: str
    version: str
    description: str
    format: str
    subtype: str
    prompt: str
    files: tuple[str, ...]
    published_at: datetime
    tags: tuple[str, ...] = ()
    license: str | None = None
    author: str | None = None
    assets: tuple[Asset, ...] = ()
    hidden: tuple[tuple[str, int], ...] = ()
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSummary:
    """A package in a list: its newest version, and the numbers of all versions (newest first)."""

    package_id: str
    name: str
    description: str
    format: str
    subtype: str
    latest_version: str
    versions: tuple[str, ...]
    preview: str
    tags: tuple[str, ...] = ()
    assets: tuple[Asset, ...] = ()  # of the newest version; not in lists
    hidden: tuple[tuple[str, int], ...] = ()  # likewise
    variables: tuple[Variable, ...] = ()  # likewise
    examples: tuple[Example, ...] = ()  # likewise
    prompt_characters: int | None = None  # likewise; None if it was imported before they were counted

    def matches(self, text: str) -> bool:
        """Whether each word of `text` is in the name, the description or the tags, in any case; a blank one matches."""
        searched = "\n".join((self.name, self.description, *self.tags)).casefold()
        return all(word in searched for word in text.casefold().split())


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageKind:
    """A filter of packages; None: any."""

    format: str | None = None
    subtype: str | None = None

    def includes(self, summary: PackageSummary) -> bool:
        return self.format in (None, summary.format) and self.subtype in (None, summary.subtype)


ANY_KIND = PackageKind()
