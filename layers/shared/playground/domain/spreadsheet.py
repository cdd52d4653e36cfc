"""Tables as CSV, for spreadsheets."""

import csv
import io
from collections.abc import Iterable

# Also their full-width forms, and white space that some programs skip at the beginning of a cell.
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_of(heading: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A line for the heading and one for each row; None is an empty field. A text that a spreadsheet would take for a
    formula gets an apostrophe in front of it: a name or a reason must not run anything. Numbers stay numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows([_harmless(value) for value in row] for row in rows)
    return text.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value
