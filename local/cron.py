"""When a schedule of the template is due: rate(5 minutes), cron(0 1-23 * * ? *). In UTC, to the minute."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from local.template import TemplateError

MINUTE = timedelta(minutes=1)
UNITS = {"minute": MINUTE, "hour": timedelta(hours=1), "day": timedelta(days=1)}
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MAX_DAYS = 366 * 5  # searched ahead; a schedule without a time in them is never due


def next_time(expression: str, after: datetime) -> datetime:
    """The first time after `after` at which a schedule is due. A rate counts from `after`. Raises TemplateError."""
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if rate is not None:
        return after + int(rate[1]) * UNITS[rate[2]]
    cron = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression)
    if cron is None:
        raise TemplateError(f"{expression}: neither rate(...) nor cron(...)")
    minutes, hours = _numbers(cron[1], 0, 59), _numbers(cron[2], 0, 23)
    days, months = _numbers(cron[3], 1, 31), _numbers(cron[4], 1, 12, MONTHS)
    weekdays, years = _numbers(cron[5], 1, 7, DAYS), _numbers(cron[6], 1970, 2199)
    start = after.astimezone(UTC).replace(second=0, microsecond=0) + MINUTE
    for number in range(MAX_DAYS):
        day = (start + timedelta(days=number)).date()
        weekday = day.isoweekday() % 7 + 1  # Sunday is 1
        if day.year not in years or day.month not in months or day.day not in days or weekday not in weekdays:
            continue
        for hour in hours:
            for minute in minutes:
                moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                if moment >= start:
                    return moment
    raise TemplateError(f"{expression} is never due")


def _numbers(field: str, lowest: int, highest: int, names: Sequence[str] = ()) -> Sequence[int]:
    """The values that a field matches, in order: `*`, `?`, `7`, `1-5`, `*/15`, `0/15`, `MON`, and lists of them."""
    for number, name in enumerate(names):
        field = re.sub(rf"\b{name}\b", str(number + lowest), field)
    found: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(?:[*?]|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
        if match is None:
            raise TemplateError(f"cron: {part} is not understood by the laptop stack")
        first = int(match[1] or lowest)
        last = int(match[2] or (match[1] if match[1] and not match[3] else highest))
        step = int(match[3] or 1)
        if not (lowest <= first <= last <= highest and step):
            raise TemplateError(f"cron: {part} is not within {lowest} to {highest}")
        found |= set(range(first, last + 1, step))
    return sorted(found)
