"""Keys, tokens and passwords in a text: the detectors of detect-secrets where they fit, own rules where they do not.

Of the library only its regular expressions are used: no settings, no files, no call of an issuer to verify a key. Left
out, because they take quadratic time on hostile text: its rules for OpenAI, JWTs and npm. Left out, because they are
wrong too often, or for something that is no secret: private keys (any mention of one), passwords in URLs (none with a
special character), GitLab (none before a letter of a language without spaces, none of the newer ones with dots),
Artifactory, Twilio's account ids, and all that judge by entropy or by a variable's name.
"""

import re
from base64 import urlsafe_b64decode
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from playground.domain.leaks import (
    CARD_NUMBER,
    EMAIL_ADDRESS,
    Leak,
    card_numbers,
    email_addresses,
    is_placeholder,
    is_placeholder_password,
    merged,
)

# The most telling first: of overlapping leaks the first kind is named.
KINDS = (
    "private_key",
    "aws_access_key_id",
    "aws_secret_key",
    "anthropic_key",
    "openai_key",
    "stripe_key",
    "github_token",
    "gitlab_token",
    "slack_token",
    "google_key",
    "azure_key",
    "npm_token",
    "pypi_token",
    "sendgrid_key",
    "twilio_key",
    "telegram_token",
    "discord_token",
    "huggingface_token",
    "square_key",
    "mailchimp_key",
    "api_key",  # of some other service
    "jwt",
    "url_password",
    "authorization",
    CARD_NUMBER,
    EMAIL_ADDRESS,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a kind of key is. A text without any of `anchors` is not searched: looking for a word is a hundred times
    faster than a pattern. `pattern` may name a group `secret`; otherwise all of the match is the key. With `apart`, a
    letter or digit just before it makes it part of something else."""

    kind: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    apart: bool = False


def _own(kind: str, anchors: str, pattern: str, *, apart: bool = False) -> Rule:
    return Rule(kind, tuple(anchors.split()), re.compile(pattern), apart)


def _theirs(kind: str, anchors: str, patterns: Iterable[re.Pattern[str]], *, apart: bool = False) -> Iterator[Rule]:
    for pattern in patterns:
        yield Rule(kind, tuple(anchors.split()), pattern, apart)


# Its first part begins apart from anything that could be in it, so that no character is looked at twice.
_JWT = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))eyJ[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{2,}+\.[A-Za-z0-9_-]{10,}+"

# Each pattern is linear: behind an anchor everything is bounded, or is a repetition at the very end. Prefixes and
# lengths are those that the issuers document; where they have changed over time the length is a minimum.
RULES: tuple[Rule, ...] = (
    *_theirs("aws_access_key_id", "A3T ABIA ACCA AKIA ASIA", AWSKeyDetector.denylist[:1]),
    _own(
        "aws_secret_key",
        "ecret ECRET",
        r"(?i:secret[_ -]?(?:access[_ -]?)?key|aws[_ -]?secret)[\"'`]?[ \t]{0,4}(?::=|=>|[:=,|]|[ \t])[ \t]{0,4}[\"'`]?"
        r"(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    ),
    _own("anthropic_key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{24,}"),
    _own("openai_key", "sk-", r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}"),
    _own("openai_key", "sk-", r"sk-[A-Za-z0-9]{32,}", apart=True),
    *_theirs("stripe_key", "k_live_", StripeDetector.denylist),
    _own("stripe_key", "k_live_ k_test_", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}", apart=True),
    _own("stripe_key", "whsec_", r"whsec_[A-Za-z0-9+/=]{24,}"),
    *_theirs("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", GitHubTokenDetector.denylist),
    _own("github_token", "github_pat_", r"github_pat_[A-Za-z0-9_]{36,}"),
    _own(
        "gitlab_token",
        "glpat- gldt- glft- glsoat- glrt- glcbt- glimt- glptt- glagent- gloas- GR1348941",
        r"(?:gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-|GR1348941)[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9_-]{2,}){0,3}",
    ),
    *_theirs("slack_token", "xox hooks.slack.com", SlackDetector.denylist),
    _own("slack_token", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{40,}"),
    _own("slack_token", "xapp-", r"xapp-[0-9]-[A-Za-z0-9-]{40,}"),
    _own("slack_token", "xoxc- xoxd- xoxe- xoxe.", r"xox[cde][.-][A-Za-z0-9%-]{24,}"),
    _own("google_key", "AIza", r"AIza[A-Za-z0-9_-]{35}", apart=True),
    _own("google_key", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{28}"),
    _own("google_key", "ya29.", r"ya29\.[A-Za-z0-9_-]{30,}", apart=True),
    *_theirs("azure_key", "AccountKey=", AzureStorageKeyDetector.denylist),
    _own(
        "azure_key",
        "Q~",
        r"(?:(?<![A-Za-z0-9_.~-])|(?<=\\[nrt]))[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~-])",
    ),
    _own("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}", apart=True),
    _own("npm_token", "_authToken", r"_authToken[\"']?[ \t]{0,4}[=:][ \t]{0,4}[\"']?(?P<secret>[A-Za-z0-9_+/=-]{32,})"),
    *_theirs("pypi_token", "pypi-", PypiTokenDetector.denylist),
    *_theirs("sendgrid_key", "SG.", SendGridDetector.denylist),
    *_theirs("twilio_key", "SK", TwilioKeyDetector.denylist[1:], apart=True),
    _own(
        "twilio_key",
        "wilio WILIO",
        r"(?i:twilio[^\n]{0,24}?token)[\"'`]?[ \t]{0,4}[:=,][ \t]{0,4}[\"'`]?(?P<secret>[0-9a-f]{32})(?![0-9a-f])",
    ),
    *_theirs("telegram_token", ":AA", TelegramBotTokenDetector.denylist),
    *_theirs("discord_token", ".", DiscordBotTokenDetector.denylist, apart=True),
    _own("huggingface_token", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{34}", apart=True),
    *_theirs("square_key", "sq0csp-", SquareOAuthDetector.denylist),
    _own("square_key", "sq0atp- EAAA", r"(?:sq0atp-[A-Za-z0-9_-]{22}|EAAA[A-Za-z0-9_-]{60})", apart=True),
    *_theirs("mailchimp_key", "-us", MailchimpDetector.denylist, apart=True),
    _own("api_key", "sk-or-", r"sk-or-v1-[0-9a-f]{64}"),  # OpenRouter
    _own("api_key", "gsk_", r"gsk_[A-Za-z0-9]{48,}", apart=True),  # Groq
    _own("api_key", "xai-", r"xai-[A-Za-z0-9]{64,}", apart=True),
    _own("api_key", "pplx-", r"pplx-[A-Za-z0-9]{40,}"),  # Perplexity
    _own("api_key", "r8_", r"r8_[A-Za-z0-9]{37}", apart=True),  # Replicate
    _own("api_key", "doo_v1_ dop_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{64}"),  # DigitalOcean
    _own("api_key", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),  # Shopify
    _own("api_key", "dapi", r"dapi[0-9a-f]{32}(?![0-9a-z])", apart=True),  # Databricks
    _own("api_key", "dckr_pat_", r"dckr_pat_[A-Za-z0-9_-]{27}"),  # Docker
    _own("api_key", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    _own("api_key", "cio", r"cio[A-Za-z0-9]{32}(?![A-Za-z0-9])", apart=True),  # crates.io
    _own("api_key", "lin_api_", r"lin_api_[A-Za-z0-9]{40}"),  # Linear
    _own("api_key", "secret_ ntn_", r"(?:secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,})", apart=True),  # Notion
    _own("api_key", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),  # Postman
    _own("api_key", "hvs. hvb.", r"hv[sb]\.[A-Za-z0-9_-]{24,}", apart=True),  # Vault
    _own("api_key", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"),  # Terraform
    _own("api_key", "glsa_", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"),  # Grafana
    _own("api_key", "sntry", r"sntry(?:s_eyJ[A-Za-z0-9+/=_-]{40,}|u_[0-9a-f]{64})"),  # Sentry
    _own("api_key", "NRAK-", r"NRAK-[A-Z0-9]{27}"),  # New Relic
    _own("api_key", "key-", r"key-[0-9a-f]{32}(?![0-9a-z])", apart=True),  # Mailgun
    _own("api_key", "sbp_ sb_secret_", r"sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{22,}", apart=True),  # Supabase
    _own("api_key", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_-]{32,}"),  # PlanetScale
    _own("api_key", "ATATT3", r"ATATT3[A-Za-z0-9_=-]{100,}"),  # Atlassian
    _own("api_key", "LTAI", r"LTAI[A-Za-z0-9]{20}(?![A-Za-z0-9])", apart=True),  # Alibaba Cloud
    _own("api_key", "AKCp", r"AKCp[A-Za-z0-9]{69}", apart=True),  # Artifactory
    _own("api_key", "ops_eyJ", r"ops_eyJ[A-Za-z0-9+/]{200,}"),  # 1Password
    _own("api_key", "A3-", r"A3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3}", apart=True),  # 1Password
    _own("api_key", "xkeysib-", r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),  # Brevo
    _own("api_key", "pul-", r"pul-[0-9a-f]{40}", apart=True),  # Pulumi
    _own("api_key", "figd_", r"figd_[A-Za-z0-9_-]{38,}", apart=True),  # Figma
    # Resend. Names in code look like it, but have neither capitals in the first part nor digits.
    _own(
        "api_key",
        "re_",
        r"re_(?=[A-Za-z0-9]{0,7}[A-Z0-9]|[A-Za-z0-9_]{0,32}[0-9])(?=[A-Za-z0-9_]{0,32}[A-Z])(?=[A-Za-z0-9_]{0,32}[a-z])"
        r"[A-Za-z0-9]{8}_[A-Za-z0-9]{24}(?![A-Za-z0-9_])",
        apart=True,
    ),
    _own("api_key", "phx_ phs_", r"ph[xs]_[A-Za-z0-9]{40,}", apart=True),  # PostHog; phc_ is public
    _own(
        "api_key",
        "dp.",
        r"dp\.(?:(?:pt|ct|sa|said|scim|audit)\.|st\.(?:[a-z0-9_-]{2,35}\.)?)[A-Za-z0-9]{40,44}(?![A-Za-z0-9])",
        apart=True,
    ),  # Doppler
    _own("api_key", "nfp_ nfc_ nfo_ nfu_ nfb_", r"nf[pcoub]_[A-Za-z0-9]{36,}", apart=True),  # Netlify
    _own("api_key", "lsv2_pt_ lsv2_sk_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),  # LangSmith
    _own("api_key", "sk-lf-", r"sk-lf-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),  # Langfuse; pk-lf- is public
    _own("api_key", "pat", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}(?![0-9a-z])", apart=True),  # Airtable
    _own("api_key", "tvly-", r"tvly-(?:[a-z]{3,5}-)?(?:[A-Za-z0-9]{4,8}-)?[A-Za-z0-9]{28,}", apart=True),  # Tavily
    _own("api_key", "sha256~", r"sha256~[A-Za-z0-9_-]{43}"),  # OpenShift
    _own("api_key", "/webhookb2/", r"\.webhook\.office\.com/webhookb2/[0-9a-z@-]{73}/IncomingWebhook/[0-9a-z/-]{60,}"),
    _own("api_key", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,}"),
    _own("private_key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _own("jwt", "eyJ", _JWT),
    _own(
        "authorization",
        "uthorization UTHORIZATION",
        r"(?i:authorization)[\"']?[ \t]{0,4}[:=,][ \t]{0,4}[\"'`]?(?i:bearer|basic|token|apikey|key)[ \t]{1,4}"
        r"(?P<secret>[A-Za-z0-9._~+/-]{20,}+={0,2})",
    ),
)

# --- what needs more than a pattern -----------------------------------------------------------------------------------

# Keys are followed by more of themselves where issuers made them longer than their first length.
_MORE = re.compile(r"[A-Za-z0-9_-]*")
_LINE_END_WITHIN = re.compile(r"\\[nrt]")
_DOCUMENTED_JWT = ".eyJzdWIiOiIxMjM0NTY3ODkwI"  # {"sub":"1234567890…: the example of every tutorial
_DIGIT = re.compile(r"[0-9]")
_NO_BASE = re.compile(r"[^ACGNTU]")  # a sequence of a genome may begin like a key


class LeakScanner:
    """Finds keys, tokens, private keys, passwords in URLs, card numbers and e-mail addresses in a text. Takes time in
    proportion to the text's length, whatever is in it. Stores nothing and makes no requests."""

    def __call__(self, text: str) -> tuple[Leak, ...]:
        return merged(_all(text), kinds=KINDS)


def _all(text: str) -> Iterator[Leak]:
    access_keys: list[Leak] = []
    for rule in RULES:
        for leak in _by(rule, text):
            if leak.kind == "aws_access_key_id":
                access_keys.append(leak)
            yield leak
    if access_keys:
        yield from _beside(access_keys, text)
    yield from _private_keys(text)
    yield from _url_passwords(text)
    yield from card_numbers(text)
    yield from email_addresses(text)


def _by(rule: Rule, text: str) -> Iterator[Leak]:
    if not any(anchor in text for anchor in rule.anchors):
        return
    group: str | int = "secret" if "secret" in rule.pattern.groupindex else 0
    until = 0
    for match in rule.pattern.finditer(text):
        start, end = match.span(group)
        if start < until or (rule.apart and not _starts_apart(text, start)):
            continue
        more = _MORE.match(text, end)
        until = more.end() if more else end
        if _is_meant(rule.kind, text[start:end]):
            yield Leak(kind=rule.kind, start=start, end=until)


def _starts_apart(text: str, start: int) -> bool:
    """Whether no letter or digit is just before `start`. Behind a backslash, n, r and t are none; nor are letters of
    languages that put no spaces between words."""
    if start == 0 or not (text[start - 1].isascii() and text[start - 1].isalnum()):
        return True
    return start > 1 and _LINE_END_WITHIN.match(text, start - 2) is not None


def _is_meant(kind: str, secret: str) -> bool:
    """Whether it is what its pattern takes it for, and not a placeholder."""
    match kind:
        case "jwt" if b'"alg"' not in _decoded(secret.partition(".")[0]):
            return False
        case "jwt" | "authorization" if _DOCUMENTED_JWT in secret:
            return False
        case "aws_access_key_id" if not _NO_BASE.search(secret):
            return False
        case "discord_token" if not _decoded(secret.partition(".")[0]).isdigit():  # the number of the bot
            return False
        case "telegram_token" if ":AA" not in secret:
            return False
        case "aws_secret_key" if not _is_mixed(secret):
            return False
        case "authorization" if not _DIGIT.search(secret):
            return False
        case "jwt":  # the words of placeholders may be in its base64, but nobody writes them there
            return True
    return not is_placeholder(secret)


def _decoded(part: str) -> bytes:
    """base64url without its padding; nothing if it is none."""
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return b""


# --- AWS secret keys without a name -----------------------------------------------------------------------------------

_FORTY = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_BESIDE = 200  # characters: the two keys are in one row of a file, or in neighbouring lines


def _beside(access_keys: list[Leak], text: str) -> Iterator[Leak]:
    """A secret key has no mark of its own; what looks like one next to an access key id is one."""
    starts = [leak.start for leak in access_keys]
    for match in _FORTY.finditer(text):
        at = bisect_left(starts, match.start() - _BESIDE)
        near = at < len(starts) and starts[at] <= match.end() + _BESIDE
        if near and _is_mixed(match[0]) and not is_placeholder(match[0]):
            yield Leak(kind="aws_secret_key", start=match.start(), end=match.end())


def _is_mixed(secret: str) -> bool:
    """Whether it has capitals, small letters and digits: a hash has not, nor has a path."""
    return all(re.search(characters, secret) for characters in ("[A-Z]", "[a-z]", "[0-9]"))


# --- private keys -----------------------------------------------------------------------------------------------------

_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_DASHES = "-----"
# Between the first line and the key: line ends, also those of a text within a text, quoted or indented, and headers
# ("Proc-Type", "Version").
_UP_TO_BODY = re.compile(
    r"(?:\\[nr]|[\s\"'`,+>|\\]|[A-Z][A-Za-z-]{3,20}: [^\r\n\\]{1,100}){0,120}+(?=(?P<body>[A-Za-z0-9+/]{40}))"
)
# Of a key whose end was cut off.
_CUT = re.compile(r"(?:[A-Za-z0-9+/=]{16,}+(?:\\[nr]|[\s\"'`,+>|\\]){0,40}+){1,2000}+")
_END = re.compile(r"-----END [A-Z0-9 ]{1,60}-----")
_PUTTY = re.compile(r"PuTTY-User-Key-File-[0-9]:")
_PUTTY_LINES = re.compile(r"Private-Lines: [0-9]{1,3}\s{1,4}")
_MAX_PUTTY = 20_000  # characters between the first line and the private ones


def _private_keys(text: str) -> Iterator[Leak]:
    """Blocks with a key in them, first and last line included; the mere first line is no key."""
    if "PRIVATE KEY" in text:
        for begin in _BEGIN.finditer(text):
            dashes = text.find(_DASHES, begin.end())
            within = dashes if dashes >= 0 else len(text)
            body = _UP_TO_BODY.match(text, begin.end(), within)
            if body is None:
                continue
            end = _END.match(text, within) or _CUT.match(text, body.end(), within)
            yield Leak(kind="private_key", start=begin.start(), end=end.end() if end else body.end("body"))
    firsts = [first.start() for first in _PUTTY.finditer(text)] if "PuTTY-User-Key-File-" in text else []
    until = 0
    for private in _PUTTY_LINES.finditer(text) if firsts else ():
        first = firsts[max(0, bisect_left(firsts, private.start()) - 1)]
        lines = _CUT.match(text, private.end()) if until <= first < private.start() <= first + _MAX_PUTTY else None
        if lines:
            until = lines.end()
            yield Leak(kind="private_key", start=first, end=until)


# --- passwords in URLs ------------------------------------------------------------------------------------------------

# Up to the last @ before the path: some write one into a password without escaping it.
_USERINFO = re.compile(r"://(?P<user>[^\s/?#:@\"'`<>\\]{0,100}):(?P<password>[^\s/\"'`<>\\]{1,200})@(?=[\w\[$%{-])")


def _url_passwords(text: str) -> Iterator[Leak]:
    if "://" not in text:
        return
    for match in _USERINFO.finditer(text):
        password = match["password"]
        if not is_placeholder_password(password, user=match["user"]) and not is_placeholder(password):
            yield Leak(kind="url_password", start=match.start("password"), end=match.end("password"))
