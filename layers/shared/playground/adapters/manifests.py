"""`prpm.json`: who a package is, and which of its files are the prompt.

It describes one package, or several in `packages`, which inherit the author, licence, organization and tags of the
whole. What is optional has the registry's defaults: without a `subtype` a package is a rule, whatever its format; a
name without a scope gets that of its `organization`, or of the author, whom only the registry knows.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from playground.adapters.archives import CONTROL, MAX_PATH, PackageRefusedError, shown
from playground.domain.errors import InvalidRequestError
from playground.domain.packages import is_bare_name, is_package_name
from playground.domain.text import is_blank
from playground.domain.variables import check_values
from playground.domain.versions import is_version

MANIFEST = "prpm.json"
PROMPT_SUBTYPES = ("agent", "chatmode", "prompt", "rule", "skill", "slash-command")
DEFAULT_SUBTYPE = "rule"
MAX_LISTED = 1_000  # files
MAX_LISTED_BYTES = 100_000  # of their paths together: they are stored in one item
MAX_PACKAGES = 500  # of one manifest
_INHERITED = ("author", "license", "organization", "tags")
_SHOWN_NAMES = 20
MAX_EXAMPLES = 20
MAX_EXAMPLES_CHARACTERS = 20_000  # of all together: they are stored in one item

_EXPECTED = {
    "name": "@scope/name in lower case: letters, digits, dots, hyphens and underscores",
    "version": "a semantic version such as 1.2.3 or 2.0.0-beta.1, 64 characters at most",
    "description": "a text of 1 to 1,000 characters",
    "format": "the tool it is written for, such as claude or cursor, in lower case",
    "subtype": "one of " + ", ".join(PROMPT_SUBTYPES),
    "files": f"a list of 1 to {MAX_LISTED:,} paths of files in the package, each once, at most "
    f"{MAX_LISTED_BYTES:,} bytes of paths",
    "author": 'a text or an object with a "name", 200 characters at most',
    "license": "a text such as MIT, 100 characters at most",
    "examples": f"a list of at most {MAX_EXAMPLES} objects with a title of 1 to 100 characters, an input of 1 to "
    "10,000 that is not blank and, if they are needed, variables as a run takes them; at most "
    f"{MAX_EXAMPLES_CHARACTERS:,} characters together",
    "tags": "a list of at most 50 texts of 1 to 64 characters",
}


def _require(good: bool) -> None:
    if not good:
        raise ValueError


def _text(value: str) -> str:
    _require(not is_blank(value) and not CONTROL.search(value))
    return value


def _name(value: str) -> str:
    _require(is_package_name(value))
    return value


def _version(value: str) -> str:
    _require(is_version(value))
    return value


def _subtype(value: str) -> str:
    _require(value in PROMPT_SUBTYPES)
    return value


def _only_path(entry: object) -> object:
    path = entry.get("path", entry) if isinstance(entry, dict) else entry
    return path.removeprefix("./") if isinstance(path, str) else path


def _only_name(author: object) -> object:
    return author.get("name", author) if isinstance(author, dict) else author


def _once(values: list[str]) -> list[str]:
    _require(len(set(values)) == len(values))
    _require(sum(len(value.encode()) for value in values) <= MAX_LISTED_BYTES)
    return values


Text = Annotated[str, AfterValidator(_text)]


def _input(value: str) -> str:
    _require(not is_blank(value) and "\0" not in value)
    return value


def _values(values: Any) -> Any:
    if isinstance(values, dict):
        try:
            check_values(values)
        except InvalidRequestError:
            raise ValueError from None
    return values


def _line(value: str) -> str:
    _require(value.splitlines() == [value])
    return value


class ExampleInput(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    title: Annotated[Text, Field(max_length=100), AfterValidator(_line)]
    input: Annotated[str, Field(max_length=10_000), AfterValidator(_input)]
    variables: Annotated[dict[str, str] | None, BeforeValidator(_values)] = None


def _bounded(examples: list[ExampleInput] | None) -> list[ExampleInput] | None:
    texts = [
        text
        for each in examples or ()
        for text in (each.title, each.input, *itertools.chain(*(each.variables or {}).items()))
    ]
    _require(sum(map(len, texts)) <= MAX_EXAMPLES_CHARACTERS)
    return examples


class Manifest(BaseModel):
    """What is read of one package. Other keys are for other tools."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: Annotated[str, AfterValidator(_name)]
    version: Annotated[str, AfterValidator(_version)]
    description: Annotated[Text, Field(max_length=1000)]
    format: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,31}$")]
    subtype: Annotated[str, AfterValidator(_subtype)]
    files: Annotated[
        list[Annotated[Text, BeforeValidator(_only_path), Field(max_length=MAX_PATH)]],
        Field(min_length=1, max_length=MAX_LISTED),
        AfterValidator(_once),
    ]
    author: Annotated[Annotated[Text, Field(max_length=200)] | None, BeforeValidator(_only_name)] = None
    license: Annotated[Text, Field(max_length=100)] | None = None
    tags: Annotated[list[Annotated[Text, Field(max_length=64)]], Field(max_length=50)] | None = None
    examples: Annotated[
        Annotated[list[ExampleInput], Field(max_length=MAX_EXAMPLES)] | None, AfterValidator(_bounded)
    ] = None


@dataclass(frozen=True, slots=True)
class Description:
    """What a manifest says of one package: `where` in it, and the fields as they are."""

    where: str
    fields: Mapping[str, Any]

    @property
    def name(self) -> object:
        return self.fields.get("name")

    def is_called(self, wanted: str) -> bool:
        return isinstance(self.name, str) and wanted in (self.name, self.name.partition("/")[2])

    def lists_any(self, files: Container[str]) -> bool:
        """Whether one of its files, as it is spelt, is among `files`."""
        listed = self.fields.get("files")
        paths = [_only_path(entry) for entry in listed] if isinstance(listed, list) else []
        return any(isinstance(path, str) and path in files for path in paths)

    def manifest(self) -> Manifest:
        """What it says, if that is right. Raises PackageRefusedError."""
        return _validated(self.where, self.fields)


def descriptions(text: str, *, name: str | None, scope: str | None) -> tuple[Description, ...]:
    """The packages that `text` describes, or the one called `name` (with or without its scope). Names without a scope
    get `scope`, without its @, if their manifest has no `organization`. Raises PackageRefusedError."""
    root = _object(text)
    if "packages" not in root:
        described: tuple[Description, ...] = (_named("", root, name, scope),)
    else:
        entries = root["packages"]
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_PACKAGES:
            raise PackageRefusedError(
                "bad_manifest",
                f'{MANIFEST}: "packages" is {shown(entries)}; it must be a list of 1 to {MAX_PACKAGES} packages.',
            )
        described = tuple(_entry(root, number, entry, name, scope) for number, entry in enumerate(entries, 1))
        _require_unique(described)
    if name is None:
        return described
    meant = tuple(each for each in described if each.is_called(name))
    if not meant:
        names = [shown(each.name) for each in described]
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        raise PackageRefusedError(
            "no_such_package",
            f"{MANIFEST} has no package {shown(name)}; it has {', '.join(names[:_SHOWN_NAMES])}{more}.",
        )
    return meant


def _entry(root: Mapping[str, Any], number: int, entry: Any, name: str | None, scope: str | None) -> Description:
    where = f", package {number}"
    if not isinstance(entry, dict):
        raise PackageRefusedError("bad_manifest", f"{MANIFEST}{where} is {shown(entry)}; it must be an object.")
    inherited = {field: root[field] for field in _INHERITED if entry.get(field) is None and field in root}
    return _named(where, {**entry, **inherited}, name, scope)


def _object(text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise PackageRefusedError(
            "bad_manifest", f"{MANIFEST} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except (ValueError, RecursionError):  # numbers too long to read, nested too deep
        raise PackageRefusedError("bad_manifest", f"{MANIFEST} is nested too deep, or has too long a number.") from None
    if not isinstance(value, dict):
        raise PackageRefusedError("bad_manifest", f"{MANIFEST} is {shown(value)}; it must be an object.")
    return value


def _named(where: str, fields: dict[str, Any], wanted: str | None, scope: str | None) -> Description:
    """A package with the scope of its name, if that can be known."""
    name = fields.get("name")
    if not isinstance(name, str) or not is_bare_name(name):
        return Description(where, fields)
    organization = fields.get("organization")
    if isinstance(organization, str) and (slug := _slug(organization)):
        return Description(where, {**fields, "name": f"@{slug}/{name}"})
    if scope is not None:
        return Description(where, {**fields, "name": f"@{scope}/{name}"})
    if wanted is not None and is_package_name(wanted) and wanted.partition("/")[2] == name:
        return Description(where, {**fields, "name": wanted})
    return Description(where, fields)


def _slug(organization: str) -> str:
    """The scope that the registry makes of an organization's name."""
    return re.sub(r"[^a-z0-9]+", "-", organization.lower()).strip("-")


def _require_unique(described: Iterable[Description]) -> None:
    counts = Counter(each.name for each in described if isinstance(each.name, str))
    for name, count in counts.items():
        if count > 1:
            raise PackageRefusedError(
                "bad_manifest", f"{MANIFEST}: {count} packages are called {shown(name)}; each name may be there once."
            )


def _validated(where: str, fields: Mapping[str, Any]) -> Manifest:
    name = fields.get("name")
    if isinstance(name, str) and is_bare_name(name):
        raise PackageRefusedError(
            "no_scope",
            f'{MANIFEST}{where}: "name" is {shown(name)}, without the scope that the registry adds (the author); say '
            f"which package it is with --name @scope/{name}, or give all of them a scope with --scope.",
        )
    subtype = fields.get("subtype")
    if isinstance(subtype, str) and subtype not in PROMPT_SUBTYPES:
        raise PackageRefusedError(
            "not_a_prompt",
            f"{MANIFEST}{where}: the subtype {shown(subtype)} is not one of prompts, so there is nothing to run; "
            f"prompts are of the subtypes {', '.join(PROMPT_SUBTYPES)}.",
        )
    try:
        return Manifest.model_validate({**fields, "subtype": DEFAULT_SUBTYPE if subtype is None else subtype})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        field = str(problem["loc"][0])
        if problem["type"] == "missing":
            wrong = f'"{field}" is missing'
        else:
            part = f" with {shown(problem['input'])}" if len(problem["loc"]) > 1 else ""
            wrong = f'"{field}" is {shown(fields[field])}{part}'
        raise PackageRefusedError(
            "bad_manifest", f"{MANIFEST}{where}: {wrong}; it must be {_EXPECTED[field]}."
        ) from None
