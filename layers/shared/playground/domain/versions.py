"""Versions of packages: Semantic Versioning 2.0.0, as text and in order."""

import re
from collections.abc import Iterable

MAX_VERSION_CHARACTERS = 64

_NUMBER = r"(?:0|[1-9][0-9]*)"
_VERSION = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)

Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...], str]


def is_version(text: str) -> bool:
    """Whether `text` is a version: three numbers, perhaps a pre-release and a build, 64 characters at most."""
    return len(text) <= MAX_VERSION_CHARACTERS and _VERSION.fullmatch(text) is not None


def precedence(version: str) -> Precedence:
    """The sort key of a version: `1.0.0-rc.2 < 1.0.0-rc.10 < 1.0.0 < 1.0.1`.

    The standard does not order builds of one version; here they are ordered as text, so that the order is total. Raises
    ValueError for an invalid version.
    """
    match = _VERSION.fullmatch(version) if len(version) <= MAX_VERSION_CHARACTERS else None
    if match is None:
        raise ValueError(f"not a version: {version[:MAX_VERSION_CHARACTERS]!r}")
    pre = match["pre"]
    identifiers = tuple(
        (False, int(part), "") if part.isdigit() else (True, 0, part) for part in (pre.split(".") if pre else ())
    )
    return int(match["major"]), int(match["minor"]), int(match["patch"]), pre is None, identifiers, match["build"] or ""


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """`versions` by precedence, each once."""
    return tuple(sorted(set(versions), key=precedence, reverse=True))
