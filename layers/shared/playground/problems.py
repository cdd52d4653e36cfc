"""What is wrong with a request, in our words: which field, what came, and what would be right.

pydantic finds most problems. Its messages are never shown: they speak of inputs and strings, and versions differ.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from playground.domain.errors import InvalidRequestError

PLACES = ("body", "query", "path", "header")  # where a field is, as Powertools begins its location
OWN = "value_error"  # raised by a validator of ours, whose message says what would be right

EXPECTED: Mapping[str, str] = {
    "missing": "must be given",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "string_unicode": "must be a text without half of a surrogate pair",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "greater_than_equal": "must be at least {ge:,}",
    "less_than_equal": "must be at most {le:,}",
    "string_too_short": "must have at least {min_length:,} character{min_s}",
    "string_too_long": "must have at most {max_length:,} character{max_s}",
    "too_short": "must have at least {min_length:,} entries",
    "too_long": "must have at most {max_length:,} entries",
    "literal_error": "must be one of {options}",
}
"""What would be right, for each kind of problem that pydantic reports for our bodies and parameters."""

PATTERNS: Mapping[str, str] = {
    r"^[0-9A-Za-z.+-]+$": "must have only letters, digits and . + -",
    r"^[0-9A-Za-z_-]+$": "must have only letters, digits, _ and -",
    r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$": "must have only printable ASCII characters, and no space at its ends",
}
"""What a text has to look like, for each pattern of a request."""

ANYTHING_ELSE = "must be as GET /openapi.json describes it"

_LENGTHS = ("string_too_short", "string_too_long")


def first_problem(problems: Sequence[Mapping[str, Any]]) -> InvalidRequestError:
    """The first of pydantic's `problems`. A field is named as the request named it, `userInput` for example; a missing
    one has the contract's name."""
    for problem in problems:
        where = [str(part) for part in problem["loc"]]
        field = ".".join(where[1:] if where[0] in PLACES else where) or "body"
        kind, expected = str(problem["type"]), expected_of(problem)
        if kind == "missing":
            return InvalidRequestError(field, expected)
        return InvalidRequestError(field, expected, got=problem.get("input"), is_text=kind in _LENGTHS)
    return InvalidRequestError("body", ANYTHING_ELSE)


def expected_of(problem: Mapping[str, Any]) -> str:
    """What would be right."""
    kind, context = str(problem["type"]), dict(problem.get("ctx") or {})
    if kind == OWN:
        return str(problem["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(str(context.get("pattern")), ANYTHING_ELSE)
    if kind == "literal_error":
        context["options"] = ", ".join(re.findall("'([^']*)'", str(context["expected"])))
    for bound in ("min", "max"):
        context[f"{bound}_s"] = "" if context.get(f"{bound}_length") == 1 else "s"
    for name in ("ge", "le"):  # floats, where the bound is a whole number
        if isinstance(context.get(name), float) and context[name].is_integer():
            context[name] = int(context[name])
    return EXPECTED.get(kind, ANYTHING_ELSE).format(**context)


def whole_number(bounds: Sequence[Any]) -> str:
    """What would be right for a number in a query. `bounds`: pydantic's metadata of the parameter."""
    least = next((bound.ge for bound in bounds if hasattr(bound, "ge")), None)
    most = next((bound.le for bound in bounds if hasattr(bound, "le")), None)
    span = f" from {least:,} to {most:,}" if least is not None and most is not None else ""
    return f"must be a whole number{span}, in digits"
