"""Token counts, scripts and answers of the Claude double, all of them pure functions of the request.

There is no HTTP, clock or randomness here: the same request always has the same count and the same text.
The directives are described in `doubles.claude.server`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_OUTPUT_TOKENS: Final = 128_000
MIN_CACHED_TOKENS: Final = 1024  # a shorter prefix is not cached
BYTES_PER_TOKEN: Final = 3
MESSAGE_OVERHEAD: Final = 4  # tokens for the role and the frame of one message
SYSTEM_OVERHEAD: Final = 6  # tokens for the frame of a system prompt
EMPTY_ANSWER_TOKENS: Final = 3  # an answer without text is still billed for its end marker
MIN_ANSWER_TOKENS: Final = 150  # unless the script says otherwise
MAX_ANSWER_BYTES: Final = 400
MIN_PIECE_CHARACTERS: Final = 24  # of a stream's delta
MAX_PIECES: Final = 500  # longer texts come in larger pieces
MAX_READ_CHARACTERS: Final = 20_000  # of a prompt, for the answer; all of it is counted

STOP_REASONS: Final = frozenset(
    {"end_turn", "max_tokens", "stop_sequence", "refusal", "pause_turn", "model_context_window_exceeded"}
)
ERROR_KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


# ---------------------------------------------------------------- tokens


def count_text_tokens(text: str) -> int:
    """One token for every three bytes of UTF-8, rounded up; none for an empty text."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def count_input_tokens(request: Mapping[str, Any]) -> int:
    """The input tokens of a request: what count_tokens answers and what the input classes of `usage` add up to.

    A `cache_control` mark, `max_tokens` and `stream` do not change it.
    """
    return _prefix_tokens(request, _blocks(request.get("system"))) + sum(
        MESSAGE_OVERHEAD + sum(map(_block_tokens, _blocks(message["content"]))) for message in request["messages"]
    )


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """The part of a request that the prompt cache stores: its content, its tokens, and its requested lifetime."""

    key: str
    tokens: int
    ttl: str


def cached_prefix(request: Mapping[str, Any]) -> CachedPrefix | None:
    """Tools and system up to the last marked system block, or None if none is marked or it is too short to cache."""
    system = _blocks(request.get("system"))
    marked = [index for index, block in enumerate(system) if block.get("cache_control")]
    if not marked:
        return None
    kept = system[: marked[-1] + 1]
    tokens = _prefix_tokens(request, kept)
    if tokens < MIN_CACHED_TOKENS:
        return None
    identity = json.dumps([request["model"], request.get("tools"), [block["text"] for block in kept]])
    ttl = str(system[marked[-1]]["cache_control"].get("ttl", "5m"))
    return CachedPrefix(hashlib.sha256(identity.encode()).hexdigest(), tokens, ttl)


def text_of(content: Any) -> str:
    """The text of a message or a system prompt, its blocks on lines of their own."""
    return "\n".join(block["text"] for block in _blocks(content) if block.get("type") == "text")


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content or [])


def _block_tokens(block: Mapping[str, Any]) -> int:
    return count_text_tokens(block["text"]) if block.get("type") == "text" else _json_tokens(block)


def _json_tokens(value: Mapping[str, Any]) -> int:
    return count_text_tokens(json.dumps({key: part for key, part in value.items() if key != "cache_control"}))


def _prefix_tokens(request: Mapping[str, Any], system: Sequence[Mapping[str, Any]]) -> int:
    tools = sum(map(_json_tokens, request.get("tools") or []))
    return tools + (SYSTEM_OVERHEAD + sum(map(_block_tokens, system)) if system else 0)


# ---------------------------------------------------------------- scripts


class ScriptError(ValueError):
    """A directive is invalid or contradicts another one."""


@dataclass(frozen=True, slots=True)
class Script:
    """The directives of a message; without any, a normal answer."""

    output_tokens: int | None = None
    delay: float = 0.0
    together: int = 0
    status: int | None = None
    times: int | None = None
    retry_after: str | None = None
    stop_reason: str | None = None
    empty: bool = False
    thinking_only: bool = False
    thinking: int = 0
    cut_after: int | None = None
    error_in_stream: str | None = None
    error_first: str | None = None
    count_status: int | None = None
    usage_factor: float = 1.0
    input_factor: float = 1.0
    reported_input: str | None = None
    reported_output: str | None = None
    reported_cache_write: str | None = None
    reported_cache_read: str | None = None
    emoji: str | None = None
    slow: float = 0.0

    def recovered(self) -> Script:
        """The same answer without failures: for calls after the first `times`."""
        return Script(output_tokens=self.output_tokens, thinking=self.thinking, usage_factor=self.usage_factor)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ScriptError(f"wants a whole number from {low} to {high}")
        return int(value)

    return read


def _decimal(high: float) -> Callable[[str], float]:
    def read(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) or float(value) > high:
            raise ScriptError(f"wants a number from 0 to {high:g}")
        return float(value)

    return read


def _seconds(value: str) -> str:
    return f"{_decimal(3600)(value):g}"


def _json(value: str) -> str:
    try:
        json.loads(value)
    except ValueError:
        raise ScriptError("wants JSON without spaces") from None
    return value


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    allowed = sorted(set(names))

    def read(value: str) -> str:
        if value not in allowed:
            raise ScriptError(f"wants one of {', '.join(allowed)}")
        return value

    return read


_FLAGS: Final = frozenset({"empty", "thinking_only"})
_KEYS: Final[Mapping[str, Callable[[str], Any]]] = {
    "output_tokens": _whole(1, MAX_OUTPUT_TOKENS),
    "delay": _decimal(120),
    "together": _whole(2, 64),
    "status": _whole(400, 599),
    "times": _whole(1, 1_000_000),
    "retry_after": _seconds,
    "stop_reason": _one_of(STOP_REASONS),
    "thinking": _whole(1, MAX_OUTPUT_TOKENS),
    "cut_after": _whole(0, MAX_OUTPUT_TOKENS),
    "error_in_stream": _one_of(ERROR_KINDS.values()),
    "count_status": _whole(400, 599),
    "error_first": _one_of(ERROR_KINDS.values()),
    "usage_factor": _decimal(1000),
    "input_factor": _decimal(1000),
    "reported_input": _json,
    "reported_output": _json,
    "reported_cache_write": _json,
    "reported_cache_read": _json,
    "emoji": _one_of(("split", "half")),
    "slow": _decimal(60_000),
}
_DIRECTIVE: Final = re.compile(r"\[\[claude:(.*?)\]\]", re.DOTALL)


def parse_script(text: str) -> Script:
    """The script in a user's message. Raises ScriptError for a directive that is unknown or invalid."""
    found: dict[str, Any] = {}
    if "[[claude:" in _DIRECTIVE.sub("", text):
        raise ScriptError("directive: '[[claude:' without ']]'")
    for word in " ".join(_DIRECTIVE.findall(text)).split():
        key, equals, value = word.partition("=")
        if key in found:
            raise ScriptError(f"directive: {key} is given twice")
        if key in _FLAGS:
            if equals:
                raise ScriptError(f"directive: {key} takes no value")
            found[key] = True
        elif key in _KEYS:
            try:
                found[key] = _KEYS[key](value)
            except ScriptError as error:
                raise ScriptError(f"directive: {key} {error}, not {value!r}") from None
        else:
            raise ScriptError(f"directive: unknown key {key!r}")
    return Script(**found)


def without_directives(text: str) -> str:
    """The message without its directives."""
    return _DIRECTIVE.sub("", text).strip()


# ---------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and its `usage`."""

    thinking: str
    text: str
    output_tokens: int
    stop_reason: str
    stop_sequence: str | None = None

    @property
    def thinking_tokens(self) -> int:
        return min(count_text_tokens(self.thinking), self.output_tokens)

    def first(self, tokens: int) -> Answer:
        """The answer cut after its first tokens; thinking comes before text."""
        thinking = clip(self.thinking, tokens)
        text = clip(self.text, tokens - count_text_tokens(thinking))
        return Answer(thinking, text, self.output_tokens, self.stop_reason, self.stop_sequence)


def compose(request: Mapping[str, Any], script: Script) -> Answer:
    """The answer to a request, at most `max_tokens` long, and the tokens that usage reports for it."""
    limit: int = request["max_tokens"]
    topic = _Topic.of(request)
    thinking = fit("", limit if script.thinking_only else min(script.thinking, limit), topic.sentences())
    room = limit - count_text_tokens(thinking)
    text = ""
    if script.thinking_only:
        tokens, cut = 0, True
    elif script.empty or (script.stop_reason == "refusal" and script.output_tokens is None):
        tokens, cut = min(EMPTY_ANSWER_TOKENS, room), script.thinking > limit
    else:
        text = topic.answer()
        wanted = script.output_tokens or count_text_tokens(text)
        text = fit(text, min(wanted, room), topic.sentences())
        tokens, cut = count_text_tokens(text), wanted > room
    sequences = request.get("stop_sequences") or [None]
    stop_reason = "max_tokens" if cut else script.stop_reason or "end_turn"
    return Answer(
        thinking=thinking,
        text=text,
        output_tokens=round((count_text_tokens(thinking) + tokens) * script.usage_factor),
        stop_reason=stop_reason,
        stop_sequence=sequences[0] if stop_reason == "stop_sequence" else None,
    )


def clip(text: str, tokens: int) -> str:
    """The text, cut to exactly `tokens` if it is longer. A character that does not fit becomes a full stop."""
    if count_text_tokens(text) <= tokens:
        return text
    start = text.encode()[: BYTES_PER_TOKEN * tokens].decode(errors="ignore")
    return start if count_text_tokens(start) == tokens else start + "."


def fit(text: str, tokens: int, sentences: Sequence[str]) -> str:
    """The text with exactly `tokens`: cut, or continued with the sentences."""
    missing = BYTES_PER_TOKEN * tokens - len(text.encode())
    if count_text_tokens(text) < tokens:
        more = " ".join(sentences) + " "
        text = f"{text}{' ' if text else ''}{more * (missing // len(more.encode()) + 1)}"
    return clip(text, tokens)


def pieces(text: str) -> list[str]:
    """The text in the pieces of a stream: a few words each, more if the text is very long."""
    size = max(MIN_PIECE_CHARACTERS, len(text) // MAX_PIECES)
    return re.findall(rf".{{1,{size - 1}}}\s+|.{{1,{size}}}", text, re.DOTALL)


_STEPS: Final = (
    "start with {}, and check that part before the rest.",
    "leave {} as it is where nothing asks for a change.",
    "write down what {} looks like when it is done.",
    "compare {} with the closest example you have.",
    "settle the open questions about {} first.",
)
_SENTENCES: Final = (
    "Check {} against the instructions once more before you move on.",
    "If something about {} is unclear, ask for the missing detail first.",
    "Keep the change around {} small enough to review in one sitting.",
    "Note the result for {} next to the source it came from.",
    "Once {} is settled, the remaining points follow in the same order.",
)
_RULES: Final = ("Goal", "Input", "Result", "Check")
_COMMON: Final = frozenset(
    {
        "about",
        "also",
        "from",
        "have",
        "into",
        "please",
        "should",
        "that",
        "their",
        "then",
        "this",
        "what",
        "with",
        "your",
    }
)
_CODE: Final = re.compile(
    r"```|^\s*(?:def |class |import |from \S+ import |function |const |let |var |#include|SELECT )|[;{]\s*$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class _Topic:
    """The source of an answer: the package's title and rules, and the user's messages and words."""

    title: str
    rules: tuple[str, ...]
    asked: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> _Topic:
        users = [message["content"] for message in request["messages"] if message["role"] == "user"]
        asked = tuple(without_directives(text_of(content))[:MAX_READ_CHARACTERS] for content in users)
        found = dict.fromkeys(re.findall(r"\w[\w'-]{3,}", asked[-1]))
        words = [word for word in found if word.lower() not in _COMMON][:5]
        title, rules = _outline(text_of(request.get("system"))[:MAX_READ_CHARACTERS], set(map(str.lower, words)))
        return cls(title, rules, asked, tuple(f'"{_short(word, 20)}"' for word in words) or ("your input",))

    def sentences(self) -> list[str]:
        """Sentences about the user's words, which fill a text up to its length."""
        return [
            sentence.format(self.words[index % len(self.words)])
            for index, sentence in enumerate(_SENTENCES * len(self.words))
        ]

    def answer(self) -> str:
        source = f"**{self.title}**" if self.title else "what you sent"
        turn = len(self.asked)
        if turn > 1:
            before = _short(self.asked[-2], 50)
            opening = f'Following up on turn {turn - 1} ("{before}"), this is turn {turn}, still based on {source}.'
        else:
            opening = f"This answer is based on {source}. Your task, as I read it:"
        offset = hashlib.sha256("\0".join((self.title, *self.asked)).encode()).digest()[0]
        steps = [
            f"{number}. **{rule}**: "
            + _STEPS[(offset + number) % len(_STEPS)].format(self.words[number % len(self.words)])
            for number, rule in enumerate(self.rules, 1)
        ]
        parts = [opening, f"> {_short(self.asked[-1], 150) or 'Your message has no text.'}", "\n".join(steps)]
        if code := _excerpt(self.asked[-1]):
            parts.append(f"The code this is about:\n\n{code}")
        closing = self.sentences()[offset % len(_SENTENCES)]
        answer = "\n\n".join([*parts, closing])
        if count_text_tokens(answer) < MIN_ANSWER_TOKENS:
            answer = " ".join([answer, *(sentence for sentence in self.sentences()[:5] if sentence != closing)])
        return clip(answer, MAX_ANSWER_BYTES)


def _outline(system: str, words: set[str]) -> tuple[str, tuple[str, ...]]:
    """The first heading, and the four lines (headings, points, then prose) that share most with the user's words."""
    title = ""
    ranked: dict[str, int] = {}
    front_matter = re.match(r"---\n.*?\n---\n", system, re.DOTALL)
    for line in system[front_matter.end() if front_matter else 0 :].splitlines():
        heading, point = re.match(r"\s*#{1,6}\s+", line), re.match(r"\s*(?:[-*+]|[0-9]+[.)])\s+", line)
        mark = heading or point
        name = _short(_gist(line[mark.end() :] if mark else line), 60).rstrip(" .:,;-")
        if heading and not title:
            title = name
        elif len(name) > 3:
            shared = len(words.intersection(re.findall(r"\w[\w'-]{3,}", line.lower())))
            ranked.setdefault(name, 10 * shared + (2 if point else 1 if heading else 0))
    best = set(sorted(ranked, key=lambda name: -ranked[name])[:4])
    return title, tuple(name for name in ranked if name in best) or _RULES


def _gist(line: str) -> str:
    """The topic of a line: its bold beginning, or else its first sentence, without marks."""
    bold = re.match(r"\s*\*\*(.+?)\*\*", line)
    text = re.sub(r"[*_`>#|]", "", bold[1] if bold else line)
    return re.split(r"(?<=\w)[.:;?!](?:\s|$)", text, maxsplit=1)[0]


def _short(text: str, limit: int) -> str:
    """The text on one line of at most `size` bytes, without characters that cannot be printed."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text[: 4 * limit]).split())
    if len(line.encode()) <= limit:
        return line
    cut = line.encode()[: limit - 3].decode(errors="ignore")
    words, _, rest = cut.rpartition(" ")
    return (words if words and len(rest) < 20 else cut).rstrip(" .,:;-") + "..."


def _excerpt(text: str) -> str:
    """The beginning of the code in a message as a fenced block, or nothing if it does not look like code."""
    if not _CODE.search(text):
        return ""
    fenced = re.search(r"```(\w*)[^\n]*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    language, code = (fenced[1], fenced[2]) if fenced else ("", text)
    lines = ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in code.splitlines()[:8]]
    kept = "\n".join(line for line in lines if "```" not in line).strip("\n")
    return f"```{language[:12]}\n{kept.encode()[:240].decode(errors='ignore')}\n```" if kept.strip() else ""
