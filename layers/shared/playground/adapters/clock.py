"""The time of this machine: `ports.Clock`."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
