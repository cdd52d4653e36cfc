"""Items from dataclasses and back. A field is an attribute of the same name; its declared type says how it is encoded.

    int, str, bool           themselves, checked when they are read
    datetime                 ISO text (`calendar.iso`), or milliseconds since 1970 if the schema has a number
    timedelta                milliseconds
    enum                     its value
    tuple, frozenset         a list, a set
    Mapping[str, X]          a map
    a dataclass              a map of its fields, under the names in `NAMES`; a list of them in order if in `AS_LIST`

A field that is None or has its default is left out where it may be absent: in a schema if the attribute is `null`, in a
map always. What is absent is read as the default, or None. So a field with a default can be added, and what is stored
stays as it is.
"""

from collections import abc
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pynamodb.attributes import NumberAttribute
from pynamodb.models import Model

from playground.adapters.dynamo_store import RawItem
from playground.domain.account import Hold
from playground.domain.calendar import from_iso, iso
from playground.domain.credits import Deltas
from playground.domain.pricing import Price, Usage
from playground.domain.purchases import Claim
from playground.domain.runs import Failure
from playground.domain.sessions import Comparison
from playground.domain.sharing import ShareLink
from playground.domain.subscriptions import AgreedPrice

_T = TypeVar("_T")

AS_LIST = frozenset({Deltas, Usage, Price})
NAMES: Mapping[type, Mapping[str, str]] = {
    # An account may have twenty holds, and DynamoDB charges for every letter of their names.
    Hold: {
        "nonce": "n",
        "ceiling": "c",
        "lease_at": "l",
        "request_hash": "r",
        "session_id": "s",
        "model": "m",
        "placed_at": "p",
        "ticket": "q",
        "cost_nano": "k",
        "interval": "f",
        "max_tokens": "t",
        "stop": "x",
        "trace_id": "i",
    },
    Claim: {"amount": "a", "stage": "s", "made_at": "t"},
    AgreedPrice: {"amount": "a", "currency": "c", "price_id": "p"},
    ShareLink: {"share_id": "id"},
    Comparison: {"comparison_id": "id"},
}
KEYED = {Hold: "run_id"}
"""Stored in a map under this field, which is not repeated in the value."""
WITH_NULLS = frozenset({Failure})
"""Nothing of these is left out: None is NULL."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def millis(moment: datetime) -> int:
    """Milliseconds since 1970, cut."""
    return (moment - _EPOCH) // _MILLISECOND


def whole(value: Any) -> int:
    """Raises ValueError or TypeError if `value` is not a whole number."""
    if isinstance(value, bool) or int(value) != value:
        raise ValueError(f"{value} is not a whole number")
    return int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemMapping(Generic[_T]):
    """How objects of the dataclass `of` are items of `schema`.

    `inline`: fields whose own fields are attributes of the item; such a field is there if the attributes named are.
    `names`: field → attribute, if they differ. `not_stored`: fields that reading must be given, or that keep their
    default. `not_fields`: attributes that writing may be given. Raises TypeError if a field or an attribute is left.
    """

    of: type[_T]
    schema: type[Model]
    inline: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    not_stored: frozenset[str] = frozenset()
    not_fields: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        found = set(self.not_fields)
        for each in _fields(cast(Hashable, self.of)):
            if each.name in self.inline:
                found |= {inner.name for inner in _fields(_object_type(each.hint))}
            elif each.name not in self.not_stored:
                found.add(self.names.get(each.name, each.name))
        if odd := found ^ set(self.schema.get_attributes()):
            raise TypeError(f"{self.schema.__name__} and {self.of.__name__} differ in {', '.join(sorted(odd))}")

    def write(self, value: _T, **others: Any) -> RawItem:
        """The item without its key. `others`: attributes that are not fields, or instead of what the fields say. Raises
        ValueError without an attribute that must be there, or for one that is not of the schema."""
        values = {**self._attributes(self.of, value), **others}
        item: dict[str, Any] = {}
        for name, attribute in self.schema.get_attributes().items():
            given = values.pop(name, None)
            stored = attribute.serialize(given) if given is not None else None
            if stored is not None:
                item[attribute.attr_name] = {attribute.attr_type: stored}
            elif not attribute.null:
                raise ValueError(f"{self.schema.__name__} without {name}")
        if values:
            raise ValueError(f"{self.schema.__name__} has no {', '.join(values)}")
        return item

    def read(self, raw: RawItem, **others: Any) -> _T:
        """The object in an item. `others`: fields that are not stored, or instead of what is.

        Raises ValueError, TypeError or LookupError if the item is damaged: without what must be there, or of another
        type.
        """
        attributes = self.schema.get_attributes()
        found = {name: value_of(attribute, raw) for name, attribute in attributes.items()}
        missing = [name for name, attribute in attributes.items() if found[name] is None and not attribute.null]
        if missing:
            raise ValueError(f"without {', '.join(missing)}")
        made: _T = self._object(self.of, found, others)
        return made

    def _attributes(self, of: type, value: Any) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        schema = self.schema.get_attributes()
        for each in _fields(of):
            name, inner = self.names.get(each.name, each.name), getattr(value, each.name)
            if each.name in self.inline:
                attributes |= self._attributes(type(inner), inner) if inner is not None else {}
            elif name in schema and not (schema[name].null and inner == each.default):
                number = isinstance(inner, datetime) and isinstance(schema[name], NumberAttribute)
                attributes[name] = millis(inner) if number else encode(inner)
        return attributes

    def _object(self, of: type, found: Mapping[str, Any], others: Mapping[str, Any]) -> Any:
        values = dict(others)
        for each in _fields(of):
            name = self.names.get(each.name, each.name)
            if each.name in others or each.name in self.not_stored:
                continue
            if each.name in self.inline:
                if all(found[mark] is not None for mark in self.inline[each.name]):
                    values[each.name] = self._object(_object_type(each.hint), found, {})
            elif found[name] is not None or each.default is MISSING:
                values[each.name] = _top_level(each, found[name])
        return of(**values)


def value_of(attribute: Any, raw: RawItem) -> Any:
    """An attribute of an item as a plain value; None if it is absent or NULL. Raises TypeError for another type."""
    stored = raw.get(attribute.attr_name)
    return None if stored is None or "NULL" in stored else attribute.deserialize(attribute.get_value(stored))


def encode(value: Any) -> Any:
    """A value of a field as one that PynamoDB's attributes take."""
    encoder: Callable[[Any], Any] = _encoder(cast(Hashable, type(value)))
    return encoder(value)


@cache
def _encoder(of: Any) -> Callable[[Any], Any]:
    """What encodes values of a type."""
    if issubclass(of, Enum):
        return lambda value: value.value
    if issubclass(of, str | int | bytes | NoneType):
        return lambda value: value
    if issubclass(of, datetime):
        return iso
    if issubclass(of, timedelta):
        return lambda value: value // _MILLISECOND
    if issubclass(of, frozenset):
        return set
    if issubclass(of, tuple | list):
        return lambda values: [encode(each) for each in values]
    if issubclass(of, Mapping):
        return lambda values: {name: encode(each) for name, each in values.items()}
    if of in AS_LIST:
        return lambda value: [encode(getattr(value, each.name)) for each in _fields(of)]
    return lambda value: _to_map(of, value)


def _to_map(of: Any, value: Any) -> dict[str, Any]:
    found = ((each, getattr(value, each.name)) for each in _fields(of))
    return {
        each.short: encode(inner)
        for each, inner in found
        if each.name != KEYED.get(of) and (of in WITH_NULLS or inner not in (None, each.default))
    }


def decode(of: type[_T], value: Any) -> _T:
    """The inverse of `encode`. Raises ValueError, TypeError or LookupError for what cannot have been written."""
    decoder: Callable[[Any], _T] = _decoder(cast(Hashable, of))
    return decoder(value)


@cache
def _decoder(of: Any) -> Callable[[Any], Any]:
    """What reads a value of a declared type."""
    origin, arguments = get_origin(of), get_args(of)
    if origin in (Union, UnionType):
        others = tuple(each for each in arguments if each is not NoneType)
        inner = _decoder(others[0]) if len(others) == 1 else _checked(others)
        return (lambda value: None if value is None else inner(value)) if NoneType in arguments else inner
    if origin is tuple or origin is frozenset:
        each = _decoder(arguments[0])
        return lambda values: origin(each(value) for value in values)
    if origin is abc.Mapping:
        key, each = KEYED.get(arguments[1]), _decoder(arguments[1])
        if key is not None:
            return lambda values: {name: _from_map(arguments[1], value, {key: name}) for name, value in values.items()}
        return lambda values: {name: each(value) for name, value in values.items()}
    if of is int:
        return whole
    if of is datetime:
        return from_iso
    if of is timedelta:
        return lambda value: whole(value) * _MILLISECOND
    if issubclass(of, Enum):
        return (lambda value: of(whole(value))) if issubclass(of, int) else of
    if of in AS_LIST:
        return lambda values: _from_list(of, values)
    return (lambda value: _from_map(of, value, {})) if is_dataclass(of) else _checked((of,))


def _checked(types: tuple[type, ...]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, types):
            raise TypeError(f"{value!r} is not of {', '.join(each.__name__ for each in types)}")
        return value

    return check


def _top_level(each: "_Field", value: Any) -> Any:
    """The value of an attribute: one that is a number by its schema is a time in milliseconds."""
    if type(value) is int and each.is_time:
        return _EPOCH + value * _MILLISECOND
    return each.decode(value)


def _from_list(of: Any, values: list[Any]) -> Any:
    return of(**{each.name: each.decode(value) for each, value in zip(_fields(of), values, strict=True)})


def _from_map(of: Any, stored: Mapping[str, Any], values: dict[str, Any]) -> Any:
    for each in _fields(of):
        if each.name not in values and (each.short in stored or each.default is MISSING):
            values[each.name] = each.decode(stored.get(each.short))
    return of(**values)


@dataclass(frozen=True)
class _Field:
    """A field of a dataclass. `short`: its name in a map. `default`: to compare with; MISSING if it must be given."""

    name: str
    short: str
    hint: Any
    default: Any

    @cached_property
    def decode(self) -> Callable[[Any], Any]:
        return _decoder(self.hint)

    @cached_property
    def is_time(self) -> bool:
        return _object_type(self.hint) is datetime


@cache
def _fields(of: Any) -> tuple[_Field, ...]:
    hints, names = get_type_hints(of), NAMES.get(of, {})
    return tuple(
        _Field(
            each.name,
            names.get(each.name, each.name),
            hints[each.name],
            each.default if each.default_factory is MISSING else each.default_factory(),
        )
        for each in fields(of)
    )


def _object_type(hint: Any) -> Any:
    """X, of X and of X | None."""
    return next((each for each in get_args(hint) if each is not NoneType), hint)
