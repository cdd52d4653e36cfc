"""Hidden characters: invisible to readers of a text but visible to a model, so they can carry hidden instructions.

Invisible characters that writing needs do not count: joiners within emoji and in scripts that join letters,
presentation selectors after emoji, direction marks beside right-to-left text, word breaks in scripts without spaces.
Each is accepted only in its context; elsewhere, and in runs, it counts, because runs can encode data.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import category

BIDI_CONTROL = "bidi_control"
CONTROL_CHARACTER = "control_character"
TAG_CHARACTER = "tag_character"
TERMINAL_ESCAPE = "terminal_escape"
VARIATION_SELECTOR = "variation_selector"
ZERO_WIDTH = "zero_width"
KINDS = (BIDI_CONTROL, CONTROL_CHARACTER, TAG_CHARACTER, TERMINAL_ESCAPE, VARIATION_SELECTOR, ZERO_WIDTH)

# Controls (but tab, line ends and form feed), Default_Ignorable_Code_Point of Unicode, interlinear annotation.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_TAG = re.compile("[\U000e0000-\U000e007f]")
_SELECTOR = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_TERMINAL = "\x1b\x9b"  # ESC and CSI: what follows is a command to a terminal

_KEYCAP = "\u20e3"

# Roughly Extended_Pictographic: characters of emoji sequences, or with presentation selectors.
_EMOJI = re.compile(
    "[\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
# Scripts in which joiners are part of how a word is spelt (Unicode, section 9.2 and chapters 12 to 14, 16).
_JOINING = re.compile(
    "[\u0600-\u07ff\u0840-\u0dff\u0f00-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\ua8ff\ua980-\uaadf\ufb50-\ufdff"
    "\ufe70-\ufefc\U00010a00-\U00010aff\U00010d00-\U00011fff]"
)
_WITHOUT_SPACES = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff]")
_MONGOLIAN = re.compile("[\u1800-\u18af]")
_MONGOLIAN_FORMS = re.compile("[\u180b-\u180f\u200c\u200d]{1,2}")
_JAMO = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_HAS_STANDARD_VARIANTS = re.compile("[\u1000-\u109f\u2200-\u22ff\u2a00-\u2aff\u3000-\u303f\ua840-\ua87f\uff00-\uff60]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_BESIDE = 64  # characters around a direction mark that are searched for right-to-left text

# The flags of England, Scotland and Wales: the only recommended emoji with tags.
_BLACK_FLAG = "\U0001f3f4"
_FLAGS = frozenset(
    "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f" for region in ("gbeng", "gbsct", "gbwls")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """Characters `start` to `end` (exclusive) of a text are invisible and of one kind."""

    kind: str
    start: int
    end: int


def hidden_characters(text: str) -> tuple[Hidden, ...]:
    """The hidden characters of `text`, in order.

    Takes linear time. A byte order mark counts: remove it first where it is allowed.
    """
    found: list[Hidden] = []
    for match in _INVISIBLE.finditer(text):
        start, end = match.span()
        if _is_writing(text, start, end):
            continue
        for at in range(start, end):
            kind = _kind(text[at])
            if found and found[-1].kind == kind and found[-1].end == at:
                found[-1] = Hidden(kind=kind, start=found[-1].start, end=at + 1)
            else:
                found.append(Hidden(kind=kind, start=at, end=at + 1))
    return tuple(found)


def counted(found: Sequence[Hidden]) -> tuple[tuple[str, int], ...]:
    """The number of characters of each kind, sorted by kind."""
    counts: Counter[str] = Counter()
    for hidden in found:
        counts[hidden.kind] += hidden.end - hidden.start
    return tuple(sorted(counts.items()))


def escaped(text: str) -> str:
    """`text` with every hidden character written as `[U+202E]`."""
    parts: list[str] = []
    done = 0
    for hidden in hidden_characters(text):
        parts.append(text[done : hidden.start])
        parts.extend(f"[U+{ord(character):04X}]" for character in text[hidden.start : hidden.end])
        done = hidden.end
    return "".join((*parts, text[done:]))


def spelt(text: str) -> str:
    """The ASCII text that the tag characters in `text` encode; empty if there are none."""
    return "".join(chr(ord(tag) - 0xE0000) for tag in _TAG.findall(text) if 0xE0020 <= ord(tag) < 0xE007F)


def _kind(character: str) -> str:
    if character in _TERMINAL:
        return TERMINAL_ESCAPE
    for kind, pattern in (
        (BIDI_CONTROL, _BIDI),
        (TAG_CHARACTER, _TAG),
        (VARIATION_SELECTOR, _SELECTOR),
        (CONTROL_CHARACTER, _CONTROL),
    ):
        if pattern.match(character):
            return kind
    return ZERO_WIDTH


def _is_writing(text: str, start: int, end: int) -> bool:
    """Whether the invisible characters `start` to `end` are part of the writing beside them."""
    run, before, after = text[start:end], text[start - 1 : start], text[end : end + 1]
    if _MONGOLIAN.match(before) and _MONGOLIAN_FORMS.fullmatch(run):
        return True
    match run:
        case "\ufe0f\u200d" | "\u200d":
            if _EMOJI.match(before) and _EMOJI.match(after):
                return True
        case _ if run in _FLAGS:
            return before == _BLACK_FLAG
    return len(run) == 1 and _is_needed(run, before, after, text[max(0, start - _BESIDE) : end + _BESIDE])


def _is_needed(character: str, before: str, after: str, around: str) -> bool:
    match character:
        case "\u200c" | "\u200d":
            return _JOINING.match(before) is not None
        case "\ufe0e" | "\ufe0f":
            return _EMOJI.match(before) is not None or (after == _KEYCAP and before in tuple("0123456789#*"))
        case "\u200b":
            return _WITHOUT_SPACES.match(before) is not None and _WITHOUT_SPACES.match(after) is not None
        case "\u061c" | "\u200e" | "\u200f":
            return _RIGHT_TO_LEFT.search(around) is not None
        case "\xad":
            return before.isalpha() and after.isalpha()
        case "\u034f":
            return after != "" and category(after).startswith("M")
        case "\u115f" | "\u1160":
            return _JAMO.match(before) is not None or _JAMO.match(after) is not None
        case "\ufe00" | "\ufe01" | "\ufe02":
            return _IDEOGRAPH.match(before) is not None or _HAS_STANDARD_VARIANTS.match(before) is not None
        case _:  # only the first ideographic variants: all 240 of them could encode a byte each
            return "\U000e0100" <= character <= "\U000e010f" and _IDEOGRAPH.match(before) is not None
