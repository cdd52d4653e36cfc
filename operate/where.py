"""Where an operator's command finds what it works on: in the running stack or, by its names, in a deployed one."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from local.engine import CREDENTIALS
from local.resources import client as local_client
from local.settings import state_dir
from local.state_file import read_state
from operate.dynamo_erasure import DynamoEraser
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.adapters.texts import TurnTexts

# Config of AWS's own clients: an operator can wait longer than a request.
_PATIENT = Config(connect_timeout=5, read_timeout=30)


@dataclass(frozen=True, slots=True)
class Place:
    """Something that has a name: `kind` and `logical_id` in the state of the running stack, `output` of a deployed one.
    Where it is `optional`, a deployed stack will do without."""

    option: str
    what: str
    kind: str
    logical_id: str
    output: str
    optional: bool = False

    @property
    def name(self) -> str:
        return self.option.removeprefix("--").replace("-", "_")


LEDGER = Place("--ledger-table", "the ledger's table", "tables", "LedgerTable", "LedgerTableName")
SESSIONS = Place("--sessions-table", "the sessions' table", "tables", "SessionsTable", "SessionsTableName")
CATALOG = Place("--catalog-table", "the catalogue's table", "tables", "CatalogTable", "CatalogTableName")
BUCKET = Place("--bucket", "the bucket of texts and packages", "buckets", "ContentBucket", "ContentBucketName")
STRIPE = Place("--stripe-secret", "the secret for Stripe", "secrets", "StripeSecret", "StripeSecretArn", optional=True)


class NowhereError(Exception):
    """There is nothing to work on."""


def where(*places: Place) -> str:
    """The part of a command's help that says where it works."""
    wanted = [place for place in places if not place.optional]
    names = "\n".join(f"    {place.option:<17} the output {place.output} of the stack" for place in places)
    arguments = " ".join(f"{place.option} ..." for place in wanted)
    return f"""\
where:
  By default the stack that `make run` has started, which it finds in STATE_DIR/stack.json (STATE_DIR: .local).
  With ARGS="{arguments}" a deployed one:
{names}
  Credentials and region are found as by the AWS CLI (AWS_PROFILE, AWS_REGION, ...).
"""


def add_places(parser: argparse.ArgumentParser, *places: Place) -> None:
    for place in places:
        parser.add_argument(place.option, help=f"name of {place.what} in a deployed stack ({place.output})")
    parser.set_defaults(places=places)


@dataclass(slots=True)
class Found:
    """The names of the places, and connections to where they are, which end with `find`."""

    names: Mapping[str, str]
    state: Mapping[str, Any] | None  # of the stack on this machine
    closing: ExitStack = field(default_factory=ExitStack)

    @property
    def ledger_table(self) -> str:
        return self.names[LEDGER.name]

    @property
    def sessions_table(self) -> str:
        return self.names[SESSIONS.name]

    def client(self, service: str) -> Any:
        """Of AWS, or of the store on this machine, with nothing of the developer's own. Raises NowhereError."""
        try:
            made = (
                boto3.client(service, config=_PATIENT)
                if self.state is None
                else local_client(service, self.state["engine_url"])
            )
        except BotoCoreError as error:
            raise NowhereError(str(error)) from None
        self.closing.callback(made.close)
        return made

    def store(self) -> DynamoStore:
        """Of all the tables. Raises NowhereError."""
        if self.state is None:
            connection = connect()
        else:
            connection = connect(CREDENTIALS["AWS_REGION"], self.state["engine_url"])
            # Of the store on this machine, never the developer's own.
            connection.session.set_credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
        store = DynamoStore(connection, [name for place, name in self.names.items() if place.endswith("_table")])
        try:
            self.closing.callback(connection.client.close)  # made here: else PynamoDB makes one per thread that asks
        except BotoCoreError as error:
            raise NowhereError(str(error)) from None
        return store

    def texts(self) -> TurnTexts:
        s3 = self.client("s3")
        return TurnTexts(lambda: s3, self.names[BUCKET.name])

    def ledger(self, store: DynamoStore) -> DynamoLedger:
        """Without the table of conversations it can do everything but settle."""
        return DynamoLedger(store, ledger_table=self.ledger_table, sessions_table=self.names.get(SESSIONS.name, ""))

    def person(self, store: DynamoStore) -> DynamoEraser:
        """Everything that is kept of a user, to read it or to erase it."""
        return DynamoEraser(
            store, ledger_table=self.ledger_table, sessions_table=self.sessions_table, texts=self.texts()
        )


@contextmanager
def find(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Iterator[Found]:
    """What the options name, or the same of the running stack. Raises NowhereError."""
    places: tuple[Place, ...] = options.places
    names = {place.name: name for place in places if (name := getattr(options, place.name)) is not None}
    needed = [place for place in places if not place.optional]
    if names and not all(place.name in names for place in needed):
        parser.error(f"{' and '.join(place.option for place in needed)} must be given for a deployed stack")
    state = None
    if empty := [place.option for place in places if names.get(place.name, "-").strip() == ""]:
        parser.error(f"{', '.join(empty)}: the name is empty")
    if not names:
        options_needed = " and ".join(place.option for place in needed)
        state = running(f'name what a deployed one has with ARGS="..." ({options_needed})')
        names = {place.name: name for place in places if (name := state.get(place.kind, {}).get(place.logical_id))}
        if missing := [place.what for place in needed if place.name not in names]:
            raise NowhereError(f"the running stack has no name for {' and '.join(missing)}")
    found = Found(names, state)
    with found.closing:
        yield found


def running(otherwise: str | None = None) -> dict[str, Any]:
    """The state of the stack on this machine. Raises NowhereError."""
    folder = state_dir()
    state = read_state(folder)
    if state is None:
        raise NowhereError(no_stack(folder) + (f", or {otherwise}" if otherwise else ""))
    return state


def no_stack(folder: Path) -> str:
    return f"no stack is running with its state in {folder}: start one with `make run`"


def cause(error: BaseException) -> str:
    """What the store said, for an operator who can do something about it."""
    return f" ({error.__cause__})" if error.__cause__ else ""
