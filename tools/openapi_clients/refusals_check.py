"""A check for schemathesis, which loads this file: a request that the description allows is refused for a known reason
only."""

from typing import Any

import schemathesis  # type: ignore[import-not-found]  # in .venv-api only

from tools.refusals import REFUSED, explained


@schemathesis.check  # type: ignore[untyped-decorator]
def refusals_are_explained(ctx: Any, response: Any, case: Any) -> None:
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in REFUSED:
        return
    operation, body = case.operation.definition.raw["operationId"], response.json()
    assert explained(operation, body), (
        f"{operation} refuses what its description allows, and no rule of tools/refusals.py says why: {body}"
    )
