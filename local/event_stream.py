"""Reads server-sent events, for `make demo` and the tests."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; its data is JSON. `id`: the last one that was sent, as in a browser."""

    name: str
    data: Any
    id: str | None


def read_events(lines: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The whole events of a stream. One that was cut off is not among them; comments are left out."""
    name, data, id_ = "message", list[str](), None
    for line in lines:
        if not line.endswith(b"\n"):
            return
        text = line.decode().rstrip("\r\n")
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if not text:
            if data:
                yield ServerEvent(name, json.loads("\n".join(data)), id_)
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            id_ = value
