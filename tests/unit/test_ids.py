"""Fresh ids sort by time and cannot be guessed."""

import re
from datetime import UTC, datetime, timedelta

from playground.adapters.ids import id_maker

NOW = datetime(2027, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def number_of(id_: str) -> int:
    return sum(ALPHABET.index(digit) * 32**place for place, digit in enumerate(reversed(id_.partition("_")[2])))


def test_an_id_carries_its_kind() -> None:
    new_id = id_maker(lambda: NOW)

    for kind in ("run", "ses", "try", "pur"):
        assert re.fullmatch(f"{kind}_[{ALPHABET}]{{26}}", new_id(kind))


def test_an_id_carries_its_time_in_milliseconds() -> None:
    new_id = id_maker(lambda: NOW)

    assert number_of(new_id("ses")) >> 80 == int(NOW.timestamp()) * 1000 + 678


def test_ids_sort_by_time_from_now_to_the_year_9999() -> None:
    times = [
        datetime(2026, 11, 1, tzinfo=UTC),
        NOW,
        NOW + timedelta(milliseconds=1),
        NOW + timedelta(days=1),
        datetime(9999, 12, 31, tzinfo=UTC),
    ]
    for _ in range(100):
        ids = [id_maker(lambda moment=moment: moment)("run") for moment in times]  # type: ignore[misc]
        assert ids == sorted(ids)


def test_the_clock_is_read_for_each_id() -> None:
    moments = iter([NOW, NOW + timedelta(seconds=5)])
    new_id = id_maker(lambda: next(moments))

    first, second = number_of(new_id("run")), number_of(new_id("run"))

    assert (second >> 80) - (first >> 80) == 5000


def test_ids_of_one_moment_differ_and_use_all_their_random_bits() -> None:
    new_id = id_maker(lambda: NOW)
    random_parts = [number_of(new_id("run")) % 2**80 for _ in range(2000)]

    assert len(set(random_parts)) == 2000
    for bit in range(80):
        ones = sum(part >> bit & 1 for part in random_parts)
        assert 700 < ones < 1300, f"bit {bit} is {ones} times 1"  # 13 standard deviations off
