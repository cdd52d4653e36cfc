"""`playground doctor --stack NAME`: check what a stack needs to work."""

import json
from dataclasses import asdict

import click

from operate.doctor import TOKEN_VARIABLE, Doctor, Outcome, Result
from operate.helptext import more_help
from operate.options import TEXT, USER, on_a_stack, working_on


@click.command(
    "doctor",
    epilog=more_help(
        {
            "Checks": "Secrets are set and usable; the issuer's key set can be fetched; tables and indexes are "
            "active, and on a deployed stack protected; Stripe sends every event that is needed to the stack's "
            "address, and has settings of the portal; every model of the price table counts tokens; alarms have a "
            "subscriber; the API answers. With --run one run and its receipt.",
            "Cost": "Nothing is changed and nothing costs anything, but --run, which spends credits of USER (one, "
            "with most packages) and is billed by the provider. Where tokens are signed with RS, ES or EdDSA, a token "
            f"of USER must be in {TOKEN_VARIABLE}.",
        },
        rights=[
            "secretsmanager:GetSecretValue on the stack's secrets",
            "dynamodb:DescribeTable on its tables",
            "sns:ListSubscriptionsByTopic on the topic of alarms",
        ],
        statuses={0: "no check failed", 1: "at least one check failed", 4: None},
        examples=[
            "./playground doctor",
            "./playground doctor --stack playground-prod --run operator",
            "./playground doctor --stack playground-prod --json",
        ],
    ),
)
@click.option("--run", "run_as", type=USER, metavar="USER", help="Make one run for USER, too, and check its receipt.")
@click.option("--package", type=TEXT, help="The package of that run. Default: the first that needs no variables.")
@on_a_stack
def command(run_as: str | None, package: str | None, stack_name: str | None, as_json: bool) -> int:
    """Check what a stack needs to work: one line for each check, with what to do where one fails."""
    with working_on(stack_name) as stack:
        results = []
        for result in Doctor(stack, run_as=run_as, package=package)():
            results.append(result)
            if not as_json:
                click.echo(line(result))
    failed = sum(result.outcome is Outcome.FAILED for result in results)
    if as_json:
        document = {"ok": failed == 0, "checks": [asdict(result) for result in results]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(
            f"{failed} of {len(results)} checks failed" if failed else f"no check failed ({len(results)} checks)"
        )
    return 1 if failed else 0


def line(result: Result) -> str:
    advice = f". Do: {result.advice}" if result.advice else ""
    return f"{result.outcome:8}{result.check}: {result.detail}{advice}"
