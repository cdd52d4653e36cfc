"""The two price tables of the tests.

`load_prices()` is the table that ships: what a test says of it must be true of every table that is accepted, so that
numbers are worked out from the table. Only tests/unit/test_price_table.py repeats its numbers.

`EXAMPLE` is a table that never changes, for tests whose numbers are worked out by hand.
"""

import json
from typing import Any

from playground.adapters.prices import PUBLISHED, parse_prices

EXAMPLE_DATA: dict[str, Any] = json.loads((PUBLISHED / "2026-11-28.2.json").read_text(encoding="utf-8")) | {
    # Tests run many a time in one moment of a clock that stands still. Those of the limits have limits of their own.
    "rate_limits": {
        "runs_per_minute": {"free": 1_000, "paying": 2_000, "organisation": 5_000},
        "purchases_per_minute": 1_000,
    },
}
EXAMPLE = parse_prices(EXAMPLE_DATA)
LIMITED = parse_prices(
    EXAMPLE_DATA
    | {
        "rate_limits": {
            "runs_per_minute": {"free": 5, "paying": 20, "organisation": 100},
            "purchases_per_minute": 3,
        }
    }
)
"""The same, with small rate limits: for the tests of them."""
