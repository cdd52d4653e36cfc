"""What `make load` reports, and when it fails. tests/e2e/test_time.py has the users that it is about."""

from collections import Counter
from dataclasses import replace

import pytest

from bench.load import Checked, Sample, exit_status, report

FINE = Checked(
    accounts=1,
    entries=Counter({"signup": 1}),
    receipts=(2, 1, 3),
    counted=(2, 1, 3),
    held=0,
    damaged=(),
    looked_at=0,
    repaired=(),
    differences=(),
    dead_letters={"AccountWorkFailures": 0},
)


def test_times_are_those_after_the_warm_up() -> None:
    samples = [Sample("run", 9.0, None, 3.0), *(Sample("run", 0.1, None, 25.0 + number) for number in range(60))]
    [row] = [line for line in report(samples, 60, FINE, 0) if line.startswith("run ")]
    assert row.split() == ["run", "60", "1.0", "100", "100", "100", "100"]
    assert max(map(len, report(samples, 60, FINE, 0))) <= 80


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, 0),
        ({"repaired": ("pi_1",)}, 0),
        ({"held": 1}, 1),
        ({"counted": (2, 1, 4)}, 1),
        ({"damaged": ("alice: held is 3",)}, 1),
        ({"differences": ("pi_1: unknown",)}, 1),
        ({"dead_letters": {"AccountWorkFailures": 1}}, 1),
    ],
)
def test_whatever_does_not_add_up_is_an_exit_status(found: dict[str, object], status: int) -> None:
    checked = replace(FINE, **found)  # type: ignore[arg-type]
    assert exit_status([Sample("run", 0.1, None), Sample("run", 0.1, "insufficient_credits")], checked) == status
    assert ("NOT EVERYTHING ADDS UP" in report([], 60, checked, 0)) is (status == 1)


@pytest.mark.parametrize(
    "code", ["internal_error", "wrong_answer", "ConnectionResetError", "not_in_time", "status_500"]
)
def test_an_answer_that_no_rule_explains_is_a_fault(code: str) -> None:
    assert exit_status([Sample("run", 0.1, code)], FINE) == 1
    assert any(line.startswith(f"FAULT: {code}") for line in report([Sample("run", 0.1, code)], 60, FINE, 0))
