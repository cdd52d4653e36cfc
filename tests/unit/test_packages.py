"""The reader of packages: what it makes of a good one, and that it refuses everything else in its own words."""

import gzip
import io
import json
import random
import tarfile
import tracemalloc
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from playground.adapters.packages import (
    MAX_BYTES,
    MAX_MEMBERS,
    PackageRefusedError,
    read_folder,
    read_tarball,
)
from playground.domain.packages import PackageVersion, package_uuid
from tests.kit.extent import examples

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SKILL = ".claude/skills/tidy/SKILL.md"
EXAMPLES = ".claude/skills/tidy/EXAMPLES.md"
MANIFEST: Mapping[str, Any] = {
    "name": "@acme/tidy",
    "version": "1.2.3",
    "description": "Tidies up.",
    "format": "claude",
    "subtype": "skill",
    "files": [SKILL],
}
TEXT = "---\nname: tidy\n---\n\n# Tidy\n\nTidy up.\n"


def manifest(**changes: Any) -> bytes:
    return json.dumps({**MANIFEST, **changes}).encode()


def tar(members: list[tuple[str | tarfile.TarInfo, bytes]], *, dialect: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def tarball(members: list[tuple[str | tarfile.TarInfo, bytes]], *, dialect: int = tarfile.PAX_FORMAT) -> bytes:
    return gzip.compress(tar(members, dialect=dialect))


def package(files: Mapping[str, str | bytes] = {SKILL: TEXT}, /, **changes: Any) -> bytes:
    members = [(name, text.encode() if isinstance(text, str) else text) for name, text in files.items()]
    return tarball([("prpm.json", manifest(**changes)), *members])


def read(data: bytes) -> PackageVersion:
    return read_tarball(data, published_at=NOW)


def refused(data: bytes) -> PackageRefusedError:
    with pytest.raises(PackageRefusedError) as caught:
        read(data)
    assert caught.value.code == "package_refused"
    assert caught.value.facts == {"reason": caught.value.reason}
    assert caught.value.detail == str(caught.value)
    return caught.value


# --- what is read -----------------------------------------------------------------------------------------------------


def test_reads_a_package() -> None:
    data = package(tags=["one", "two"], license="MIT", author="Ada", homepage="https://example.com")

    assert read(data) == PackageVersion(
        package_id=package_uuid("@acme/tidy") or "",
        name="@acme/tidy",
        version="1.2.3",
        description="Tidies up.",
        format="claude",
        subtype="skill",
        prompt=TEXT,
        files=(SKILL,),
        published_at=NOW,
        tags=("one", "two"),
        license="MIT",
        author="Ada",
    )


def test_optional_fields_may_be_null_or_missing() -> None:
    for data in (package(), package(tags=None, license=None, author=None)):
        read_package = read(data)
        assert (read_package.tags, read_package.license, read_package.author) == ((), None, None)


def test_files_and_authors_may_be_objects() -> None:
    author = {"name": "Ada", "email": "ada@example.com"}

    read_package = read(package(files=[{"path": SKILL, "type": "skill"}], author=author))

    assert (read_package.files, read_package.author) == ((SKILL,), "Ada")


def test_keeps_front_matter_and_drops_the_mark_of_byte_order() -> None:
    assert read(package({SKILL: "\ufeff" + TEXT})).prompt == TEXT


def test_ignores_files_that_are_not_listed() -> None:
    assert read(package({SKILL: TEXT, "LICENSE": "MIT", "logo.png": b"\x89PNG\0"})).prompt == TEXT


def test_names_may_begin_with_a_dot_and_slash() -> None:
    root = tarfile.TarInfo("./")
    root.type = tarfile.DIRTYPE
    folder = tarfile.TarInfo("./.claude/")
    folder.type = tarfile.DIRTYPE
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        (root, b""),
        ("./prpm.json", manifest(files=["./" + SKILL])),
        (folder, b""),
        ("./" + SKILL, TEXT.encode()),
    ]

    assert read(tarball(members)).files == (SKILL,)


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_every_tar_dialect(dialect: int) -> None:
    long = "a" * 70 + "/" + "b" * 80 + "/SKILL.md"
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [("prpm.json", manifest(files=[long])), (long, TEXT.encode())]

    assert read(tarball(members, dialect=dialect)).files == (long,)


@pytest.mark.parametrize(
    ("subtype", "listed", "main"),
    [
        ("skill", [EXAMPLES, SKILL], SKILL),
        ("skill", ["a.md", "b.md"], "a.md"),
        ("agent", ["notes.md", ".claude/agents/x.md"], ".claude/agents/x.md"),
        ("agent", ["notes.md", "AGENTS.md"], "AGENTS.md"),
        ("slash-command", ["notes.md", ".claude/commands/git/x.md"], ".claude/commands/git/x.md"),
        ("rule", ["notes.md", "x.mdc"], "x.mdc"),
        ("rule", ["notes.md", ".windsurf/rules/x.md"], ".windsurf/rules/x.md"),
        ("prompt", ["notes.md", ".continue/prompts/x.md"], ".continue/prompts/x.md"),
        ("chatmode", ["notes.md", "x.chatmode.md"], "x.chatmode.md"),
    ],
)
def test_the_main_file_comes_first(subtype: str, listed: list[str], main: str) -> None:
    read_package = read(package(dict.fromkeys(listed, TEXT), subtype=subtype, files=listed))

    assert read_package.files[0] == main
    assert sorted(read_package.files) == sorted(listed)


def test_further_files_follow_in_their_order_each_under_its_name() -> None:
    listed = ["c.md", "a.md", SKILL, "b.md"]

    prompt = read(package({name: f"# {name}\n" for name in listed}, files=listed)).prompt

    assert prompt == (
        f"# {SKILL}\n\n\n===== c.md =====\n\n# c.md\n\n\n===== a.md =====\n\n# a.md\n\n\n===== b.md =====\n\n# b.md\n"
    )


# --- the archive ------------------------------------------------------------------------------------------------------


def test_refuses_what_is_not_gzip() -> None:
    for data in (b"", b"\x1f", b"no archive at all", tar([("prpm.json", manifest())]), zlib.compress(b"zlib")):
        assert refused(data).reason == "not_gzip"


def test_refuses_truncated_and_damaged_gzip() -> None:
    data = package()
    for end in range(len(data)):
        assert refused(data[:end]).reason == "not_gzip"
    wrong_checksum = data[:-8] + bytes(4) + data[-4:]
    assert refused(wrong_checksum).reason == "not_gzip"


def test_refuses_what_follows_the_gzip_data() -> None:
    assert read(package() + bytes(512)).name == "@acme/tidy"
    assert "follows" in refused(package() + b"more").detail


def test_refuses_what_is_not_tar() -> None:
    for data in (b"", b"text", b"x" * 5000, json.dumps(MANIFEST).encode()):
        assert refused(gzip.compress(data)).reason == "not_tar"


def test_refuses_a_truncated_tar_wherever_it_ends() -> None:
    """Also where a whole file is still there: the end of an archive is said, not guessed."""
    whole = tar([("prpm.json", manifest()), (SKILL, TEXT.encode())])
    files = 4 * 512  # two headers, two contents
    for end in range(0, files + 512, 256):
        assert refused(gzip.compress(whole[:end])).reason == "not_tar"
    assert read(gzip.compress(whole[: files + 512])).prompt == TEXT


def test_refuses_a_damaged_header_in_the_middle() -> None:
    whole = bytearray(tar([("prpm.json", manifest()), (SKILL, TEXT.encode())]))
    whole[1024 + 150] ^= 1  # in the checksum of the second header

    assert refused(gzip.compress(bytes(whole))).reason == "not_tar"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "//x", "C:/x", "../x", "a/../../x", "a/..", "a\\b", "..\\x", "a//b", "a/./b"]
)
def test_refuses_paths_that_lead_elsewhere(path: str) -> None:
    error = refused(package({SKILL: TEXT, path: "x"}))

    assert error.reason == "bad_path"
    assert json.dumps(path) in error.detail


@pytest.mark.parametrize("path", ["a\nb", "a\tb", "\x1b[2J", "\udcff", "a" * 256])
def test_refuses_paths_that_cannot_be_shown(path: str) -> None:
    error = refused(tarball([("prpm.json", manifest()), (path, b"x")], dialect=tarfile.GNU_FORMAT))

    assert error.reason == "bad_path"
    assert error.detail.isprintable()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "named pipe"),
        (tarfile.CONTTYPE, "unknown kind"),
        (tarfile.GNUTYPE_SPARSE, "unknown kind"),
        (b"Z", "unknown kind"),
    ],
)
def test_refuses_everything_but_plain_files(kind: bytes, word: str) -> None:
    odd = tarfile.TarInfo("odd")
    odd.type = kind
    odd.linkname = "prpm.json"

    error = refused(tarball([("prpm.json", manifest()), (SKILL, TEXT.encode()), (odd, b"")]))

    assert (error.reason, word in error.detail) == ("not_a_file", True)


def test_refuses_a_sparse_file_that_claims_to_be_huge() -> None:
    sparse = tarfile.TarInfo(SKILL)
    sparse.pax_headers = {"GNU.sparse.size": str(10**12), "GNU.sparse.numblocks": "0", "GNU.sparse.map": f"0,{10**12}"}

    assert refused(tarball([("prpm.json", manifest()), (sparse, b"x")])).reason == "not_a_file"


def test_refuses_files_that_are_there_twice() -> None:
    data = tarball([("prpm.json", manifest()), (SKILL, TEXT.encode()), ("./" + SKILL, b"other")])

    assert refused(data).reason == "duplicate_file"


def test_takes_a_hundred_files_and_no_more() -> None:
    others = [(f"{number}.md", b"x") for number in range(MAX_MEMBERS - 2)]
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [("prpm.json", manifest()), (SKILL, TEXT.encode()), *others]

    assert read(tarball(members)).prompt == TEXT
    assert refused(tarball([*members, ("one-more.md", b"")])).reason == "too_many_files"


def test_takes_a_megabyte_and_no_more() -> None:
    fits = b"x" * (MAX_BYTES - len(manifest()))

    assert len(read(package({SKILL: fits})).prompt) == len(fits) + 1
    assert "1,000,000" in refused(package({SKILL: fits, "more.md": "y"})).detail


def test_takes_a_megabyte_in_a_hundred_files_with_long_names() -> None:
    """What tar adds to the files does not count."""
    names = [f"{number:0250d}.md" for number in range(MAX_MEMBERS - 2)]
    size = (MAX_BYTES - len(manifest()) - len(TEXT)) // len(names)
    files: list[tuple[str | tarfile.TarInfo, bytes]] = [(name, b"x" * size) for name in names]

    for dialect in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tarball([("prpm.json", manifest()), (SKILL, TEXT.encode()), *files], dialect=dialect)
        assert read(data).prompt == TEXT


def test_refuses_a_large_archive_before_it_is_read() -> None:
    assert refused(random.Random(7).randbytes(MAX_BYTES + 1)).reason == "too_large"


def test_a_bomb_is_not_unpacked_into_memory() -> None:
    bomb = gzip.compress(tar([("prpm.json", manifest()), (SKILL, bytes(200_000_000))]))
    assert len(bomb) < MAX_BYTES
    tracemalloc.start()
    try:
        assert refused(bomb).reason == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_refuses_a_size_that_is_only_claimed() -> None:
    for size in (2_000, 10**6, 10**11):
        header = tarfile.TarInfo(SKILL)
        header.size = size
        claimed = tar([("prpm.json", manifest())])[:1024] + header.tobuf() + b"x" * 512 + bytes(1024)
        assert refused(gzip.compress(claimed)).reason in ("not_tar", "too_large")


def test_refuses_headers_upon_headers() -> None:
    """A long name before a long name before a long name: a reader that follows them runs out of stack."""
    header = tarfile.TarInfo("././@LongLink")
    header.type = tarfile.GNUTYPE_LONGNAME
    header.size = 0

    assert refused(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) * 2_000)).reason == "not_tar"


# --- the manifest -----------------------------------------------------------------------------------------------------


def raw_manifest(content: bytes) -> bytes:
    return tarball([("prpm.json", content), (SKILL, TEXT.encode())])


def test_refuses_a_package_without_a_manifest() -> None:
    for name in ("package.json", "package/prpm.json", "PRPM.JSON"):
        assert refused(tarball([(name, manifest()), (SKILL, TEXT.encode())])).reason == "no_manifest"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"name: tidy",
        b"[]",
        b'"text"',
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name": ' + b"1" * 10_000 + b"}",
    ],
)
def test_refuses_a_manifest_that_is_no_json_object(content: bytes) -> None:
    assert refused(raw_manifest(content)).reason == "bad_manifest"


@pytest.mark.parametrize("content", [b"\xff\xfe{}", manifest() + b"\0"])
def test_refuses_a_manifest_that_is_no_text(content: bytes) -> None:
    assert refused(raw_manifest(content)).reason == "not_text"


@pytest.mark.parametrize("field", MANIFEST)
def test_says_which_field_is_missing(field: str) -> None:
    content = json.dumps({name: value for name, value in MANIFEST.items() if name != field}).encode()

    error = refused(raw_manifest(content))

    assert error.reason == "bad_manifest"
    assert error.detail.startswith(f'prpm.json: "{field}" is missing; it must be ')


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("name", "tidy", '"tidy"'),
    ("name", "@acme/Tidy", '"@acme/Tidy"'),
    ("name", "@acme/tidy\n", r'"@acme/tidy\n"'),
    ("name", "@acme/../x", '"@acme/../x"'),
    ("name", 7, "7"),
    ("version", "1.2", '"1.2"'),
    ("version", "v1.2.3", '"v1.2.3"'),
    ("version", 1.2, "1.2"),
    ("version", None, "null"),
    ("description", "", '""'),
    ("description", " \n", r'" \n"'),
    ("description", "x" * 1001, "(1,001 characters)"),
    ("description", "a\0b", r"\u0000"),
    ("description", "\ud800", r"\ud800"),
    ("description", ["text"], "a list of 1"),
    ("format", "Claude Code", '"Claude Code"'),
    ("format", {"tool": "claude"}, "an object"),
    ("subtype", ["skill"], "a list of 1"),
    ("subtype", True, "true"),
    ("files", [], "a list of 0"),
    ("files", SKILL, "SKILL.md"),
    ("files", [SKILL, 7], "with 7"),
    ("files", [{"name": SKILL}], "with an object"),
    ("files", [SKILL, SKILL], "a list of 2"),
    ("files", [SKILL, ""], 'with ""'),
    ("files", [[[[[[[[SKILL]]]]]]]], "with a list of 1"),
    ("files", [f"{number}.md" for number in range(101)], "a list of 101"),
    ("author", {"email": "ada@example.com"}, "an object"),
    ("author", 7, "7"),
    ("author", "x" * 201, "(201 characters)"),
    ("license", {"type": "MIT"}, "an object"),
    ("license", "x" * 101, "(101 characters)"),
    ("tags", "one", '"one"'),
    ("tags", ["one", None], "with null"),
    ("tags", ["x" * 65], "with"),
    ("tags", ["x"] * 51, "a list of 51"),
]


@pytest.mark.parametrize(("field", "value", "shown"), BAD_FIELDS)
def test_says_which_value_is_wrong_and_what_would_be_right(field: str, value: Any, shown: str) -> None:
    error = refused(package(**{field: value}))

    assert error.reason == "bad_manifest"
    assert error.detail.startswith(f'prpm.json: "{field}" is ')
    assert shown in error.detail
    assert "; it must be " in error.detail
    assert len(error.detail) < 400


@pytest.mark.parametrize("subtype", ["hook", "tool", "collection", "Skill", "unheard-of", ""])
def test_refuses_what_is_no_prompt(subtype: str) -> None:
    error = refused(package(subtype=subtype))

    assert error.reason == "not_a_prompt"
    assert json.dumps(subtype) in error.detail
    assert "slash-command" in error.detail


# --- the prompt -------------------------------------------------------------------------------------------------------


def test_refuses_a_listed_file_that_is_not_there() -> None:
    error = refused(package(files=[SKILL, "gone.md"]))

    assert (error.reason, '"gone.md"' in error.detail) == ("file_missing", True)


@pytest.mark.parametrize("path", ["/etc/passwd", "../prpm.json", "a\\b"])
def test_refuses_a_listed_path_that_leads_elsewhere(path: str) -> None:
    assert refused(package(files=[path])).reason == "bad_path"


def test_refuses_a_file_that_is_listed_in_two_spellings() -> None:
    assert refused(package(files=[SKILL, "./" + SKILL])).reason == "bad_manifest"


def test_refuses_an_empty_prompt() -> None:
    for text in ("", " \n\t\n", "\ufeff"):
        assert refused(package({SKILL: text, "a.md": ""}, files=[SKILL, "a.md"])).reason == "empty_prompt"


@pytest.mark.parametrize("content", [b"\xff\xfeT\0i\0", b"caf\xe9", b"text\0text", b"\xed\xa0\x80"])
def test_refuses_a_prompt_that_is_no_text(content: bytes) -> None:
    error = refused(package({SKILL: content}))

    assert (error.reason, SKILL in error.detail) == ("not_text", True)


# --- folders ----------------------------------------------------------------------------------------------------------


def unpack(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_a_folder_is_read_like_its_tarball(tmp_path: Path) -> None:
    files = {
        "prpm.json": manifest(files=[EXAMPLES, SKILL]),
        SKILL: TEXT.encode(),
        EXAMPLES: b"# Examples\r\n",
        "x": b"\0",
    }
    unpack(tmp_path, files)

    assert read_folder(tmp_path, published_at=NOW) == read(tarball(list(files.items())))


def test_refuses_links_in_folders(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for target in (secret, tmp_path / "nowhere", tmp_path):
        folder = tmp_path / f"package-{target.name}"
        unpack(folder, {"prpm.json": manifest(files=["SKILL.md"])})
        (folder / "SKILL.md").symlink_to(target)
        with pytest.raises(PackageRefusedError, match="link"):
            read_folder(folder, published_at=NOW)


def test_folders_have_the_same_bounds(tmp_path: Path) -> None:
    unpack(tmp_path / "many", {f"{number}.md": b"x" for number in range(MAX_MEMBERS + 1)})
    unpack(tmp_path / "large", {"prpm.json": manifest(), SKILL: b"x" * MAX_BYTES})
    unpack(tmp_path / "named", {"prpm.json": manifest(), "a\\b": b""})

    for name, reason in (
        ("many", "too_many_files"),
        ("large", "too_large"),
        ("named", "bad_path"),
        ("no", "not_a_folder"),
    ):
        with pytest.raises(PackageRefusedError) as caught:
            read_folder(tmp_path / name, published_at=NOW)
        assert caught.value.reason == reason


# --- anything at all --------------------------------------------------------------------------------------------------

GOOD_TAR = tar(
    [("prpm.json", manifest(files=[SKILL, "a" * 120 + ".md"])), (SKILL, TEXT.encode()), ("a" * 120 + ".md", b"more")]
)
FUZZ = settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read_or_refused(data: bytes) -> None:
    """Nothing but a package or a refusal comes out."""
    try:
        said = read(data).prompt.strip()
    except PackageRefusedError as error:
        said = error.detail if error.detail.isprintable() else ""
    assert said


@FUZZ
@given(st.binary(max_size=4_000))
@example(b"\x1f\x8b")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refused(data)
    read_or_refused(gzip.compress(data))


@FUZZ
@given(st.data())
def test_any_damage_to_a_tarball_is_refused_or_harmless(data: st.DataObject) -> None:
    whole = bytearray(gzip.compress(GOOD_TAR))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(whole))


@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD_TAR) - 1), st.binary(min_size=1, max_size=16)), max_size=6),
    st.integers(0, len(GOOD_TAR)) | st.none(),
    st.booleans(),
)
def test_any_damage_to_a_tar_is_refused_or_harmless(edits: list[tuple[int, bytes]], end: int | None, fix: bool) -> None:
    """With `fix`, the checksums of the headers are made right again, so that what they say is believed."""
    damaged = bytearray(GOOD_TAR)
    for place, content in edits:
        damaged[place : place + len(content)] = content
    if fix:
        for start in range(0, len(damaged) - 511, 512):
            if GOOD_TAR[start + 257 : start + 262] == b"ustar":
                block = damaged[start : start + 512]
                damaged[start + 148 : start + 156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)
    read_or_refused(gzip.compress(bytes(damaged[:end])))


SPARSE_FIELDS = ("major", "minor", "name", "size", "realsize", "map", "numblocks")
HEADER_FIELDS = st.sampled_from(
    [
        "path",
        "size",
        "linkpath",
        "mtime",
        "uid",
        "hdrcharset",
        "comment",
        *(f"GNU.sparse.{name}" for name in SPARSE_FIELDS),
    ]
)
HEADER_VALUES = st.sampled_from(
    ["", "0", "-1", "-512", "1", "10", "1,2,3", "BINARY", "9" * 30, "1e9", "nan", "x", SKILL]
)


@FUZZ
@given(st.dictionaries(HEADER_FIELDS, HEADER_VALUES | st.text(max_size=20)), st.binary(max_size=600))
def test_any_extended_header_is_read_or_refused(fields: dict[str, str], content: bytes) -> None:
    odd = tarfile.TarInfo("odd")
    odd.pax_headers = fields
    read_or_refused(tarball([("prpm.json", manifest()), (odd, content), (SKILL, TEXT.encode())]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@FUZZ
@given(st.dictionaries(st.sampled_from([*MANIFEST, "author", "license", "tags"]), JSON, max_size=3))
def test_any_manifest_is_read_or_refused(changes: dict[str, Any]) -> None:
    read_or_refused(package(**changes))
