"""The arithmetic of `make bench-streams`."""

import os
import sys

import pytest

from bench.streams import DIRECT, FUNCTION, Stream, Way, added_to_first, cpu_seconds, lateness, target, uvicorn_options
from playground.direct_http import DirectProtocol
from tests.conftest import ROOT


def test_a_delta_is_late_by_what_it_travelled() -> None:
    """Also when it comes in two parts, together with another one, or with another one in its text."""
    arrivals = [
        (1_000_000_000, b'event: run\ndata: {"run_id": "run_1234567890"}\n\nevent: delta\nid: 3\ndata: {"te'),
        (1_500_000_000, b'xt": "1000000000 "}\n\ndata: {"text":"1250000000 "}\n\n'),
        (2_000_000_000, b'data: {"text": "1500000000 1750000000 "}\n\n'),
        (3_000_000_000, b'event: done\ndata: {"response":"1000000000 "}\n\n'),
    ]
    assert lateness(arrivals) == [
        (1_500_000_000, 0.5),
        (1_500_000_000, 0.25),
        (2_000_000_000, 0.5),
        (2_000_000_000, 0.25),
    ]


def test_what_is_added_is_more_than_asking_directly_mostly_takes() -> None:
    ways = [Way(name, 0, lambda user, directive: ("", {}, {})) for name in (DIRECT, FUNCTION)]
    for way, seconds in zip(ways, ((0.25, 0.5, 4.0), (0.75, 1.0, 0.5)), strict=True):
        way.short.extend(Stream(first=each, late=[], cpu=0) for each in seconds)
    assert added_to_first(ways[1], ways[0]) == [0.25, 0.5, 0.0]


def test_a_target_is_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert target("something", 0.5, 0.5)
    assert not target("something", 0.51, 0.5)
    assert capsys.readouterr().out.count("NOT REACHED") == 1


def test_the_function_is_started_as_its_script_starts_it() -> None:
    options = uvicorn_options(ROOT / "functions" / "stream" / "run.sh")
    assert options[0] == "app:web"
    assert options[options.index("--port") + 1] == "$AWS_LWA_PORT"
    assert options[options.index("--http") + 1] == f"{DirectProtocol.__module__}:{DirectProtocol.__qualname__}"


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has a clock for it")
def test_the_processor_time_of_a_process_only_grows() -> None:
    before = cpu_seconds(os.getpid())
    assert 0 < before < cpu_seconds(os.getpid())
    assert cpu_seconds(None) == 0
