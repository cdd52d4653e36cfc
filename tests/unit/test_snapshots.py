"""Instances from one snapshot: what they must not share, and what they must not go on with.

A snapshot is imitated by a process that starts a function and is forked: its children have what it had made, as
instances have that begin from the same snapshot.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from bench.cold import secrets_manager
from local.engine import CREDENTIALS
from tests.kit.extent import HANG_SECONDS
from tests.kit.template import template_description

RESTORE = """
import importlib.util, json, os, random, sys, uuid
spec = importlib.util.spec_from_file_location("app", sys.argv[1])
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)
from playground import wiring
from playground.adapters import snapshots
from playground.adapters.clock import utc_now
from playground.adapters.ids import id_maker

secrets = wiring.secrets_client()
new_id = id_maker(lambda: utc_now().replace(hour=0, minute=0, second=0, microsecond=0))  # the same time for both


def connections():
    # of the client that has read the secrets: its sockets' local ports
    found = []
    for pool in secrets._endpoint.http_session._manager.pools._container.values():
        kept = [each for each in pool.pool.queue if each is not None and each.sock is not None]
        found += [each.sock.getsockname()[1] for each in kept]
    return found


before = {"connections": connections(), "key": app.model._client.api_key}
app.model.begin_anew("of the snapshot")  # the secret has changed since
keys = app.authenticate._keys
state = random.getstate()
reader, writer = os.pipe()
for how in ("restored", "restored", "as it was", "as it was"):
    child = os.fork()
    if child == 0:
        random.setstate(state)  # a fork has `random` seeded anew, which a snapshot has not
        if how == "restored":
            snapshots.restored()
        found = {
            "random": random.random(),
            "ids": [new_id("run"), str(uuid.uuid4())],
            "connections": connections(),
            "key": app.model._client.api_key,
            "new keys": app.authenticate._keys is not keys,
        }
        os.write(writer, (json.dumps(found) + chr(10)).encode())
        os._exit(0)
    os.waitpid(child, 0)
os.close(writer)
with os.fdopen(reader) as lines:
    print(json.dumps([before, *map(json.loads, lines)]))
"""


@pytest.fixture(scope="module")
def instances() -> list[dict[str, Any]]:
    """What was before the snapshot, two instances that begin from it, and two that make nothing anew."""
    function = template_description().functions["EstimateFunction"]
    with secrets_manager() as url:
        ended = subprocess.run(
            [sys.executable, "-c", RESTORE, str(function.code / "app.py")],
            env={
                **CREDENTIALS,
                **function.environment,
                "AWS_ENDPOINT_URL": url,
                "PYTHONPATH": os.pathsep.join(str(layer) for layer in function.layers),
            },
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def test_instances_from_one_snapshot_share_nothing_that_must_be_unique(instances: list[dict[str, Any]]) -> None:
    before, one, other, *_ = instances

    assert one["random"] != other["random"]
    assert len({*one["ids"], *other["ids"]}) == 4
    kept, of_one, of_other = (set(each["connections"]) for each in (before, one, other))
    assert kept
    assert of_one
    assert of_other
    assert not kept & of_one
    assert not kept & of_other
    for instance in one, other:
        assert instance["key"] == before["key"]  # read again
        assert instance["new keys"]


def test_without_the_hooks_they_would(instances: list[dict[str, Any]]) -> None:
    """So that the test above would notice: this is what a snapshot does. Ids are safe even then."""
    before, _, _, one, other = instances

    assert one["random"] == other["random"]
    assert one["connections"] == other["connections"] == before["connections"]
    assert one["key"] == other["key"] == "of the snapshot"
    assert not one["new keys"]
    assert len({*one["ids"], *other["ids"]}) == 4
