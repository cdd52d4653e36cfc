#!/usr/bin/env python3
"""Check a receipt of the playground independently: standard library only, no code of the service.

python3 tools/verify_receipt.py receipt.json
python3 tools/verify_receipt.py --entry line.json --user alice receipt.json
python3 tools/verify_receipt.py --api https://api.example.com/api/v1 receipt.json
"""

import argparse
import hashlib
import json
import re
import sys
import urllib.request
from collections.abc import Callable, Sequence
from datetime import datetime
from fractions import Fraction
from http.client import HTTPException
from math import ceil
from pathlib import Path
from typing import Any

PUBLISHED = Path(__file__).resolve().parent.parent / "layers" / "shared" / "playground" / "data" / "prices"
VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[0-9]{1,3})?")
MAX_TABLE_BYTES = 1_000_000
TIMEOUT_SECONDS = 30
NANO_PER_CENT = 10_000_000
BUCKETS = ("monthly", "rollover", "purchased")
CLASSES = {
    "input_tokens": "input_nano",
    "output_tokens": "output_nano",
    "cache_write_tokens": "cache_write_nano",
    "cache_read_tokens": "cache_read_nano",
}

DESCRIPTION = """\
Recompute the charge of a run from the measured tokens and the published prices, and compare it with the receipt, step
by step. With the ledger's line, recompute its hash, too, and compare the line with the receipt.
"""
EPILOG = """\
where the files come from:
  RECEIPT   GET /playground/runs/{run_id}: the whole answer; - or nothing reads it from stdin
  --entry   one of the transactions of GET /playground/credits/history?type=spend, or the whole answer: then the line
            that the receipt names is taken
  --user    whose account it is: the "sub" of the token; it is part of the hash
  --prices  the price table; it must be of the version that the receipt names
  --api     the address of the API with its base path: GET /playground/prices/{price_version} has the table permanently
            (default: the published table of this repository)

what it cannot check:
  Whether the model really used so many tokens; and changes of prompt_tokens, max_tokens and wanted_max_tokens that
  do not change the ceiling.

exit status:
  0  the receipt is right
  1  it is not, or it could not be checked
"""


class ReceiptError(Exception):
    """The input cannot be checked."""


class Check:
    """Prints each equation and records whether all of them hold."""

    def __init__(self) -> None:
        self.wrong = 0

    def equals(self, what: str, equation: str, result: object, claimed: object) -> None:
        """`what = equation = result`, and the receipt claims the same."""
        right = type(result) is type(claimed) and result == claimed
        self.wrong += not right
        middle = f"{equation} = " if equation else ""
        print(f"{what:<14} = {middle}{_shown(result)}   {'ok' if right else f'WRONG: it says {_shown(claimed)}'}")

    def holds(self, what: str, right: bool) -> None:
        self.wrong += not right
        print(f"{what}   {'ok' if right else 'WRONG'}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="verify_receipt.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("receipt", metavar="RECEIPT", nargs="?", default="-", help="JSON of the receipt")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prices", metavar="FILE", help="JSON of the price table")
    source.add_argument("--api", metavar="URL", help="where to get the price table")
    parser.add_argument("--entry", help="JSON of the ledger's line")
    parser.add_argument("--user", help="user id, with --entry")
    options = parser.parse_args(arguments)
    if (options.entry is None) != (options.user is None):
        parser.error("--entry and --user belong together")
    check = Check()
    try:
        receipt = read(options.receipt)
        verify(receipt, lambda version: table_of(version, options.prices, options.api), check)
        if options.entry is not None:
            verify_entry(receipt, read(options.entry), options.user, check)
    except ReceiptError as error:
        print(f"cannot be checked: {error}", file=sys.stderr)
        return 1
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        print(
            f"cannot be checked: a field is missing or of another type ({type(error).__name__}: {error})",
            file=sys.stderr,
        )
        return 1
    print(f"{check.wrong} wrong" if check.wrong else "the receipt is right")
    return 1 if check.wrong else 0


def read(name: str) -> dict[str, Any]:
    """The JSON object in a file, or on stdin. Raises ReceiptError."""
    try:
        return json_object(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"), name)
    except (OSError, ValueError) as error:
        raise ReceiptError(f"{name}: {error}") from None


def json_object(text: str, name: str) -> dict[str, Any]:
    """Raises ValueError if `text` is no JSON, and ReceiptError if it is no object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ReceiptError(f"{name} is not a JSON object")
    return value


def table_of(version: object, file: str | None, api: str | None) -> dict[str, Any]:
    """The price table of a version, from a file, from the API, or else from this repository. Raises ReceiptError."""
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise ReceiptError(f"{version!r} is no version of a price table")
    if api is not None:
        prices = download(f"{api.rstrip('/')}/playground/prices/{version}")
    elif file is not None:
        prices = read(file)
    elif not (published := PUBLISHED / f"{version}.json").exists():
        raise ReceiptError(f"the table of {version} is not in this repository: name it with --prices or --api")
    else:
        prices = read(str(published))
    if prices["version"] != version:
        raise ReceiptError(
            f"it was priced by the table of {version}, this one is of {prices['version']}: name that one with --prices"
        )
    return prices


def download(url: str) -> dict[str, Any]:
    """The JSON object at an address. Raises ReceiptError."""
    if not url.startswith(("https://", "http://")):
        raise ReceiptError(f"{url}: https:// or http:// is needed")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - its scheme is checked # nosec B310
            return json_object(answer.read(MAX_TABLE_BYTES).decode("utf-8"), url)
    except (OSError, ValueError, HTTPException) as error:
        raise ReceiptError(f"{url}: {error}") from None


def verify(receipt: dict[str, Any], table: Callable[[object], dict[str, Any]], check: Check) -> None:
    """The receipt by itself, and by the price table of its version. Raises what `table` raises."""
    print(f"{receipt['run_id']} · {receipt['status']} · {receipt['model']} · prices of {receipt['price_version']}")
    if receipt["status"] != "settled":
        verify_unpaid(receipt, check)
        return
    prices = table(receipt["price_version"])
    model = next((row for row in prices["models"] if row["name"] == receipt["model"]), None)
    if model is None:
        raise ReceiptError(f"the table has no model {receipt['model']}")
    if receipt.get("custom_prompt"):  # receipts that earlier versions gave out lack it
        if "custom_prompt" not in prices:
            raise ReceiptError("the table has no terms for custom prompts")
        model = {**model, "factor": whole(model["factor"]) * whole(prices["custom_prompt"]["factor"])}
        check.holds("no package", receipt["package"] is None)
        most = whole(prices["custom_prompt"]["max_output_tokens"])
        check.holds(f"max_tokens is at most {most:,}", whole(receipt["max_tokens"]) <= most)
    usage, price = receipt["usage"], receipt["price"]
    for name in CLASSES:
        if whole(usage[name]) < 0:
            raise ReceiptError(f"{name} is negative")

    cost = verify_cost(usage, price, model, check)
    credits_ = verify_credits(cost, usage, price, model, prices, check)
    ceiling = ceiling_of(whole(receipt["prompt_tokens"]), whole(receipt["max_tokens"]), model, prices)
    prompt, most = receipt["prompt_tokens"], receipt["max_tokens"]
    how = f"the same for {prompt:,} tokens, all of the most expensive class, and {most:,} out"
    check.equals("ceiling", how, ceiling, receipt["ceiling"])
    charge = min(credits_, ceiling)
    check.equals("charge", f"min({credits_}, {ceiling})", charge, receipt["credits_spent"])
    check.equals("overrun", f"{credits_} − {charge}", credits_ - charge, receipt["overrun"])
    taken = [whole(receipt["buckets"][name]) for name in BUCKETS]
    check.equals("buckets", " + ".join(map(str, taken)), sum(taken), -charge)
    check.holds("every bucket gives or stays", max(taken) <= 0)
    check.holds("balance_after is not negative", whole(receipt["balance_after"]) >= 0)
    check.holds("max_tokens is at most wanted_max_tokens", receipt["max_tokens"] <= whole(receipt["wanted_max_tokens"]))
    milliseconds = (moment(receipt["ended_at"]) - moment(receipt["started_at"])).total_seconds() * 1000
    check.equals("duration_ms", "ended_at − started_at", round(milliseconds), receipt["duration_ms"])


def verify_unpaid(receipt: dict[str, Any], check: Check) -> None:
    for name in ("credits_spent", "overrun"):
        check.equals(name, "", 0, receipt[name])
    for name in ("usage", "price", "buckets", "balance_after", "entry_seq", "entry_hash", "response"):
        check.holds(f"no {name}", receipt[name] is None)


def verify_cost(usage: dict[str, int], price: dict[str, int], model: dict[str, Any], check: Check) -> int:
    """What the provider bills, in nano-dollars ($0.000000001)."""
    terms = [(usage[tokens], model[nano]) for tokens, nano in CLASSES.items()]
    equation = " + ".join(f"{tokens:,} × {nano:,}" for tokens, nano in terms)
    cost: int = sum(tokens * nano for tokens, nano in terms)
    if is_long(usage["input_tokens"] + usage["cache_write_tokens"] + usage["cache_read_tokens"], model):
        equation, cost = f"({equation}) × {model['long_prompt_factor']}", cost * int(model["long_prompt_factor"])
    check.equals("provider cost", equation, cost, price["cost_nano_dollars"])
    return cost


def verify_credits(
    cost: int,
    usage: dict[str, int],
    price: dict[str, int],
    model: dict[str, Any],
    prices: dict[str, Any],
    check: Check,
) -> int:
    kept, cheapest = kept_of_a_credit(prices)
    floor = ceil(cost / kept)
    equation = f"ceil({cost:,} ÷ ({cheapest} × {100 - prices['margin_percent']} %))"
    check.equals("floor", equation, floor, price["floor"])
    tokens = sum(usage[name] for name in CLASSES)
    tier = tier_of(tokens, prices)
    check.equals(
        "tier", f"tier of {' + '.join(f'{usage[name]:,}' for name in CLASSES)} = {tokens:,} tokens", tier, price["tier"]
    )
    check.equals("factor", "", model["factor"], price["factor"])
    credits_ = max(tier * int(model["factor"]), floor)
    check.equals("credits", f"max({tier} × {model['factor']}, {floor})", credits_, price["credits"])
    return credits_


def kept_of_a_credit(prices: dict[str, Any]) -> tuple[Fraction, str]:
    """The provider cost that one credit covers, in nano-dollars; and the cheapest credit on sale, as text."""
    sold: list[tuple[int, int]] = [
        (pack["price_cents"], pack["credits"]) for pack in [*prices["packs"], prices["plan"]]
    ]
    cents, credits_ = min(sold, key=lambda offer: Fraction(*offer))
    value = Fraction(cents * NANO_PER_CENT, credits_)
    return value * (100 - prices["margin_percent"]) / 100, f"{cents * NANO_PER_CENT:,} ÷ {credits_}"


def tier_of(tokens: int, prices: dict[str, Any]) -> int:
    steps = prices["tiers"]["steps"]
    for up_to, credits_ in steps:
        if tokens <= up_to:
            return int(credits_)
    last, credits_ = steps[-1]
    return int(credits_) + ceil(Fraction(tokens - last, prices["tiers"]["further_tokens"]))


def ceiling_of(prompt_tokens: int, max_tokens: int, model: dict[str, Any], prices: dict[str, Any]) -> int:
    """The maximum charge: the prompt in the most expensive class, and max_tokens of output."""
    prompt_nano = max(model[nano] for tokens, nano in CLASSES.items() if tokens != "output_tokens")
    cost: int = prompt_tokens * prompt_nano + max_tokens * model["output_nano"]
    if is_long(prompt_tokens, model):
        cost *= model["long_prompt_factor"]
    kept, _ = kept_of_a_credit(prices)
    return max(tier_of(prompt_tokens + max_tokens, prices) * int(model["factor"]), ceil(cost / kept))


def is_long(prompt_tokens: int, model: dict[str, Any]) -> bool:
    threshold: float = model.get("long_prompt_tokens", float("inf"))
    return prompt_tokens > threshold


def verify_entry(receipt: dict[str, Any], given: dict[str, Any], user_id: str, check: Check) -> None:
    """The ledger's line: its own hash, and that the receipt says the same."""
    if receipt["status"] != "settled":
        raise ReceiptError(f"a run that is {receipt['status']} has no line in the ledger")
    entry = given
    if "transactions" in given:
        lines = [line for line in given["transactions"] if line["run_id"] == receipt["run_id"]]
        if not lines:
            raise ReceiptError("no line of this run is among the transactions")
        entry = lines[0]
    deltas = [whole(entry["buckets"][name]) for name in BUCKETS]
    content = {
        "user_id": user_id,
        "seq": entry["seq"],
        "type": entry["type"],
        "amount": entry["amount"],
        "balance_after": entry["balance_after"],
        "deltas": deltas,
        "business_key": entry["business_key"],
        "reason": entry["description"],
        "created_at": entry["created_at"],
        "previous_hash": entry["previous_hash"],
        "run_id": entry["run_id"],
        "session_id": entry["session_id"],
        "purchase_id": entry["purchase_id"],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    hash_ = hashlib.sha256(canonical.encode()).hexdigest()
    print(f"line {entry['seq']} of {user_id}")
    check.equals("hash", "SHA-256 of the line", hash_, entry["hash"])
    check.equals("id", "number and hash", f"ent_{entry['seq']:010d}{hash_[:12]}", entry["id"])
    same: list[tuple[str, object, object]] = [
        ("entry_hash", hash_, receipt["entry_hash"]),
        ("entry_seq", entry["seq"], receipt["entry_seq"]),
        ("type", "spend", entry["type"]),
        ("run_id", receipt["run_id"], entry["run_id"]),
        ("business_key", f"run:{receipt['run_id']}", entry["business_key"]),
        ("session_id", receipt["session_id"], entry["session_id"]),
        ("amount", -receipt["credits_spent"], entry["amount"]),
        ("buckets", [whole(receipt["buckets"][name]) for name in BUCKETS], deltas),
        ("balance_after", receipt["balance_after"], entry["balance_after"]),
        ("created_at", receipt["ended_at"], entry["created_at"]),
    ]
    usage = receipt["usage"]
    prompt_tokens = sum(usage[name] for name in CLASSES if name != "output_tokens")
    of_the_run = {
        "model": receipt["model"],
        "package": receipt["package"],
        "package_version": receipt["package_version"],
        "input_tokens": prompt_tokens,
        "output_tokens": usage["output_tokens"],
        "tokens_used": prompt_tokens + usage["output_tokens"],
        "transaction_type": entry["type"],  # by its earlier name
    }
    # They are shown with the line and are not part of its hash. Lines that earlier versions gave out lack them.
    same += [(name, value, entry[name]) for name, value in of_the_run.items() if name in entry]
    for what, of_receipt, of_entry in same:
        check.equals(what, "", of_receipt, of_entry)


def whole(value: object) -> int:
    """Raises ReceiptError for anything but a whole number."""
    if type(value) is not int:
        raise ReceiptError(f"{value!r} is not a whole number")
    return value


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _shown(value: object) -> str:
    return f"{value:,}" if type(value) is int else str(value)


if __name__ == "__main__":
    sys.exit(main())
