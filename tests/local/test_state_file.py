"""The folder of a stack: locking, removal, and errors of unusable folders."""

import os
from pathlib import Path

import pytest

from local import clean_state
from local.clean_state import clean
from local.settings import read_settings
from local.stack import run
from local.state_file import FolderInUseError, UnusableFolderError, lock_folder, write_state
from local.stripe_keys import webhook_secret
from local.tokens import auth_secrets
from operate.cli import run as playground


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """The folder of a killed stack."""
    folder = tmp_path / "state"
    auth_secrets(folder, {})
    webhook_secret(folder)
    os.close(lock_folder(folder))
    write_state(folder, {"pid": 2**30, "url": "http://127.0.0.1:1"})
    for name in ("store/checkpoints/1", "stripe/1"):
        (folder / name).mkdir(parents=True)
    (folder / "auth-secrets.json.0a1b").touch()
    return folder


def test_everything_of_the_stack_is_removed(used: Path) -> None:
    reported = clean(used)
    assert reported.startswith(f"removed from {used}: auth-secrets.json, ")
    assert all(name in reported for name in ("store", "stripe", "stripe-webhook-secret", "stack.json"))
    assert not used.exists()
    assert clean(used) == f"no stack keeps its state in {used}; nothing was removed"


def test_a_stack_that_is_running_keeps_everything(
    used: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_state(used, {"pid": os.getpid(), "url": "http://127.0.0.1:3000"})
    before = sorted(used.rglob("*"))
    lock = lock_folder(used)
    try:
        with pytest.raises(FolderInUseError):
            clean(used)
        monkeypatch.setenv("STATE_DIR", str(used))
        assert clean_state.main([]) == 1
    finally:
        os.close(lock)
    assert "nothing was removed: the stack at http://127.0.0.1:3000" in capsys.readouterr().err
    assert sorted(used.rglob("*")) == before


def test_other_files_are_not_removed(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (used / "thesis.txt").touch()
    monkeypatch.setenv("STATE_DIR", str(used))
    assert clean_state.main([]) == 0
    assert "; 1 that no stack has made is left" in capsys.readouterr().out
    assert [path.name for path in used.iterdir()] == ["thesis.txt"]
    shop = tmp_path / "shop"
    (shop / "store").mkdir(parents=True)
    assert clean(shop).endswith("nothing was removed")
    assert [path.name for path in shop.iterdir()] == ["store"]


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be_used_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / name
    monkeypatch.setenv("STATE_DIR", str(folder))
    with pytest.raises(UnusableFolderError) as refused:
        run(read_settings())
    assert str(refused.value).startswith(f"STATE_DIR={folder} cannot be used (")
    assert playground(["token", "alice"]) == 2
    assert capsys.readouterr().err == f"{refused.value}\n"


def test_a_folder_without_room_for_a_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(UnusableFolderError, match=f"STATE_DIR={tmp_path} cannot be used"):
        lock_folder(tmp_path)
