"""`playground reinstate @acme/tidy`: put a withdrawn version or package back."""

from typing import Any

import click

from operate.helptext import more_help
from operate.options import TEXT, dry_run, on_a_stack, operator_option, reason_option
from operate.withdrawing import READERS, RIGHTS, order


@click.command(
    "reinstate",
    epilog=more_help(
        {
            "A package": "Versions that were withdrawn one by one stay withdrawn when their package comes back.",
        },
        rights=RIGHTS,
        statuses={0: "reinstated, now or before"},
        examples=[
            './playground reinstate @acme/tidy --version 1.2.0 --reason "False alarm"',
            "./playground reinstate @acme/tidy --stack playground-prod",
        ],
    ),
)
@click.argument("package", type=TEXT)
@click.option("--version", type=TEXT, help="Only this version. Default: the package with all its versions.")
@reason_option("Reinstated by an operator", READERS)
@operator_option
@dry_run
@on_a_stack
def command(package: str, version: str | None, **options: Any) -> None:
    """Put PACKAGE, a UUID or @scope/name, back into the catalogue, or one version of it.

    Who did it and why is kept beside the package. Repeating it changes nothing.
    """
    order(package, version, withdraw=False, **options)
