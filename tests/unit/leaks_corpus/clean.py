"""Texts without a secret that look as if there were some: hashes, ids, numbers, lock files, placeholders, code."""

import base64
import random
import string
import sysconfig
import uuid
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

from tests.unit.leaks_corpus.planted import ALNUM, BASE64, LOWER_HEX, chars

ROOT = Path(__file__).parents[3]
SIZE = 100_000  # characters of each text, about

_WORDS = """the a we of and to in is it run key token secret password user mail card number order please prompt answer
model review refactor function value list test error line file when should because task-based disk-wise risk-free"""
WORDS = tuple(_WORDS.split())


def prose(rng: random.Random) -> str:
    sentence = " ".join(rng.choices(WORDS, k=rng.randrange(5, 16))).capitalize()
    return sentence + rng.choice([".", "?", ":", "!"])


def git_log(rng: random.Random) -> str:
    commit = chars(rng, LOWER_HEX, 40)
    return f"commit {commit}\n    {prose(rng)}\n    index {commit[:7]}..{chars(rng, LOWER_HEX, 7)} 100644"


def ids(rng: random.Random) -> str:
    return rng.choice(
        [
            f"request_id={uuid.UUID(int=rng.getrandbits(128), version=4)}",
            f'"trace": "1-{chars(rng, LOWER_HEX, 8)}-{chars(rng, LOWER_HEX, 24)}"',
            f"ses_{chars(rng, string.ascii_lowercase + string.digits, 26)}",
            f"run_{chars(rng, ALNUM, 22)} pi_{chars(rng, ALNUM, 24)} cus_{chars(rng, ALNUM, 14)}",
            "pk_" + f"live_{chars(rng, ALNUM, 24)}",  # made to be published
            f"phc_{chars(rng, ALNUM, 43)}",  # likewise: what PostHog gives to browsers
            f"pk-lf-{uuid.UUID(int=rng.getrandbits(128), version=4)}",  # likewise, Langfuse
            f"re_{chars(rng, LOWER_HEX, 8)}_{chars(rng, LOWER_HEX, 24)}",
            f"patch{chars(rng, LOWER_HEX, 12)}.{chars(rng, LOWER_HEX, 40)}",
            f"sha256:{chars(rng, LOWER_HEX, 64)} md5 {chars(rng, LOWER_HEX, 32)}",
            f'etag W/"{chars(rng, LOWER_HEX, 32)}-{rng.randrange(40)}"',
            "A" + f"C{chars(rng, LOWER_HEX, 32)}",  # Twilio's account id: no secret
            f"arn:aws:iam::{chars(rng, string.digits, 12)}:role/deploy-{chars(rng, LOWER_HEX, 8)}",
        ]
    )


def image(rng: random.Random) -> str:
    return f"![x](data:image/png;base64,{base64.b64encode(rng.randbytes(3000)).decode()})"


def numbers(rng: random.Random) -> str:
    digits = string.digits
    return rng.choice(
        [
            f"order {rng.randrange(10**9, 10**10)} of {rng.randrange(10**6)}",
            f"order ORD-{chars(rng, digits, 16)}",
            f"invoice {rng.randrange(2020, 2027)}-{chars(rng, digits, 8)}-{chars(rng, digits, 4)}",
            f"+{rng.randrange(1, 99)} {chars(rng, digits, 3)} {chars(rng, digits, 4)} {chars(rng, digits, 4)}",
            f"({chars(rng, digits, 3)}) {chars(rng, digits, 3)}-{chars(rng, digits, 4)}",
            f"at {rng.randrange(16 * 10**8, 18 * 10**8)}{chars(rng, digits, rng.choice([0, 3, 6, 9]))}",
            f"{rng.random():.16f} {rng.uniform(0, 9):.15f} {rng.random() * 1e6:.12f}",
            f"EAN {rng.choice(['40', '50', '97'])}{chars(rng, digits, 11)}",
            f"snowflake 1{chars(rng, digits, 17)}",
            f"IBAN DE{chars(rng, digits, 2)} " + " ".join(chars(rng, digits, 4) for _ in range(4)) + " 00",
            " ".join(str(rng.randrange(1000, 10_000)) for _ in range(9)),
            f"10.{rng.randrange(256)}.{rng.randrange(256)}.1:{rng.randrange(1024, 65_536)}",
        ]
    )


def long_numbers(rng: random.Random) -> str:
    """Bare numbers of 16 digits, as some shops number orders: one in some 30 is what a card could have."""
    return f"order {rng.randrange(1, 10)}{chars(rng, string.digits, 15)} shipped"


def version(rng: random.Random) -> str:
    pre = rng.choice(["", "", "-rc.1", "-beta.rc", "-alpha.next", "+build.5"])
    return f"{rng.randrange(30)}.{rng.randrange(40)}.{rng.randrange(40)}{pre}"


def lock_file(rng: random.Random) -> str:
    name = rng.choice(["lodash", "@babel/core", "@types/node", "left-pad", "vite"])
    archive = f"https://registry.northwind.io/{name}/-/{name}-{version(rng)}.tgz#{chars(rng, LOWER_HEX, 40)}"
    integrity = f"sha512-{chars(rng, BASE64, 86)}=="
    return rng.choice(
        [
            f'"{name}@^{version(rng)}":\n  resolved "{archive}"\n  integrity {integrity}',
            f'"{name}@npm:^{version(rng)}": {{"integrity": "{integrity}"}}',
            f"{name.lstrip('@')}=={version(rng)} \\\n    --hash=sha256:{chars(rng, LOWER_HEX, 64)}",
            f'[[package]]\nname = "x"\nversion = "{version(rng)}"\nchecksum = "{chars(rng, LOWER_HEX, 64)}"',
            f"github.com/a/b v{version(rng)} h1:{chars(rng, BASE64, 43)}=",
            f"uses: actions/checkout@v{rng.randrange(1, 9)}  # {name}@{version(rng)}",
            f"image: registry.northwind.io/a/b@sha256:{chars(rng, LOWER_HEX, 64)}",
        ]
    )


def genome(rng: random.Random) -> str:
    return chars(rng, "ACGT", 70)


_A_DASHES = "-" * 5
PLACEHOLDERS = (
    "AKI" + "AIOSFODNN7EXAMPLE",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    "sk-" + "ant-api03-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-" + "ant-your-api-key-goes-here-please",
    "OPENAI_API_KEY=sk-" + "proj-your_key_of_the_project_here",
    "sk-...",
    "sk_" + "live_xxxxxxxxxxxxxxxxxxxxxxxx",
    "gh" + "p_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "gh" + "p_abcdefghijklmnopqrstuvwxyz0123456789",
    "AI" + "zaSy<your key>",
    "postgres://user:password@localhost:5432/app",
    "postgresql://postgres:postgres@db/app",
    "https://user:pass@host.com/x",
    "redis://:$REDIS_PASSWORD@cache:6379",
    "figd" + "_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "RESEND_API_KEY=re_123456789",
    "re_compiled_patternsForEveryLanguage",
    "tvly" + "-YOUR_API_KEY",
    "tvly" + "-your-api-key-goes-here-please-thank-you",
    "LANGSMITH_API_KEY=lsv2_pt_...",
    "sk-lf-" + "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
    "dp.st.prd.your_token_here",
    "dp.pt.<token>",
    "patXXXXXXXXXXXXXX.<64 more>",
    "nfp" + "_your_personal_access_token_goes_here_please",
    "mysql://root:${DB_PASSWORD}@db/app",
    'f"postgres://{user}:{password}@{host}/app"',
    "amqp://guest:guest@rabbit:5672",
    "mongodb+srv://<username>:<password>@cluster0.mongodb.net",
    "https://example.com:8080/@scope/name",
    "Authorization: Bearer $TOKEN",
    "Authorization: Bearer YOUR_ACCESS_TOKEN_GOES_HERE",
    "Authorization: Bearer <token>",
    f"text.startswith('{_A_DASHES}BEGIN RSA PRIVATE KEY{_A_DASHES}')",
    f"{_A_DASHES}BEGIN PRIVATE KEY{_A_DASHES}\n...\n{_A_DASHES}END PRIVATE KEY{_A_DASHES}",
    f"{_A_DASHES}BEGIN PUBLIC KEY{_A_DASHES}\n{'MIIBIjANBgkqhkiG9w0B' * 3}\n{_A_DASHES}END PUBLIC KEY{_A_DASHES}",
    f"{_A_DASHES}BEGIN CERTIFICATE{_A_DASHES}\n{'MIIBIjANBgkqhkiG9w0B' * 3}\n{_A_DASHES}END CERTIFICATE{_A_DASHES}",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5M"
    "DIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    "4242 4242 4242 4242 12/34 123",
    "4111111111111111, 5555555555554444, 378282246310005",
    "4000 0027 6000 3184",
    "1234 5678 9012 3456",
    "user@example.com",
    "john.doe@mail.example.org",
    "you@yourdomain.com, name@company.com",
    "git@github.com:acme/app.git",
    "noreply@northwind.io",
    "1234567+octocat@users.noreply.github.com",
    "icon@2x.png logo@3x.webp",
    "ssh root@web01.local",
    "x = q@k.transpose(-2, -1) + x@self.weight",
    "@app.get('/x')\n@pytest.mark.slow\n@media (max-width: 3rem)",
    "npm i react@18.2.0-next.canary @scope/pkg@1.0.0-rc.final",
    "https://medium.com/@writer.name/story",
)


def placeholders(rng: random.Random) -> str:
    return rng.choice(PLACEHOLDERS)


def _of(line: Callable[[random.Random], str], rng: random.Random) -> str:
    lines: list[str] = []
    size = 0
    while size < SIZE:
        lines.append(line(rng))
        size += len(lines[-1]) + 1
    return "\n".join(lines)


def _read(paths: Iterable[Path], most: int) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in islice(paths, most))


LINES = (prose, git_log, ids, image, numbers, version, lock_file, genome, placeholders)


def made(rng: random.Random) -> Mapping[str, str]:
    """What is looked at → text. Nothing in them should be found."""
    return {line.__name__: _of(line, rng) for line in LINES}


def chance(rng: random.Random) -> str:
    """Numbers that could be cards, by chance: here something will be found."""
    return _of(long_numbers, rng)


def project() -> str:
    """The code and the documents of this project."""
    patterns = ("README.md", "docs/*.md", "template.yaml", "layers/shared/**/*.py", "local/**/*.py", "functions/*/*.py")
    return _read((path for pattern in patterns for path in sorted(ROOT.glob(pattern))), 200)


def standard_library() -> str:
    """Code by many others. E-mail addresses in it are of real people, and found rightly."""
    return _read(sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")), 120)
