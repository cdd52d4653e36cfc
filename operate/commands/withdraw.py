"""`playground withdraw @acme/tidy`: take a version or a package out of the catalogue."""

from typing import Any

import click

from operate.helptext import more_help
from operate.options import TEXT, dry_run, on_a_stack, operator_option, reason_option
from operate.withdrawing import READERS, RIGHTS, order


@click.command(
    "withdraw",
    epilog=more_help(
        {
            "What it does": "New runs and estimates of it get 404, and it is in no list. Where no version is named, "
            "the newest one that is not withdrawn is used. Conversations and shares stay readable; a conversation with "
            "a withdrawn version does not go on (404). Lists and searches show it for up to a minute.",
            "A package": "While a package is withdrawn, no version of it can be imported.",
        },
        rights=RIGHTS,
        statuses={0: "withdrawn, now or before"},
        examples=[
            './playground withdraw @acme/tidy --version 1.2.0 --reason "Leaks a key"',
            "./playground withdraw @acme/tidy --stack playground-prod",
        ],
    ),
)
@click.argument("package", type=TEXT)
@click.option("--version", type=TEXT, help="Only this version. Default: the package with all its versions.")
@reason_option("Withdrawn by an operator", READERS)
@operator_option
@dry_run
@on_a_stack
def command(package: str, version: str | None, **options: Any) -> None:
    """Take PACKAGE, a UUID or @scope/name, out of the catalogue, or one version of it. `reinstate` puts it back.

    Who did it and why is kept beside the package. Repeating it changes nothing.
    """
    order(package, version, withdraw=True, **options)
