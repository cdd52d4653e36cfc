"""The files of a package, from a gzipped tar or a folder. Read in memory, within bounds, and never unpacked to a disk.

The bounds are for the archive, not for the prompt: assets may be large, what reaches the model may not. They keep a
hostile archive from using more memory and time than an honest one.
"""

import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar
from unicodedata import normalize

from playground.domain.errors import PlaygroundError
from playground.domain.hidden import hidden_characters

MAX_ARCHIVE_BYTES = 10 * 1024 * 1024  # as it is stored; the registry takes no larger one
MAX_FILES_BYTES = 50_000_000  # of all files together
MAX_MEMBERS = 2_000  # files and folders
MAX_PATH = 255  # characters
MAX_DEPTH = 20  # folders that are in each other
MAX_RATIO = 100  # unpacked to packed; gzip reaches 1,032 on zeros, text hardly 20
FREE_OF_RATIO_BYTES = 8_000_000  # so much may come out of however little: padding of many small files
MAX_HEADER_BYTES = 65_536  # of the headers of one file: long names, extended and global ones
MAX_HEADERS_BYTES = 8_000_000  # of all headers: what a tar says about its files
MAX_GLOBAL_FIELDS = 100  # that hold for all files after them; tarfile copies them for each
# Headers, long names and padding come on top of the files: four blocks of 512 bytes for each, and a last record.
MAX_TAR_BYTES = MAX_FILES_BYTES + (MAX_MEMBERS + 1) * 4 * 512 + 10_240

_MEMBER_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_GZIP_MAGIC = b"\x1f\x8b"
_SKIPPED_FOLDERS = frozenset({".git"})  # of a folder that is a working copy


class PackageRefusedError(PlaygroundError):
    """The package cannot be run. `reason` is a word for programs; `detail` says what is wrong with which value and what
    would be right; `notes` are further lines, such as a table of sizes."""

    code: ClassVar[str] = "package_refused"

    def __init__(self, reason: str, detail: str, *, notes: tuple[str, ...] = ()) -> None:
        super().__init__(detail, reason=reason)
        self.reason = reason
        self.detail = detail
        self.notes = notes


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file: how large it is, and its content when it is asked for."""

    size: int
    read: Callable[[], bytes]


Files = Mapping[str, FileEntry]


def files_in_tarball(data: bytes) -> Files:
    """Path → file of a gzipped tar. Raises PackageRefusedError, whatever the bytes are."""
    return _rooted(_members(_decompressed(data)))


def files_in_folder(folder: Path) -> Files:
    """Path → file of a folder, read when they are asked for. Raises PackageRefusedError, and OSError for what cannot be
    read."""
    return _rooted(_folder_files(folder))


def shown(value: object) -> str:
    """A value from JSON, or a path, in a message: short, and printable ASCII whatever it is, so that what looks alike
    does not read alike."""
    if isinstance(value, str):
        text = json.dumps(value)
        return text if len(text) <= 80 else f'{text[:76]}…" ({len(value):,} characters)'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return json.dumps(value)[:80]


def composed(path: str) -> str:
    """`path` with composed characters (NFC). Some systems write é as one character, others as two."""
    return normalize("NFC", path)


# --- gzip -------------------------------------------------------------------------------------------------------------


def _decompressed(data: bytes) -> bytes:
    if len(data) > MAX_ARCHIVE_BYTES:
        raise PackageRefusedError(
            "too_large", f"The archive has more than {MAX_ARCHIVE_BYTES:,} bytes, the most allowed."
        )
    most = min(MAX_TAR_BYTES, max(FREE_OF_RATIO_BYTES, MAX_RATIO * len(data)))
    gunzip = zlib.decompressobj(wbits=31)  # gzip only, with its checksum
    try:
        tar = gunzip.decompress(data, most + 1)
    except zlib.error:
        raise PackageRefusedError("not_gzip", "The file is not gzip or damaged; it must be a .tar.gz.") from None
    if len(tar) > MAX_TAR_BYTES:
        raise PackageRefusedError(
            "too_large", f"The archive unpacks to more than {MAX_FILES_BYTES:,} bytes, the most allowed."
        )
    if len(tar) > most:
        raise PackageRefusedError(
            "too_large",
            f"The archive of {len(data):,} bytes unpacks to more than {most:,}: more than {MAX_RATIO} times as much is "
            "taken for a bomb.",
        )
    if not gunzip.eof:
        raise PackageRefusedError("not_gzip", "The file ends too early: it is not all of a gzip file.")
    more = gunzip.unused_data
    if more.startswith(_GZIP_MAGIC):
        raise PackageRefusedError("not_gzip", "The file is several gzip files in one; it must be one.")
    if more.strip(b"\0"):
        raise PackageRefusedError("not_gzip", "Something follows the end of the gzip data; nothing may.")
    return tar


# --- tar --------------------------------------------------------------------------------------------------------------


class _Headers(io.BytesIO):
    """A tar, for its headers only: what tarfile wants to read for one file, and altogether, is bounded."""

    _of_member = _of_all = 0

    def begin_member(self) -> None:
        self._of_member = 0

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = size if size is not None and size >= 0 else MAX_TAR_BYTES
        self._of_member += wanted
        self._of_all += wanted
        if self._of_member > MAX_HEADER_BYTES or self._of_all > MAX_HEADERS_BYTES:
            raise PackageRefusedError(
                "too_large",
                f"The tar archive has a file with headers of more than {MAX_HEADER_BYTES:,} bytes, or more than "
                f"{MAX_HEADERS_BYTES:,} bytes of headers together.",
            )
        return super().read(size)


def _members(tar: bytes) -> dict[str, FileEntry]:
    files = _Collected()
    content = memoryview(tar)
    try:
        headers = _Headers(tar)
        with tarfile.open(fileobj=headers, mode="r:") as archive:
            for member in _each(archive, headers):
                path = member.name.removeprefix("./")
                if member.isdir() and path in ("", "."):  # the root itself, as `tar -C folder .` writes it
                    continue
                _check_member(path, member)
                if member.isdir():
                    files.add_folder(path)
                    continue
                # Beyond the end only if the archive is cut off, which is found with the next member.
                part = content[member.offset_data : member.offset_data + member.size]
                files.add(path, FileEntry(member.size, partial(bytes, part)))
            # tarfile takes a damaged header for the end. The real end is a block of zeros.
            if tar[archive.offset : archive.offset + 512] != bytes(512):
                raise PackageRefusedError("not_tar", "The tar archive is damaged or ends too early.")
    # Beside its own errors, tarfile lets those of the conversions of header fields through, and recurses over headers.
    except (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError, EOFError):
        raise PackageRefusedError("not_tar", "What is in the gzip file is not a tar archive, or damaged.") from None
    return files.checked()


def _each(archive: tarfile.TarFile, headers: _Headers) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        if len(archive.pax_headers) > MAX_GLOBAL_FIELDS:
            raise PackageRefusedError(
                "too_large", f"The tar archive has a global header with more than {MAX_GLOBAL_FIELDS} fields."
            )
        yield member
        # tarfile keeps all of them, each with its own copy of the global header.
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed does not know it
        headers.begin_member()


def _check_member(path: str, member: tarfile.TarInfo) -> None:
    check_path(path)
    is_file = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not member.isdir() and not is_file:
        kind = _MEMBER_TYPES.get(member.type, "of an unknown kind")
        raise PackageRefusedError("not_a_file", f"{shown(path)} is {kind}; a package has plain files and folders only.")


# --- folder -----------------------------------------------------------------------------------------------------------


def _folder_files(folder: Path) -> dict[str, FileEntry]:
    if not folder.is_dir():
        raise PackageRefusedError("not_a_folder", f"{shown(str(folder))} is not a folder.")
    files = _Collected()
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
        for name in (*folders, *sorted(names)):
            path = Path(parent, name)
            inner = path.relative_to(folder).as_posix()
            check_path(inner)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise PackageRefusedError(
                    "not_a_file", f"{shown(inner)} is a link or a device; a package has plain files and folders only."
                )
            if path.is_dir():
                files.add_folder(inner)
            else:
                size = path.stat().st_size
                files.add(inner, FileEntry(size, partial(_content, path, inner, size)))
    return files.checked()


def _raise(error: OSError) -> None:
    raise error


def _content(path: Path, inner: str, size: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(size + 1)
    if len(content) != size:
        raise PackageRefusedError("changed", f"{shown(inner)} was changed while it was read; import it again.")
    return content


# --- both -------------------------------------------------------------------------------------------------------------


class _Collected:
    """Files as they come in, within bounds: what is too much is refused before it is read."""

    def __init__(self) -> None:
        self._files: dict[str, FileEntry] = {}
        self._known: dict[str, str] = {}  # how it would be looked up where case and composition make no difference
        self._bytes = 0

    def add(self, path: str, file: FileEntry) -> None:
        self.add_folder(path)
        self._bytes += file.size
        if file.size < 0 or self._bytes > MAX_FILES_BYTES:
            raise PackageRefusedError(
                "too_large", f"With {shown(path)} the files have more than {MAX_FILES_BYTES:,} bytes, the most allowed."
            )
        self._files[path] = file

    def add_folder(self, path: str) -> None:
        """Take note of a path before what is there is read."""
        key = composed(composed(path).casefold())
        other = self._known.get(key)
        if other is None:
            self._known[key] = path
            if len(self._known) > MAX_MEMBERS:
                raise PackageRefusedError(
                    "too_many_files",
                    f"There are more than {MAX_MEMBERS:,} files and folders; {MAX_MEMBERS:,} are allowed.",
                )
            return
        if other == path:
            raise PackageRefusedError("duplicate_file", f"{shown(path)} is there twice; each path may be there once.")
        raise PackageRefusedError(
            "duplicate_file",
            f"{shown(other)} and {shown(path)} differ only in case, or in how their characters are composed; many "
            "systems cannot hold both.",
        )

    def checked(self) -> dict[str, FileEntry]:
        """The files. Raises PackageRefusedError if something is in a file as if that were a folder."""
        for path in self._known.values():
            for end, character in enumerate(path):
                if character == "/" and path[:end] in self._files:
                    raise PackageRefusedError(
                        "bad_path", f"The path {shown(path)} is below {shown(path[:end])}, which is a file."
                    )
        return self._files


def check_path(path: str) -> None:
    """Refuse a path that means something else than a file below the package's root, or than it seems to."""
    problem = None
    parts = path.split("/")
    if len(path) > MAX_PATH:
        problem = f"is longer than {MAX_PATH} characters"
    elif "\\" in path:
        problem = "has a backslash; folders are separated by /"
    elif path.startswith("/") or re.match(r"[A-Za-z]:", path):
        problem = "is absolute; paths begin at the package's root"
    elif ".." in parts:
        problem = "leads out of a folder with ..; paths lead down from the package's root"
    elif "" in parts or "." in parts:
        problem = "has an empty part or a lone dot; write folder/file"
    elif len(parts) > MAX_DEPTH + 1:
        problem = f"is deeper than {MAX_DEPTH} folders"
    elif CONTROL.search(path) or "\n" in path or "\r" in path or "\t" in path:
        problem = "has control characters or is not UTF-8"
    elif hidden_characters(path):
        problem = "has characters that cannot be seen"
    if problem:
        raise PackageRefusedError("bad_path", f"The path {shown(path)} {problem}.")


def _rooted(files: dict[str, FileEntry], manifest: str = "prpm.json") -> Files:
    """The files below the package's root: where the manifest is, or the one folder that everything is in."""
    if manifest in files:
        return files
    root, _, _ = next((path for path in files if path.count("/") == 1 and path.endswith(f"/{manifest}")), "").partition(
        "/"
    )
    prefix = f"{root}/"
    # macOS leaves a ._name beside what it packs.
    others = [path for path in files if not path.startswith(prefix) and not path.startswith("._")]
    if not root or others:
        return files
    return {path.removeprefix(prefix): file for path, file in files.items() if path.startswith(prefix)}
