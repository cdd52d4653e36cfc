"""What locust runs for `make load`: users who live one life after the other, and the passing of a month.

Only in .venv-load, started by bench/load.py, which says in LOAD_PLAN where everything is.
"""

import json
import os
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

from locust import User, between, constant, events, task

from bench.life import Life, Places, people

plan = json.loads(Path(os.environ["LOAD_PLAN"]).read_text(encoding="utf-8"))
places = Places(**plan["places"])
crowd = people(plan["people"])
taking = threading.Lock()
samples: list[tuple[str, float, str | None, float]] = []
begun = time.monotonic()


class Recording(User):
    abstract = True

    def record(self, name: str, seconds: float, code: str | None) -> None:
        samples.append((name, seconds, code, time.monotonic() - begun))
        self.environment.events.request.fire(
            request_type="",
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            exception=None if code is None else RuntimeError(code),
            context={},
        )


class Person(Recording):
    """Somebody new each time."""

    wait_time = between(0.1, 0.5)
    weight = 1

    @task
    def live(self) -> None:
        with taking:
            user, token = next(crowd, ("", ""))
        if not user:
            self.environment.runner.quit()
            return
        chance = Random(f"{plan['seed']} {user}")  # noqa: S311 - must be repeatable # nosec B311
        Life(places, user, token, chance, self.record, plan["delay_seconds"])()


class Month(Recording):
    """Lets a month pass for everybody, once, in the middle."""

    fixed_count = 1
    wait_time = constant(3600)

    @task
    def pass_(self) -> None:
        time.sleep(plan["month_after_seconds"])
        Life(places, "", "", Random(0), self.record).let_a_month_pass()  # noqa: S311 - must be repeatable # nosec B311


@events.quitting.add_listener
def write_samples(environment: Any, **_: Any) -> None:
    Path(plan["samples"]).write_text(json.dumps(samples), encoding="utf-8")
