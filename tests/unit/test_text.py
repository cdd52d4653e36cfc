"""What can be seen of a text, and what of it is text at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.domain.text import is_blank, whole_characters

INVISIBLE = (
    " \t\n\r\x00\x1b\x7f\x85\u00a0\u1680\u2000\u2028\u2029\u202f\u205f\u3000"  # spaces and controls
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u202a\u202e\u2060\u2061\u2066\u206f\ufeff\ufff9"  # formats
    "\u115f\u1160\u3164\uffa0\u2800\U0001d159\U00016fe4"  # letters and symbols that no font shows
    "\u034f\u17b4\u180b\u180f\ufe00\ufe0f\U000e0100\U000e01ef"  # joiners and variation selectors
    "\u0300\u0336\u20dd\u20e3"  # marks with nothing to stand on
    "\U000e0001\U000e0020\U000e007f\u2065\ufff0\U000e0fff"  # tags, and what is reserved for the like
)
VISIBLE = (
    *"a.1-_~$\u00e9\u4e2d\u05d0\u0627\u1100\u3131\ue000\u0903\u0602",
    "\u2764\ufe0f",
    "\u0915\u094d\u0937",
    "e\u0301",
    "1\ufe0f\u20e3",
    "\u200fx",
    "\U0001f1e9\U0001f1ea",
    "\U0001f468\u200d\U0001f469",
    "\U0001fae9",  # may be newer than Python's tables
    "\U0003fffd",
)


def test_nothing_is_blank() -> None:
    assert is_blank("")


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_what_cannot_be_seen_is_blank(character: str) -> None:
    assert is_blank(character)
    assert is_blank(character * 3)


@given(st.text(alphabet=INVISIBLE))
def test_no_mixture_of_it_can_be_seen(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", VISIBLE, ids=ascii)
@pytest.mark.parametrize("around", ["", "\u200b", "\ufeff \u3164"], ids=ascii)
def test_what_can_be_seen_is_not_blank_whatever_stands_around_it(text: str, around: str) -> None:
    assert not is_blank(around + text + around)


@given(st.text())
def test_whole_characters_are_left_alone(text: str) -> None:
    assert whole_characters(text) == text


@given(st.text(), st.text())
def test_a_text_that_was_cut_anywhere_is_whole_again(before: str, after: str) -> None:
    """As JSON escapes spell it, cut between any two of them."""
    units = (before + after).encode("utf-16-be", "surrogatepass")
    halves = "".join(chr(int.from_bytes(units[at : at + 2])) for at in range(0, len(units), 2))

    assert whole_characters(halves) == before + after


@given(st.text(alphabet=st.characters(categories=["Cs", "Lu", "So"])))
def test_whatever_comes_can_be_encoded_afterwards(text: str) -> None:
    whole = whole_characters(text)

    assert json.loads(json.dumps(whole, ensure_ascii=False).encode()) == whole
    assert whole_characters(whole) == whole


def test_halves_that_stay_alone_are_replaced_one_by_one() -> None:
    assert whole_characters("a\ude00\ud83db\ud83d") == "a\ufffd\ufffdb\ufffd"
    assert whole_characters("\ud83d\ude00") == "\U0001f600"
