"""Variables: placeholders of a prompt that its user fills.

`{{name}}` is one, and `{{name=default}}` one that may be left out. A name has letters, digits and `_` of ASCII.
Anything else in braces is text, and so is everything in a prompt that is run without variables.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from playground.domain.errors import InvalidRequestError, UnknownFieldError, nearest_name

MAX_VARIABLES = 50  # of a request, and names in a text: one with more is a template of another tool
MAX_NAME_CHARACTERS = 64
MAX_DEFAULT_CHARACTERS = 200
MAX_VALUE_CHARACTERS = 5_000
MAX_VALUES_CHARACTERS = 10_000  # all values of a request together: they are stored with the session
MAX_FILLED_CHARACTERS = 1_000_000  # of a text with its values: a placeholder may be there a thousand times

FIELD = "variables"
_SHOWN = 10  # names in a message
_NAME = re.compile(f"[A-Za-z0-9_]{{1,{MAX_NAME_CHARACTERS}}}")
_PLACEHOLDER = re.compile(
    rf"\{{\{{([A-Za-z0-9_]{{1,{MAX_NAME_CHARACTERS}}})(?:=([^{{}}\r\n]{{0,{MAX_DEFAULT_CHARACTERS}}}))?\}}\}}"
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that a text has placeholders for. Without a `default` it must be given."""

    name: str
    default: str | None = None


def variables_of(text: str) -> tuple[Variable, ...]:
    """The variables of `text`, in the order of their first places. The first default of a name counts for all of its
    places. Empty if there are more than 50 names. Takes linear time."""
    defaults: dict[str, str | None] = {}
    for name, default in _places(text):
        if defaults.get(name) is None:
            defaults[name] = default
        if len(defaults) > MAX_VARIABLES:
            return ()
    return tuple(Variable(name, default) for name, default in defaults.items())


def check_values(values: Mapping[str, object]) -> None:
    """Raises InvalidRequestError, which names the variable, if a name or a value is out of its bounds or no text."""
    lengths: dict[str, int] = {}
    if len(values) > MAX_VARIABLES:
        raise InvalidRequestError(FIELD, f"must be at most {MAX_VARIABLES} variables; got {len(values):,}")
    for name, value in values.items():
        if not _NAME.fullmatch(name):
            shown = ascii(name[:MAX_NAME_CHARACTERS])[1:-1]
            expected = f"must have names of 1 to {MAX_NAME_CHARACTERS} letters, digits and _"
            raise InvalidRequestError(FIELD, expected, message=f"{FIELD}: `{shown}` is not a name of a variable")
        if not isinstance(value, str):
            raise InvalidRequestError(f"{FIELD}.{name}", "must be a text", got=value)
        if len(value) > MAX_VALUE_CHARACTERS:
            expected = f"must have at most {MAX_VALUE_CHARACTERS:,} characters"
            raise InvalidRequestError(f"{FIELD}.{name}", expected, got=value, is_text=True)
        if "\0" in value:
            raise InvalidRequestError(f"{FIELD}.{name}", "must not contain NUL characters")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidRequestError(f"{FIELD}.{name}", "must not contain half of a surrogate pair")
        lengths[name] = len(value)
    if sum(lengths.values()) > MAX_VALUES_CHARACTERS:
        names = ", ".join(sorted(lengths, key=lambda name: -lengths[name])[:_SHOWN])
        expected = f"must have at most {MAX_VALUES_CHARACTERS:,} characters together"
        raise InvalidRequestError(FIELD, expected, message=f"{FIELD}: {expected}; the longest are {names}")


def filled(text: str, values: Mapping[str, str] | None) -> str:
    """`text` with its placeholders replaced by `values`, or their defaults, in one pass: what a value contains stays
    as it is. Without values (None) nothing is replaced.

    Raises InvalidRequestError if a value is missing or for no variable of `text`, or if the result has more than a
    million characters; its message names the variables.
    """
    if values is None:
        return text
    known = variables_of(text)
    names = {variable.name: variable.name for variable in known}
    unknown = [name for name in values if name not in names]
    if len(unknown) == 1:
        raise UnknownFieldError(unknown[0], names, kind="variable", owner="this package", within=FIELD)
    if unknown:
        meant = {name: nearest for name in unknown if (nearest := nearest_name(name, names)) is not None}
        hint = "".join(f" Did you mean `{nearest}` by `{name}`?" for name, nearest in list(meant.items())[:_SHOWN])
        has = _listed(list(names)) or "none"
        message = f"{FIELD}: this package has no variables {_listed(unknown)}; it has {has}.{hint}"
        raise InvalidRequestError(f"{FIELD}.{unknown[0]}", "must be one of the package's", message=message)
    missing = [each.name for each in known if each.default is None and each.name not in values]
    if missing:
        message = f"{FIELD}: missing {_listed(missing)}"
        raise InvalidRequestError(f"{FIELD}.{missing[0]}", "must be given", message=message)
    used = {each.name: values.get(each.name, each.default or "") for each in known}
    if used and len(text) + sum(len(used.get(name, "")) for name, _ in _places(text)) > MAX_FILLED_CHARACTERS:
        expected = f"must give a prompt of at most {MAX_FILLED_CHARACTERS:,} characters"
        longest = max(used, key=lambda name: len(used[name]))
        raise InvalidRequestError(f"{FIELD}.{longest}", expected)
    return _PLACEHOLDER.sub(lambda place: used.get(place[1], place[0]), text)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _places(text: str) -> list[tuple[str, str | None]]:
    return [(place[1], place[2]) for place in _PLACEHOLDER.finditer(text)]
