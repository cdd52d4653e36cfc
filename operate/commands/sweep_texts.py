"""`playground sweep-texts`: find texts in the content bucket that no turn refers to."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from operate.helptext import more_help
from operate.options import note, on_a_stack, show, working_on
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_keys import turn_key
from playground.adapters.dynamo_store import DynamoStore
from playground.adapters.texts import PREFIX, TurnTexts
from playground.ports import TextRef

PAGE = 100  # objects, whose turns are read in one request
OLD = timedelta(days=1)  # no run or copy takes as long: its writer has written the turn by then, or died
_NAME = re.compile(rf"{PREFIX}([^/]+)/(\d{{6}})-[^/]+")


@click.command(
    "sweep-texts",
    epilog=more_help(
        rights=[
            "dynamodb:BatchGetItem on the table of sessions",
            "s3:ListBucket on the bucket and, to delete, s3:DeleteObject on its sessions/*",
        ],
        statuses={1: None, 2: "it could not be done, or not for all", 4: None},
        examples=["./playground sweep-texts", "./playground sweep-texts --delete --stack playground-prod"],
    ),
)
@click.option("--delete", is_flag=True, help="Remove what is found.")
@on_a_stack
def command(delete: bool, stack_name: str | None, as_json: bool) -> None:
    """The texts of a turn that are too large for its item are put into the content bucket before the turn is written.
    When the process dies in between, they stay, and nobody can read them: no turn refers to them. This finds those
    that are older than a day, and with --delete removes them.

    It reads the names of all objects under sessions/, in pages of a hundred, and one item for each of them; few turns
    have any.
    """
    names = []
    with working_on(stack_name) as stack:
        texts = stack.texts
        for name in orphans(stack.store, stack.sessions_table, texts, before=datetime.now(UTC) - OLD):
            names.append(name)
            if not as_json:
                click.echo(name)
            if delete:
                texts.delete(TextRef(name=name, version=None, digest=""))
    if as_json:
        show({"texts": names, "removed": delete}, "", as_json=True)
    note(f"{len(names)} {'removed' if delete else 'found'}")


def orphans(store: DynamoStore, table: str, texts: TurnTexts, *, before: datetime) -> Iterator[str]:
    """Names of objects that were written before a time and that no turn names."""
    after: str | None = None
    while True:
        page, after = texts.page(after, limit=PAGE)
        old = {name: match for name, at in page if at < before and (match := _NAME.fullmatch(name))}
        keys = {name: turn_key(table, match[1], int(match[2])) for name, match in old.items()}
        found = store.get_all(sorted(set(keys.values()), key=str), consistent=frozenset({table})) if keys else {}
        for name, key in keys.items():
            kept = items.kept_of(found[key]) if key in found else None
            if kept is None or kept.name != name:
                yield name
        if after is None:
            return
