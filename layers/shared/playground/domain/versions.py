"""Versions of packages: Semantic Versioning 2.0.0, as text and in order."""

import re
from collections.abc import Iterable

MAX_LENGTH = 64

_NUMBER = r"(?:0|[1-9][0-9]*)"
_VERSION = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)

Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...], str]


def is_version(text: str) -> bool:
    """Whether `text` is a version: three numbers, perhaps a pre-release and a build, 64 characters at most."""
    return len(text) <= MAX_LENGTH and _VERSION.fullmatch(text) is not None


def precedence(version: str) -> Precedence:
    """What versions are compared by: `1.0.0-rc.2 < 1.0.0-rc.10 < 1.0.0 < 1.0.1`.

    Builds of one version have no order in the standard; here they go by their text, so that the order is total.
    Raises ValueError for what is no version.
    """
    match = _VERSION.fullmatch(version) if len(version) <= MAX_LENGTH else None
    if match is None:
        raise ValueError(f"not a version: {version[:MAX_LENGTH]!r}")
    pre = match["pre"]
    identifiers = tuple(
        (False, int(part), "") if part.isdigit() else (True, 0, part) for part in (pre.split(".") if pre else ())
    )
    return int(match["major"]), int(match["minor"]), int(match["patch"]), pre is None, identifiers, match["build"] or ""


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """`versions` by precedence, each once."""
    return tuple(sorted(set(versions), key=precedence, reverse=True))
