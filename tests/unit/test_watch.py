"""The metrics of the laptop stack: kept in a bounded file, and shown by `./playground watch`."""

import json
from pathlib import Path
from typing import Any

import pytest

from local import metric_file
from local.metric_file import FILE_NAME, OLDER_NAME, MetricFile, Sample, read_samples, samples_of
from operate.commands import watch
from operate.watching import COUNTS, WIDTH, View
from playground.domain.outcomes import RunOutcome
from playground.observability import Metric

NOW = 1_800_000_000.0


def document(at: float = NOW, **values: Any) -> str:
    names = [name for name in values if name not in ("model", "outcome")]
    return json.dumps(
        {
            "_aws": {
                "Timestamp": at * 1000,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "Playground",
                        "Dimensions": [["service", *(name for name in values if name not in names)]],
                        "Metrics": [{"Name": name, "Unit": "Count"} for name in names],
                    }
                ],
            },
            "service": "guard",
            **values,
        }
    )


def kept(folder: Path, *lines: str) -> list[tuple[str, str]]:
    shown: list[tuple[str, str]] = []
    keep = MetricFile(folder).keeping(lambda *each: shown.append(each))
    for line in lines:
        keep("guard", line)
    return shown


def view(*lines: str, minutes: int = 15) -> View:
    samples = [sample for line in lines for sample in samples_of(line)]
    return View.of(samples, now=NOW, minutes=minutes, credit_value_nano=30_000_000)


def test_metric_documents_are_kept_and_every_line_is_shown(tmp_path: Path) -> None:
    lines = (document(RunsEnded=[2.0], model="sonnet"), '{"level": "INFO", "message": "_aws"}', "text", '{"_aws": {}}')

    assert kept(tmp_path, *lines) == [("guard", line) for line in lines]
    assert list(read_samples(tmp_path)) == [
        Sample(NOW, "RunsEnded", (("service", "guard"), ("model", "sonnet")), (2.0,))
    ]


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_file, "MAX_BYTES", 2_000)
    kept(tmp_path, *(document(NOW + number, RunsEnded=number) for number in range(100)))

    assert all((tmp_path / name).stat().st_size <= 2_000 for name in (FILE_NAME, OLDER_NAME))
    times = [sample.at for sample in read_samples(tmp_path)]
    assert times == sorted(times)
    assert times[-1] == NOW + 99


def test_what_is_not_complete_is_left_out(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(document(RunsEnded=1) + "\n" + document(RunsEnded=1)[:-9], encoding="utf-8")

    assert len(list(read_samples(tmp_path))) == 1


def test_a_folder_that_cannot_be_written_costs_the_metrics_only(tmp_path: Path) -> None:
    assert len(kept(tmp_path / "missing", document(RunsEnded=1))) == 1


def test_windows_add_up_what_is_in_them() -> None:
    found = view(
        document(NOW - 1, RunsEnded=3, RunsLost=1, CreditsCharged=4, ProviderCost=50_000_000, PaidCost=40_000_000),
        document(NOW - 60, RunsEnded=1, SpendPercent=20),
        document(NOW - 900, RunsEnded=100),
        document(NOW + 1, RunsEnded=100),
        document(NOW - 2, AddedLatency=[*range(1, 101)]),
        document(NOW - 2, Runs=[2], model="sonnet", outcome="answered"),
        document(NOW - 3, Runs=[1], model="sonnet", outcome="answered"),
    ).document()

    short, long = found["windows"]  # type: ignore[misc]
    assert short["success_percent"] == pytest.approx(66.7, abs=0.1)
    assert long["success_percent"] == 75
    assert (short["cost_nano"], short["paid_nano"], short["unpaid_nano"]) == (50_000_000, 40_000_000, 10_000_000)
    assert short["margin_nano"] == 4 * 30_000_000 - 50_000_000
    assert (short["spend_percent"], long["spend_percent"]) == (None, 20)
    assert short["added_latency_ms"] == {"p50": 50, "p99": 99}
    assert long["runs"] == [{"model": "sonnet", "outcome": "answered", "runs": 3}]


def test_without_runs_nothing_is_claimed() -> None:
    [short, _] = view().document()["windows"]  # type: ignore[misc]

    assert (short["success_percent"], short["added_latency_ms"]) == (None, {"p50": None, "p99": None})


@pytest.mark.parametrize("number", [0, 999_999])
def test_the_table_has_eighty_columns(number: int) -> None:
    counts = {metric.value: number for metric in Metric if metric is not Metric.RUNS}
    lines = view(
        document(NOW, **{**counts, "ProviderCost": number * 10**9}),
        *(document(NOW, Runs=number, model="a" * 40, outcome=outcome.value) for outcome in RunOutcome),
    ).lines("playground at " + "x" * 90)

    assert max(map(len, lines)) <= WIDTH
    assert len(lines) < 36


def test_what_is_shown_are_metrics_that_exist() -> None:
    assert {metric for rows in COUNTS.values() for _, metric in rows} <= {metric.value for metric in Metric}


def test_a_screen_is_drawn_in_place_and_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "4")
    monkeypatch.setenv("COLUMNS", "80")
    watch.draw([f"line {number}" for number in range(9)])
    drawn = capsys.readouterr().out

    assert drawn.startswith(watch.TOP)
    assert drawn.endswith(watch.END_OF_SCREEN)
    assert drawn.count("line") == drawn.count(watch.END_OF_LINE) == 3


def test_ctrl_c_leaves_the_terminal_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with watch._screen():
        raise KeyboardInterrupt

    assert capsys.readouterr().out == watch.ENTER + watch.LEAVE
