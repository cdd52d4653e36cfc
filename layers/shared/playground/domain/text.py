"""Text of people and models: whether any of it is visible, and lone surrogates."""

import json
import re
import unicodedata

# What Unicode calls letters, marks or symbols and no font shows: fillers, the empty Braille pattern, a null note.
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159\U00016fe4")
# Format characters that do show: signs that stand under or around numbers.
_VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Not assigned, and reserved for what is not shown. Other unassigned characters may be newer than our tables: visible.
_RESERVED = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]")
# Separators, controls, formats, halves of a pair, and marks that need a character to stand on.
_UNSEEN_KINDS = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn", "Me"})


def is_blank(text: str) -> bool:
    """Whether nothing of `text` can be seen: spaces, controls, zero-width and filler characters, variation selectors,
    tags, marks without a character to stand on."""
    return not any(map(_is_visible, text))


def _is_visible(character: str) -> bool:
    if character in _INVISIBLE:
        return False
    if unicodedata.category(character) in _UNSEEN_KINDS:
        return character in _VISIBLE_FORMATS
    return _RESERVED.fullmatch(character) is None


def whole_characters(text: str) -> str:
    """`text` with surrogates that make a pair joined, and those that are alone replaced by U+FFFD: it can be encoded.

    JSON may cut a character in two, each half an escape of its own; Python reads the halves as they are.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def sent_bytes(text: str) -> int:
    """What `text` takes in the answer of a function: JSON (of ASCII) in a body, which is a string of JSON itself, where
    every quote and backslash of it takes one more."""
    encoded = json.dumps(text)
    return len(encoded) + encoded.count('"') + encoded.count("\\")
