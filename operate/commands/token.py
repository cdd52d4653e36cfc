"""`playground token alice`: print a token for a user of the stack on this machine."""

from datetime import UTC, datetime, timedelta

import click
import jwt

from local.running import refusal_of
from local.settings import TEMPLATE, state_dir
from local.state_file import UnusableFolderError
from local.template import TemplateError
from local.tokens import TokenError, issuer, key_id
from operate.errors import CannotDoError
from operate.helptext import more_help
from operate.options import USER, in_json, show

MAX_DAYS = 3650


@click.command(
    "token",
    epilog=more_help(
        statuses={
            1: None,
            4: None,
            2: "it could not be done: no template, no folder for the secret, wrong command line",
        },
        examples=["./playground token alice", "./playground token alice --days 1"],
    ),
)
@click.argument("user", type=USER)
@click.option("--days", type=click.IntRange(1, MAX_DAYS), default=30, show_default=True, help="How long it is valid.")
@in_json
def command(user: str, days: int, as_json: bool) -> None:
    """Print a token for USER, and nothing else. It works whether or not the stack is running. If the running stack
    refuses the token, because it has another STATE_DIR, a line on stderr says so."""
    try:
        signer = issuer(TEMPLATE, state_dir())
        token = signer.token(user, timedelta(days=days))
    except (TokenError, TemplateError, UnusableFolderError) as error:
        raise CannotDoError(str(error)) from None
    expires_at = datetime.fromtimestamp(jwt.decode(token, options={"verify_signature": False})["exp"], UTC)
    refusal = refusal_of(key_id(signer.secret))
    if refusal is not None:
        click.echo(f"note: {refusal}", err=True)
    show({"user": user, "token": token, "expires_at": expires_at}, token, as_json=as_json)
