"""The account on disk: one SQLite file, written in one transaction after every call."""

import json
import sqlite3
from pathlib import Path
from typing import Final

from doubles.stripe.world import World

FILE_NAME: Final = "stripe.sqlite3"
SCHEMA: Final = """
create table if not exists objects (id text primary key, number integer not null, value text not null);
create table if not exists facts (name text primary key, value text not null);
"""


class State:
    """The stored account. After a kill it is as after the last complete call."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # secrets of endpoints are in it
        self._database = sqlite3.connect(folder / FILE_NAME, check_same_thread=False)
        self._database.execute("pragma journal_mode=wal")
        self._database.execute("pragma synchronous=off")  # a kill loses nothing; a power cut may, on a laptop
        self._database.executescript(SCHEMA)
        self._number = self._one("select coalesce(max(number), 0) from objects")
        self._numbers: dict[str, int] = dict(self._database.execute("select id, number from objects"))

        self._skipped = ""

    def load(self, world: World) -> None:
        for (value,) in self._database.execute("select value from objects order by number"):
            obj = json.loads(value)
            if obj.get("state") == "sending":  # whether it was received is not known: send it again
                obj["state"] = "pending"
            world.add(obj)
        world.changed.clear()
        skipped = self._database.execute("select value from facts where name = 'skipped'").fetchone()
        if skipped is not None:
            world.clock.skipped = float(skipped[0])

    def save(self, world: World) -> None:
        skipped = str(world.clock.skipped)
        if not world.changed and skipped == self._skipped:
            return
        with self._database:
            for identifier, obj in world.changed.items():
                if obj is None:
                    self._database.execute("delete from objects where id = ?", (identifier,))
                    continue
                if identifier not in self._numbers:
                    self._number += 1
                    self._numbers[identifier] = self._number
                self._database.execute(
                    "insert or replace into objects values (?, ?, ?)",
                    (identifier, self._numbers[identifier], json.dumps(obj, ensure_ascii=False)),
                )
            self._database.execute("insert or replace into facts values ('skipped', ?)", (skipped,))
        self._skipped = skipped
        world.changed.clear()

    def close(self) -> None:
        self._database.close()

    def _one(self, query: str) -> int:
        return int(self._database.execute(query).fetchone()[0])
