"""How much of the tests runs: all of it in continuous integration (`CI=true`), a part of the repetitions elsewhere.

No test is left out that shows something of its own. What is made smaller is how often: examples of a property, cells
of the crash matrix. Tests that are about the repository and not about the product (`whole_only`: benches, pip, a second
start of the laptop stack) wait for CI. `CI=true make test` runs everything anywhere.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

WHOLE = os.environ.get("CI", "").lower() not in ("", "0", "false", "no")

DEV_PART = 8  # outside of it, one of so many examples, cells or moments of death
HANG_SECONDS = 300  # far longer than anything takes, also on a machine that is ten times too busy: then it hangs

whole_only = pytest.mark.skipif(not WHOLE, reason="is about the repository's own tools: CI=true runs it")


def examples(whole: int, minimum: int = 1) -> int:
    """How many examples a property gets that has `whole` of them in continuous integration, but not below `minimum`."""
    return whole if WHOLE else max(minimum, -(-whole // DEV_PART))


def load_profile() -> None:
    """Choose the profile of hypothesis. No limit of time in any of them: a busy machine is slow, and that is all."""
    patient = settings(settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("whole", parent=patient, derandomize=True, database=None, print_blob=True)
    settings.register_profile("dev", parent=patient, max_examples=examples(patient.max_examples))
    # What the mutants are found by: something is wrong, and its shortest example is not needed.
    settings.register_profile("unshrunk", parent=patient, phases=(Phase.explicit, Phase.reuse, Phase.generate))
    settings.load_profile("whole" if WHOLE else "dev")
