"""Write units, computed by DynamoDB's rules from the requests and the items before and after them.

Sources, all of them in the Amazon DynamoDB Developer Guide:

    "DynamoDB item sizes and formats"                    how many bytes names and values have
    "DynamoDB read and write operations"                 a unit per begun KB of the item before or after, whichever is
                                                         larger, also if a single attribute changes
    "Amazon DynamoDB transactions: how it works"         twice that in a transaction, for the item
    "Using global secondary indexes in DynamoDB"         an index is written when an attribute changes that it projects;
                                                         another key is a deletion and a put

The guide does not say whether a transaction doubles the units of an index, too. It does not: that was measured against
the service by the authors of an engine that imitates it (https://github.com/nubo-db/dynoxide/pull/188).

The local engines count differently or not at all, so the units are computed here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

UNIT = 1024  # bytes
CONTAINER = 3  # bytes that a list or a map takes besides what is in it
ELEMENT = 1  # byte more for each element of a list or a map

Item = Mapping[str, Any]
"""As DynamoDB spells it: attribute → {type: value}."""


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index that projects its keys, those of the table, and what is `included`."""

    name: str
    keys: tuple[str, ...]
    included: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The cost of writing one item or one index entry. `size` in bytes."""

    what: str
    operation: str
    size: int
    units: int


def item_size(item: Item) -> int:
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Mapping[str, Any]) -> int:
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return number_size(content)
        case "B":
            return len(content)
        case "BOOL" | "NULL":
            return 1
        case "L":
            return CONTAINER + sum(ELEMENT + value_size(element) for element in content)
        case "M":
            return CONTAINER + sum(ELEMENT + len(key.encode()) + value_size(each) for key, each in content.items())
        case "SS":
            return sum(len(element.encode()) for element in content)
        case "NS":
            return sum(number_size(element) for element in content)
        case "BS":
            return sum(len(element) for element in content)
    raise ValueError(f"an unknown type {kind}")


def number_size(text: str) -> int:
    """One byte per two significant digits, plus one, plus one for a sign; zeroes at both ends are trimmed."""
    sign, digits, _ = Decimal(text).as_tuple()
    significant = "".join(map(str, digits)).strip("0")
    return -(-len(significant) // 2) + 1 + sign


def write_units(size: int, *, in_transaction: bool) -> int:
    """`size`: bytes of the item before or after, whichever is larger."""
    return max(-(-size // UNIT), 1) * (2 if in_transaction else 1)


def index_writes(index: Index, before: Item | None, after: Item | None) -> Iterator[Written]:
    """The cost of an item's change in an index, in a transaction or not."""
    entry_before, entry_after = _entry(index, before), _entry(index, after)
    if entry_before == entry_after:
        return
    for entry, operation in ((entry_before, "delete"), (entry_after, "put")):
        if entry is not None:
            size = item_size(entry)
            yield Written(index.name, operation, size, write_units(size, in_transaction=False))


def _entry(index: Index, item: Item | None) -> Item | None:
    """The item's place in the index, if it has all of its keys."""
    if item is None or not all(key in item for key in index.keys):
        return None
    return {name: item[name] for name in ("pk", "sk", *index.keys, *index.included) if name in item}


def written(
    what: str,
    operation: str,
    before: Item | None,
    after: Item | None,
    *,
    in_transaction: bool,
    indexes: Sequence[Index] = (),
) -> list[Written]:
    """The cost of one write of one item, with its indexes."""
    size = max(item_size(item) if item is not None else 0 for item in (before, after))
    units = write_units(size, in_transaction=in_transaction)
    costs = [Written(what, operation, size, units)]
    for index in indexes:
        costs += index_writes(index, before, after)
    return costs
