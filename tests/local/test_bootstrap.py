"""Finding an interpreter and making environments, without network."""

import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kit.extent import HANG_SECONDS, whole_only
from tools import bootstrap
from tools.bootstrap import BootstrapError, Environment


def fake_interpreter(path: Path, says: str, status: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n[ -z '{says}' ] || echo '{says}'\nexit {status}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has only a shell."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    return tmp_path


def test_a_line_is_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two environments may be made at once; their output must not be interleaved within a line."""
    written: list[str] = []
    monkeypatch.setattr(sys.stderr, "write", written.append)
    bootstrap.say("making .venv")
    assert written == ["making .venv\n"]


def test_prefers_the_version_that_the_functions_run_on(machine: Path) -> None:
    fake_interpreter(machine / "bin" / "python3", "3 12 able /the/12")
    fake_interpreter(machine / "bin" / "python3.11", "3 11 able /the/11")
    assert bootstrap.find_interpreter().path == Path("/the/12")
    fake_interpreter(machine / "bin" / "python3.13", "3 13 able /the/13")
    assert bootstrap.find_interpreter().path == Path("/the/13")


def test_finds_an_interpreter_behind_a_shim_that_refuses(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyenv is in another home, its shim fails, and its versions are beside the shims."""
    shims = machine / "elsewhere" / ".pyenv" / "shims"
    monkeypatch.setenv("PATH", f"{shims}:{machine / 'bin'}")
    fake_interpreter(shims / "python3.13", "", status=127)
    fake_interpreter(machine / "bin" / "python3", "3 11 able /the/11")
    versions = shims.parent / "versions"
    for name in ("3.13.2", "3.13.10", "3.13.9", "3.13-dev"):
        fake_interpreter(versions / name / "bin" / "python3", f"3 13 able /the/{name}")
    assert bootstrap.find_interpreter().path == Path("/the/3.13.10")


def test_looks_where_pyenv_says_and_at_home(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_interpreter(machine / "home/.pyenv/versions/3.12.1/bin/python3", "3 12 able /home/12")
    assert bootstrap.find_interpreter().path == Path("/home/12")
    monkeypatch.setenv("PYENV_ROOT", str(machine / "root"))
    fake_interpreter(machine / "root/versions/3.12.1/bin/python3", "3 12 able /root/12")
    assert bootstrap.find_interpreter().path == Path("/root/12")


def test_says_what_to_install_when_there_is_no_interpreter(machine: Path) -> None:
    fake_interpreter(machine / "bin" / "python3", "3 9 able /the/9")
    with pytest.raises(BootstrapError, match=r"no Python 3\.11 or newer.*\n.*pyenv install 3\.13"):
        bootstrap.find_interpreter()


def test_says_what_to_install_when_environments_cannot_be_made(machine: Path) -> None:
    """Debian's python3 without python3-venv."""
    fake_interpreter(machine / "bin" / "python3", "3 11 unable /usr/bin/python3")
    with pytest.raises(BootstrapError, match=r"sudo apt install python3\.11-venv"):
        bootstrap.find_interpreter()
    fake_interpreter(machine / "bin" / "python3.12", "3 12 able /the/12")
    assert bootstrap.find_interpreter().path == Path("/the/12")


def test_a_requirement_anywhere_changes_the_fingerprint(tmp_path: Path) -> None:
    inner = tmp_path / "deep" / "inner.txt"
    inner.parent.mkdir()
    inner.write_text("one==1\n", encoding="utf-8")
    (tmp_path / "middle.txt").write_text("-r deep/inner.txt\n", encoding="utf-8")
    outer = tmp_path / "outer.txt"
    outer.write_text("# comment\n-r middle.txt\n--constraint deep/inner.txt # why\n", encoding="utf-8")
    first = bootstrap.fingerprint(outer)
    assert first == bootstrap.fingerprint(outer)
    inner.write_text("one==2\n", encoding="utf-8")
    assert first != bootstrap.fingerprint(outer)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose requirements have only comments, so that pip installs nothing."""
    (tmp_path / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
    monkeypatch.setattr(bootstrap, "ENVIRONMENTS", {"dev": Environment(".venv", "requirements.txt")})
    found = bootstrap.probe(Path(sys.executable))
    assert found is not None
    monkeypatch.setattr(bootstrap, "find_interpreter", lambda: found)
    return tmp_path


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments are real but have no pip, which takes seconds to install; installing does nothing."""
    real = bootstrap.run

    def run(command: Sequence[str], environment: dict[str, str], log: Path | None) -> None:
        if "venv" in command:
            real([*command, "--without-pip"], environment, log)

    monkeypatch.setattr(bootstrap, "run", run)


@pytest.mark.usefixtures("without_pip")
def test_an_environment_is_made_updated_and_repaired(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made once; unchanged while nothing changes; updated when a requirement changes; rebuilt after an interrupted
    installation or without its interpreter."""
    environment, requirements = project / ".venv", project / "requirements.txt"

    def said() -> str:
        return capsys.readouterr().err

    bootstrap.bootstrap(["dev"], project)
    assert "making .venv" in said()
    assert subprocess.run([environment / "bin" / "python", "-c", ""], check=True).returncode == 0
    marker = environment / "marker"
    marker.touch()

    begun = time.process_time()
    bootstrap.bootstrap(["dev"], project)
    assert time.process_time() - begun < 0.1
    assert said() == ""

    requirements.write_text("# nothing else\n", encoding="utf-8")
    bootstrap.bootstrap(["dev"], project)
    assert "installing requirements.txt" in said()
    assert marker.exists()

    (environment / bootstrap.STAMP).unlink()  # as after an interrupted installation
    bootstrap.bootstrap(["dev"], project)
    assert "making .venv" in said()
    assert not marker.exists()

    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to(project / "gone")
    bootstrap.bootstrap(["dev"], project)
    assert "making .venv" in said()
    assert (environment / "bin" / "python").exists()


@whole_only
def test_a_failed_installation_is_shown_and_does_not_count(project: Path) -> None:
    (project / "requirements.txt").write_text("./nothing-here\n", encoding="utf-8")
    with pytest.raises(BootstrapError, match="nothing-here"):
        bootstrap.bootstrap(["dev"], project)
    assert not bootstrap.current(project / ".venv", project / "requirements.txt")


@whole_only
def test_pip_resolves_nothing_beyond_the_lock(project: Path, tmp_path: Path) -> None:
    """Old pip resolves a locked `name` and a dependency `name[extra]` to two packages, and finds the second without a
    hash."""
    wheel, about = tmp_path / "outer-1.0-py3-none-any.whl", "outer-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: outer\nVersion: 1.0\nRequires-Dist: no[x]\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    (project / "requirements.txt").write_text(f"--no-index\n{wheel}\n", encoding="utf-8")
    bootstrap.bootstrap(["dev"], project)
    assert list((project / ".venv").glob(f"lib/*/site-packages/{about}"))


@whole_only
def test_two_commands_at_the_same_time_make_one_environment(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    script = shutil.copy(bootstrap.__file__, tmp_path / "local")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("# nothing\n", encoding="utf-8")
    commands = [
        subprocess.Popen([sys.executable, script, "dev"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [command.communicate(timeout=HANG_SECONDS) for command in commands]
    assert [command.returncode for command in commands] == [0, 0]
    assert sum("making .venv" in error for _, error in outputs) == 1
    assert all(output == "" for output, _ in outputs)


def test_the_syntax_is_valid_for_old_interpreters() -> None:
    """An old python3 must be able to run it and find a newer one."""
    import ast

    ast.parse(Path(bootstrap.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.usefixtures("without_pip")
def test_what_is_installed_for_development_is_enough_to_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "run.txt").write_text("# little\n", encoding="utf-8")
    environments = {"run": Environment(".venv", "run.txt", within="requirements.txt"), **bootstrap.ENVIRONMENTS}
    monkeypatch.setattr(bootstrap, "ENVIRONMENTS", environments)
    bootstrap.bootstrap(["run"], project)
    assert "installing run.txt" in capsys.readouterr().err
    bootstrap.bootstrap(["dev"], project)
    assert "installing requirements.txt" in capsys.readouterr().err
    for name in ("run", "dev"):
        bootstrap.bootstrap([name], project)
    assert capsys.readouterr().err == ""


def test_an_installation_shows_its_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "PROGRESS_SECONDS", 0)
    progress = bootstrap.Progress(".venv")
    progress.line("Collecting boto3==1.44.5 (from -r requirements.txt)")
    progress.line("  Downloading boto3-1.44.5-py3-none-any.whl (100 kB)")
    progress.line("Installing collected packages: boto3")
    progress.end()
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith(".venv: 1 packages, 0 s, looking up boto3==1.44.5")
    assert second.endswith("downloading boto3-1.44.5-py3-none-any.whl")
    assert third.endswith("unpacking and compiling")
