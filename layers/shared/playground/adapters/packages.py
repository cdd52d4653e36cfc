"""Packages as the registry stores them: a gzipped tar, or a folder with the same contents.

    prpm.json     who the package is, and which of its files are the prompt
    …             those files, and others (a licence, a readme) that nobody asks for

The prompt is the text of the listed files, the main one first. Archives are read in memory, within bounds, and never
unpacked to a disk.
"""

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from playground.domain.errors import PlaygroundError
from playground.domain.packages import PackageVersion, is_package_name, package_uuid
from playground.domain.text import is_blank
from playground.domain.versions import is_version

MANIFEST = "prpm.json"
PROMPT_SUBTYPES = ("agent", "chatmode", "prompt", "rule", "skill", "slash-command")
MAX_BYTES = 1_000_000  # of the archive, and of its files together
MAX_MEMBERS = 100
MAX_PATH = 255  # characters
# Headers, long names and padding come on top of the files: four blocks of 512 bytes for each, and a last record.
MAX_TAR_BYTES = MAX_BYTES + (MAX_MEMBERS + 1) * 4 * 512 + 10_240

_MEMBER_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class PackageRefusedError(PlaygroundError):
    """This is no package that can be run. `reason` is a word for programs; `detail` says what is wrong with which value
    and what would be right."""

    code: ClassVar[str] = "package_refused"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail, reason=reason)
        self.reason = reason
        self.detail = detail


def read_tarball(data: bytes, *, published_at: datetime) -> PackageVersion:
    """The package in a gzipped tar. Raises PackageRefusedError, whatever the bytes are."""
    return _package(_members(_decompressed(data)), published_at)


def read_folder(folder: Path, *, published_at: datetime) -> PackageVersion:
    """The package in a folder: the same as from a tarball of its contents. Raises PackageRefusedError, and OSError for
    files that cannot be read."""
    return _package(_folder_files(folder), published_at)


# --- what is in it ----------------------------------------------------------------------------------------------------


def _decompressed(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise PackageRefusedError("too_large", f"The file has {len(data):,} bytes; {MAX_BYTES:,} are allowed.")
    gunzip = zlib.decompressobj(wbits=31)  # gzip only, with its checksum
    try:
        tar = gunzip.decompress(data, MAX_TAR_BYTES + 1)
    except zlib.error:
        raise PackageRefusedError("not_gzip", "The file is not gzip or damaged; it must be a .tar.gz.") from None
    if len(tar) > MAX_TAR_BYTES:
        raise PackageRefusedError("too_large", f"The file unpacks to more than {MAX_BYTES:,} bytes.")
    if not gunzip.eof:
        raise PackageRefusedError("not_gzip", "The file ends too early: it is not all of a gzip file.")
    if gunzip.unused_data.strip(b"\0"):
        raise PackageRefusedError("not_gzip", "Something follows the end of the gzip data; nothing may.")
    return tar


def _members(tar: bytes) -> dict[str, bytes]:
    files = _Files()
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            for member in _each(archive):
                path = member.name.removeprefix("./")
                if member.isdir() and path in ("", "."):  # the root itself, as `tar -C folder .` writes it
                    continue
                _check_path(path)
                if member.isdir():
                    files.count(path)
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    kind = _MEMBER_TYPES.get(member.type, "of an unknown kind")
                    raise PackageRefusedError(
                        "not_a_file", f"{_shown(path)} is {kind}; a package has plain files and folders only."
                    )
                files.count(path, member.size)
                content = archive.extractfile(member)
                files.contents[path] = content.read() if content else b""
            # tarfile takes a damaged header for the end. The real end is a block of zeros.
            if tar[archive.offset : archive.offset + 512] != bytes(512):
                raise PackageRefusedError("not_tar", "The tar archive is damaged or ends too early.")
    # Beside its own errors, tarfile lets those of the conversions of header fields through, and recurses over headers.
    except (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError, EOFError):
        raise PackageRefusedError("not_tar", "What is in the gzip file is not a tar archive, or damaged.") from None
    return files.contents


def _each(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member


def _folder_files(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise PackageRefusedError("not_a_folder", f"{folder} is not a folder.")
    files = _Files()
    for path in sorted(islice(folder.rglob("*"), MAX_MEMBERS + 1)):
        name = path.relative_to(folder).as_posix()
        _check_path(name)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise PackageRefusedError(
                "not_a_file", f"{_shown(name)} is a link or a device; a package has plain files and folders only."
            )
        if path.is_dir():
            files.count(name)
        else:
            files.count(name, path.stat().st_size)
            files.contents[name] = path.read_bytes()
    return files.contents


class _Files:
    """Files as they come in, within bounds: what is too much is refused before it is read."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self._paths: set[str] = set()
        self._bytes = 0

    def count(self, path: str, size: int = 0) -> None:
        """Take note of a file or folder of `size` bytes before it is read."""
        if path in self._paths:
            raise PackageRefusedError("duplicate_file", f"{_shown(path)} is there twice; each path may be there once.")
        self._paths.add(path)
        self._bytes += size
        if len(self._paths) > MAX_MEMBERS:
            raise PackageRefusedError(
                "too_many_files", f"There are more than {MAX_MEMBERS} files and folders; {MAX_MEMBERS} are allowed."
            )
        if self._bytes > MAX_BYTES or size < 0:
            raise PackageRefusedError(
                "too_large", f"With {_shown(path)} the files have more than {MAX_BYTES:,} bytes, the most allowed."
            )


def _check_path(path: str) -> None:
    """Refuse a path that means something else than a file below the package's root."""
    problem = None
    if len(path) > MAX_PATH:
        problem = f"is longer than {MAX_PATH} characters"
    elif "\\" in path:
        problem = "has a backslash; folders are separated by /"
    elif path.startswith("/") or re.match(r"[A-Za-z]:", path):
        problem = "is absolute; paths begin at the package's root"
    elif ".." in path.split("/"):
        problem = "leads out of a folder with ..; paths lead down from the package's root"
    elif "" in path.split("/") or "." in path.split("/"):
        problem = "has an empty part or a lone dot; write folder/file"
    elif _CONTROL.search(path) or "\n" in path or "\r" in path or "\t" in path:
        problem = "has control characters or is not UTF-8"
    if problem:
        raise PackageRefusedError("bad_path", f"The path {_shown(path)} {problem}.")


# --- who it is --------------------------------------------------------------------------------------------------------

_EXPECTED = {
    "name": "@scope/name in lower case: letters, digits, dots, hyphens and underscores",
    "version": "a semantic version such as 1.2.3 or 2.0.0-beta.1, 64 characters at most",
    "description": "a text of 1 to 1,000 characters",
    "format": "the tool it is written for, such as claude or cursor, in lower case",
    "subtype": "one of " + ", ".join(PROMPT_SUBTYPES),
    "files": f"a list of 1 to {MAX_MEMBERS} paths of files in the package, each once",
    "author": 'a text or an object with a "name", 200 characters at most',
    "license": "a text such as MIT, 100 characters at most",
    "tags": "a list of at most 50 texts of 1 to 64 characters",
}


def _require(good: bool) -> None:
    if not good:
        raise ValueError


def _text(value: str) -> str:
    _require(not is_blank(value) and not _CONTROL.search(value))
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
    return values


Text = Annotated[str, AfterValidator(_text)]


class _Manifest(BaseModel):
    """What is read of `prpm.json`. Other keys are for other tools."""

    model_config = ConfigDict(strict=True, frozen=True)

    name: Annotated[str, AfterValidator(_name)]
    version: Annotated[str, AfterValidator(_version)]
    description: Annotated[Text, Field(max_length=1000)]
    format: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,31}$")]
    subtype: Annotated[str, AfterValidator(_subtype)]
    files: Annotated[
        list[Annotated[Text, BeforeValidator(_only_path), Field(max_length=MAX_PATH)]],
        Field(min_length=1, max_length=MAX_MEMBERS),
        AfterValidator(_once),
    ]
    author: Annotated[Annotated[Text, Field(max_length=200)] | None, BeforeValidator(_only_name)] = None
    license: Annotated[Text, Field(max_length=100)] | None = None
    tags: Annotated[list[Annotated[Text, Field(max_length=64)]], Field(max_length=50)] | None = None


def _manifest(files: Mapping[str, bytes]) -> _Manifest:
    if MANIFEST not in files:
        raise PackageRefusedError("no_manifest", f"There is no {MANIFEST} at the root of the package.")
    try:
        value: Any = json.loads(_decoded(files, MANIFEST))
    except (ValueError, RecursionError):  # not JSON, numbers too long to read, nested too deep
        raise PackageRefusedError("bad_manifest", f"{MANIFEST} is not JSON, or nested too deep to read.") from None
    if not isinstance(value, dict):
        raise PackageRefusedError("bad_manifest", f"{MANIFEST} is {_shown(value)}; it must be an object.")
    subtype = value.get("subtype")
    if isinstance(subtype, str) and subtype not in PROMPT_SUBTYPES:
        raise PackageRefusedError(
            "not_a_prompt",
            f"The subtype {_shown(subtype)} is not one of prompts, so there is nothing to run; prompts are of the "
            f"subtypes {', '.join(PROMPT_SUBTYPES)}.",
        )
    try:
        return _Manifest.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        field = str(problem["loc"][0])
        if problem["type"] == "missing":
            wrong = f'"{field}" is missing'
        else:
            wrong = f'"{field}" is {_shown(value[field])}' + _where(problem["loc"], problem["input"])
        raise PackageRefusedError("bad_manifest", f"{MANIFEST}: {wrong}; it must be {_EXPECTED[field]}.") from None


def _where(loc: tuple[int | str, ...], value: object) -> str:
    return f" with {_shown(value)}" if len(loc) > 1 else ""


def _shown(value: object) -> str:
    """A value from JSON in a message: short, and printable whatever it is."""
    if isinstance(value, str):
        text = json.dumps(value)  # ASCII, escaped
        return text if len(text) <= 80 else f'{text[:76]}…" ({len(value):,} characters)'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return json.dumps(value)[:80]


# --- what it says -----------------------------------------------------------------------------------------------------


def _package(files: Mapping[str, bytes], published_at: datetime) -> PackageVersion:
    manifest = _manifest(files)
    package_id = package_uuid(manifest.name)
    assert package_id is not None  # every package name has one
    paths = _main_first(manifest.subtype, manifest.files)
    texts: list[str] = []
    for path in paths:
        _check_path(path)
        if path not in files:
            raise PackageRefusedError(
                "file_missing", f"{MANIFEST} lists {_shown(path)}, but there is no such file in the package."
            )
        texts.append(_decoded(files, path))
    if all(map(is_blank, texts)):
        raise PackageRefusedError("empty_prompt", f"The files that {MANIFEST} lists are empty; one must have a text.")
    return PackageVersion(
        package_id=package_id,
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        format=manifest.format,
        subtype=manifest.subtype,
        prompt=_joined(paths, texts),
        files=tuple(paths),
        published_at=published_at,
        tags=tuple(manifest.tags or ()),
        license=manifest.license,
        author=manifest.author,
    )


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


def _joined(paths: list[str], texts: list[str]) -> str:
    main, *others = texts
    further = (f"\n\n===== {path} =====\n\n{text.strip()}\n" for path, text in zip(paths[1:], others, strict=True))
    return main.strip() + "\n" + "".join(further)


def _decoded(files: Mapping[str, bytes], path: str) -> str:
    try:
        text = files[path].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PackageRefusedError(
            "not_text", f"{_shown(path)} is not UTF-8 (byte {error.start}); the files of a prompt must be text."
        ) from None
    if "\0" in text:
        raise PackageRefusedError("not_text", f"{_shown(path)} has NUL bytes; the files of a prompt must be text.")
    return text
