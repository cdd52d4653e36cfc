"""Text of people and models: whether any of it is visible, and lone surrogates."""

import json
import re
import unicodedata

# Letters, marks or symbols in Unicode that no font shows: fillers, the empty Braille pattern, a null note.
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159\U00016fe4")
# Visible format characters: signs under or around numbers.
_VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Unassigned and reserved for invisible characters. Other unassigned ones may be newer than our tables: visible.
_RESERVED = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]")
# Separators, controls, formats, surrogates, and marks that need a base character.
_UNSEEN_KINDS = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn", "Me"})


def is_blank(text: str) -> bool:
    """Whether `text` has no visible character: only spaces, controls, zero-width and filler characters, variation
    selectors, tags, and marks without a base character."""
    return not any(map(_is_visible, text))


def _is_visible(character: str) -> bool:
    if character in _INVISIBLE:
        return False
    if unicodedata.category(character) in _UNSEEN_KINDS:
        return character in _VISIBLE_FORMATS
    return _RESERVED.fullmatch(character) is None


def cut(text: str, max_characters: int) -> str:
    """`text`, or its beginning with an ellipsis, in at most `max_characters`."""
    return text if len(text) <= max_characters else text[: max_characters - 1].rstrip() + "…"


def whole_characters(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced by U+FFFD, so that it can be encoded.

    JSON may escape a character as two surrogates; Python reads them as they are.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def sent_bytes(text: str) -> int:
    """The bytes of `text` in the answer of a function: ASCII JSON in a body that is itself a JSON string, so every
    quote and backslash takes one byte more."""
    encoded = json.dumps(text)
    return len(encoded) + encoded.count('"') + encoded.count("\\")
