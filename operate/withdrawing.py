"""What `playground withdraw` and `playground reinstate` do."""

from datetime import UTC, datetime

from operate.commands.grant import order_of
from operate.options import counted, show, working_on
from operate.stack import BUCKET, CATALOG
from operate.withdraw_package import WithdrawPackage
from playground.adapters.dynamo_catalog import DynamoCatalog

RIGHTS = [
    "dynamodb:GetItem, BatchGetItem, PutItem, UpdateItem, DeleteItem, ConditionCheckItem on the catalogue's table",
    "s3:GetObject on the bucket's packages/*",
]
READERS = "It is kept beside the package; users do not see it."


def order(
    package: str,
    version: str | None,
    *,
    withdraw: bool,
    reason: str,
    operator: str,
    dry_run: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    request = order_of(None, reason, operator)  # checks both texts
    with working_on(stack_name) as stack:
        catalog = DynamoCatalog(
            stack.store,
            table_name=stack.name_of(CATALOG),
            bucket=stack.name_of(BUCKET),
            s3=lambda: stack.client("s3"),
        )
        change = WithdrawPackage(stack.store, catalog, stack.name_of(CATALOG))
        outcome = (change if withdraw else change.reinstate)(
            package,
            version,
            reason=request.reason,
            operator=request.operator,
            now=datetime.now(UTC),
            dry_run=dry_run,
        )
    offered = outcome.offered
    document = {
        "package": outcome.name,
        "versions": offered.versions,
        "withdrawn": [each for each in offered.all if each not in offered.versions],
        "package_withdrawn": offered.closed is not None,
        "done": "now" if outcome.is_new else "before",
    }
    what = f"{outcome.name} {version}" if version is not None else outcome.name
    verb = "withdrawn" if withdraw else "reinstated"
    when = f"{'would be ' if dry_run else ''}{verb}" if outcome.is_new else f"done before: {verb}"
    left = f"{len(offered.versions)} of {counted({'versions': len(offered.all)})} can be run"
    newest = f", the newest is {offered.versions[0]}" if offered.versions else ""
    show(document, f"{what}: {when}; {left}{newest}", as_json=as_json)
