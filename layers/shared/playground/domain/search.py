"""Ranked search: which packages fit a text best, also when not all of its words occur."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from playground.domain.packages import PackageSummary

MAX_WORDS = 20  # different ones of a text that are looked for
MIN_STEM_CHARACTERS = 4  # of a word without its ending

_WORD = re.compile(r"[^\W_]+")
# Words that say nothing about what a package is for, also as parts of "I'm", "don't" and the like.
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a about am an and any anything are as at be can could d do does don for from get give has have help helps "
        "how i if in into is it its ll m make makes me my need of on one or our please re s should so some "
        "somebody something t tell that the their them then there these they this to too us use ve want wants was "
        "we what when where which who will with would you your"
    )
)
_ENDINGS = ("ing", "ers", "er", "ed", "es", "s")


class Match(NamedTuple):
    """How well a package fits; a larger one is better. `words` of the text occur, `exact` of them as they are written,
    and `named` of them in the package's name."""

    words: int
    exact: int
    named: int


class Place(NamedTuple):
    """The place of a package among those that are found: the best match first, equal ones by name."""

    match: Match
    name: str

    def is_after(self, other: "Place") -> bool:
        return self.match < other.match or (self.match == other.match and self.name > other.name)


@dataclass(frozen=True, slots=True)
class Query:
    """The words of a text, without those that say nothing (unless there are no others), at most `MAX_WORDS`. None of
    them: any package matches."""

    words: Sequence[str]
    stems: Sequence[str]

    @classmethod
    def of(cls, text: str) -> Self:
        every = dict.fromkeys(_WORD.findall(text.casefold()))
        words = ([word for word in every if word not in _STOP_WORDS] or list(every))[:MAX_WORDS]
        return cls(words, [_stem(word) for word in words])

    def match(self, searched: "SearchedText") -> Match | None:
        """None if no word occurs. A word occurs where a word begins with it, or with it without its ending ("reviews",
        "reviewer"). Words in scripts without spaces occur anywhere."""
        if not self.words:
            return Match(0, 0, 0)
        exact = [_begins(searched.text, word) for word in self.words]
        found = [known or _begins(searched.text, stem) for known, stem in zip(exact, self.stems, strict=True)]
        if not any(found):
            return None
        return Match(sum(found), sum(exact), sum(_begins(searched.name, stem) for stem in self.stems))


@dataclass(frozen=True, slots=True)
class SearchedText:
    """What is searched of a package, each word with a space in front: its name, and that with description and tags."""

    name: str
    text: str

    @classmethod
    def of(cls, summary: PackageSummary) -> Self:
        name = _spaced(summary.name)
        return cls(name, name + _spaced("\n".join((summary.description, *summary.tags))))


def ranked(
    summaries: Sequence[PackageSummary],
    query: Query,
    *,
    texts: Mapping[str, SearchedText] | None = None,
    after: Place | None = None,
) -> Sequence[tuple[Place, PackageSummary]]:
    """The packages that match, in order, after a place. `texts` may have what is searched of some, by name."""
    known = texts or {}
    found: list[tuple[Place, PackageSummary]] = []
    for summary in summaries:
        match = query.match(known.get(summary.name) or SearchedText.of(summary))
        if match is not None:
            place = Place(match, summary.name)
            if after is None or place.is_after(after):
                found.append((place, summary))
    found.sort(key=lambda each: each[1].name)
    found.sort(key=lambda each: each[0].match, reverse=True)
    return found


def _spaced(text: str) -> str:
    return "".join(f" {word}" for word in _WORD.findall(text.casefold()))


def _begins(text: str, word: str) -> bool:
    return (f" {word}" if word.isascii() else word) in text


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= MIN_STEM_CHARACTERS:
            return word[: -len(ending)]
    return word
