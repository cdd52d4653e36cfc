"""Leaks: places in a text that look like a secret or personal data, never their content. And the rules that are
independent of vendors: card numbers, e-mail addresses, placeholders."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

CARD_NUMBER = "card_number"
EMAIL_ADDRESS = "email_address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Characters `start` to `end` (exclusive) of a text look like a leak of this kind. It does not include their
    content, so that it can be logged and shown."""

    kind: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"not a range of characters: {self.start} to {self.end}")


def merged(leaks: Iterable[Leak], *, kinds: Sequence[str]) -> tuple[Leak, ...]:
    """`leaks` in the order of the text, with those that overlap made one, as long as all of them. Of several kinds it
    gets the one that comes first in `kinds`. The order of `leaks` does not matter."""
    rank = {kind: number for number, kind in enumerate(kinds)}
    result: list[Leak] = []
    for leak in sorted(leaks, key=lambda leak: (leak.start, leak.end, rank[leak.kind])):
        if result and leak.start < result[-1].end:
            last = result.pop()
            kind = min(last.kind, leak.kind, key=rank.__getitem__)
            leak = Leak(kind=kind, start=last.start, end=max(last.end, leak.end))
        result.append(leak)
    return tuple(result)


# --- placeholders -----------------------------------------------------------------------------------------------------

# Long enough that a random key contains one of them by chance less than once in 100,000 times.
_PLACEHOLDER = re.compile(
    r"example|placeholder|redacted|changeme|dummy|sample|insert|replace|xxxxx|your[_-]|[_-](?:here|key|token)\Z"
    r"|deadbeef|1234567890|0123456789|abcdefgh"
    r"|([^a])\1{7}",  # eight of one character, except A
    re.IGNORECASE,
)


def is_placeholder(secret: str) -> bool:
    """Whether `secret` is a placeholder with the shape of a key: `AKIAIOSFODNN7EXAMPLE`, `ghp_xxxxxxxx…`."""
    return _PLACEHOLDER.search(secret) is not None


_STANDS_FOR_A_PASSWORD = re.compile(
    r"[$%{\[(<].*|.*[}\])>]"  # $PASSWORD, ${PASSWORD}, %s, {password}, [password], (password)
    r"|(.)\1*"  # ****, xxx, ...
    r"|(?:my|your|the|some|db|user|root|admin|postgres|mysql)?[_-]?"
    r"(?:pass|password|passwd|passw0rd|pwd|pw|secret|token|key|apikey|api[_-]key|credentials?)(?:[_-]?here|123)?"
    r"|postgres|mysql|mongo|redis|rabbitmq|guest|root|admin|user|username|test|example|changeme|hunter2|foo|bar|port",
    re.IGNORECASE | re.DOTALL,
)


def is_placeholder_password(password: str, *, user: str) -> bool:
    """Whether the password of a URL is a variable, a word such as `password`, or the user's name."""
    return password == user or _STANDS_FOR_A_PASSWORD.fullmatch(password) is not None


# --- card numbers -----------------------------------------------------------------------------------------------------

# Without separators, or in the groups printed on cards with one separator throughout (space, dash, no-break spaces).
# Not cards: decimals, parts of names, order numbers with a prefix or suffix; longer rows of groups of four (tables),
# those after a country code and two digits (IBAN). After a backslash, n, r and t are escapes in a quoted text.
_CARD = re.compile(
    r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt]))(?<![A-Za-z0-9_]-)(?<![0-9]\.)"
    r"(?:[0-9]{14,19}"
    r"|(?<![0-9]{4}[ -])(?<![A-Z]{2}[0-9]{2} )"
    r"[0-9]{4}(?P<four>[- \u00a0\u202f])[0-9]{4}(?P=four)[0-9]{4}(?P=four)[0-9]{4}(?P<rest>(?P=four)[0-9]{1,3})?"
    r"(?!(?P=four)[0-9]{4}(?![0-9]))"
    r"|[0-9]{4}(?P<six>[- \u00a0\u202f])[0-9]{6}(?P=six)[0-9]{4,5})"
    r"(?![A-Za-z0-9_]|[.-][0-9])"
)
_NO_DIGIT = re.compile(r"[^0-9]")
# Issuer prefixes and lengths. Visa's 13 digits are not issued any more, and look like bar codes.
_ISSUED = re.compile(
    r"4[0-9]{15}"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}"  # Discover
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}"  # JCB
    r"|(?:36|38|39)[0-9]{12}|30[0-59][0-9]{11}"  # Diners Club
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:5018|5020|5038|6304|6759|6761|6762|6763)[0-9]{12}"  # Maestro
)
# Test numbers that payment providers document; they were never issued.
_TEST_CARD = re.compile(
    r"400000[0-9]{10}|(?:4242){4}|4012888888881881|4917610000000000|4[01]0{14}|41{15}"
    r"|5555555555554444|5105105105105100|5200828282828210|5454545454545454|2223003122003222|2223000048400011"
    r"|378282246310005|371449635398431|378734493671000|6011111111111117|6011000990139424|6011981111111113"
    r"|3566002020360505|3530111333300000|3056930009020004|36227206271667|30569309025904|38520000023237"
    r"|6555900000604105|62000000000000(?:05|47)|6205500000000000004"
)
# The digit sum of twice each digit.
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes_luhn(digits: str) -> bool:
    """Whether the last of these ASCII digits is the check digit of the others (ISO/IEC 7812)."""
    reversed_ = [int(digit) for digit in reversed(digits)]
    return (sum(reversed_[::2]) + sum(_DOUBLED[digit] for digit in reversed_[1::2])) % 10 == 0


def card_numbers(text: str) -> Iterator[Leak]:
    """Numbers that could be on a payment card: an issuer's prefix and length, and the right check digit. Numbers that
    are documented for tests are left out."""
    for match in _CARD.finditer(text):
        ends = (match.end(), match.start("rest")) if match["rest"] else (match.end(),)
        for end in ends:  # a fifth group is part of the number, or what comes next: the month of the expiry date
            if _is_card(_NO_DIGIT.sub("", text[match.start() : end])):
                yield Leak(kind=CARD_NUMBER, start=match.start(), end=end)
                break


def _is_card(digits: str) -> bool:
    return _ISSUED.fullmatch(digits) is not None and passes_luhn(digits) and _TEST_CARD.fullmatch(digits) is None


# --- e-mail addresses -------------------------------------------------------------------------------------------------

# From the @ on; the name before it is matched backwards, so that long words cost no time. Non-ASCII letters may be in a
# name and in a domain, but not in its last label, which the text of languages without spaces would extend.
_AT_DOMAIN = re.compile(r"(?<=[\w+%-])@((?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9_(-])")
_NAME_BACKWARDS = re.compile(r"[\w.+%-]+")
_MAX_NAME = 64  # characters (RFC 5321)
_MAX_USERINFO = 120  # characters between :// and @ in a URL that are searched

# Reserved domains (RFC 2606, RFC 6761), and endings of file names, not of domains.
_RESERVED_DOMAIN = re.compile(
    r"(?:.*\.)?(?:example|yourdomain|your-domain|mydomain|yourcompany|your-company|mycompany|users\.noreply\.github)"
    r"(?:\.[a-z]{2,3}){1,2}"
    r"|.*\.(?:example|test|invalid|localhost|local|internal|localdomain"
    r"|png|jpe?g|gif|svg|webp|css|scss|js|jsx|tsx|json|ya?ml|toml|html|tgz|lock)"
    r"|v?[0-9]+\.[0-9].*"  # a version: package@1.2.3-rc.final
    r"|self\..*",  # a product of matrices: x@self.weight
    re.IGNORECASE,
)
# Mailboxes that are not read; git@host is how repositories are addressed.
_UNREAD_NAME = re.compile(r"git|no-?reply|do-?not-?reply|noreply\+.*", re.IGNORECASE)
# Names and domains that are a placeholder only together: user@domain.com.
_PLACEHOLDER_NAME = re.compile(
    r"user(?:name)?[0-9]*|you|your[._-]?(?:name|email)|name|e?-?mail|me|someone|somebody|foo|bar|test|address|admin|info"
    r"|(?:first(?:name)?[._]?last(?:name)?)|(?:john|jane)(?:[._]?doe)?|alice|bob",
    re.IGNORECASE,
)
_PLACEHOLDER_DOMAIN = re.compile(
    r"(?:domain|company|e?mail|test|foo|bar|acme|host|server|site|website|somewhere|address)\.(?:com|org|net|io)",
    re.IGNORECASE,
)


def email_addresses(text: str) -> Iterator[Leak]:
    """E-mail addresses that could be a person's. Left out: reserved and made-up domains (`example.com`), unread
    addresses (`noreply@`), `git@host`, and user names in URLs."""
    for match in _AT_DOMAIN.finditer(text):
        at = match.start()
        backwards = _NAME_BACKWARDS.match(text[max(0, at - _MAX_NAME) : at][::-1])
        name = backwards[0][::-1].lstrip(".-%") if backwards else ""
        start = at - len(name)
        if name and not _is_reserved(name, match[1]) and not _is_in_userinfo(text, start):
            yield Leak(kind=EMAIL_ADDRESS, start=start, end=match.end())


def _is_reserved(name: str, domain: str) -> bool:
    return (
        _RESERVED_DOMAIN.fullmatch(domain) is not None
        or _UNREAD_NAME.fullmatch(name) is not None
        or (_PLACEHOLDER_NAME.fullmatch(name) is not None and _PLACEHOLDER_DOMAIN.fullmatch(domain) is not None)
    )


def _is_in_userinfo(text: str, start: int) -> bool:
    scheme = text.rfind("://", max(0, start - _MAX_USERINFO), start)
    return scheme >= 0 and not re.search(r"[\s/?#&\"'<>]", text[scheme + 3 : start])
