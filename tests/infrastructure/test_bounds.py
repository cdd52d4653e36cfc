"""docs/api.md says what a field may contain: the bounds of the description, no others."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from playground.domain.packages import PACKAGE_NAME, UUID_TEXT
from playground.problems import PATTERNS
from tests.handlers import ROOT
from tests.kit.described import described, resolved

TABLE = re.compile(r"^\| `([\w-]+)` \| (.+) \|$", re.MULTILINE)
WORDS: Mapping[str, str] = {
    **{pattern: words.removeprefix("must have ") for pattern, words in PATTERNS.items()},
    f"^({PACKAGE_NAME}|{UUID_TEXT})$": "a UUID or `@scope/name`",
    f"^{PACKAGE_NAME}$": "`@scope/name`",
    "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$": "a day such as 2027-01-31",
    "^[0-9]{1,9}$": "1 to 9 digits",
}


def span(schema: Mapping[str, Any], least: str, most: str, unit: str = "") -> Iterator[str]:
    low, high = (f"{int(schema[name]):,}" if name in schema else None for name in (least, most))
    if low is not None and high is not None:
        yield f"{low} to {high}{unit}" if low != high else f"{low}{unit}"
    elif low is not None or high is not None:
        yield f"at least {low}{unit}" if low is not None else f"at most {high}{unit}"


def bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    """What a value may be, in words."""
    schema = resolved(schema)
    if "enum" in schema:
        yield ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    elif "const" in schema:
        yield f"`{schema['const']}`"
    else:
        yield from span(schema, "minimum", "maximum")
        yield from span(schema, "minLength", "maxLength", " characters")
        yield from span(schema, "minItems", "maxItems", " entries")
        yield from span(schema, "minProperties", "maxProperties", " names")
        if "pattern" in schema:
            yield WORDS[schema["pattern"]]
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping) and "maxLength" in values:
            yield f"each value at most {values['maxLength']:,} characters"
    for option in schema.get("anyOf", ()):
        yield from bounds(option)


def fields() -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Name, place, operation and schema of everything that a request may have; but of Stripe's events."""
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] == "receiveStripeEvent":
                continue
            name = f"{method.upper()} {path}"
            for parameter in map(resolved, operation.get("parameters", ())):
                yield parameter["name"], parameter["in"], name, parameter["schema"]
            for content in resolved(operation.get("requestBody", {})).get("content", {}).values():
                body = resolved(content["schema"])
                for field, schema in body["properties"].items():
                    yield field, "body", name, schema
                for field, schema in (
                    resolved(body["properties"].get("variants", {}).get("items", {})).get("properties", {}).items()
                ):
                    yield field, "body", name, schema


def rows() -> Mapping[str, str]:
    """The table of docs/api.md: what is usual, and then what else there is, and where."""
    texts: defaultdict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for field, place, operation, schema in fields():
        if text := ", ".join(sorted(dict.fromkeys(bounds(schema)), key=lambda words: words in WORDS.values())):
            texts[field].append((text, place, operation))
    table = {}
    for field, found in texts.items():
        usual, *others = Counter(text for text, _, _ in found).most_common()
        said = [usual[0]]
        for other, _ in others:
            places = {place for text, place, _ in found if text == other}
            elsewhere = {place for text, place, _ in found if text != other}
            where = f"in a {places.pop()}" if not places & elsewhere and len(places) == 1 else ""
            where = where or "of " + ", ".join(f"`{operation}`" for text, _, operation in found if text == other)
            said.append(f"{where}: {other}")
        table[field] = "; ".join(said)
    return dict(sorted(table.items(), key=lambda row: row[0].lower()))


def test_every_bound_and_every_value_of_a_field_is_documented() -> None:
    section = (ROOT / "docs/api.md").read_text(encoding="utf-8").partition("## Bounds\n")[2].partition("\n## ")[0]
    expected = rows()
    lines = "\n".join(f"| `{field}` | {text} |" for field, text in expected.items())
    assert dict(TABLE.findall(section)) == expected, f"the table should be:\n{lines}"
