"""Tables for spreadsheets: a name or a reason is never a formula."""

import csv
import io

import pytest

from playground.domain.spreadsheet import csv_of


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "@acme/tidy", "+1", "-1+1", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff20x"]
)
def test_a_text_is_no_formula(text: str) -> None:
    assert csv_of(["reason"], [[text]]).splitlines()[1].lstrip('"').startswith("'")


def test_numbers_and_other_texts_are_what_they_are() -> None:
    rows = [[-50, None, 'Sorry, "again"', "a=b", True]]
    assert list(csv.reader(io.StringIO(csv_of("abcde", rows)))) == [
        ["a", "b", "c", "d", "e"],
        ["-50", "", 'Sorry, "again"', "a=b", "True"],
    ]
