"""Events of Stripe with a field that is taken away, or is of another type."""

import copy
from collections.abc import Mapping
from typing import Any

from playground.adapters.stripe_events import read_event

Path = tuple[str | int, ...]

GONE = object()
VALUES: tuple[Any, ...] = (
    GONE,
    None,
    True,
    0,
    -1,
    1.5,
    7,
    10**11,
    10**30,
    "",
    "7",
    "x y",
    "\ud800",
    "\0",
    "用户",
    "x" * 3000,
    [],
    [None],
    {},
    {"id": 5},
    {"id": "x" * 3000},
)
"""What stands in the place of a field."""


class Seen(dict[str, Any]):
    """A mapping that notes what is read of it."""

    def __init__(self, value: Mapping[str, Any], path: Path, paths: set[Path]) -> None:
        super().__init__({key: seen(part, (*path, key), paths) for key, part in value.items()})
        self._path, self._paths = path, paths

    def __getitem__(self, key: str) -> Any:
        self._paths.add((*self._path, key))
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._paths.add((*self._path, key))
        return super().get(key, default)


def seen(value: Any, path: Path, paths: set[Path]) -> Any:
    if isinstance(value, dict):
        return Seen(value, path, paths)
    if isinstance(value, list):
        return [seen(part, (*path, number), paths) for number, part in enumerate(value)]
    return value


def used(event: Mapping[str, Any]) -> list[Path]:
    """The fields that are read of an event."""
    paths: set[Path] = set()
    read_event(seen(event, (), paths))
    return sorted(paths - {("data",), ("id",), ("type",), ("object",)}, key=str)


def changed(event: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    after: Any = copy.deepcopy(dict(event))
    place = after
    for step in path[:-1]:
        place = place[step] if isinstance(place, list) or step in place else {}
    if value is GONE:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    result: dict[str, Any] = after
    return result
