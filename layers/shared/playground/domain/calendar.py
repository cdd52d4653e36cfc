"""Time, as the ledger sees it: aware UTC with milliseconds, and months counted from an anchor."""

import re
from calendar import monthrange
from datetime import UTC, datetime


def instant(moment: datetime) -> datetime:
    """`moment` in UTC, cut to milliseconds, which is the store's precision. Raises ValueError for a naive one."""
    if moment.utcoffset() is None:
        raise ValueError("a naive datetime: a time zone is needed")
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def iso(moment: datetime) -> str:
    """ISO 8601 with milliseconds and `Z`. Strings of this form sort by time."""
    return instant(moment).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def from_iso(text: str) -> datetime:
    """The inverse of `iso`. Raises ValueError for a time that is spelt in another way."""
    if not _ISO.fullmatch(text):
        raise ValueError(f"{text!r} is no time as it is stored")
    return datetime.fromisoformat(text)


_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def scheduled_time(text: object) -> datetime:
    """The time in a scheduler's event: ISO 8601 with an offset or `Z`. Raises ValueError for anything else."""
    if not isinstance(text, str):
        raise ValueError(f"a time such as 2027-01-31T00:00:00Z is needed, not {text!r}")
    return instant(datetime.fromisoformat(text))


def boundary(anchor: datetime, number: int) -> datetime:
    """The time at which period `number` begins; period 0 begins at the anchor.

    Always computed from the anchor, so it never drifts: an anchor on the 31st gives 28 or 29 February and then
    31 March again. The time of day is the anchor's, in UTC.
    """
    if number < 0:
        raise ValueError(f"period numbers start at 0, not {number}")
    months = anchor.year * 12 + anchor.month - 1 + number
    year, month = divmod(months, 12)
    day = min(anchor.day, monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)
