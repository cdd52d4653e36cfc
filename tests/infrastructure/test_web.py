"""Building the page, with a Node.js that needs no network."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools import web
from tools.bootstrap import BootstrapError
from tools.web import STAMP, Node, WebError

NPM = """#!/bin/sh
echo "$1 $2 $(node --version)" >> "$PWD/../calls"
[ -z "$FAILS" ] || { echo "it does not compile"; exit 3; }
case $1 in
  ci) mkdir -p node_modules ;;
  run) mkdir -p dist; cat index.html > dist/index.html ;;
esac
"""


def fake_node(folder: Path, version: str = "v20.19.0", npm: str = NPM) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("node", f"#!/bin/sh\necho {version}\n"), ("npm", npm)):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a page, on a machine with a Node.js; what npm was called with is in the file `calls`."""
    root = tmp_path / "project"
    (root / "web" / "src").mkdir(parents=True)
    (root / "web" / "package-lock.json").write_text("{}", encoding="utf-8")
    (root / "web" / "index.html").write_text("first", encoding="utf-8")
    (root / "web" / "src" / "main.ts").write_text("export {}", encoding="utf-8")
    monkeypatch.setenv("PATH", f"{fake_node(tmp_path / 'bin')}:/usr/bin:/bin")
    return root


def calls(root: Path) -> list[str]:
    file = root / "calls"
    return [line.split(" ")[0] for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def index(root: Path) -> str:
    return (root / "web" / "dist" / "index.html").read_text(encoding="utf-8")


def test_what_is_built_is_left_alone(root: Path) -> None:
    web.build(root)
    web.build(root)

    assert calls(root) == ["ci", "run"]
    assert index(root) == "first"


def test_only_what_has_changed_is_done_again(root: Path) -> None:
    web.build(root)
    (root / "web" / "index.html").write_text("second", encoding="utf-8")
    web.build(root)
    assert (calls(root), index(root)) == (["ci", "run", "run"], "second")

    (root / "web" / "package-lock.json").write_text('{"lockfileVersion": 3}', encoding="utf-8")
    web.build(root)
    assert calls(root) == ["ci", "run", "run", "ci", "run"]


def test_the_types_of_the_api_are_a_source(root: Path) -> None:
    web.build(root)
    (root / web.DESCRIPTION).parent.mkdir(parents=True)
    (root / web.DESCRIPTION).write_text("{}", encoding="utf-8")
    web.build(root)

    assert calls(root) == ["ci", "run", "run"]


def test_a_build_that_was_interrupted_is_not_taken_for_one(root: Path) -> None:
    web.build(root)
    (root / "web" / "dist" / STAMP).unlink()
    web.build(root)

    assert calls(root) == ["ci", "run", "run"]


def test_a_failure_says_what_npm_said_and_does_not_slow_the_next_start(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(WebError, match=r"npm ci --no-audit ended with status 3\nit does not compile"):
        web.build(root)
    with pytest.raises(WebError, match="the last build of the same files has failed"):
        web.build(root, optional=True)
    assert calls(root) == ["ci"]

    monkeypatch.delenv("FAILS")
    web.build(root)  # whoever asks for it gets another try
    web.build(root, optional=True)
    assert calls(root) == ["ci", "ci", "run"]


def test_a_failed_build_takes_the_stamp_of_the_last_one_away(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder may be half written."""
    web.build(root)
    monkeypatch.setenv("FAILS", "1")
    (root / "web" / "index.html").write_text("second", encoding="utf-8")
    with pytest.raises(WebError):
        web.build(root)

    assert not (root / "web" / "dist" / STAMP).exists()


@pytest.mark.parametrize("version", ["v20.18.9", "v18.20.4", "nonsense", ""])
def test_a_node_that_is_too_old_is_passed_over(tmp_path: Path, version: str) -> None:
    old, new = fake_node(tmp_path / "old", version), fake_node(tmp_path / "new", "v22.1.0")

    found = web.find_node(f"{tmp_path / 'absent'}::{old}:{new}")

    assert found == (new, (22, 1))
    assert web.find_node(str(old)) is None


def test_without_node_the_packaged_one_is_installed_and_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(names: list[str], folder: Path) -> None:
        assert (names, folder) == (["node"], root)
        fake_node(root / ".venv-node" / "bin", "v24.19.0")

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(web, "find_node", only_below(root))
    monkeypatch.setattr(web, "bootstrap", install)
    web.build(root)

    assert (root / "calls").read_text(encoding="utf-8").splitlines()[0] == "ci --no-audit v24.19.0"


def test_a_machine_that_can_have_no_node_is_told_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(names: list[str], folder: Path) -> None:
        raise BootstrapError("no network\nmore of it")

    monkeypatch.setattr(web, "find_node", only_below(root))
    monkeypatch.setattr(web, "bootstrap", refuse)
    monkeypatch.setattr(web, "build", lambda *, optional: _build(root, optional=optional))

    monkeypatch.setattr("sys.argv", ["web"])
    assert web.main() == 1
    assert (
        "Node.js 20.19 or newer is not on PATH, and PyPI's cannot be installed:\nno network" in capsys.readouterr().err
    )

    monkeypatch.setattr("sys.argv", ["web", "--optional"])
    (root / "web" / web.FAILED).unlink()
    assert web.main() == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"the page is not built: Node\.js .* \(`make web` tries again\)", said)


_build = web.build
_find_node = web.find_node


def only_below(root: Path) -> Callable[[str], Node | None]:
    """Finds the Node.js of the project only: the machine's own is none of this test's business."""
    return lambda path: _find_node(":".join(each for each in path.split(":") if each.startswith(str(root))))


def test_make_run_builds_the_page_if_it_can() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nrun:")[2].partition("\n\n")[0]

    assert recipe.index("tools.web --optional") < recipe.index("local.stack")
