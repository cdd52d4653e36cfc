"""What earlier versions stored is read as it was meant, and what is written is, byte for byte, what they would write.

`stored/` has an item of every kind for each version that is named there, or of those that it writes in another way
than the version before. Files are only ever added: an item that was
stored once may be stored somewhere for ever.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from playground.adapters import dynamo_catalog, dynamo_notices, dynamo_payments, dynamo_shares
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_audit import fields_of
from playground.adapters.dynamo_feedback import DynamoFeedback
from playground.adapters.dynamo_keys import head_key, listing_key, version_key
from playground.adapters.dynamo_payments import record_writes
from playground.adapters.dynamo_shares import DynamoShares
from playground.adapters.dynamo_store import DynamoStore, Put, RawItem, Replace
from playground.domain.account import Account
from playground.domain.errors import CorruptLedgerError
from playground.domain.packages import PackageVersion
from playground.domain.variables import variables_of
from tests.unit.stored_examples import EXAMPLES

STORED = Path(__file__).with_name("stored")
LATEST = "2026-11-28.6"
OLDEST = "2026-11-23"
EVERY = [(kind, form) for kind, forms in EXAMPLES.items() for form in forms]


class Recording:
    """A store that has nothing, and remembers what is written."""

    backoff = range(1)

    def __init__(self) -> None:
        self.written: list[RawItem] = []

    def get(self, key: object) -> None:
        return None

    def transact(self, *writes: object) -> None:
        self.written += [dict(write.item) for write in writes if isinstance(write, Put | Replace)]


def feedback_item(feedback: Any) -> RawItem:
    store: Any = Recording()
    DynamoFeedback(store, sessions_table="t", spend_table="s").put("ålice", "ses_1", feedback, None)
    return store.written[0]  # type: ignore[no-any-return]


def vote_item(vote: Any) -> RawItem:
    store: Any = Recording()
    DynamoShares(store, "t").vote("id", "viewer", vote)
    return store.written[0]  # type: ignore[no-any-return]


def report_item(report: Any) -> RawItem:
    store: Any = Recording()
    DynamoShares(store, "t").report(EXAMPLES["share"]["bare"], report, hide_at=3)
    return store.written[0]  # type: ignore[no-any-return]


def package_items(package: PackageVersion) -> Mapping[str, RawItem]:
    item = dynamo_catalog._version_item(package)
    versions = (package.version, "0.1.0")
    written = {
        "version": (item, version_key("t", package.package_id, package.version)),
        "head": (dynamo_catalog.head_item(package, item, versions), head_key("t", package.package_id)),
        "listing": (dynamo_catalog.listing_item(package, versions), listing_key("t", package.name)),
    }
    return {name: {**each, **key.raw} for name, (each, key) in written.items()}


def _record(record: Any) -> RawItem:
    return record_writes("t", record)[0].item


WRITE: Mapping[str, Callable[[Any], Any]] = {
    "account": items.account_item,
    "entry": items.entry_item,
    "run": items.run_item,
    "session": items.session_item,
    "turn": items.turn_item,
    "kept turn": lambda pair: items.turn_item(*pair),
    "share": dynamo_shares._SHARE.write,
    "purchase": _record,
    "month": _record,
    "customer": _record,
    "subscription": _record,
    "event": _record,
    "notice": dynamo_notices.notice_item,
    "feedback": feedback_item,
    "vote": vote_item,
    "report": report_item,
    "package": package_items,
}


def kept_turn_of(raw: RawItem) -> Any:
    return items.turn_of(raw, lambda kept: {"input": "hi", "answer": "höllo"}), items.kept_of(raw)


READ: Mapping[str, Callable[[Any], Any]] = {
    "account": lambda raw: items.account_of("ålice", raw),
    "entry": lambda raw: items.entry_of("ålice", raw),
    "run": lambda raw: items.run_of("ålice", raw),
    "session": items.session_of,
    "turn": items.turn_of,
    "kept turn": kept_turn_of,
    "share": lambda raw: dynamo_shares.share_of(EXAMPLES["share"]["bare"].share_id, raw),
    "purchase": lambda raw: dynamo_payments.purchase_of("ålice", raw),
    "month": lambda raw: dynamo_payments.month_of("ålice", raw),
    "customer": lambda raw: dynamo_payments.customer_of("ålice", raw),
    "subscription": lambda raw: dynamo_payments.subscription_of("ålice", raw),
    "event": lambda raw: dynamo_payments.event_of("evt_1", raw),
    "notice": lambda raw: dynamo_notices.notice_of("ålice", raw),
}


def stored(version: str, kind: str, form: str) -> Any:
    versions = sorted(each.name for each in STORED.iterdir() if each.name <= version)
    text = next(path for each in versions[::-1] if (path := STORED / each / f"{kind} {form}.json").exists()).read_text()
    return json.loads(text, object_hook=lambda found: _from_base64(found))


def _from_base64(found: dict[str, Any]) -> dict[str, Any]:
    return {"B": base64.b64decode(found["B"])} if found.keys() == {"B"} else found


def comparable(value: Any) -> Any:
    """Every field, those that equality leaves out, too; sets of strings in one order."""
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: comparable(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: comparable(sorted(each) if name == "SS" else each) for name, each in value.items()}
    return tuple(comparable(each) for each in value) if isinstance(value, tuple | list) else value


def expected(value: Any) -> Any:
    """What is read of what was written: the store counts one revision more."""
    raised = hasattr(value, "revision") and not isinstance(value, Account)
    return replace(value, revision=value.revision + 1) if raised and type(value).__name__ != "PaymentEvent" else value


@pytest.mark.parametrize(("kind", "form"), EVERY)
def test_what_is_written_is_what_was_written(kind: str, form: str) -> None:
    assert comparable(WRITE[kind](EXAMPLES[kind][form])) == comparable(stored(LATEST, kind, form))


@pytest.mark.parametrize(("kind", "form"), [each for each in EVERY if each[0] in READ])
def test_what_was_written_is_read(kind: str, form: str) -> None:
    assert comparable(READ[kind](stored(LATEST, kind, form))) == comparable(expected(EXAMPLES[kind][form]))


def test_an_export_has_the_variables_of_a_session() -> None:
    session = EXAMPLES["session"]["variables"]
    assert fields_of(items.session_item(session))["variables"] == session.variables


@pytest.mark.parametrize("form", EXAMPLES["package"])
def test_a_package_is_read(form: str) -> None:
    catalog = dynamo_catalog.DynamoCatalog(DynamoStore(None), table_name="t", bucket="b", s3=None)
    package, found = EXAMPLES["package"][form], stored(LATEST, "package", form)
    assert catalog.package_of_item(found["version"]) == catalog.package_of_item(found["head"]) == package
    summary = dynamo_catalog._summary(found["head"])
    assert (summary.latest_version, summary.versions) == (package.version, (package.version, "0.1.0"))
    assert (summary.assets, summary.hidden, summary.tags) == (package.assets, package.hidden, package.tags)
    assert (summary.variables, summary.examples) == (variables_of(package.prompt), package.examples)
    assert summary.prompt_characters == len(package.prompt)
    assert dynamo_catalog._summary(stored("2026-11-28.2", "package", form)["head"]).prompt_characters is None
    assert dynamo_catalog._summary(found["listing"]) == replace(
        summary,
        preview=found["listing"]["preview"]["S"],
        assets=(),
        hidden=(),
        variables=(),
        examples=(),
        prompt_characters=None,
    )


LACKING: Mapping[str, Mapping[str, Any]] = {
    "account": {"lapsed": 0, "has_paid": False, "failures_at": None, "unpaid_at": None},
    "run": {"unpaid": None},
    "turn": {"refused": False},
    "customer": {"gone": False, "number": 0, "former": ()},
    "subscription": {"prices": {}, "offers": ()},
}
"""What the oldest version did not know, and what that is read as."""

OLD = [(kind, form) for kind, form in EVERY if kind in READ and (STORED / OLDEST / f"{kind} {form}.json").exists()]


def known_of_old(kind: str, value: Any) -> Any:
    if kind == "kept turn":
        turn, kept = value
        return replace(turn, refused=False), kept
    if kind == "account":
        holds = {name: replace(hold, cost_nano=0, interval=timedelta()) for name, hold in value.holds.items()}
        value = replace(value, holds=holds)
    return replace(expected(value), **LACKING.get(kind, {}))


@pytest.mark.parametrize(("kind", "form"), OLD)
def test_what_the_oldest_version_wrote_is_read(kind: str, form: str) -> None:
    assert comparable(READ[kind](stored(OLDEST, kind, form))) == comparable(known_of_old(kind, EXAMPLES[kind][form]))


@pytest.mark.parametrize("form", ["bare", "full"])
def test_a_package_of_the_oldest_version_is_read(form: str) -> None:
    catalog = dynamo_catalog.DynamoCatalog(DynamoStore(None), table_name="t", bucket="b", s3=None)
    found = stored(OLDEST, "package", form)
    package = replace(EXAMPLES["package"][form], assets=(), hidden=())
    assert catalog.package_of_item(found["version"]) == catalog.package_of_item(found["head"]) == package


@pytest.mark.parametrize(("kind", "form"), [each for each in EVERY if each[0] in READ])
def test_an_item_that_lacks_what_must_be_there_or_has_it_in_another_type_is_damaged(kind: str, form: str) -> None:
    """Each attribute of an item in turn, in another type, and, if no item may lack it, missing and NULL: the item is
    refused."""
    whole = stored(LATEST, kind, form)
    bare = stored(LATEST, kind, "bare")
    for name in whole:
        if name in IGNORED:
            continue
        other_type = {"N": "1.5"} if "L" in whole[name] else {"L": [{"B": b"?"}]}
        with pytest.raises(CorruptLedgerError):
            READ[kind]({**whole, name: other_type})
        if name in bare and name not in MAY_LACK.get(kind, ()):
            for lacking in ({other: value for other, value in whole.items() if other != name}, {**whole, name: NULL}):
                with pytest.raises(CorruptLedgerError):
                    READ[kind](lacking)


def damaged(stored: Any) -> Iterator[Any]:
    """`stored` with one value in it replaced by one of another type, or by a number that is not whole."""
    ((type_, value),) = stored.items()
    match type_:
        case "M":
            for name, inner in value.items():
                yield from ({"M": {**value, name: other}} for other in damaged(inner))
        case "L":
            for place, inner in enumerate(value):
                yield from ({"L": [*value[:place], other, *value[place + 1 :]]} for other in damaged(inner))
            yield {"S": ""}
        case "N":
            yield from ({"N": "1.5"}, {"S": value})
        case _:
            yield {"BOOL": True} if type_ != "BOOL" else {"N": "1"}


@pytest.mark.parametrize(("kind", "form"), [each for each in EVERY if each[0] in READ and each[0] != "notice"])
def test_a_value_of_another_type_is_damage_however_deep_it_is(kind: str, form: str) -> None:
    item = stored(LATEST, kind, form)
    for name in item.keys() - IGNORED:
        for other in damaged(item[name]):
            with pytest.raises(CorruptLedgerError):
                READ[kind]({**item, name: other})


NULL = {"NULL": True}
IGNORED = frozenset({"listed_at", "recent", "due_shard"})
"""For the store's indexes and conditions only: not read back."""
MAY_LACK: Mapping[str, frozenset[str]] = {"turn": frozenset({"packed"})}


def test_an_item_without_what_must_be_there_is_not_written() -> None:
    run = EXAMPLES["run"]["bare"]

    with pytest.raises(ValueError, match="RunItem without nonce"):
        items.run_item(replace(run, nonce=None))
    with pytest.raises(ValueError, match="RunItem has no colour"):
        items._RUN.write(run, colour="red")
