"""Cron and rate expressions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from local.cron import next_time
from local.template import TemplateError

NOON = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(5 minutes)", "2026-11-23T12:05:30"),
        ("rate(1 hour)", "2026-11-23T13:00:30"),
        ("rate(2 days)", "2026-11-25T12:00:30"),
        ("cron(0 0 * * ? *)", "2026-11-24T00:00:00"),
        ("cron(0 1-23 * * ? *)", "2026-11-23T13:00:00"),
        ("cron(1 12 * * ? *)", "2026-11-23T12:01:00"),
        ("cron(0 12 * * ? *)", "2026-11-24T12:00:00"),
        ("cron(*/15 * * * ? *)", "2026-11-23T12:15:00"),
        ("cron(0/20 8,18 * * ? *)", "2026-11-23T18:00:00"),
        ("cron(0 9 1 * ? *)", "2026-12-01T09:00:00"),
        ("cron(0 9 31 * ? *)", "2026-12-31T09:00:00"),
        ("cron(0 9 29 2 ? *)", "2028-02-29T09:00:00"),
        ("cron(0 9 ? * SUN *)", "2026-11-29T09:00:00"),
        ("cron(0 9 ? * MON-FRI *)", "2026-11-24T09:00:00"),
        ("cron(0 9 ? * 1 *)", "2026-11-29T09:00:00"),
        ("cron(30 23 31 DEC ? 2027)", "2027-12-31T23:30:00"),
    ],
)
def test_the_next_time(expression: str, expected: str) -> None:
    assert next_time(expression, NOON) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_schedule_is_in_utc_wherever_the_machine_is() -> None:
    here = NOON.astimezone(timezone(timedelta(hours=9)))
    assert next_time("cron(0 0 * * ? *)", here) == datetime(2026, 11, 24, tzinfo=UTC)


def test_the_next_time_is_in_the_future() -> None:
    due = NOON
    for _ in range(100):
        following = next_time("cron(0 * * * ? *)", due)
        assert timedelta(0) < following - due <= timedelta(hours=1)
        due = following


@pytest.mark.parametrize(
    "expression",
    [
        "every day",
        "rate(5 weeks)",
        "cron(0 0 * * ?)",
        "cron(60 0 * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 0 L * ? *)",
        "cron(0 0 5-1 * ? *)",
        "cron(0 0 30 2 ? *)",
        "cron(*/0 0 * * ? *)",
    ],
)
def test_unsupported_expressions_are_refused(expression: str) -> None:
    with pytest.raises(TemplateError):
        next_time(expression, NOON)
