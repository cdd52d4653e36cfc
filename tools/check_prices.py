"""Compare the price tables with their digests: `make check` runs it.

`data/prices.json` is the current table. `data/prices/<version>.json` is every table that was ever published, and
`SHA256SUMS` beside them has the digest of each. A receipt names its table by the version, so that a published table
never changes. What the history of the repository has in SHA256SUMS must still be there. `--publish` publishes the
current table: copies it and adds its digest; a repeat does nothing.

Exit status: 0 if everything fits; 1 if not, and what to do is printed.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from playground.adapters.prices import PATH, PUBLISHED, parse_prices
from playground.domain.pricing import PriceTable, PriceTableError

PUBLISH = "PYTHONPATH=layers/shared .venv/bin/python -m tools.check_prices --publish"
GIT_SECONDS = 60
ADDED = re.compile(r"\+[0-9a-f]{64}  \S+\.json")  # a line of SHA256SUMS in a patch


class DigestsError(ValueError):
    """SHA256SUMS is not in the form of sha256sum."""


def problems(current: Path = PATH, published: Path = PUBLISHED) -> Sequence[str]:
    """The differences, a line each."""
    try:
        digests = _digests(published)
        version = _table(current).version
    except (PriceTableError, DigestsError) as error:
        return [str(error)]
    found: list[str] = []
    if version not in digests:
        found.append(f"{current.name}: version {version} is not published: run `{PUBLISH}`")
    elif _digest(current) != digests[version]:
        found.append(_changed(current, version))
    for name in sorted({*digests, *(path.stem for path in published.glob("*.json"))}):
        found += _problems_of(published / f"{name}.json", digests.get(name))
    return found


def forgotten(published: Path = PUBLISHED) -> Sequence[str]:
    """Tables that a commit has published and that are missing now, a line each: removed, or changed with their digest.
    Empty without git or history."""
    log = ["git", "log", "--format=", "--patch", "--no-color", "--no-ext-diff", "--", "SHA256SUMS"]
    try:
        ended = subprocess.run(log, cwd=published, capture_output=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    added = [line[1:] for line in ended.stdout.decode(errors="replace").splitlines() if ADDED.fullmatch(line)]
    there = _sums(published).splitlines()
    return [
        f"{published.name}/SHA256SUMS: `{line}` was published and is gone: restore it and its file"
        for line in sorted({*added} - {*there})
    ]


def publish(current: Path = PATH, published: Path = PUBLISHED) -> str:
    """Publish the current table, once; its version. Raises PriceTableError if that is published with other content."""
    version = _table(current).version
    digests = _digests(published)
    digest = digests.setdefault(version, _digest(current))
    copy = published / f"{version}.json"
    if digest != _digest(current) or (copy.exists() and digest != _digest(copy)):
        raise PriceTableError(_changed(current, version))
    published.mkdir(exist_ok=True)
    copy.write_bytes(current.read_bytes())
    lines = [f"{digests[name]}  {name}.json\n" for name in sorted(digests)]
    (published / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    return version


def _problems_of(path: Path, digest: str | None) -> Sequence[str]:
    where = f"{path.parent.name}/{path.name}"
    if digest is None:
        return [f"{where} has no digest in SHA256SUMS: restore the line, or remove the file if it was never published"]
    if not path.exists():
        return [f"{where} is missing: restore it; receipts name this version"]
    if _digest(path) != digest:
        return [f"{where} changed: restore it; a published table never changes"]
    try:
        version = _table(path).version
    except PriceTableError as error:
        return [f"{error}: published tables must stay readable"]
    return [] if version == path.stem else [f"{where} says that it is version {version}"]


def _changed(current: Path, version: str) -> str:
    return (
        f"{current.name} changed, but version {version} is published: give it a new version, then run `{PUBLISH}`; or "
        f"restore it from {current.stem}/{version}.json"
    )


def _table(path: Path) -> PriceTable:
    try:
        return parse_prices(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise PriceTableError(f"{path.name} cannot be used: {error}") from None


def _digests(published: Path) -> dict[str, str]:
    """By version."""
    digests: dict[str, str] = {}
    for line in _sums(published).splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64 or not name.endswith(".json") or name[:-5] in digests:
            raise DigestsError(f"{published.name}/SHA256SUMS: not a line of sha256sum, or twice: {line}")
        digests[name[:-5]] = digest
    return digests


def _sums(published: Path) -> str:
    path = published / "SHA256SUMS"
    return path.read_bytes().decode(errors="replace") if path.exists() else ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the price tables with the digests of the published ones.")
    parser.add_argument("--publish", action="store_true", help="publish the current table first")
    options = parser.parse_args()
    found: Sequence[str]
    try:
        if options.publish:
            print(f"published {publish()}")
        found = [*problems(), *forgotten()]
    except (PriceTableError, DigestsError) as error:
        found = [str(error)]
    for line in found:
        print(f"check_prices: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
