"""What must not be in a log: texts of people, tokens, keys, addresses."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

from local.settings import TEMPLATE

# Beginnings of texts that tests send, that prompts of packages have, and that the stand-in for Claude answers.
MIN_TEXT_CHARACTERS = 20


def _piece_of_prompt(path: Path) -> str:
    """A piece of a package's prompt: of its longest line that is not of the front matter."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return max((line for line in lines if not re.match(r"[\w-]+:", line)), key=len)[:60]


TEXTS = (
    "def add(a, b): return a - b",
    "a sentence that nobody else writes",
    "This answer is based on",
    *(_piece_of_prompt(path) for path in sorted((TEMPLATE.parent / "local" / "packages").glob("*/.*/**/*.md*"))),
)
SECRETS = {
    "a token": re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"),
    "an authorization header": re.compile(r"[Bb]earer [\w.-]{16,}"),
    "a key of Stripe": re.compile(r"\b[sr]k_(live|test)_\w{4,}"),
    "a webhook secret": re.compile(r"\bwhsec_\w{4,}"),
    "a client secret": re.compile(r"\b(pi|seti)_\w+_secret_\w+"),
    "a key of Claude": re.compile(r"\bsk-ant-[\w-]{4,}"),
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[a-z]{2,}\b"),
}
# A line of a program in the log of a stack; the token for a demonstration is in none.
PROGRAM_LINE = re.compile(r"^\[[\w-]+\] ", re.MULTILINE)


def leaks_in(text: str) -> list[str]:
    """Kinds of what must not be there; the thing itself only if it is a test's own text."""
    found = [f"the text {each!r}" for each in TEXTS if _spelled_in(each, text)]
    return found + [kind for kind, pattern in SECRETS.items() if pattern.search(text)]


def _spelled_in(each: str, text: str) -> bool:
    return each in text or json.dumps(each)[1:-1] in text


def leaks_in_stack_log(log: str) -> list[str]:
    """Lines of programs with what must not be there, cut."""
    lines = [line for line in log.splitlines() if PROGRAM_LINE.match(line)]
    if not leaks_in("\n".join(lines)):
        return []
    return [f"{', '.join(kinds)}: {line[:300]}" for line in lines if (kinds := leaks_in(line))]


class LogWatch(logging.Handler):
    """Remembers lines of the functions' logger with what must not be there."""

    def __init__(self, text_of: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._text_of = text_of
        self.lines = 0
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        text = self._text_of(record)
        kinds = leaks_in(text)
        if kinds:
            self.found.append(f"{', '.join(kinds)}: {text[:500]}")
