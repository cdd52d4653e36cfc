import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain.versions import is_version, newest_first, precedence

# The order that the standard itself gives as an example, and a little around it.
IN_ORDER = [
    "0.0.0",
    "0.9.10",
    "1.0.0-0",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.0+build.5",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0-0",
    "10.0.0",
]

NUMBERS = st.integers(0, 10**12).map(str)
WORDS = st.from_regex(r"[0-9]{0,3}[A-Za-z-][0-9A-Za-z-]{0,5}", fullmatch=True)
PRE_RELEASES = st.lists(NUMBERS | WORDS, max_size=3).map(lambda parts: "-" + ".".join(parts) if parts else "")
VERSIONS = st.builds(lambda *parts: ".".join(parts[:3]) + parts[3], NUMBERS, NUMBERS, NUMBERS, PRE_RELEASES).filter(
    lambda version: len(version) <= 64
)


def test_orders_as_the_standard_says() -> None:
    for older, newer in itertools.combinations(IN_ORDER, 2):
        assert precedence(older) < precedence(newer), (older, newer)


@pytest.mark.parametrize("version", IN_ORDER)
def test_accepts_semantic_versions(version: str) -> None:
    assert is_version(version)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.0",
        "1.0.0.0",
        "v1.0.0",
        "01.0.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0-a..b",
        "1.0.0+",
        "1.0.0-é",
        "1.0.٣",  # a digit, but not an ASCII one
        "1.0.0\n",
        " 1.0.0",
        "latest",
        "1.0.0-" + "a" * 59,
        "9" * 5000 + ".0.0",
    ],
)
def test_refuses_everything_else(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(ValueError, match="not a version"):
        precedence(text)


def test_lists_each_version_once_newest_first() -> None:
    assert newest_first(["1.0.0", "1.0.0-rc.1", "1.2.0", "1.0.0"]) == ("1.2.0", "1.0.0", "1.0.0-rc.1")


@given(VERSIONS, VERSIONS)
def test_only_equal_versions_have_equal_precedence(one: str, other: str) -> None:
    assert is_version(one)
    assert (precedence(one) == precedence(other)) == (one == other)


@given(st.lists(VERSIONS, max_size=8).flatmap(lambda versions: st.tuples(st.just(versions), st.permutations(versions))))
def test_the_order_does_not_depend_on_who_came_first(lists: tuple[list[str], list[str]]) -> None:
    one, other = lists
    assert newest_first(one) == newest_first(other)
