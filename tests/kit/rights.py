"""The rights that template.yaml gives each function, enforced: the local engine would let everybody do everything.

What a function sends to AWS while it is called is looked up in its policies; PermissionError says what is missing.
Actions, resources and the partition keys of a condition on dynamodb:LeadingKeys are compared; of its wildcards, `*`
only. Other conditions are not understood, and are not used for tables.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from local.template import Description, load_yaml

SERVICES = ("dynamodb", "s3", "secretsmanager", "sqs", "events")
# Actions that are not called as their operation is.
RENAMED = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}
IN_TRANSACTIONS = {
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
    "Delete": "dynamodb:DeleteItem",
    "ConditionCheck": "dynamodb:ConditionCheckItem",
}
Right = tuple[str, str]  # an action, and the table or index that it is for: "" for other services
LEADING_KEYS = "dynamodb:LeadingKeys"


class Rights:
    def __init__(self, template: Path, description: Description) -> None:
        self._tables = {table.name: logical_id for logical_id, table in description.tables.items()}
        resources = load_yaml(template.read_text(encoding="utf-8"))["Resources"]
        self._of = {
            function.short_name: frozenset(_rights(resources[logical_id]))
            for logical_id, function in description.functions.items()
        }
        self._function: str | None = None

    @contextmanager
    def of(self, function: str) -> Iterator[None]:
        """While it lasts, what is sent is sent by this function."""
        before, self._function = self._function, function
        try:
            yield
        finally:
            self._function = before

    def watch(self, client: Any) -> None:
        service = client.meta.service_model.service_name
        client.meta.events.register(f"before-parameter-build.{service}", self._look, unique_id=f"rights-{id(self)}")

    def _look(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        if self._function is None:
            return  # it is being loaded, or the test itself looks
        action = f"{model.service_model.service_name}:{model.name}"
        action = RENAMED.get(action, action)
        for right, pk in self._needed(action, params):
            if not any(_allows(given, right, pk) for given in self._of[self._function]):
                raise PermissionError(f"template.yaml does not let {self._function} do {right[0]} {right[1]}".strip())

    def _needed(self, action: str, params: Mapping[str, Any]) -> Iterator[tuple[Right, str | None]]:
        """Each right, and the partition key that it is needed for, if that is known."""
        match action:
            case "dynamodb:TransactWriteItems":
                for item in params["TransactItems"]:
                    for kind, what in item.items():
                        yield (IN_TRANSACTIONS[kind], self._tables[what["TableName"]]), _pk(what)
            case "dynamodb:TransactGetItems":
                for item in params["TransactItems"]:
                    yield ("dynamodb:GetItem", self._tables[item["Get"]["TableName"]]), _pk(item["Get"])
            case "dynamodb:BatchGetItem" | "dynamodb:BatchWriteItem":
                for table in params["RequestItems"]:
                    yield (action, self._tables[table]), None
            case _ if action.startswith("dynamodb:"):
                index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
                yield (action, self._tables[params["TableName"]] + index), _pk(params)
            case _:
                yield (action, ""), None


def _allows(given: Right, needed: Right, pk: str | None) -> bool:
    if given[0] != needed[0]:
        return False
    table, _, keys = given[1].partition("//")
    return table == needed[1] and (not keys or (pk is not None and fnmatchcase(pk, keys)))


def _pk(request: Mapping[str, Any]) -> str | None:
    """The partition key of a request for one item, or of a query."""
    key = request.get("Key", request.get("Item", {})).get("pk")
    if key is None and re.match(r"pk = :pk\b", request.get("KeyConditionExpression", "")):
        key = request["ExpressionAttributeValues"][":pk"]
    found: str | None = (key or {}).get("S")
    return found


def _rights(function: Mapping[str, Any]) -> Iterator[Right]:
    for policy in function["Properties"]["Policies"]:
        for statement in policy.get("Statement", ()) if isinstance(policy, dict) else ():
            actions, targets = _listed(statement["Action"]), _listed(statement["Resource"])
            conditions = statement.get("Condition", {}).values()
            leading = [pk for condition in conditions for pk in condition.get(LEADING_KEYS, ())]
            for action in actions:
                for target in targets:
                    table = _table(target) if action.startswith("dynamodb:") else ""
                    yield from ((action, table if pk is None else f"{table}//{pk}") for pk in leading or (None,))


def _table(resource: Any) -> str:
    """The logical id of a table, and the path of its index, in `!GetAtt X.Arn` or `!Sub "${X.Arn}/index/name"`."""
    match resource:
        case {"Fn::GetAtt": [logical_id, "Arn"]}:
            return str(logical_id)
    found = re.search(r"\$\{(\w+)\.Arn\}(/index/\w+)", json.dumps(resource))
    assert found is not None, f"a right on {resource}"
    return found[1] + found[2]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
