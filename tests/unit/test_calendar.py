"""Months from an anchor, and times as they are stored."""

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playground.domain.calendar import boundary, from_iso, instant, iso, scheduled_time

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - aware by `timezones`
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
CALENDAR = [date(2027, 1, 1) + timedelta(days=days) for days in range(6 * 365)]  # 2028 and 2032 are leap years


def at(year: int, month: int, day: int, hour: int = 9, minute: int = 30) -> datetime:
    return datetime(year, month, day, hour, minute, 15, 250_000, tzinfo=UTC)


def last_day_not_after(day: int, year: int, month: int) -> int:
    """Found by looking through a list of all days, with no arithmetic in common with the code."""
    return max(each.day for each in CALENDAR if (each.year, each.month) == (year, month) and each.day <= day)


@pytest.mark.parametrize("day", range(1, 32))
@pytest.mark.parametrize("start", [(2027, 1), (2027, 12), (2028, 1), (2029, 8)])
def test_every_anchor_day_in_every_month_of_two_years(day: int, start: tuple[int, int]) -> None:
    year, month = start
    anchor = at(year, month, day)
    for number in range(25):
        assert boundary(anchor, number) == at(year, month, last_day_not_after(day, year, month))
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


ALL_DAYS = [date(2024, 1, 1) + timedelta(days=days) for days in range(9 * 366)]
LATEST = {  # (year, month, day) → the last day of that month that is not after `day`
    (each.year, each.month, day): each.day for each in ALL_DAYS for day in range(each.day, 32)
}
TIMES = [time(0, 0), time(23, 59, 59, 999_999), time(12, 30, 15, 250_000), time(0, 0, 0, 1)]


@pytest.mark.parametrize("day", range(1, 32))
@pytest.mark.parametrize("of_day", TIMES, ids=str)
def test_every_anchor_day_from_2024_to_2032_against_a_list_of_all_days(day: int, of_day: time) -> None:
    """The oracle walks from month to month; it never adds or divides months."""
    for first in range(1, 13):
        if (2024, first, day) not in LATEST or LATEST[2024, first, day] != day:
            continue  # no such day
        anchor = datetime.combine(date(2024, first, day), of_day, UTC)
        months = [
            (year, month) for year in range(2024, 2033) for month in range(1, 13) if (year, month) >= (2024, first)
        ]
        for number, (year, month) in enumerate(months):
            expected = datetime.combine(date(year, month, LATEST[year, month, day]), of_day, UTC)
            assert boundary(anchor, number) == expected


def test_an_anchor_on_the_31st_comes_back_to_the_31st() -> None:
    anchor = at(2027, 1, 31)

    assert [boundary(anchor, number) for number in range(5)] == [
        anchor,
        at(2027, 2, 28),
        at(2027, 3, 31),
        at(2027, 4, 30),
        at(2027, 5, 31),
    ]


def test_an_anchor_on_the_29th_of_february_is_on_the_28th_until_the_next_leap_year() -> None:
    anchor = at(2028, 2, 29)

    assert [boundary(anchor, number) for number in (1, 12, 24, 36, 48)] == [
        at(2028, 3, 29),
        at(2029, 2, 28),
        at(2030, 2, 28),
        at(2031, 2, 28),
        at(2032, 2, 29),
    ]


@given(MOMENTS, st.integers(0, 600))
def test_boundaries_rise_and_keep_the_time_of_day(anchor: datetime, number: int) -> None:
    here, following = boundary(anchor, number), boundary(anchor, number + 1)

    assert timedelta(days=28) <= following - here <= timedelta(days=31)
    assert (here.timetz(), following.timetz()) == (anchor.timetz(), anchor.timetz())


def test_a_period_before_the_anchor_does_not_exist() -> None:
    with pytest.raises(ValueError, match="start at 0"):
        boundary(at(2027, 1, 1), -1)


@given(MOMENTS, ZONES)
def test_an_instant_is_utc_with_milliseconds(moment: datetime, zone: timezone) -> None:
    same = instant(moment.astimezone(zone))

    assert (same, same.tzinfo) == (moment.replace(microsecond=moment.microsecond // 1000 * 1000), UTC)
    assert instant(same) == same


def test_a_naive_time_is_refused() -> None:
    naive = datetime(2027, 1, 1)  # noqa: DTZ001 - that is the point
    for function in (instant, iso):
        with pytest.raises(ValueError, match="naive"):
            function(naive)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC), "2027-01-02T03:04:05.000Z"),
        (datetime(2027, 1, 2, 3, 4, 5, 6_999, tzinfo=UTC), "2027-01-02T03:04:05.006Z"),
        (datetime(2027, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC), "2027-01-02T03:04:05.999Z"),
        (datetime(2027, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2))), "2026-12-31T22:30:00.000Z"),
    ],
)
def test_times_are_written_in_utc_with_z(moment: datetime, text: str) -> None:
    assert iso(moment) == text


@given(MOMENTS, ZONES)
def test_reading_gives_back_what_was_written(moment: datetime, zone: timezone) -> None:
    assert from_iso(iso(moment.astimezone(zone))) == instant(moment)


@given(MOMENTS, MOMENTS)
@example(datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, 0, 1000, tzinfo=UTC))
def test_written_times_sort_by_time(one: datetime, other: datetime) -> None:
    assert (iso(one) < iso(other)) == (instant(one) < instant(other))


@pytest.mark.parametrize(
    "text", ["2027-01-02T03:04:05Z", "2027-01-02T03:04:05.000+00:00", "2027-01-02T05:04:05+02:00", "20270102T030405Z"]
)
def test_the_time_of_a_schedule_is_read(text: str) -> None:
    assert scheduled_time(text) == datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", [None, 5, "", "now", "2027-01-02", "2027-01-02T03:04:05", "<aws.scheduler.scheduled-time>", ["2027"]]
)
def test_a_schedule_without_a_proper_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"is needed|Invalid isoformat|naive"):
        scheduled_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2027-01-02",
        "2027-01-02T03:04:05Z",
        "2027-01-02T03:04:05.000",
        "2027-01-02T03:04:05.000+00:00",
        "2027-01-02 03:04:05.000Z",
        "2027-W01-2T03:04:05.000Z",
        "2027-01-02T03:04:05.000Z ",
        "2027-01-02T03:04:05.000Z\n",
        "٢٠٢٧-01-02T03:04:05.000Z",
        "2027-02-29T03:04:05.000Z",
        "2027-13-01T03:04:05.000Z",
        "2027-01-02T24:00:00.000Z",
    ],
)
def test_a_stored_time_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time|day|month|hour"):
        from_iso(text)


def test_stored_times_keep_four_digits_of_the_year() -> None:
    assert iso(datetime(99, 1, 1, tzinfo=UTC)) == "0099-01-01T00:00:00.000Z"
