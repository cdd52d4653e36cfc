"""Who a token speaks for: every good one is understood, every other one gets the same answer."""

import base64
import hashlib
import hmac
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import example, given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from playground.adapters.tokens import MAX_TOKEN_CHARACTERS, TokenVerifier, key_set, shared_secrets
from playground.domain.errors import StoreUnavailableError, UnauthorizedError
from playground.domain.users import MAX_USER_ID_CHARACTERS
from playground.http import authenticator
from playground.settings import AuthSettings

ISSUER, AUDIENCE = "https://issuer.test", "playground-test"
LONG_AGO = 1_700_000_000  # s; fixed: it is part of the name of a test, which all workers must agree on
OLD, NEW = "an older secret of exactly enough bytes!", "the newest secret with enough bytes in it"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ASYMMETRIC = [("RS256", "rsa-1", RSA_KEY), ("ES256", "ec-1", EC_KEY), ("EdDSA", "ed-1", ED_KEY)]
KEY_SET = {
    "keys": [
        {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa-1", "use": "sig"},
        {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec-1", "use": "sig"},
        {**OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True), "kid": "ed-1"},
    ]
}


def verifier(*secrets: str, algorithm: str = "HS256") -> TokenVerifier:
    keys = shared_secrets(secrets or (NEW,), algorithm)
    return TokenVerifier(algorithm=algorithm, issuer=ISSUER, audience=AUDIENCE, keys=keys)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; a change to None leaves one out."""
    good = {"sub": "alice", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(key: Any = NEW, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return "Bearer " + jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def hand_signed(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"JWT"}', secret: bytes = NEW.encode()) -> str:
    """For what PyJWT refuses to sign."""
    content = f"{segment(header)}.{segment(payload)}"
    return f"Bearer {content}.{segment(hmac.new(secret, content.encode(), hashlib.sha256).digest())}"


def assert_refused(verify: TokenVerifier, authorization: str | None) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        verify(authorization)
    assert (caught.value.message, caught.value.facts) == ("A valid access token is required.", {})
    assert caught.value.reason


# --- shared secrets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_speaks_for_its_subject(algorithm: str) -> None:
    secret = "x" * 64

    assert verifier(secret, algorithm=algorithm)(signed(secret, algorithm)) == "alice"


@pytest.mark.parametrize(
    ("claim", "email"),
    [
        ("ann@example.com", "ann@example.com"),
        ("a.b+c@mail.example.org", "a.b+c@mail.example.org"),
        (None, None),
        ("", None),
        ("ann", None),
        ("ann@example", None),
        ("ann@example.com, bob@example.com", None),
        ("ann@example.com\r\nBcc: x@example.com", None),
        ("a" * 250 + "@example.com", None),
        ("a@b@example.com", None),
        (7, None),
        (["ann@example.com"], None),
    ],
)
def test_the_address_of_a_token_is_one_or_none(claim: object, email: str | None) -> None:
    """Whatever the claim is, the token is as good."""
    token = signed(email=claim)
    assert verifier().email(token) == email
    assert verifier()(token) == "alice"


def test_an_address_in_a_forged_token_is_not_believed() -> None:
    with pytest.raises(UnauthorizedError):
        verifier().email(signed(OLD, email="ann@example.com"))


def test_every_listed_secret_is_accepted() -> None:
    """So that one can be replaced without an outage: tokens of the old one live until they expire."""
    verify = verifier(NEW, OLD)

    assert [verify(signed(NEW)), verify(signed(OLD, sub="bob"))] == ["alice", "bob"]


def test_a_secret_that_is_not_listed_any_more_is_refused() -> None:
    assert_refused(verifier(NEW), signed(OLD))


def test_an_expired_token_of_the_older_secret_stays_expired() -> None:
    assert_refused(verifier(NEW, OLD), signed(OLD, exp=int(time.time()) - 3600))


def test_without_a_secret_nothing_starts() -> None:
    with pytest.raises(ValueError, match="AuthSecret"):
        shared_secrets([], "HS256")


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_shorter_than_the_hash_is_refused_and_not_shown(algorithm: str, least: int) -> None:
    shared_secrets(["s" * least], algorithm)
    with pytest.raises(ValueError, match=f"secret 2 for {algorithm} is {least - 1} bytes") as caught:
        shared_secrets(["s" * least, "q" * (least - 1)], algorithm)
    assert "qq" not in str(caught.value)


def test_the_length_of_a_secret_is_in_bytes() -> None:
    shared_secrets(["ü" * 16], "HS256")
    with pytest.raises(ValueError, match="is 30 bytes"):
        shared_secrets(["ü" * 15], "HS256")


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "  Bearer ", "Bearer  "])
def test_the_scheme_may_be_spelled_in_any_case(scheme: str) -> None:
    assert verifier()(signed().replace("Bearer", scheme)) == "alice"


@pytest.mark.parametrize(
    ("seconds", "changes"),
    [
        ({"exp": -30}, {}),
        ({"nbf": 30}, {}),
        ({}, {"aud": ["somebody-else", AUDIENCE]}),
        ({"iat": 0, "nbf": 0}, {"jti": "id", "scope": "anything"}),
    ],
    ids=["expired within the leeway", "not yet valid within the leeway", "several audiences", "more claims"],
)
def test_good_tokens(seconds: dict[str, int], changes: dict[str, Any]) -> None:
    assert verifier()(signed(**from_now(seconds), **changes)) == "alice"


@pytest.mark.parametrize(
    "seconds",
    [{"exp": -3600}, {"exp": -61}, {"exp": -1_000_000_000}, {"nbf": 3600}, {"nbf": 90}, {"iat": 3600}],
    ids=str,
)
def test_bad_times(seconds: dict[str, int]) -> None:
    assert_refused(verifier(), signed(**from_now(seconds)))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"iss": "https://somebody.else"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": ["one", "two"]},
        {"aud": []},
        {"aud": None},
    ],
    ids=str,
)
def test_bad_claims(changes: dict[str, Any]) -> None:
    assert_refused(verifier(), signed(**changes))


def from_now(seconds: dict[str, int]) -> dict[str, Any]:
    return {name: int(time.time()) + offset for name, offset in seconds.items()}


def test_the_subject_comes_before_the_user_id() -> None:
    verify = verifier()

    assert verify(signed(sub="alice", user_id="bob")) == "alice"
    assert verify(signed(sub=None, user_id="bob")) == "bob"
    assert_refused(verify, signed(sub=None))


@pytest.mark.parametrize(
    "subject", [5, 1.5, True, ["alice"], {"id": "alice"}, "", "a\nb", "a\0", "\u202ealice", "a" * 129], ids=repr
)
def test_subjects_that_no_key_can_be_made_of(subject: Any) -> None:
    verify = verifier()

    assert_refused(verify, hand_signed(json.dumps(claims(sub=subject)).encode()))
    assert_refused(verify, hand_signed(json.dumps(claims(sub=None, user_id=subject)).encode()))


@pytest.mark.parametrize("subject", [" ", "   "], ids=repr)
def test_a_blank_subject_is_refused(subject: str) -> None:
    assert_refused(verifier(), signed(sub=subject))


@pytest.mark.parametrize("subject", ["a", "user@example.com", "auth0|5f7c8ec7c33c6c004bbafe82", "Zoë", "a" * 128])
def test_ordinary_subjects(subject: str) -> None:
    assert verifier()(signed(sub=subject)) == subject
    assert MAX_USER_ID_CHARACTERS == 128


# --- a registry whose tokens lack issuer and audience -----------------------------------------------------------------


REGISTRY_CLAIMS = {  # as the registry of the earlier product signs them, and with the time at which it ends
    "user_id": "0f2c6a52-3a6c-4a0e-9d0f-6f8b8f0a7c11",
    "username": "alice",
    "email": "alice@example.com",
    "is_admin": False,
    "verified_author": True,
    "scopes": ["packages:read", "packages:write"],
}


def of_registry(**changes: Any) -> str:
    now = int(time.time())
    every = {**REGISTRY_CLAIMS, "iat": now, "exp": now + 600, **changes}
    return "Bearer " + jwt.encode({name: value for name, value in every.items() if value is not None}, NEW)


def lenient() -> TokenVerifier:
    return TokenVerifier(
        algorithm="HS256",
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=shared_secrets((NEW,), "HS256"),
        require_issuer_and_audience=False,
    )


def test_tokens_without_issuer_and_audience_are_accepted_if_the_operator_says_so() -> None:
    assert lenient()(of_registry()) == REGISTRY_CLAIMS["user_id"]
    assert lenient()(of_registry(sub="alice")) == "alice"
    assert lenient()(signed()) == "alice"
    assert lenient()(of_registry(iss=ISSUER)) == lenient()(of_registry(aud=["other", AUDIENCE]))
    assert_refused(verifier(), of_registry())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://somebody.else"}, "InvalidIssuerError"),
        ({"iss": ""}, "InvalidIssuerError"),
        ({"aud": "another-service"}, "InvalidAudienceError"),
        ({"aud": []}, "MissingRequiredClaimError: aud"),
        ({"iss": ISSUER, "aud": "another-service"}, "InvalidAudienceError"),
        ({"exp": None}, "MissingRequiredClaimError: exp"),
        ({"exp": LONG_AGO}, "ExpiredSignatureError"),
        ({"user_id": None}, "no usable sub or user_id"),
    ],
    ids=[f"case-{number}" for number in range(8)],
)
def test_what_such_a_token_says_is_still_looked_at(changes: dict[str, Any], reason: str) -> None:
    """A token that names another service is for that service, whatever is required. None is for ever."""
    with pytest.raises(UnauthorizedError) as caught:
        lenient()(of_registry(**changes))
    assert caught.value.reason == reason


@pytest.mark.parametrize("missing", ["exp", "iss", "aud"])
def test_the_log_says_which_claim_is_missing(missing: str) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        verifier()(signed(**{missing: None}))
    assert (caught.value.reason, caught.value.facts) == (f"MissingRequiredClaimError: {missing}", {})


@pytest.mark.parametrize(("value", "accepted"), [(None, False), ("true", False), ("false", True)])
def test_the_setting_is_strict_unless_it_says_otherwise(value: str | None, accepted: bool) -> None:
    environ = {
        "AUTH_ALGORITHM": "HS256",
        "AUTH_ISSUER": ISSUER,
        "AUTH_AUDIENCE": AUDIENCE,
        "AUTH_SECRET_ARN": "arn",
        **({"AUTH_REQUIRE_ISSUER_AND_AUDIENCE": value} if value is not None else {}),
    }
    settings = AuthSettings.load(environ)

    class Secrets:
        def get_secret_value(self, **_: str) -> dict[str, str]:
            return {"SecretString": json.dumps({"secrets": [NEW]})}

    verify = authenticator(settings, Secrets)
    if accepted:
        assert verify(of_registry()) == REGISTRY_CLAIMS["user_id"]
    else:
        with pytest.raises(UnauthorizedError):
            verify(of_registry())


# --- no token, or none that we signed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YWxpY2U6c2VjcmV0",
        "Token abc",
        "Bearer abc",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer null",
        "Bearer \ud800",
        signed().removeprefix("Bearer "),
        signed().replace("Bearer ", "Bearer"),
        signed().replace("Bearer ", "Bearer Bearer "),
        signed() + "x",
        signed().rsplit(".", 1)[0] + ".",
        signed() + ", " + signed(),
        "Bearer " + "a" * 9 * 1024,
    ],
    ids=range(18),
)
def test_garbage(authorization: str | None) -> None:
    assert_refused(verifier(), authorization)


def test_a_token_is_read_up_to_its_limit() -> None:
    lengths = set()
    for padding in range(5_700, 6_000, 3):
        authorization = signed(more="p" * padding)
        short = len(authorization) - len("Bearer ") <= MAX_TOKEN_CHARACTERS
        lengths.add(short)
        if short:
            assert verifier()(authorization) == "alice"
        else:
            assert_refused(verifier(), authorization)
    assert lengths == {True, False}
    assert MAX_TOKEN_CHARACTERS == 8 * 1024


def test_an_unsigned_token_is_refused() -> None:
    header = b'{"alg":"none","typ":"JWT"}'
    content = f"{segment(header)}.{segment(json.dumps(claims()).encode())}"

    assert_refused(verifier(), f"Bearer {content}.")
    assert_refused(verifier(), f"Bearer {content}.{segment(b'signature')}")
    assert_refused(verifier(), signed("", "none"))


def test_another_algorithm_with_the_right_secret_is_refused() -> None:
    secret = "x" * 64

    assert_refused(verifier(secret, algorithm="HS256"), signed(secret, "HS512"))
    assert_refused(verifier(secret, algorithm="HS512"), signed(secret, "HS256"))


def test_a_changed_payload_is_refused() -> None:
    header, payload, signature = signed().removeprefix("Bearer ").split(".")
    forged = json.dumps({**json.loads(base64.urlsafe_b64decode(payload + "==")), "sub": "bob"}).encode()

    assert_refused(verifier(), f"Bearer {header}.{segment(forged)}.{signature}")


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b"5", b"{", b"\xff", b"[" * 5000, b'{"exp":1e999}', b'{"exp":NaN}'], ids=range(9)
)
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    assert_refused(verifier(), hand_signed(payload))


# --- forged and odd tokens --------------------------------------------------------------------------------------------


def header_of(**fields: Any) -> bytes:
    return json.dumps({"alg": "HS256", "typ": "JWT", **fields}).encode()


def payload_of(**changes: Any) -> bytes:
    return json.dumps(claims(**changes)).encode()


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", "hs256", " HS256", "HS256\0", "RS256", "ES256"])
def test_the_name_of_an_algorithm_is_the_one_that_is_set(name: str) -> None:
    """Even with a signature that the right secret made."""
    assert_refused(verifier(), hand_signed(payload_of(), header_of(alg=name)))


@pytest.mark.parametrize("header", [{"alg": None}, {"alg": ["HS256"]}, {"alg": {"HS256": 1}}, {"alg": 256}], ids=str)
def test_an_algorithm_that_is_no_text_is_refused(header: dict[str, Any]) -> None:
    assert_refused(verifier(), hand_signed(payload_of(), header_of(**header)))


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "' UNION SELECT 'secret' --",
        "rsa-1\0",
        "rsa-1 ",
        "RSA-1",
        "http://127.0.0.1:1/keys",
        "k" * 4000,
        "\ud800",
    ],
    ids=range(9),
)
def test_a_key_id_is_looked_up_and_nothing_else(kid: str) -> None:
    """With shared secrets it has no meaning: neither does it choose one, nor does it make a good token bad."""
    with serving() as server:
        header, verify = header_of(alg="RS256", kid=kid), by_key_set(server.url)
        for secret in (b"", b"\0", NEW.encode()):
            assert_refused(verify, hand_signed(payload_of(), header, secret))
        assert server.requests <= 1
    assert_refused(verifier(), hand_signed(payload_of(), header_of(kid=kid), b""))
    if kid != "\ud800":
        assert verifier()(hand_signed(payload_of(), header_of(kid=kid))) == "alice"


def test_a_public_key_in_a_certificate_chain_of_the_token_is_not_looked_at() -> None:
    with serving() as elsewhere:
        for field in ("x5u", "jku"):
            assert_refused(verifier(), signed(OLD, headers={field: elsewhere.url}))
        assert_refused(verifier(), signed(OLD, headers={"x5c": ["MIIB"], "x5t": "a"}))
        assert elsewhere.requests == 0


def test_a_token_in_a_token_is_refused() -> None:
    inner = signed().removeprefix("Bearer ")
    for header in (header_of(cty="JWT"), header_of()):
        assert_refused(verifier(), hand_signed(inner.encode(), header))
        assert_refused(verifier(), hand_signed(json.dumps(inner).encode(), header))


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"crit": []}, {"zip": "DEF"}], ids=str
)
def test_what_a_header_makes_critical_is_understood_or_refused(header: dict[str, Any]) -> None:
    """`zip` is of encrypted tokens: without meaning here, and the signed text counts as it is."""
    authorization = hand_signed(payload_of(), header_of(**header))
    if "zip" in header:
        assert verifier()(authorization) == "alice"
    else:
        assert_refused(verifier(), authorization)


@pytest.mark.parametrize(
    "pair",
    [
        '"exp": 1, "exp": {later}',
        '"exp": {later}, "exp": 1',
        '"sub": "bob", "sub": "alice"',
        '"sub": "alice", "sub": "bob"',
    ],
    ids=range(4),
)
def test_of_a_claim_that_is_there_twice_the_last_one_counts(pair: str) -> None:
    """Everywhere, so that nothing that is checked differs from what is used. Only the issuer can sign such a token."""
    last = json.loads("{" + pair.replace("{later}", str(int(time.time()) + 600)) + "}")
    rest = {name: value for name, value in claims().items() if name not in last}
    text = json.dumps(rest)[:-1] + ", " + pair.replace("{later}", str(int(time.time()) + 600)) + "}"
    authorization = hand_signed(text.encode())
    if last.get("exp") == 1:
        assert_refused(verifier(), authorization)
    else:
        assert verifier()(authorization) == last.get("sub", "alice")


def test_a_header_that_names_the_algorithm_twice_is_read_once() -> None:
    assert_refused(verifier(), hand_signed(payload_of(), b'{"alg":"HS256","alg":"none"}'))
    content = ".".join((segment(b'{"alg":"none","alg":"HS256"}'), segment(payload_of())))
    assert_refused(verifier(), f"Bearer {content}.")


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", "", [], {}, [2_000_000_000], "1e99", "2000000000", 1e400, -1e400], ids=repr)
def test_a_time_that_is_no_number_of_seconds_is_refused(claim: str, value: Any) -> None:
    """Infinity is no time. As `exp`, `true` would be the second 1, which has passed."""
    assert_refused(verifier(), hand_signed(payload_of(exp=True)))
    assert_refused(verifier(), hand_signed(payload_of(**{claim: value})))


def test_times_are_in_seconds() -> None:
    """In milliseconds `exp` is tens of thousands of years ahead. Such a token is of an issuer that does not keep to the
    format, and would never end: it is refused, as is one whose `nbf` is."""
    now = int(time.time())
    assert_refused(verifier(), signed(nbf=now * 1000))
    assert_refused(verifier(), signed(exp=now * 1000 + 600_000))
    assert verifier()(hand_signed(payload_of(exp=now + 600.5))) == "alice"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", None, "JOSE", 5], ids=repr)
def test_the_type_in_the_header_has_no_meaning(typ: Any) -> None:
    """Issuer and audience say what a token is for."""
    assert verifier()(hand_signed(payload_of(), header_of(typ=typ))) == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": [ISSUER]},
        {"iss": {"name": ISSUER}},
        {"iss": ISSUER.upper()},
        {"iss": f" {ISSUER}"},
        {"iss": 5},
        {"aud": {AUDIENCE: 1}},
        {"aud": [[AUDIENCE]]},
        {"aud": [AUDIENCE, 5]},
        {"aud": f"{AUDIENCE},other"},
        {"aud": AUDIENCE.upper()},
        {"aud": True},
    ],
    ids=range(11),
)
def test_an_issuer_or_audience_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    assert_refused(verifier(), hand_signed(payload_of(**changes)))


def test_only_the_usual_spelling_of_a_signature_is_accepted() -> None:
    """A signature has 43 characters of six bits for 256 bits: the last one has two that mean nothing, and must be zero.
    Otherwise one token would have several texts."""
    authorization = signed()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(authorization[-1])
    accepted = []
    for other in range(last - last % 4, last - last % 4 + 4):
        try:
            accepted.append(verifier()(authorization[:-1] + alphabet[other]))
        except UnauthorizedError:
            continue
    assert accepted == ["alice"]
    for spelled in (
        authorization + "=",
        authorization + "==",
        authorization.replace(".", ". "),
        authorization + "\n.",
        authorization.replace(".", ".=", 1),
    ):
        assert_refused(verifier(), spelled)


@pytest.mark.parametrize("size", [MAX_TOKEN_CHARACTERS + 1, 10**6])
def test_a_huge_token_is_refused_before_it_is_decoded(size: int) -> None:
    started = time.perf_counter()
    for authorization in ("Bearer " + "a" * size, "Bearer " + "." * size, "Bearer " + "e30." * (size // 4)):
        assert_refused(verifier(), authorization)
    assert time.perf_counter() - started < 1


# Words of the format itself get further into the code than random text.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "zip"]),
    st.sampled_from(["HS256", "none", "RS256", "JWT", ["b64"], "rsa-1", ""]) | JSON,
) | st.just({"alg": "HS256"})
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "user_id", "iss", "aud", "exp", "nbf", "iat", "jti"]),
    st.sampled_from([ISSUER, AUDIENCE, [AUDIENCE], "alice", 4_000_000_000, 0, 10**30]) | JSON,
)


def answers_properly(verify: TokenVerifier, authorization: str) -> None:
    try:
        subject = verify(authorization)
    except UnauthorizedError as error:
        assert error.message == "A valid access token is required."  # noqa: PT017 - an answer is fine, too
    else:
        assert 0 < len(subject) <= MAX_USER_ID_CHARACTERS


@given(st.text())
@example("Bearer \ud800.\udfff.\x00")
@example("Bearer " + segment(b"[" * 5000) + ".e30.AAAA")
def test_no_header_makes_it_fail_otherwise(text: str) -> None:
    for authorization in (text, f"Bearer {text}", f"Bearer {text}.{text}.{text}"):
        answers_properly(verifier(), authorization)


@given(HEADERS, CLAIMS)
def test_no_token_makes_it_fail_otherwise(header: dict[str, Any], payload: dict[str, Any]) -> None:
    """Also with a good signature: an issuer may have bugs, too."""
    answers_properly(verifier(), hand_signed(json.dumps(payload).encode(), json.dumps(header).encode()))
    good = {"iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000, **payload}
    answers_properly(verifier(), hand_signed(json.dumps(good).encode()))


# --- a key set --------------------------------------------------------------------------------------------------------


@dataclass
class KeyServer:
    """A key set over HTTP on loopback. `status`, `body` and `location` may be changed at any time."""

    body: bytes = json.dumps(KEY_SET).encode()
    status: int = 200
    location: str | None = None
    requests: int = 0
    url: str = ""


@contextmanager
def serving() -> Iterator[KeyServer]:
    state = KeyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            self.send_response(state.status)
            if state.location is not None:
                self.send_header("location", state.location)
            self.send_header("content-length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/.well-known/jwks.json"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with serving() as state:
        yield state


def by_key_set(url: str, algorithm: str = "RS256") -> TokenVerifier:
    return TokenVerifier(algorithm=algorithm, issuer=ISSUER, audience=AUDIENCE, keys=key_set(url))


def rsa_signed(kid: Any = "rsa-1", key: Any = RSA_KEY, headers: dict[str, Any] | None = None) -> str:
    return signed(key, "RS256", {**({} if kid is None else {"kid": kid}), **(headers or {})})


@pytest.mark.parametrize(("algorithm", "kid", "key"), ASYMMETRIC, ids=[name for name, _, _ in ASYMMETRIC])
def test_the_key_that_the_token_names_verifies_it(server: KeyServer, algorithm: str, kid: str, key: Any) -> None:
    assert by_key_set(server.url, algorithm)(signed(key, algorithm, {"kid": kid})) == "alice"


def test_the_key_set_is_fetched_once_for_many_tokens(server: KeyServer) -> None:
    verify = by_key_set(server.url)
    assert server.requests == 0  # not at start: a key set that is down must not keep a function from starting

    assert [verify(rsa_signed()) for _ in range(20)] == ["alice"] * 20
    assert server.requests == 1


def test_unknown_keys_do_not_have_the_set_fetched_again_and_again(server: KeyServer) -> None:
    """Anybody can invent key ids; the issuer must not get a request for each."""
    verify = by_key_set(server.url)
    for number in range(30):
        assert_refused(verify, rsa_signed(f"invented-{number}"))

    assert server.requests <= 2
    assert verify(rsa_signed()) == "alice"


@pytest.mark.parametrize("kid", [None, "", "ec-1", "nobody"], ids=repr)
def test_a_token_without_a_fitting_key_is_refused(server: KeyServer, kid: str | None) -> None:
    assert_refused(by_key_set(server.url), rsa_signed(kid))


@pytest.mark.parametrize("kid", [5, None, ["rsa-1"], {"kid": "rsa-1"}, True], ids=repr)
def test_a_key_id_that_is_no_text_is_refused(server: KeyServer, kid: Any) -> None:
    header = json.dumps({"alg": "RS256", "kid": kid}).encode()

    assert_refused(by_key_set(server.url), hand_signed(json.dumps(claims()).encode(), header))
    assert server.requests == 0


def test_a_token_of_another_key_under_a_known_id_is_refused(server: KeyServer) -> None:
    assert_refused(by_key_set(server.url), rsa_signed(key=OTHER_RSA_KEY))


def test_a_public_key_is_no_shared_secret(server: KeyServer) -> None:
    """An HS256 token that is signed with the published key, which everybody has."""
    public = RSA_KEY.public_key()
    spellings = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        json.dumps(KEY_SET["keys"][0]).encode(),
    ]
    verify = by_key_set(server.url)
    for secret in spellings:
        for algorithm in ("HS256", "RS256"):
            header = json.dumps({"alg": algorithm, "kid": "rsa-1"}).encode()
            assert_refused(verify, hand_signed(json.dumps(claims()).encode(), header, secret))


def test_keys_that_a_token_brings_along_are_not_looked_at(server: KeyServer) -> None:
    own = {**RSAAlgorithm.to_jwk(OTHER_RSA_KEY.public_key(), as_dict=True), "kid": "rsa-1"}
    with serving() as elsewhere:
        elsewhere.body = json.dumps({"keys": [own]}).encode()
        for headers in (
            {"jwk": own},
            {"jku": elsewhere.url},
            {"x5u": elsewhere.url},
            {"jku": elsewhere.url, "jwk": own},
        ):
            assert_refused(by_key_set(server.url), rsa_signed(key=OTHER_RSA_KEY, headers=headers))
            assert by_key_set(server.url)(rsa_signed(headers=headers)) == "alice"
        assert elsewhere.requests == 0


def test_a_redirect_is_not_followed(server: KeyServer) -> None:
    with serving() as elsewhere:
        server.status, server.location = 302, elsewhere.url
        with pytest.raises(StoreUnavailableError):
            by_key_set(server.url)(rsa_signed())
        assert (server.requests, elsewhere.requests) == (1, 0)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_key_set_that_is_down_is_not_the_callers_fault(server: KeyServer, status: int) -> None:
    verify = by_key_set(server.url)
    server.status = status
    with pytest.raises(StoreUnavailableError):
        verify(rsa_signed())

    server.status = 200
    assert verify(rsa_signed()) == "alice"


def test_an_unreachable_provider_is_not_the_callers_fault() -> None:
    with serving() as state:
        url = state.url
    with pytest.raises(StoreUnavailableError):
        by_key_set(url)(rsa_signed())


def test_known_keys_outlive_an_outage_of_the_key_set(server: KeyServer) -> None:
    verify = by_key_set(server.url)
    verify(rsa_signed())
    server.status = 503

    assert verify(rsa_signed()) == "alice"
    assert_refused(verify, rsa_signed("invented"))


def test_a_malformed_token_has_nothing_fetched(server: KeyServer) -> None:
    for authorization in ("Bearer abc", "Bearer a.b.c", "Basic abc", rsa_signed(None), None):
        assert_refused(by_key_set(server.url), authorization)
    assert server.requests == 0


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "?"}]}', b"\xff"])
def test_a_key_set_that_says_nothing_useful_is_not_the_callers_fault(server: KeyServer, body: bytes) -> None:
    """As when a proxy answers in place of the issuer: signing everybody out would be the wrong answer."""
    server.body = body
    with pytest.raises(StoreUnavailableError):
        by_key_set(server.url)(rsa_signed())


@contextmanager
def resetting(before: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server whose connections are reset, after `before`."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            before(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        thread.join()


@pytest.mark.parametrize(
    "before",
    [lambda connection: None, lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n")],
    ids=["before the answer", "in the middle of it"],
)
def test_a_connection_that_breaks_is_not_the_callers_fault(before: Callable[[socket.socket], None]) -> None:
    with resetting(before) as url, pytest.raises(StoreUnavailableError):
        by_key_set(url)(rsa_signed())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys.json",
        "http://registry.example/keys",
        "http://127.0.0.1.example/keys",
        "http://localhost@registry.example/keys",
        "http://0.0.0.0/keys",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
    ],
)
def test_keys_come_over_https_or_from_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        key_set(url)


@pytest.mark.parametrize("url", ["https://registry.example/keys", "http://127.0.0.1:1/keys", "http://localhost:1/keys"])
def test_addresses_that_keys_may_come_from(url: str) -> None:
    assert callable(key_set(url))


# --- as a function builds it ------------------------------------------------------------------------------------------


class Vault:
    """As much of a Secrets Manager client as is used."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.asked: list[str] = []

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803 - the vendor's name
        self.asked.append(SecretId)
        return {"SecretString": json.dumps(self.value)}


def auth_settings(algorithm: str = "HS256", url: str = "") -> AuthSettings:
    return AuthSettings(
        auth_algorithm=algorithm,
        auth_issuer=ISSUER,
        auth_audience=AUDIENCE,
        auth_secret_arn="arn:secret",
        auth_jwks_url=url,
    )


def test_an_authenticator_takes_its_secrets_from_the_vault() -> None:
    vault = Vault({"secrets": [NEW, OLD]})
    authenticate = authenticator(auth_settings(), lambda: vault)

    assert [authenticate(signed(NEW)), authenticate(signed(OLD))] == ["alice", "alice"]
    assert vault.asked == ["arn:secret"]


@pytest.mark.parametrize(
    "value", [{}, {"secrets": []}, {"secrets": None}, {"secrets": ["short"]}, {"secrets": NEW}], ids=str
)
def test_an_authenticator_without_a_good_secret_does_not_start(value: Any) -> None:
    with pytest.raises(ValueError, match=r"secret|AuthSecret") as caught:
        authenticator(auth_settings(), lambda: Vault(value))
    assert "short" not in str(caught.value)


def test_an_authenticator_with_a_key_set_needs_no_vault(server: KeyServer) -> None:
    vault = Vault({})
    authenticate = authenticator(auth_settings("RS256", server.url), lambda: vault)

    assert (authenticate(rsa_signed()), vault.asked) == ("alice", [])


def test_an_authenticator_without_an_address_does_not_start() -> None:
    with pytest.raises(ValueError, match="https://"):
        authenticator(auth_settings("RS256"), lambda: Vault({}))
