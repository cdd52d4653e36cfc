"""Packages as the registry stores them: a gzipped tar, or a folder with the same contents.

    prpm.json     who the package is, and which of its files are the prompt …             those files, and others (a
    licence, a readme), which are ignored

The prompt is the text of the listed files, the main one first. A listed file is text if its name does not end like that
of an image, a font, an archive or the like, and it is UTF-8 without NUL. What is no text becomes an asset, which is
listed and left out of the prompt. What should be text by the end of its name, or is the main file, must be.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from playground.adapters.archives import (
    MAX_FILES_BYTES,
    FileEntry,
    Files,
    PackageRefusedError,
    check_path,
    composed,
    files_in_folder,
    files_in_tarball,
    shown,
)
from playground.adapters.manifests import MANIFEST, Manifest, descriptions
from playground.domain.errors import InvalidRequestError
from playground.domain.hidden import TAG_CHARACTER, Hidden, counted, escaped, hidden_characters, spelt
from playground.domain.packages import Asset, Example, PackageVersion, package_uuid
from playground.domain.text import is_blank
from playground.domain.variables import filled

# What can be in a prompt at all: the context of the largest plan, 200,000 tokens, at 4 bytes each. Hardly any text has
# more bytes to a token; most have fewer, so that what is smaller may still be too long for a run, which counts exactly.
MAX_PROMPT_BYTES = 800_000
_SHOWN_FILES = 20
_SHOWN_PLACES = 5
_EXCERPT = 40  # characters before what is hidden
_SHOWN_CHARACTERS = 8  # of a run of hidden ones

# Never part of a prompt, whatever is in them.
_ASSET_TYPES = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "icns": "image/icns",
    "ico": "image/vnd.microsoft.icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "psd": "image/vnd.adobe.photoshop",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "webp": "image/webp",
    "eot": "application/vnd.ms-fontobject",
    "otf": "font/otf",
    "ttc": "font/collection",
    "ttf": "font/ttf",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "dotx": "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
    "odt": "application/vnd.oasis.opendocument.text",
    "pdf": "application/pdf",
    "potx": "application/vnd.openxmlformats-officedocument.presentationml.template",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "7z": "application/x-7z-compressed",
    "bz2": "application/x-bzip2",
    "gz": "application/gzip",
    "jar": "application/java-archive",
    "rar": "application/vnd.rar",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "whl": "application/zip",
    "xz": "application/x-xz",
    "zip": "application/zip",
    "zst": "application/zstd",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "class": "application/java-vm",
    "db": "application/vnd.sqlite3",
    "dll": "application/vnd.microsoft.portable-executable",
    "dylib": "application/x-mach-binary",
    "exe": "application/vnd.microsoft.portable-executable",
    "parquet": "application/vnd.apache.parquet",
    "pyc": "application/x-python-bytecode",
    "so": "application/x-sharedlib",
    "sqlite": "application/vnd.sqlite3",
    "wasm": "application/wasm",
}
# Text by their names: one that cannot be read as such is a mistake of its author, not an asset.
_TEXT_NAMES = """bash c cfg cjs clj conf cpp cs css csv dart diff ex exs go graphql h hbs hs htm html ini ipynb j2 java
jinja js json json5 jsonc jsonl jsx kt less log lua md mdc mdx mjs mts php pl prompt proto ps1 py r rb rs rst scala scss
sh sql svelte swift tex text tf toml ts tsv tsx txt vue xml xsd xsl yaml yml zsh"""
_TEXT_SUFFIXES = frozenset(_TEXT_NAMES.split())
_ANY_TYPE = "application/octet-stream"

# Where the registry's client moves files that are not where a tool looks for them; the manifest keeps their old paths.
_PLACES = {
    ("claude", "agent"): (".claude/agents", ""),
    ("claude", "slash-command"): (".claude/commands", ""),
    ("continue", "prompt"): (".continue/prompts", ""),
    ("continue", "rule"): (".continue/rules", ""),
    ("copilot", "chatmode"): (".github/chatmodes", ".chatmode.md"),
    ("copilot", "rule"): (".github/instructions", ".instructions.md"),
    ("cursor", "agent"): (".cursor/agents", ""),
    ("cursor", "rule"): (".cursor/rules", ".mdc"),
    ("cursor", "slash-command"): (".cursor/commands", ""),
    ("factory", "slash-command"): (".factory/commands", ""),
    ("kiro", "agent"): (".kiro/agents", ""),
    ("kiro", "rule"): (".kiro/steering", ""),
    ("opencode", "agent"): (".opencode/agent", ""),
    ("opencode", "slash-command"): (".opencode/command", ""),
    ("windsurf", "rule"): (".windsurf/rules", ""),
}
# What the client adds to every archive; a package is not there because one of these is.
_STANDARD_FILES = frozenset({MANIFEST, "README.md", "LICENSE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """Which packages of an archive are wanted, and what about them is accepted.

    `name` picks one of several, and gives a name without a scope its scope; `scope` gives one to all such names. With
    `acknowledge_hidden` characters that cannot be seen are accepted and recorded. With `fit` the prompt is the main
    file and every further one, in their order, that still fits, and the others become assets; without it a prompt that
    is too large is refused.
    """

    published_at: datetime
    name: str | None = None
    scope: str | None = None
    acknowledge_hidden: bool = False
    fit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSet:
    """The packages of one archive. `skipped` are others that its manifest describes (name, why): those that are no
    prompts, and those without a file here, since the registry stores the manifest of all with each."""

    packages: tuple[PackageVersion, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def read_tarball(data: bytes, *, published_at: datetime) -> PackageVersion:
    """The only package in a gzipped tar. Raises PackageRefusedError, whatever the bytes are."""
    return _only(packages_in_tarball(data, ImportRequest(published_at=published_at)))


def read_folder(folder: Path, *, published_at: datetime) -> PackageVersion:
    """The only package in a folder: the same as from a tarball of its contents. Raises PackageRefusedError, and OSError
    for files that cannot be read."""
    return _only(packages_in_folder(folder, ImportRequest(published_at=published_at)))


def packages_in_tarball(data: bytes, request: ImportRequest) -> PackageSet:
    """The packages in a gzipped tar: all that are wanted, or none. Raises PackageRefusedError, whatever the bytes
    are."""
    return _packages(files_in_tarball(data), request)


def packages_in_folder(folder: Path, request: ImportRequest) -> PackageSet:
    """The packages in a folder, likewise. Raises PackageRefusedError, and OSError for files that cannot be read."""
    return _packages(files_in_folder(folder), request)


def _only(found: PackageSet) -> PackageVersion:
    if len(found.packages) > 1:
        names = ", ".join(package.name for package in found.packages)
        raise PackageRefusedError("several_packages", f"There are several packages: {names}; name one of them.")
    return found.packages[0]


def _packages(files: Files, request: ImportRequest) -> PackageSet:
    if MANIFEST not in files:
        raise PackageRefusedError(
            "no_manifest",
            f"There is no {MANIFEST} at the root of the package, nor in the only folder at its root.",
        )
    described = descriptions(_decoded(MANIFEST, files[MANIFEST].read()), name=request.name, scope=request.scope)
    if len(described) == 1:
        return PackageSet(packages=(_package(described[0].manifest(), files, request),))
    packages: list[PackageVersion] = []
    skipped: list[tuple[str, str]] = []
    others = {path: file for path, file in files.items() if path not in _STANDARD_FILES}
    listed_bytes = 0
    for each in described:
        try:
            manifest = each.manifest()
        except PackageRefusedError as error:
            if error.reason != "not_a_prompt" and each.lists_any(others):
                raise
            skipped.append((shown(each.name), error.detail))
            continue
        if not _Listed(manifest, others).has_any():
            skipped.append((shown(each.name), "none of its files is here"))
            continue
        listed_bytes += sum(files[path].size for path in _Listed(manifest, files).paths())
        if listed_bytes > MAX_FILES_BYTES:  # many packages may list the same large files
            raise PackageRefusedError(
                "too_large",
                f"Up to {shown(each.name)} the packages list files of more than {MAX_FILES_BYTES:,} bytes together, "
                "the most allowed; import them one by one with NAME.",
            )
        packages.append(_package(manifest, files, request))
    if not packages:
        raise PackageRefusedError(
            "no_such_package",
            f"None of the {len(described)} packages in {MANIFEST} can be imported.",
            notes=tuple(f"{name}: {why}" for name, why in skipped[:_SHOWN_FILES]),
        )
    return PackageSet(packages=tuple(packages), skipped=tuple(skipped))


# --- which files ------------------------------------------------------------------------------------------------------


class _Listed:
    """The files that a manifest lists, by where they are."""

    def __init__(self, manifest: Manifest, files: Files) -> None:
        self._manifest = manifest
        self._files = files
        self._composed = {composed(path): path for path in files}

    def paths(self) -> list[str]:
        """Where they are, in the order of the manifest. Raises PackageRefusedError."""
        found: list[str] = []
        for path in self._manifest.files:
            check_path(path)
            place = self.found(path)
            if place is None or place in found:
                raise PackageRefusedError(
                    "file_missing",
                    f"{MANIFEST} lists {shown(path)} of {self._manifest.name}, but there is no such file in the "
                    f"package{self._similar(path)}.",
                )
            found.append(place)
        return found

    def has_any(self) -> bool:
        return any(self.found(path) is not None for path in self._manifest.files)

    def found(self, path: str) -> str | None:
        """Where a listed path is: there, there with its characters composed differently, or where it was moved."""
        here = path if path in self._files else self._composed.get(composed(path))
        return here or next((moved for moved in self._moved(path) if moved in self._files), None)

    def _moved(self, path: str) -> Iterable[str]:
        pure = PurePosixPath(path)
        kind = self._manifest.format, self._manifest.subtype
        if kind == ("claude", "skill") and pure.suffix == ".md":
            yield str(pure.with_name("SKILL.md"))
        elif kind in _PLACES:
            folder, suffix = _PLACES[kind]
            yield f"{folder}/{pure.stem + suffix if suffix else pure.name}"

    def _similar(self, path: str) -> str:
        """A file that reads like `path`, or has its name, for the message that it is missing."""
        wanted = _skeleton(path)
        alike = next((other for other in self._files if _skeleton(other) == wanted), None)
        if alike is not None:
            return f"; {shown(alike)} looks alike and is another path"
        name = PurePosixPath(path).name
        same = next((other for other in self._files if PurePosixPath(other).name == name), None)
        return f"; there is {shown(same)}" if same is not None else ""


# Letters of other alphabets that are drawn like Latin ones.
_DRAWN_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u04bb\u0455\u0501\u03bf\u03b1\u03b9\u03bd\u03c1\u043a\u043c"
    "\u0442\u0432\u043d\u03ba\u2010\u2011\u2012\u2013\u2014\u2212",
    "aeopcyxijhsdoaivpkmtbhk------",
)


def _skeleton(path: str) -> str:
    """The same for paths that look alike."""
    return composed(path).casefold().translate(_DRAWN_ALIKE)


def _main_first(subtype: str, paths: list[str]) -> list[str]:
    """`paths` with the main file in front, the others as they are listed."""
    main = next((path for path in paths if _is_main(subtype, PurePosixPath(path))), paths[0])
    return [main, *(path for path in paths if path != main)]


def _is_main(subtype: str, path: PurePosixPath) -> bool:
    """By the places and names that the tools look for."""
    folders = path.parts[:-1]
    match subtype:
        case "skill":
            return path.name.lower() == "skill.md"
        case "agent":
            return "agents" in folders or path.name.lower() in ("agent.md", "agents.md")
        case "slash-command":
            return "commands" in folders
        case "rule":
            return "rules" in folders or path.suffix == ".mdc" or path.name in (".cursorrules", ".windsurfrules")
        case "prompt":
            return "prompts" in folders
        case _:
            return path.name.endswith(".chatmode.md")


# --- what they say ----------------------------------------------------------------------------------------------------


def _package(manifest: Manifest, files: Files, request: ImportRequest) -> PackageVersion:
    paths = _Listed(manifest, files).paths()
    # If there are nothing but assets, the first of them is said to be no text.
    main, *others = _main_first(manifest.subtype, [path for path in paths if not _is_asset(path)] or paths[:1])
    texts = {main: _decoded(main, files[main].read())}
    for path in others:
        text = _text_or_asset(path, files[path])
        if text is not None:
            texts[path] = text
    if all(map(is_blank, texts.values())):
        raise PackageRefusedError("empty_prompt", f"The files that {MANIFEST} lists are empty; one must have a text.")
    texts = _fitting(texts, fit=request.fit)
    assets = tuple(_asset(path, files[path]) for path in paths if path not in texts)
    hidden = _hidden(manifest, texts)
    if hidden and not request.acknowledge_hidden:
        raise _hidden_error(manifest, hidden)
    package_id = package_uuid(manifest.name)
    assert package_id is not None  # every package name has one
    return PackageVersion(
        package_id=package_id,
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        format=manifest.format,
        subtype=manifest.subtype,
        prompt=_joined(texts),
        files=tuple(texts),
        published_at=request.published_at,
        tags=tuple(manifest.tags or ()),
        license=manifest.license,
        author=manifest.author,
        assets=assets,
        examples=_examples(manifest, _joined(texts)),
        hidden=counted([found for _, _, places in hidden for found in places]),
    )


def _examples(manifest: Manifest, prompt: str) -> tuple[Example, ...]:
    """The suggested inputs. Raises PackageRefusedError if the variables of one do not fit the prompt."""
    for number, each in enumerate(manifest.examples or (), 1):
        try:
            filled(prompt, each.variables)
        except InvalidRequestError as error:
            raise PackageRefusedError(
                "bad_manifest", f"{MANIFEST}: example {number} of {manifest.name} cannot be run: {error.message}."
            ) from None
    return tuple(
        Example(title=each.title, input=each.input, variables=each.variables) for each in manifest.examples or ()
    )


def _joined(texts: dict[str, str]) -> str:
    (_, main), *others = texts.items()
    return main.strip() + "\n" + "".join(_section(path, text) for path, text in others)


def _section(path: str, text: str) -> str:
    return f"\n\n===== {path} =====\n\n{text.strip()}\n"


def _decoded(path: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PackageRefusedError(
            "not_text", f"{shown(path)} is not UTF-8 (byte {error.start}); the files of a prompt must be text."
        ) from None
    if "\0" in text:
        raise PackageRefusedError("not_text", f"{shown(path)} has NUL bytes; the files of a prompt must be text.")
    return text


# --- assets -----------------------------------------------------------------------------------------------------------


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.removeprefix(".").lower()


def _is_asset(path: str) -> bool:
    return _suffix(path) in _ASSET_TYPES


def _text_or_asset(path: str, file: FileEntry) -> str | None:
    """The text of a file, or None if it has none and does not claim to."""
    try:
        return _decoded(path, file.read())
    except PackageRefusedError as error:
        if error.reason != "not_text" or _suffix(path) in _TEXT_SUFFIXES:
            raise
        return None


def _asset(path: str, file: FileEntry) -> Asset:
    suffix = _suffix(path)
    is_text = suffix in _TEXT_SUFFIXES
    return Asset(path=path, size=file.size, media_type=_ASSET_TYPES.get(suffix, "text/plain" if is_text else _ANY_TYPE))


def _fitting(texts: dict[str, str], *, fit: bool) -> dict[str, str]:
    """`texts`, or as many of them as fit into a prompt. Raises PackageRefusedError if that is not all and was not asked
    for, or if the main one does not fit."""
    fitting: dict[str, str] = {}
    size = total = 0
    for path, text in texts.items():
        part = len((_section(path, text) if fitting else text.strip() + "\n").encode())
        total += part
        if size + part <= MAX_PROMPT_BYTES:
            fitting[path] = text
            size += part
        elif not fitting:
            break
    main, *_ = texts
    if len(fitting) == len(texts) or (fit and fitting):
        return fitting
    sizes = sorted(((len(text.encode()), path) for path, text in texts.items()), reverse=True)
    if not fitting:
        advice = f"the main file {shown(main)} alone does not fit"
    else:
        advice = (
            f"{len(fitting)} of {len(texts)} files fit, with {size:,} bytes: --fit takes those and lists the others as "
            "assets"
        )
    total = len(_joined(texts).encode())
    more = (f"{len(sizes) - _SHOWN_FILES:,} more files",) if len(sizes) > _SHOWN_FILES else ()
    raise PackageRefusedError(
        "prompt_too_large",
        f"The prompt has {total:,} bytes in {len(texts):,} files; the largest context of a plan takes "
        f"{MAX_PROMPT_BYTES:,}; {advice}.",
        notes=(
            *(
                f"{length:>12,} bytes  {shown(path)}{'' if path in fitting else '  (does not fit)'}"
                for length, path in sizes[:_SHOWN_FILES]
            ),
            *more,
        ),
    )


# --- what cannot be seen ----------------------------------------------------------------------------------------------

_Places = list[tuple[str, str, Sequence[Hidden]]]  # where it is, the text, and what is hidden in it


def _hidden(manifest: Manifest, texts: dict[str, str]) -> _Places:
    fields: dict[str, Any] = {
        "description": manifest.description,
        "author": manifest.author,
        "license": manifest.license,
        "tags": "\n".join(manifest.tags or ()),
        "examples": "\n".join(
            text
            for each in manifest.examples or ()
            for text in (each.title, each.input, *(each.variables or {}).values())
        ),
    }
    named = [(f"{MANIFEST}, {field}", value) for field, value in fields.items() if value]
    named += [(shown(path), text) for path, text in texts.items()]
    return [(where, text, found) for where, text in named if (found := hidden_characters(text))]


def _hidden_error(manifest: Manifest, hidden: _Places) -> PackageRefusedError:
    counts = ", ".join(
        f"{count:,} {kind}" for kind, count in counted([found for _, _, places in hidden for found in places])
    )
    return PackageRefusedError(
        "hidden_characters",
        f"{manifest.name} {manifest.version} has characters that a reader does not see and the model does ({counts}). "
        "Look at the places below; to import it with them, say so with --acknowledge-hidden.",
        notes=tuple(_notes(hidden)),
    )


def _notes(hidden: _Places) -> Iterable[str]:
    places = [(where, text, found) for where, text, all_found in hidden for found in all_found]
    for where, text, found in places[:_SHOWN_PLACES]:
        line = text.count("\n", 0, found.start) + 1
        until = min(found.end, found.start + _SHOWN_CHARACTERS)
        excerpt = text[max(text.rfind("\n", 0, found.start) + 1, found.start - _EXCERPT) : found.start]
        run = "".join(f"[U+{ord(character):04X}]" for character in text[found.start : until])
        more = f" and {found.end - until:,} more" if until < found.end else ""
        message = spelt(text[found.start : found.end]) if found.kind == TAG_CHARACTER else ""
        reads = f", which spell {shown(message)}" if message else ""
        yield f"{where}, line {line}: {_printable(escaped(excerpt))}{run}{more}{reads}"
    if len(places) > _SHOWN_PLACES:
        yield f"{len(places) - _SHOWN_PLACES:,} more places"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else f"[U+{ord(character):04X}]" for character in text)
