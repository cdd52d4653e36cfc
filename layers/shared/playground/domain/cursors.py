"""Cursors: a position in a list as text, and back. Opaque in answers; a list continues after its cursor.

number_cursor   base64url of a number: entries of a history, turns of a conversation
parts_cursor    base64url of a JSON list: sessions by activity
scan_cursor     JSON of an item's key: scans of a whole table, for operators
index_cursor    `time|user`: accounts by a time, in an index
(a name)        packages by name: the cursor is the last name
"""

import base64
import json
from collections.abc import Sequence

from playground.domain.errors import InvalidRequestError

MAX_NUMBER = 10**12 - 1  # entries have numbers of twelve digits


def number_cursor(number: int) -> str:
    return _encoded(str(number))


def number_of(cursor: str | None) -> int | None:
    """The number in a `number_cursor`; None for None. Raises InvalidRequestError for anything else."""
    if cursor is None:
        return None
    try:
        decoded = _decoded(cursor)
        number = int(decoded) if decoded.isdigit() else 0
    except ValueError:
        number = 0
    if not 0 < number <= MAX_NUMBER:
        raise bad_cursor()
    return number


def parts_cursor(*parts: str) -> str:
    return _encoded(json.dumps(parts))


def parts_of(cursor: str, count: int) -> Sequence[str]:
    """The `count` parts of a `parts_cursor`. Raises InvalidRequestError for anything else."""
    try:
        parts = json.loads(_decoded(cursor))
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != count or not all(isinstance(part, str) for part in parts):
        raise bad_cursor()
    return parts


def scan_cursor(pk: str, sk: str) -> str:
    return json.dumps([pk, sk])


def scan_key_of(cursor: str) -> tuple[str, str]:
    """Partition and sort key of a `scan_cursor`. Raises ValueError for anything else."""
    try:
        found = json.loads(cursor) if isinstance(cursor, str) else None
    except (ValueError, RecursionError):
        found = None
    match found:
        case [str(pk), str(sk)] if pk and sk:
            return pk, sk
    raise ValueError("after must be null, or what was answered as `after`")


def index_cursor(at: str, user_id: str) -> str:
    return f"{at}|{user_id}"


def index_place_of(cursor: str) -> tuple[str, str]:
    """Time and user of an `index_cursor`."""
    at, _, user_id = cursor.partition("|")
    return at, user_id


def bad_cursor() -> InvalidRequestError:
    return InvalidRequestError("cursor", "must be a next_cursor of an earlier answer")


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> bytes:
    return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
