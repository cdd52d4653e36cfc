"""`make security`: weaknesses of the code, secrets in files, vulnerable packages, and settings of the template.

    python -m tools.security [code] [secrets] [packages] [template]

code       bandit, over all Python code but the tests; .bandit.yaml says which of its tests do not apply, and why
secrets    detect-secrets, over all files of the repository; what .secrets.baseline has was reviewed: REVIEWED says why
packages   pip-audit, over the lock files; skipped, which is no failure, where its database has no answer: it says why
template   checkov, over template.yaml; .checkov.yaml says which checks do not apply, and why
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

from tools.lock import LOCKS

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ".secrets.baseline"
BIN = ROOT / ".venv-security" / "bin"
AUDIT_SECONDS = 180.0

# Made by other programs, full of hashes, and with nothing that was typed.
GENERATED = re.compile(
    r"requirements/.*\.txt|layers/shared/requirements\.txt|web/package-lock\.json|functions/catalog/openapi\.json"
    r"|tools/openapi_clients/.*\.json|layers/shared/playground/data/prices/SHA256SUMS|\.secrets\.baseline"
)

REVIEWED: Mapping[str, str] = {
    r"tests/.*": "made up: keys of the stand-ins, samples for the search for leaks, stored items",
    r"docs/.*\.md": "placeholders in commands, and names of fields",
    r"bench/(cold|streams)\.py": "keys that the stand-ins are called with",
    r"events/.*": "a token that is not signed, which is to be refused",
    r"layers/shared/playground/domain/leaks\.py": "the vendor's own example of a key",
    r"layers/shared/playground/domain/runs\.py": "the alphabet of ids",
    r"local/(engine|stripe_keys)\.py": "keys of the laptop's stand-ins",
    r"template\.yaml": "placeholders that operators replace, and names of properties",
    r"tools/(functions|openapi_errors)\.py": "placeholders and example ids",
    r"tools/openapi_examples\.json": "hashes of example entries, and a placeholder",
    r"web/src/components/findings\.tsx": "names of kinds of secrets",
}
"""Why what detect-secrets finds in these files is none."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.security", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checks", nargs="*", metavar="check", help="code, secrets, packages, template; all without any")
    parser.add_argument("--write-baseline", action="store_true", help="what is found now is reviewed")
    arguments = parser.parse_args()
    if arguments.write_baseline:
        write_baseline()
        return 0
    checks: Mapping[str, Callable[[], bool]] = {
        "code": code,
        "secrets": secrets,
        "packages": packages,
        "template": template,
    }
    unknown = set(arguments.checks) - checks.keys()
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))}")
    passed = [checks[name]() for name in arguments.checks or checks]
    return 0 if all(passed) else 1


# --- code -------------------------------------------------------------------------------------------------------------

CODE = ("layers/shared/playground", "functions", "operate", "local", "doubles", "tools", "bench")


def code() -> bool:
    found = list(weaknesses(looked_at(CODE)))
    for line in found:
        print(f"{line}: mend it, or say in the line why not, and mark it with the id of the test")
    print(f"code: {len(found)} weaknesses")
    return not found


def looked_at(paths: Sequence[str], root: Path = ROOT) -> str:
    """What bandit says about the files in `paths`, as JSON. Raises RuntimeError if it says nothing."""
    command = [
        str(BIN / "bandit"),
        "--configfile",
        str(ROOT / ".bandit.yaml"),
        "--format=json",
        "--quiet",
        "--recursive",
        *paths,
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"bandit failed: {done.stderr[-2000:]}")
    return done.stdout


def weaknesses(text: str) -> Iterator[str]:
    """Each finding, and each file that could not be read."""
    document = json.loads(text)
    for failed in document["errors"]:
        yield f"{failed['filename']}: {failed['reason']}"
    for each in document["results"]:
        yield f"{each['filename']}:{each['line_number']}: {each['test_id']} {each['issue_text']}"


# --- secrets ----------------------------------------------------------------------------------------------------------


def committed() -> list[str]:
    """Files of the repository that people write."""
    listed = subprocess.run(  # the developer's own git # nosec B607
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - the developer's own git
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    names = sorted(name for name in listed.stdout.split("\0") if name and not GENERATED.fullmatch(name))
    return [name for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def scanned(files: Sequence[str], root: Path = ROOT) -> SecretsCollection:
    with default_settings():
        found = SecretsCollection(root=str(root))
        for name in files:
            found.scan_file(name)
    return found


def unreviewed(found: SecretsCollection, known: SecretsCollection) -> list[str]:
    """Where there is something that the baseline does not have, in any line of that file."""
    reviewed = {(name, secret.type, secret.secret_hash) for name, secret in known if secret.is_secret is False}
    return sorted(
        f"{name}:{secret.line_number}: {secret.type}"
        for name, secret in found
        if (name, secret.type, secret.secret_hash) not in reviewed
    )


def reason_of(name: str) -> str | None:
    return next((reason for pattern, reason in REVIEWED.items() if re.fullmatch(pattern, name)), None)


def reviewed() -> SecretsCollection:
    return baseline.load(baseline.load_from_file(str(ROOT / BASELINE)))


def secrets() -> bool:
    new = unreviewed(scanned(committed()), reviewed())
    for line in new:
        print(f"{line}: if it is no secret, give its reason in tools/security.py and run --write-baseline")
    print(f"secrets: {len(new)} new")
    return not new


def write_baseline() -> None:
    found = scanned(committed())
    for name, secret in found:
        if reason_of(name) is None:
            raise SystemExit(f"{name}:{secret.line_number}: {secret.type}: REVIEWED has no reason")
        secret.is_secret = False
    with default_settings():
        document = baseline.format_for_output(found)
    document.pop("generated_at", None)
    for name, entries in document["results"].items():
        for entry in entries:
            entry["filename"] = name  # not that of this machine
    (ROOT / BASELINE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


# --- packages ---------------------------------------------------------------------------------------------------------


class NotAskedError(Exception):
    """The database of vulnerabilities gave no answer about a lock file; the message says why."""


def packages() -> bool:
    """Whether no locked package has a known vulnerability, or nobody can say. False also for a lock that pip-audit
    does not take."""
    vulnerable = 0
    for lock in LOCKS.values():
        try:
            answer = audited(lock)
        except NotAskedError as reason:
            print(f"packages: skipped from {lock} on, the database of vulnerabilities has no answer: {reason}")
            return vulnerable == 0
        except RuntimeError as mistake:
            print(f"packages: {lock}: {mistake}")
            return False
        for line in findings(answer):
            vulnerable += 1
            print(f"{lock}: {line}")
    print(f"packages: {vulnerable} with known vulnerabilities")
    return vulnerable == 0


def audited(lock: str) -> str:
    """What pip-audit says about a lock file, as JSON. Raises NotAskedError, and RuntimeError if it does not take the
    file."""
    command = [str(BIN / "pip-audit"), "--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off"]
    try:
        done = subprocess.run(
            [*command, "--timeout=10", "--requirement", lock],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=AUDIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotAskedError(f"nothing within {AUDIT_SECONDS:.0f} s") from None
    return answer_of(done.stdout, done.stderr)


def answer_of(stdout: str, stderr: str) -> str:
    """The answer in what pip-audit wrote. Raises NotAskedError and RuntimeError."""
    if could_ask(stdout):
        return stdout
    said = [line for line in stderr.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line.removeprefix(ITS_ERROR) for line in said if line.startswith(ITS_ERROR)]
    if errors and not any(OF_THE_NETWORK in line for line in errors):
        raise RuntimeError(errors[0])
    if is_audit(stdout):
        raise NotAskedError("it knows none of the packages")
    raise NotAskedError(errors[0] if errors else said[-1])


ITS_ERROR = "ERROR:pip_audit._cli:"
OF_THE_NETWORK = "may be blocking this service"


def is_audit(text: str) -> bool:
    try:
        return isinstance(json.loads(text)["dependencies"], list)
    except (ValueError, KeyError, TypeError):
        return False


def could_ask(text: str) -> bool:
    """Whether the database knew any of the packages."""
    try:
        dependencies = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return False
    return any("skip_reason" not in each for each in dependencies)


def findings(text: str) -> Iterator[str]:
    for each in json.loads(text)["dependencies"]:
        for found in each.get("vulns", ()):
            fixed = ", ".join(found.get("fix_versions", ())) or "no version"
            yield f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}"


# --- template ---------------------------------------------------------------------------------------------------------


def template() -> bool:
    command = [str(BIN / "checkov"), "--config-file", ".checkov.yaml", "--file", "template.yaml"]
    done = subprocess.run(command, cwd=ROOT, check=False)
    print(f"template: {'nothing found' if done.returncode == 0 else 'checkov failed'}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
