"""What Stripe's API looks like on the wire: errors, form-encoded parameters, and the checks that parameters get."""

import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

Obj = dict[str, Any]

MAX_FIELDS: Final = 1_000
MAX_DEPTH: Final = 8
MAX_METADATA_KEYS: Final = 50
MAX_METADATA_KEY_CHARACTERS: Final = 40
MAX_METADATA_VALUE_CHARACTERS: Final = 500
LIST_PARAMETERS: Final = ("limit", "starting_after", "ending_before", "created")


class ApiError(Exception):
    """An error as the API reports it.

    `executed`: the request had begun to act when it failed, so its idempotency key keeps this answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        executed: bool = False,
        headers: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.code, self.param = status, kind, message, code, param
        self.executed, self.headers, self.facts = executed, dict(headers or {}), facts

    def body(self) -> Obj:
        error: Obj = dict(self.facts)
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        error["message"] = self.message
        if self.param is not None:
            error["param"] = self.param
        error["type"] = self.kind
        return {"error": error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The request is invalid, whatever the state of its object; nothing was done."""
    return ApiError(400, "invalid_request_error", message, param=param, code=code)


def refused(message: str, code: str | None = None, param: str | None = None, **facts: Any) -> ApiError:
    """The state of the object does not allow the request."""
    return ApiError(400, "invalid_request_error", message, code=code, param=param, executed=True, **facts)


def no_such(kind: str, identifier: str, param: str = "id") -> ApiError:
    """There is no such object: 404 if the path names it, 400 if a parameter does."""
    status = 404 if param in ("id", "intent") else 400
    kind = "PaymentMethod" if kind == "payment_method" else kind
    message = f"No such {kind}: '{identifier}'"
    return ApiError(status, "invalid_request_error", message, code="resource_missing", param=param)


def unsupported(what: str, param: str | None = None) -> ApiError:
    """Stripe supports this and the stand-in does not: it is refused instead of done differently."""
    return invalid(f"The Stripe double has no {what}.", param)


# ---------------------------------------------------------------- decoding


def decode_form(text: str) -> Obj:
    """`a[b][0]=c` as nested dicts and lists. Raises ApiError for what cannot be read."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise invalid("The request could not be read as a form.") from None
    tree: Obj = {}
    for key, value in pairs:
        _place(tree, key, value)
    return {key: _lists(value, key) for key, value in tree.items()}


def _place(tree: Obj, key: str, value: str) -> None:
    name, bracket, rest = key.partition("[")
    path = [name, *re.findall(r"([^\[\]]*)\]", rest)] if bracket else [name]
    if not name or "]" in name or len(path) > MAX_DEPTH or (bracket and f"{name}[{']['.join(path[1:])}]" != key):
        raise invalid(f"Invalid parameter name: {key[:100]}")
    node = tree
    for index, step in enumerate(path):
        step = step or str(len(node))  # a[]=1&a[]=2
        if index == len(path) - 1:
            if isinstance(node.get(step), dict):
                raise invalid(f"Invalid hash: {key[:100]}", path[0])
            node[step] = value
            return
        following = node.setdefault(step, {})
        if not isinstance(following, dict):
            raise invalid(f"Invalid hash: {key[:100]}", path[0])
        node = following


def _lists(node: Any, name: str) -> Any:
    """Numbered keys are a list, except in metadata, where any key may be a number."""
    if not isinstance(node, dict):
        return node
    decoded = {key: _lists(value, key) for key, value in node.items()}
    if name != "metadata" and decoded and all(key.isascii() and key.isdigit() for key in decoded):
        return [decoded[key] for key in sorted(decoded, key=int)]
    return decoded


# ---------------------------------------------------------------- parameters


class Params:
    """The parameters of one call. Names that are not allowed are refused, as the API does."""

    def __init__(self, values: Mapping[str, Any], allowed: Iterable[str], prefix: str = "") -> None:
        self._values = dict(values)
        self._prefix = prefix
        unknown = [self.path(name) for name in values if name not in (*allowed, "expand")]
        if unknown:
            noun = "parameter" if len(unknown) == 1 else "parameters"
            raise invalid(f"Received unknown {noun}: {', '.join(unknown)}", unknown[0], "parameter_unknown")

    def path(self, name: str) -> str:
        return f"{self._prefix}[{name}]" if self._prefix else name

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def cleared(self, name: str) -> bool:
        """Whether the parameter is an empty string, which removes the value."""
        return bool(self._values.get(name, None) == "")

    def missing(self, name: str) -> ApiError:
        return invalid(f"Missing required param: {self.path(name)}.", self.path(name), "parameter_missing")

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise invalid(f"Invalid string: {value}", self.path(name))
        return value

    def needed(self, name: str) -> str:
        if self.cleared(name):
            message = f"You passed an empty string for '{self.path(name)}'. We assume empty values are an attempt "
            raise invalid(
                f"{message}to unset a parameter; however '{self.path(name)}' cannot be unset.",
                self.path(name),
                "parameter_invalid_empty",
            )
        value = self.text(name)
        if value is None:
            raise self.missing(name)
        return value

    def integer(self, name: str, *, lowest: int | None = None, highest: int | None = None) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,15}", value):
            raise invalid(f"Invalid integer: {value}", self.path(name), "parameter_invalid_integer")
        number = int(value)
        if lowest is not None and number < lowest:
            message = f"This value must be greater than or equal to {lowest}."
            raise invalid(message, self.path(name), "parameter_invalid_integer")
        if highest is not None and number > highest:
            message = f"This value must be less than or equal to {highest}."
            raise invalid(message, self.path(name), "parameter_invalid_integer")
        return number

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.text(name)
        if value is None:
            return default
        if value not in ("true", "false"):
            raise invalid(f"Invalid boolean: {value}", self.path(name))
        return value == "true"

    def choice(self, name: str, allowed: Collection[str], default: str | None = None) -> str | None:
        value = self.text(name)
        if value is None:
            return default
        if value not in allowed:
            names = list(allowed)
            listed = f"{', '.join(names[:-1])}, or {names[-1]}" if len(names) > 1 else names[0]
            raise invalid(f"Invalid {self.path(name)}: must be one of {listed}", self.path(name))
        return value

    def nested(self, name: str, allowed: Iterable[str]) -> "Params":
        """The parameters below a name; empty when there are none."""
        value = self._values.get(name, {})
        if value == "":
            value = {}
        if not isinstance(value, dict):
            raise invalid("Invalid object", self.path(name))
        return Params(value, allowed, self.path(name))

    def several(self, name: str, allowed: Iterable[str]) -> list["Params"]:
        value = self._values.get(name, [])
        if not isinstance(value, list):
            raise invalid("Invalid array", self.path(name))
        found = []
        for index, item in enumerate(value):
            where = f"{self.path(name)}[{index}]"
            if not isinstance(item, dict):
                raise invalid("Invalid object", where)
            found.append(Params(item, allowed, where))
        return found

    def words(self, name: str) -> list[str]:
        """A list of strings."""
        value = self._values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise invalid("Invalid array", self.path(name))
        return list(value)

    def raw(self, name: str) -> Any:
        return self._values.get(name)

    def metadata(self, before: Mapping[str, str] | None = None) -> dict[str, str]:
        """The metadata afterwards: keys are merged, an empty value removes its key, an empty string removes all."""
        if self.cleared("metadata"):
            return {}
        given = self._values.get("metadata", {})
        if not isinstance(given, dict):
            raise invalid("Invalid object", self.path("metadata"))
        merged = dict(before or {})
        for key, value in given.items():
            where = f"{self.path('metadata')}[{key}]"
            if not isinstance(value, str):
                raise invalid(f"Metadata values must be strings, but for key `{key}` you passed an object.", where)
            if len(key) > MAX_METADATA_KEY_CHARACTERS:
                raise invalid(f"Metadata keys can have up to {MAX_METADATA_KEY_CHARACTERS} characters.", where)
            if len(value) > MAX_METADATA_VALUE_CHARACTERS:
                raise invalid(f"Metadata values can have up to {MAX_METADATA_VALUE_CHARACTERS} characters.", where)
            if value:
                merged[key] = value
            else:
                merged.pop(key, None)
        if len(merged) > MAX_METADATA_KEYS:
            raise invalid(f"Metadata can have up to {MAX_METADATA_KEYS} keys.", self.path("metadata"))
        return merged


def currency(params: Params, name: str = "currency") -> str:
    value = params.needed(name).lower()
    if not re.fullmatch(r"[a-z]{3}", value):
        raise invalid(f"Invalid currency: {value}.", params.path(name))
    return value


def dollars(amount: int, currency_: str) -> str:
    """An amount as Stripe's messages have it."""
    number = f"{Decimal(amount) / 100:,.2f}"
    return f"${number}" if currency_ == "usd" else f"{number} {currency_.upper()}"
