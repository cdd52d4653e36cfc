"""Finds texts in the content bucket that no turn names: `make sweep-texts`, or `make sweep-texts ARGS=--help`."""

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from operate.command import command
from operate.where import BUCKET, SESSIONS, NowhereError, add_places, cause, find, where
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.texts import PREFIX, TurnTexts
from playground.domain.errors import PlaygroundError
from playground.ports import Kept

PAGE = 100  # objects, whose turns are read in one request
OLD = timedelta(days=1)  # no run or copy takes as long: whoever wrote it has named it by then, or died
_NAME = re.compile(rf"{PREFIX}([^/]+)/(\d{{6}})-[^/]+")

DESCRIPTION = """\
The texts of a turn that are too large for its item are put into the content bucket before the turn is written. When the
process dies in between, they stay, and nobody can read them: no turn names them. This finds those that are older than a
day, and with --delete removes them. It reads the names of all objects under sessions/, in pages of a hundred, and one
item for each of them; few turns have any.
"""
EPILOG = f"""\
{where(SESSIONS, BUCKET)}\
  Needed are dynamodb:BatchGetItem, s3:ListBucket and, to delete, s3:DeleteObject.

exit status:
  0  done
  2  it could not be done, or not for all

examples:
  make sweep-texts
  make sweep-texts DELETE=1 ARGS="--sessions-table playground-SessionsTable-3C4D --bucket playground-contentbucket-5e6f"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("sweep-texts", "[DELETE=1]", DESCRIPTION, EPILOG)
    parser.add_argument("--delete", action="store_true", help="remove what is found")
    add_places(parser, SESSIONS, BUCKET)
    options = parser.parse_args(arguments)
    try:
        with find(parser, options) as found:
            number, store, texts = 0, found.store(), found.texts()
            for name in orphans(store, found.sessions_table, texts, before=datetime.now(UTC) - OLD):
                number += 1
                print(name)
                if options.delete:
                    texts.delete(Kept(name=name, version=None, digest=""))
            print(f"{number} {'removed' if options.delete else 'found'}", file=sys.stderr)
    except NowhereError as error:
        print(error, file=sys.stderr)
        return 2
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
        return 2
    return 0


def orphans(store: DynamoStore, table: str, texts: TurnTexts, *, before: datetime) -> Iterator[str]:
    """Names of objects that were written before a time and that no turn names."""
    after: str | None = None
    while True:
        page, after = texts.page(after, limit=PAGE)
        old = {name: match for name, at in page if at < before and (match := _NAME.fullmatch(name))}
        keys = {name: items.turn_key(table, match[1], int(match[2])) for name, match in old.items()}
        found = store.get_all(sorted(set(keys.values()), key=str), consistent=frozenset({table})) if keys else {}
        for name, key in keys.items():
            kept = items.kept_of(found[key]) if key in found else None
            if kept is None or kept.name != name:
                yield name
        if after is None:
            return


if __name__ == "__main__":
    sys.exit(main())
