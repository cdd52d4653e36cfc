"""Secrets that never were: each kind in the shapes its issuers give it, random from a seed, in the places where people
leave them. They are put together here, from pieces, so that nobody's scanner takes this file for a leak."""

import base64
import json
import random
import string
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from playground.domain.leaks import passes_luhn

LOWER_HEX = "0123456789abcdef"
ALNUM = string.ascii_letters + string.digits
TOKEN = ALNUM + "_-"
CAPITALS = string.ascii_uppercase + "234567"
BASE64 = ALNUM + "+/"
DIGITS = "123456789"  # no zero, which would not begin a number


@dataclass(frozen=True, slots=True)
class Planted:
    """A text with one secret in it, from `start` to `end`."""

    text: str
    start: int
    end: int


def chars(rng: random.Random, alphabet: str, length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


def _shape(*pieces: str | tuple[str, int]) -> Callable[[random.Random], str]:
    """A key of fixed pieces and random ones (alphabet, length)."""

    def make(rng: random.Random) -> str:
        return "".join(piece if isinstance(piece, str) else chars(rng, *piece) for piece in pieces)

    return make


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def jwt(rng: random.Random) -> str:
    header = {"alg": rng.choice(["HS256", "RS256", "ES256", "EdDSA"]), "typ": "JWT"}
    if rng.random() < 0.5:
        header = {"typ": "JWT", "kid": chars(rng, ALNUM, 8), "alg": header["alg"]}
    claims = {"sub": chars(rng, ALNUM, 12), "iat": rng.randrange(10**9, 2 * 10**9), "scope": "read"}
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), rng.randbytes(rng.choice([32, 64, 256])))
    return ".".join(_base64url(part) for part in parts)


def discord(rng: random.Random) -> str:
    bot = _base64url(str(rng.randrange(10**18, 13 * 10**17)).encode())
    return f"{bot}.{chars(rng, TOKEN, 6)}.{chars(rng, TOKEN, rng.choice([27, 38]))}"


def pem(rng: random.Random) -> str:
    name = rng.choice(["RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", ""])
    body = base64.b64encode(rng.randbytes(rng.choice([48, 121, 610, 1190, 2350]))).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    if name == "RSA " and rng.random() < 0.5:
        lines = ["Proc-Type: 4,ENCRYPTED", f"DEK-Info: AES-128-CBC,{chars(rng, '0123456789ABCDEF', 32)}", "", *lines]
    dashes = "-" * 5
    newline = rng.choice(["\n", "\n", "\r\n", "\\n", "\n    ", "\n> "])
    return newline.join([f"{dashes}BEGIN {name}PRIVATE KEY{dashes}", *lines, f"{dashes}END {name}PRIVATE KEY{dashes}"])


def pgp(rng: random.Random) -> str:
    body = base64.b64encode(rng.randbytes(900)).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    dashes, name, check = "-" * 5, "PGP PRIVATE KEY BLOCK", chars(rng, BASE64, 4)
    head = [f"{dashes}BEGIN {name}{dashes}", "Version: GnuPG v2", ""]
    return "\n".join([*head, *lines, f"={check}", f"{dashes}END {name}{dashes}"])


def cut_pem(rng: random.Random) -> str:
    return pem(rng).rpartition("-----END")[0].rstrip("\r\n >\\")


def putty(rng: random.Random) -> str:
    lines = [chars(rng, BASE64, 64) for _ in range(8)]
    head = ["PuTTY-User-Key-File-" + "3: ssh-ed25519", "Encryption: none", "Comment: laptop", "Public-Lines: 3"]
    return "\n".join([*head, *lines[:3], "Private-Lines: 5", *lines[3:]])


CARD_SHAPES = (
    ("4", 16),
    ("51", 16),
    ("55", 16),
    ("2221", 16),
    ("2720", 16),
    ("34", 15),
    ("37", 15),
    ("6011", 16),
    ("649", 16),
    ("65", 16),
    ("3528", 16),
    ("3589", 16),
    ("36", 14),
    ("300", 14),
    ("62", 16),
    ("62", 19),
    ("6759", 16),
)


def card_digits(rng: random.Random) -> str:
    prefix, length = rng.choice(CARD_SHAPES)
    most = prefix + chars(rng, string.digits, length - len(prefix) - 1)
    return next(most + digit for digit in string.digits if passes_luhn(most + digit))


def card(rng: random.Random) -> str:
    digits = card_digits(rng)
    groups = [4, 6, len(digits) - 10] if len(digits) < 16 else [4, 4, 4, 4, len(digits) - 16]
    separator = rng.choice(["", " ", "-", "\u00a0"])
    cut = [digits[sum(groups[:number]) : sum(groups[: number + 1])] for number in range(len(groups))]
    return separator.join(group for group in cut if group)


FIRST = ("maria", "j.smith", "li.wei", "o.nowak", "Priya_Raman", "tomas", "h.yamada", "Anna.Lind", "björn", "k")
DOMAINS = ("gmail.com", "mail.firm.co.uk", "posteo.de", "northwind.io", "uni-graz.ac.at", "firma.com.au", "müller.de")


def email(rng: random.Random) -> str:
    tag = rng.choice(["", "", str(rng.randrange(100)), "+lists"])
    return f"{rng.choice(FIRST)}{tag}@{rng.choice(DOMAINS)}"


def _teams(rng: random.Random) -> str:
    uuids = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(3)]
    path = "webhook" + f"b2/{uuids[0]}@{uuids[1]}/IncomingWebhook/{chars(rng, LOWER_HEX, 32)}/{uuids[2]}"
    return f".webhook.office.com/{path}"


# Services whose keys came into use lately, each planted as often as a kind. All are of the kind `api_key`.
NEWER: Mapping[str, Callable[[random.Random], str]] = {
    "Figma": _shape("fig" + "d_", (TOKEN, 40)),
    "Resend": _shape("r" + "e_", (ALNUM, 8), "_", (ALNUM, 24)),
    "PostHog": _shape("ph" + "x_", (ALNUM, 43)),
    "PostHog, longer": _shape("ph" + "x_", (ALNUM, 48)),
    "PostHog, of flags": _shape("ph" + "s_", (ALNUM, 43)),
    "Doppler, personal": _shape("dp" + ".pt.", (ALNUM, 43)),
    "Doppler, of a service": _shape("dp" + ".st.prd_", (LOWER_HEX, 6), ".", (ALNUM, 40)),
    "Doppler, of a service, older": _shape("dp" + ".st.", (ALNUM, 43)),
    "Netlify": _shape("nf" + "p_", (ALNUM, 36)),
    "LangSmith, personal": _shape("lsv2" + "_pt_", (LOWER_HEX, 32), "_", (LOWER_HEX, 10)),
    "LangSmith, of a service": _shape("lsv2" + "_sk_", (LOWER_HEX, 32), "_", (LOWER_HEX, 10)),
    "Langfuse": _shape(
        "sk-" + "lf-",
        (LOWER_HEX, 8),
        "-",
        (LOWER_HEX, 4),
        "-4",
        (LOWER_HEX, 3),
        "-a",
        (LOWER_HEX, 3),
        "-",
        (LOWER_HEX, 12),
    ),
    "Airtable": _shape("pa" + "t", (ALNUM, 14), ".", (LOWER_HEX, 64)),
    "Tavily": _shape("tvl" + "y-", (ALNUM, 32)),
    "Tavily, for development": _shape("tvl" + "y-dev-", (ALNUM, 32)),
    "Tavily, longer": _shape("tvl" + "y-dev-", (ALNUM, 6), "-", (ALNUM, 42)),
}

# kind → its shapes. Each makes one secret.
SHAPES: Mapping[str, Sequence[Callable[[random.Random], str]]] = {
    "private_key": (pem, pem, pem, pgp, cut_pem, putty, _shape("AGE-SECRET-" + "KEY-1", (CAPITALS, 58))),
    "aws_access_key_id": (_shape("AKI" + "A", (CAPITALS, 16)), _shape("ASI" + "A", (CAPITALS, 16))),
    "anthropic_key": (
        _shape("sk-" + "ant-api03-", (TOKEN, 93), "AA"),
        _shape("sk-" + "ant-admin01-", (TOKEN, 93), "AA"),
        _shape("sk-" + "ant-oat01-", (TOKEN, 93), "AA"),
    ),
    "openai_key": (
        _shape("sk-", (ALNUM, 20), "T3Blbk" + "FJ", (ALNUM, 20)),
        _shape("sk-" + "proj-", (TOKEN, 74), "T3Blbk" + "FJ", (TOKEN, 74)),
        _shape("sk-" + "svcacct-", (TOKEN, 60)),
        _shape("sk-", (LOWER_HEX, 32)),
    ),
    "stripe_key": (
        _shape("sk_" + "live_", (ALNUM, 24)),
        _shape("sk_" + "live_51", (ALNUM, 97)),
        _shape("rk_" + "live_51", (ALNUM, 97)),
        _shape("sk_" + "test_51", (ALNUM, 97)),
        _shape("whs" + "ec_", (ALNUM, 32)),
    ),
    "github_token": (
        *(_shape(prefix + "_", (ALNUM, 36)) for prefix in ("ghp", "gho", "ghu", "ghs", "ghr")),
        _shape("github_" + "pat_", (ALNUM, 22), "_", (ALNUM, 59)),
    ),
    "gitlab_token": (
        _shape("glp" + "at-", (TOKEN, 19), (ALNUM, 1)),
        _shape("gld" + "t-", (TOKEN, 19), (ALNUM, 1)),
        _shape("glpt" + "t-", (LOWER_HEX, 40)),
        _shape("glp" + "at-", (TOKEN, 27), ".01.", (string.ascii_lowercase + string.digits, 9)),
    ),
    "slack_token": (
        _shape("xox" + "b-", (DIGITS, 12), "-", (DIGITS, 13), "-", (ALNUM, 24)),
        _shape("xox" + "p-", *[(DIGITS, 12), "-"] * 3, (LOWER_HEX, 32)),
        _shape("xap" + "p-1-A", (CAPITALS, 10), "-", (DIGITS, 13), "-", (LOWER_HEX, 64)),
        _shape("xox" + "d-", (ALNUM, 80)),
        _shape("hooks.slack.com/trig" + "gers/", (ALNUM, 46)),
        _shape("https://hooks.slack.com/ser" + "vices/T", (CAPITALS, 8), "/B", (CAPITALS, 10), "/", (ALNUM, 24)),
    ),
    "google_key": (
        _shape("AI" + "za", (TOKEN, 35)),
        _shape("GOC" + "SPX-", (TOKEN, 28)),
        _shape("ya2" + "9.", (TOKEN, 120)),
    ),
    "azure_key": (
        _shape("Account" + "Key=", (BASE64, 86), "=="),
        _shape((ALNUM, 3), "7" + "Q~", (ALNUM, 34)),
    ),
    "npm_token": (_shape("np" + "m_", (ALNUM, 36)),),
    "pypi_token": (
        _shape("py" + "pi-AgEIcHlwaS5vcmc", (TOKEN, 150)),
        _shape("py" + "pi-AgENdGVzdC5weXBpLm9yZw", (TOKEN, 150)),
    ),
    "sendgrid_key": (_shape("S" + "G.", (TOKEN, 22), ".", (TOKEN, 43)),),
    "twilio_key": (_shape("S" + "K", (LOWER_HEX, 32)),),
    "telegram_token": (_shape((DIGITS, 10), ":A" + "A", (TOKEN, 33)),),
    "discord_token": (discord,),
    "huggingface_token": (_shape("h" + "f_", (string.ascii_letters, 34)),),
    "square_key": (
        _shape("sq0" + "csp-", (TOKEN, 43)),
        _shape("sq0" + "atp-", (TOKEN, 22)),
        _shape("EA" + "AA", (TOKEN, 60)),
    ),
    "mailchimp_key": (_shape((LOWER_HEX, 32), "-us" + "14"),),
    "api_key": (
        _shape("gs" + "k_", (ALNUM, 52)),
        _shape("sk-" + "or-v1-", (LOWER_HEX, 64)),
        _shape("r" + "8_", (ALNUM, 37)),
        _shape("dop" + "_v1_", (LOWER_HEX, 64)),
        _shape("shp" + "at_", (LOWER_HEX, 32)),
        _shape("dckr_" + "pat_", (TOKEN, 27)),
        _shape("hv" + "s.", (TOKEN, 90)),
        _shape("lin_" + "api_", (ALNUM, 40)),
        _shape("gl" + "sa_", (ALNUM, 32), "_", (LOWER_HEX, 8)),
        _shape("PM" + "AK-", (LOWER_HEX, 24), "-", (LOWER_HEX, 34)),
        _shape("rubyg" + "ems_", (LOWER_HEX, 48)),
        _shape("xa" + "i-", (ALNUM, 80)),
        _shape("ppl" + "x-", (ALNUM, 48)),
        _shape("dap" + "i", (LOWER_HEX, 32)),
        _shape("ci" + "o", (ALNUM, 32)),
        _shape("nt" + "n_", (DIGITS, 11), (ALNUM, 35)),
        _shape("secr" + "et_", (ALNUM, 43)),
        _shape((ALNUM, 14), ".atlas" + "v1.", (TOKEN, 67)),
        _shape("sntry" + "u_", (LOWER_HEX, 64)),
        _shape("NRA" + "K-", (CAPITALS, 27)),
        _shape("ke" + "y-", (LOWER_HEX, 32)),
        _shape("sb" + "p_", (LOWER_HEX, 40)),
        _shape("sb_" + "secret_", (TOKEN, 31)),
        _shape("pscale_" + "tkn_", (TOKEN, 43)),
        _shape("ATA" + "TT3", (TOKEN, 186)),
        _shape("LT" + "AI", (ALNUM, 20)),
        _shape("AK" + "Cp", (ALNUM, 69)),
        _shape("ops_" + "eyJ", (ALNUM, 300)),
        _shape("A" + "3-", (CAPITALS, 6), "-", (CAPITALS, 6), *["-", (CAPITALS, 5)] * 4),
        _shape("xkey" + "sib-", (LOWER_HEX, 64), "-", (ALNUM, 16)),
        _shape("pu" + "l-", (LOWER_HEX, 40)),
        _shape("sha" + "256~", (TOKEN, 43)),
        *NEWER.values(),
        _teams,
        _shape("discord.com/api/web" + "hooks/", (DIGITS, 18), "/", (TOKEN, 68)),
    ),
    "jwt": (jwt,),
    "card_number": (card,),
    "email_address": (email,),
}

# Where people leave them. `{}` is the secret.
PLACES = (
    "{}",
    "Here is my key: {} please do not tell anybody.",
    "API_KEY={}\nDEBUG=1\n",
    'client = Client(api_key="{}")',
    "export TOKEN='{}'",
    "| name | `{}` | yes |",
    '{{"log": "first\\n{}\\nlast"}}',
    "curl -H 'X-Api-Key: {}' https://api.northwind.io/v1",
    "Das ist mein Schlüssel — {}, bitte prüfen. 🔑",
    "credential,value\nprod,{},2026-01-01\n",
    "({})",
    "<{}>",
    "token:{};",
    "密钥是{}请勿外传",
)

# Kinds whose place is what tells that they are secrets. `{}` is one.
IN_PLACE: Mapping[str, tuple[Callable[[random.Random], str], Sequence[str]]] = {
    "aws_secret_key": (
        _shape((string.ascii_uppercase, 1), "7", "q", (BASE64, 37)),
        (
            "aws_secret_access_key = {}\n",
            'AWS_SECRET_ACCESS_KEY="{}"',
            "'secretAccessKey': '{}',",
            "SecretAccessKey: {}",
            "AKI" + "AZ7QKD3MXP2LRTV5B,{}\n",
            "id " + "AKI" + "AZ7QKD3MXP2LRTV5B\nsecret {}\n",
        ),
    ),
    "twilio_key": (
        _shape((LOWER_HEX, 32)),
        ("TWILIO_AUTH_TOKEN={}", 'twilio_auth_token: "{}"', "twilio.token = '{}'"),
    ),
    "npm_token": (
        _shape((LOWER_HEX, 8), "-", (LOWER_HEX, 4), "-4a1b-", (LOWER_HEX, 4), "-", (LOWER_HEX, 12)),
        ("//registry.northwind.io/:_authToken={}\n",),
    ),
    "url_password": (
        _shape((ALNUM + "!*-_.~+,;=&", 14)),
        (
            "postgres://app:{}@db.northwind.io:5432/app",
            "DATABASE_URL=mysql://root:{}@localhost/app",
            "redis://:{}@cache:6379/0",
            "git clone https://maria:{}@git.northwind.io/a/b.git",
            "mongodb+srv://svc:{}@cluster0.ab1cd.mongodb.net/?retryWrites=true",
            '"amqp://worker:{}@10.1.2.3:5672/vhost"',
        ),
    ),
    "authorization": (
        _shape((ALNUM, 20), "7", (ALNUM, 20)),
        ("Authorization: Bearer {}", "-H 'authorization: token {}'", '"Authorization": "Bearer {}"'),
    ),
}


def planted(kind: str, rng: random.Random) -> Planted:
    """One secret of this kind, somewhere."""
    ways = [(shape, PLACES) for shape in SHAPES.get(kind, ())]
    if kind in IN_PLACE:
        ways.append(IN_PLACE[kind])
    make, places = rng.choice(ways)
    return placed(make, places, rng)


def placed(make: Callable[[random.Random], str], places: Sequence[str], rng: random.Random) -> Planted:
    secret, place = make(rng), rng.choice(places)
    before, _, after = place.partition("{}")
    before, after = before.replace("{{", "{"), after.replace("}}", "}")
    return Planted(f"{before}{secret}{after}", len(before), len(before) + len(secret))


ALL_KINDS = tuple(dict.fromkeys((*SHAPES, *IN_PLACE)))
