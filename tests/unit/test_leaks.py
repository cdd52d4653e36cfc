"""The scan before sharing: what it finds, where, how often it is wrong, and that no text keeps it busy."""

import logging
import random
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playground.adapters.leaks import KINDS, RULES, LeakScanner, Rule
from playground.domain.leaks import Leak, card_numbers, email_addresses, is_placeholder, merged, passes_luhn
from playground.ports import Leaks
from tests.kit.extent import examples
from tests.unit.leaks_corpus import clean
from tests.unit.leaks_corpus.measure import SEED, alarms, recall
from tests.unit.leaks_corpus.planted import ALL_KINDS, NEWER, PLACES, SHAPES, card_digits, chars, placed, planted

SCAN: Leaks = LeakScanner()
DASHES = "-" * 5


def found(text: str) -> list[tuple[str, str]]:
    return [(leak.kind, text[leak.start : leak.end]) for leak in SCAN(text)]


# --- how good it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_planted_secrets_are_found_from_end_to_end_and_by_their_kind(kind: str) -> None:
    result = recall(LeakScanner(), kind, cases=300)

    assert result.share >= 0.99
    assert result.named >= 0.99 * result.planted


@pytest.mark.parametrize("service", NEWER)
def test_keys_of_newer_services_are_found_each(service: str) -> None:
    rng = random.Random(f"{service} {SEED}")
    cases = [placed(NEWER[service], PLACES, rng) for _ in range(500)]

    missed = [case for case in cases if (case.start, case.end) not in {(k.start, k.end) for k in SCAN(case.text)}]

    assert len(missed) <= 1


@pytest.fixture(scope="module")
def clean_texts() -> Mapping[str, str]:
    return clean.made(random.Random(SEED))


@pytest.mark.parametrize("name", sorted(line.__name__ for line in clean.LINES))
def test_what_only_looks_like_a_secret_raises_no_alarm(clean_texts: Mapping[str, str], name: str) -> None:
    assert Counter(alarms(LeakScanner(), clean_texts[name]).kinds) == {}


@pytest.mark.parametrize("text", clean.PLACEHOLDERS)
def test_placeholders_raise_no_alarm(text: str) -> None:
    assert found(text) == []


def test_the_code_and_the_documents_of_this_project_raise_no_alarm() -> None:
    text = clean.project()

    assert len(text) > 300_000
    assert found(text) == []


def test_in_code_by_many_others_only_addresses_of_people_are_found() -> None:
    text = clean.standard_library()
    kinds = Counter(alarms(LeakScanner(), text).kinds)

    assert len(text) > 1_000_000
    assert kinds.pop("email_address") * 100_000 / len(text) < 5
    assert kinds.total() <= 1  # another Python has other code


def test_of_bare_numbers_with_16_digits_few_could_be_cards() -> None:
    """One in ten has the right check digit, and one in five begins like a card: the price of finding real ones."""
    text = clean.chance(random.Random(SEED))

    assert len(alarms(LeakScanner(), text).kinds) < 0.04 * text.count("order")


def test_no_random_key_is_taken_for_a_placeholder() -> None:
    rng = random.Random(SEED)
    keys = [shape(rng) for kind, shapes in SHAPES.items() if kind != "private_key" for shape in shapes]
    keys += [chars(rng, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", 93) for _ in range(20_000)]

    assert sum(map(is_placeholder, keys)) <= 1


# --- where it is ------------------------------------------------------------------------------------------------------

words = st.lists(
    st.sampled_from([*clean.WORDS, "größe", "日本語", "😀", "e\u0301", "\U0001f469\u200d\U0001f4bb", "İ", "ſ"]),
    max_size=30,
)


@settings(deadline=None, max_examples=examples(300))
@given(
    kind=st.sampled_from(ALL_KINDS),
    seed=st.integers(0, 10**9),
    before=words,
    after=words,
    gap=st.sampled_from([" ", "\n", "\t", "\r\n", ". ", "\u00a0", " — ", "\u2028"]),
)
def test_a_secret_is_found_wherever_it_is(kind: str, seed: int, before: list[str], after: list[str], gap: str) -> None:
    case = planted(kind, random.Random(seed))
    lead = "".join(word + gap for word in before)
    text = lead + case.text + "".join(gap + word for word in after)

    leaks = SCAN(text)

    start, end = len(lead) + case.start, len(lead) + case.end
    hits = [leak for leak in leaks if leak.start <= start and end <= leak.end]
    assert len(hits) == 1, text[start:end]
    assert hits[0].end - hits[0].start <= end - start + 80  # and not much more than it
    assert all(one.end <= next_.start for one, next_ in pairwise(leaks))


fragments = st.sampled_from(
    [anchor for rule in RULES for anchor in rule.anchors]
    + ["eyJhbGciOiJIUzI1NiJ9", "://a:b@", "@a.de", "4111 ", f"{DASHES}BEGIN PRIVATE KEY{DASHES}", f"{DASHES}END"]
    + ["a" * 40, "A7" * 20, "\\n", "\ud800", "\x00", "Authorization: Bearer ", "PuTTY-User-Key-File-2:"]
)


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(fragments | st.text(max_size=5), max_size=40).map("".join))
def test_whatever_the_text_is_there_are_places_in_it_in_order_and_apart(text: str) -> None:
    leaks = SCAN(text)

    assert all(0 <= leak.start < leak.end <= len(text) and leak.kind in KINDS for leak in leaks)
    assert all(one.end <= next_.start for one, next_ in pairwise(leaks))
    assert SCAN(text) == leaks


def test_positions_count_characters_not_bytes() -> None:
    secret = "gh" + "p_" + "a1B2" * 9
    text = f"😀 Schlüssel: {secret} 😀"

    assert SCAN(text) == (Leak(kind="github_token", start=13, end=53),)


def test_a_private_key_is_found_as_a_block() -> None:
    block = f"{DASHES}BEGIN EC PRIVATE KEY{DASHES}\n{'aB3/' * 16}\n{'aB3/' * 4}\n{DASHES}END EC PRIVATE KEY{DASHES}"

    assert found(f"cat key.pem\n{block}\n$") == [("private_key", block)]
    assert found(f'{{"key": "{block}"}}'.replace("\n", "\\n")) == [("private_key", block.replace("\n", "\\n"))]


def test_a_private_key_that_is_cut_off_is_found_as_far_as_it_goes() -> None:
    cut = f"{DASHES}BEGIN PRIVATE KEY{DASHES}\n{'aB3/' * 16}\n{'aB3/' * 16}"

    assert found(f"{cut}\n\nThat is it.")[0][1].startswith(cut)


def test_a_longer_key_than_was_expected_is_found_to_its_end() -> None:
    key = "sk_" + "live_51" + "aB3" * 33

    assert found(f"key={key};") == [("stripe_key", key)]


def test_a_key_next_to_a_word_of_a_placeholder_is_still_one() -> None:
    key = "gh" + "p_" + "a1B2" * 9

    assert [kind for kind, _ in found(f"{key}-example")] == ["github_token"]


def test_a_token_in_a_header_is_named_as_what_it_is() -> None:
    key = "sk-" + "ant-api03-" + "aB3_" * 24

    assert found(f"Authorization: Bearer {key}") == [("anthropic_key", key)]


def test_the_address_in_a_url_with_a_password_is_one_leak() -> None:
    assert found("postgres://app:s3cr3t/x") == []
    assert found("postgres://app:kU7!pQ2@db.northwind.io/app") == [("url_password", "kU7!pQ2")]
    assert found("postgres://app:kU7@pQ2@db.northwind.io/app") == [("url_password", "kU7@pQ2")]


@pytest.mark.parametrize("secret", ["aB3/" * 10, "aB3+xY7Q" * 5])
def test_an_aws_secret_is_known_by_the_id_beside_it(secret: str) -> None:
    access_key = "AKI" + "AZ7QKD3MXP2LRTV5B"

    assert found(f"{access_key},{secret}") == [("aws_access_key_id", access_key), ("aws_secret_key", secret)]
    assert found(f"{secret}\n{access_key}") == [("aws_secret_key", secret), ("aws_access_key_id", access_key)]
    assert found(secret) == []
    assert found(f"{access_key}{' ' * 500}{secret}") == [("aws_access_key_id", access_key)]
    assert found(f"{secret}{' ' * 500}{access_key}") == [("aws_access_key_id", access_key)]


def test_a_jwt_says_how_it_is_signed() -> None:
    """Other things are three parts of base64, too: signed cookies, maps of sources."""
    claims, signature = "eyJzdWIiOiJsaSJ9", "aB3_" * 11
    signed, unsigned = "eyJhbGciOiJIUzI1NiJ9", "eyJraW5kIjoiY29va2llIn0"

    assert found(f"{signed}.{claims}.{signature}") == [("jwt", f"{signed}.{claims}.{signature}")]
    assert found(f"{unsigned}.{claims}.{signature}") == []


def test_a_putty_key_is_found_behind_talk_about_putty_keys() -> None:
    first = "PuTTY-User-Key-File-" + "2:"
    key = f"{first} ssh-rsa\nPrivate-Lines: 1\n{'aB3/' * 16}"

    (leak,) = SCAN(f"They begin with {first} always.{' ' * 19_980}{key}")
    assert leak.kind == "private_key"
    assert leak.end - leak.start == len(key)


# --- the rules that are pure ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 13), st.integers(1, 9))
def test_one_wrong_digit_is_no_card(seed: int, place: int, more: int) -> None:
    digits = card_digits(random.Random(seed))
    wrong = digits[:place] + str((int(digits[place]) + more) % 10) + digits[place + 1 :]

    assert passes_luhn(digits)
    assert not passes_luhn(wrong)
    assert list(card_numbers(wrong)) == []


@pytest.mark.parametrize(
    "text",
    [
        "4539 1488 0343 6467",
        "4539-1488-0343-6467",
        "4539148803436467",
        "card 4539 1488 0343 6467 12/27 123",
        "4539148803436467,123,12/27",
        "pay\\n4539148803436467\\n",
        "卡号4539148803436467",
        "3400 000000 00009",
        "4539 1488 0343 6467 123",
        "(4539\u00a01488\u00a00343\u00a06467)",
    ],
)
def test_card_numbers_as_people_write_them(text: str) -> None:
    assert len(list(card_numbers(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "ORD-4539148803436467",
        "order_4539148803436467",
        "4539148803436467-2",
        "0.4539148803436467",
        "4539148803436467.5",
        "4539 1488-0343 6467",
        "45391488 03436467",
        "1111 4539 1488 0343 6467 2222",
        "a4539148803436467f",
        "14539148803436467",
    ],
)
def test_numbers_that_are_part_of_something_else_are_no_cards(text: str) -> None:
    assert list(card_numbers(text)) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("write to li.wei+x@mail.firm.co.uk.", "li.wei+x@mail.firm.co.uk"),
        ("<mailto:o@posteo.de>", "o@posteo.de"),
        ("björn@müller.de, ok", "björn@müller.de"),
        ("https://a.io/?mail=li@firma.de&x=1", "li@firma.de"),
        ("..li@firma.de..", "li@firma.de"),
    ],
)
def test_addresses_are_found_whole(text: str, address: str) -> None:
    assert [text[leak.start : leak.end] for leak in email_addresses(text)] == [address]


leaks_of_any_kind = st.builds(
    lambda kind, start, length: Leak(kind=kind, start=start, end=start + length),
    st.sampled_from(KINDS),
    st.integers(0, 60),
    st.integers(1, 20),
)


@given(st.lists(leaks_of_any_kind, max_size=12), st.randoms(use_true_random=False))
def test_merged_covers_the_same_characters_once_in_whatever_order_they_came(
    leaks: list[Leak], shuffle: random.Random
) -> None:
    result = merged(leaks, kinds=KINDS)
    shuffled = list(leaks)
    shuffle.shuffle(shuffled)

    assert merged(shuffled, kinds=KINDS) == result
    assert sum(leak.end - leak.start for leak in result) == len({at for k in leaks for at in range(k.start, k.end)})
    assert all(one.end <= next_.start for one, next_ in pairwise(result))
    for leak in result:
        within = [one.kind for one in leaks if leak.start <= one.start and one.end <= leak.end]
        assert leak.kind == min(within, key=KINDS.index)


def test_leaks_that_only_touch_stay_two() -> None:
    touching = (Leak(kind="jwt", start=0, end=5), Leak(kind="api_key", start=5, end=9))

    assert merged(touching, kinds=KINDS) == touching


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (3, 3), (4, 3)])
def test_a_leak_is_somewhere(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not a range"):
        Leak(kind="jwt", start=start, end=end)


# --- what it must not do ----------------------------------------------------------------------------------------------

HOSTILE = (
    *("a", "1", "-", "_", ".", "@", " ", "\n", "\\n", "é", "eyJ", "eyJ.", "eyJhbGciOiJ", ".eyJ", "a@", "a@a.", "@a."),
    *(
        "1 ",
        "4111 ",
        "4111-",
        "4539148803436467-",
        "://a:",
        "://:",
        "://a:b@",
        "xoxb-1-",
        "a-us1",
        "aA1/",
        "sk-sk-ant-",
    ),
    *("secret_key=", "aws secret ", "authorization: bearer ", "twilio token=", "123456789:AA", "ghp_" + "a1" * 18),
    f"{DASHES}BEGIN PRIVATE KEY{DASHES}",
    f"{DASHES}BEGIN PRIVATE KEY{DASHES}" + "a" * 40,
    f"{DASHES}BEGIN RSA PRIVATE KEY{DASHES}\nAbcd: c\n",
    "PuTTY-User-Key-File-2:",
    "PuTTY-User-Key-File-2:Private-Lines: 1\n" + "a" * 20,
    "AKI" + "AZ7QKD3MXP2LRTV5B " + "aB3" * 13 + "d ",
    "".join(anchor for rule in RULES for anchor in rule.anchors),
    " ".join(anchor + "a1B" * 30 for rule in RULES for anchor in rule.anchors),
)


def seconds(text: str) -> float:
    began = time.process_time()
    SCAN(text)
    return time.process_time() - began


def test_a_megabyte_of_code_takes_less_than_a_second_or_so() -> None:
    """Five times what it takes, because machines are slow and shared."""
    assert seconds(clean.standard_library()[:1_000_000]) < 2


@pytest.mark.parametrize("piece", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_keeps_it_busy(piece: str) -> None:
    """It takes a tenth of a second. What is quadratic takes minutes at least."""
    assert seconds((piece * (200_000 // len(piece) + 1))[:200_000]) < 2


@pytest.mark.parametrize("anchor", sorted({anchor for rule in RULES for anchor in rule.anchors}))
def test_no_rule_is_slow_on_many_beginnings_of_its_own(anchor: str) -> None:
    for piece in (anchor, anchor + "a1" * 9, anchor + "a1B" * 30 + " "):
        assert seconds((piece * (50_000 // len(piece) + 1))[:50_000]) < 1


def test_a_leak_does_not_say_what_it_is(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rng = random.Random(SEED)
    for kind in ALL_KINDS:
        case = planted(kind, rng)
        secret = case.text[case.start : case.end]
        (leak, *_) = SCAN(case.text)
        assert secret not in repr(leak)
        assert set(Leak.__slots__) == {"kind", "start", "end"}
        assert secret not in "".join(capfd.readouterr()) + caplog.text


def test_every_rule_finds_a_kind_that_is_known() -> None:
    assert {rule.kind for rule in RULES} <= set(KINDS)
    assert set(ALL_KINDS) == set(KINDS)
    assert len(set(KINDS)) == len(KINDS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind} {rule.anchors[0]}")
def test_every_rule_has_something_planted_that_it_finds(rule: Rule) -> None:
    rng = random.Random(SEED)
    texts = [planted(rule.kind, rng).text for _ in range(600)]

    assert any(rule.pattern.search(text) for text in texts)
    assert all(any(anchor in text for anchor in rule.anchors) for text in texts if rule.pattern.search(text))
