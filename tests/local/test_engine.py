"""The store: its state after a kill, and the resources in it."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from local.engine import Engine
from local.engine_server import Checkpoints
from local.process import ProgramError
from local.resources import TableChangedError, client, create_resources
from local.template import Description, read_template
from tests.kit.extent import HANG_SECONDS

Eventually = Callable[[Callable[[], object]], None]
needs_limits = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limits of another process: Linux only")
TABLE, BUCKET, SECRET = "playground-ThingsTable", "playground-filesbucket", "playground-PlainSecret"


class Store:
    """Clients of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.dynamodb = client("dynamodb", engine.endpoint_url)
        self.s3 = client("s3", engine.endpoint_url)
        self.secrets = client("secretsmanager", engine.endpoint_url)

    def close(self) -> None:
        for each in (self.dynamodb, self.s3, self.secrets):
            each.close()

    def put_item(self, key: str, value: str) -> None:
        self.dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": key}, "value": {"S": value}})

    def item(self, key: str) -> str | None:
        item = self.dynamodb.get_item(TableName=TABLE, Key={"pk": {"S": key}}).get("Item")
        return None if item is None else str(item["value"]["S"])

    def put_object(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def object(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def put_secret(self, value: str) -> None:
        self.secrets.put_secret_value(SecretId=SECRET, SecretString=value)

    def secret(self, name: str = SECRET) -> str:
        return str(self.secrets.get_secret_value(SecretId=name)["SecretString"])


@pytest.fixture(scope="module")
def memory() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def wait_for_checkpoint(folder: Path, eventually: Eventually, store: Store) -> None:
    """Returns when a checkpoint has everything that was written before the call."""
    before = checkpoints(folder)
    store.put_item("something else", "so that there is a reason for one")
    eventually(lambda: checkpoints(folder) > before)


def test_data_survives_a_kill_after_the_checkpoint(
    tmp_path: Path, description: Description, eventually: Eventually
) -> None:
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        create_resources(description, engine.endpoint_url)
        store.put_item("key", "value")
        store.put_object("folder/a file", b"\x00body")
        store.put_secret("changed")
        wait_for_checkpoint(tmp_path, eventually, store)
        engine.kill()

    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        assert store.item("key") == "value"
        assert store.object("folder/a file") == b"\x00body"
        assert store.secret() == "changed"
        assert store.s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"


def test_a_clean_stop_saves_at_once(tmp_path: Path, description: Description) -> None:
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        create_resources(description, engine.endpoint_url)
        store.put_item("key", "the last moment")
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        assert store.item("key") == "the last moment"


class Disk:
    """Limits the size of a process's files, as if the disk were full, and lifts the limit."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        _, self._hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    def allow(self, max_bytes: int) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (max_bytes, self._hard))

    def allow_everything(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (self._hard, self._hard))


def refused(write: Callable[[], object]) -> str | None:
    """The code of the error; None if it is accepted."""
    try:
        write()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


@contextmanager
def full_disk(
    tmp_path: Path, description: Description, eventually: Eventually
) -> Iterator[tuple[Engine, Store, Disk, list[str]]]:
    """A store that has saved once, its disk, which can be filled, and its output."""
    said: list[str] = []
    with Engine(tmp_path, show=lambda name, line: said.append(line)) as engine, closing(Store(engine)) as store:
        create_resources(description, engine.endpoint_url)
        wait_for_checkpoint(tmp_path, eventually, store)
        yield engine, store, Disk(engine.pid), said


@needs_limits
def test_a_store_that_cannot_save_says_so_and_refuses_writes_until_it_can(
    tmp_path: Path, description: Description, eventually: Eventually
) -> None:
    """Reads continue. Accepted writes are not lost: they are saved when there is room again."""
    with full_disk(tmp_path, description, eventually) as (engine, store, disk, said):
        disk.allow(100)
        store.put_item("key", "accepted before it was noticed")
        eventually(lambda: refused(lambda: store.put_item("other", "x")) == "InternalServerError")
        assert refused(lambda: store.put_object("file", b"x")) == "ServiceUnavailable"
        assert refused(lambda: store.put_secret("x")) == "InternalFailure"
        assert store.item("key") == "accepted before it was noticed"
        assert len([line for line in said if line.startswith("CANNOT SAVE, WRITES ARE REFUSED: ")]) == 1

        disk.allow_everything()
        eventually(lambda: "everything is saved, and writes are accepted again" in said)
        engine.kill()
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        assert store.item("key") == "accepted before it was noticed"


@needs_limits
def test_an_object_whose_body_cannot_be_written_is_refused(
    tmp_path: Path, description: Description, eventually: Eventually
) -> None:
    with full_disk(tmp_path, description, eventually) as (engine, store, disk, said):
        disk.allow(1024 * 1024)  # enough for the tables
        assert refused(lambda: store.put_object("file", bytes(2 * 1024 * 1024))) == "ServiceUnavailable"
        assert any(line.startswith("CANNOT SAVE, WRITES ARE REFUSED: ") for line in said)
        disk.allow_everything()
        eventually(lambda: refused(lambda: store.put_object("file", bytes(2 * 1024 * 1024))) is None)
        engine.kill()
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        assert len(store.object("file")) == 2 * 1024 * 1024


@needs_limits
def test_a_store_that_stops_without_saving_says_so(
    tmp_path: Path, description: Description, eventually: Eventually
) -> None:
    said: list[str] = []
    with Engine(tmp_path, show=lambda name, line: said.append(line)) as engine, closing(Store(engine)) as store:
        create_resources(description, engine.endpoint_url)
        wait_for_checkpoint(tmp_path, eventually, store)
        Disk(engine.pid).allow(100)
        store.put_item("key", "never saved")
    assert any(line.startswith("STOPPED WITHOUT SAVING the last changes: ") for line in said)


def test_no_store_starts_where_a_checkpoint_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Checkpoints(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_000_000))
    with pytest.raises(OSError, match="1,000,000 bytes are free in"):
        found.try_out()


@pytest.mark.parametrize("content", ["{", '{"__ministack_format__": 99, "payload": {}}'])
def test_unreadable_state_is_not_overwritten(tmp_path: Path, description: Description, content: str) -> None:
    """Otherwise the store would overwrite it with empty state."""
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        create_resources(description, engine.endpoint_url)
        store.put_item("key", "value")
    (file,) = (tmp_path / "checkpoints").glob("*/dynamodb.json")
    good = file.read_text()
    file.write_text(content)
    with pytest.raises(ProgramError, match="cannot be read, and is left as it is"):
        Engine(tmp_path).start()
    assert file.read_text() == content
    file.write_text(good)
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        assert store.item("key") == "value"


def test_a_kill_leaves_a_consistent_checkpoint_of_all_services(
    tmp_path: Path, description: Description, eventually: Eventually
) -> None:
    """A writer increments a counter in a secret, then in the table. After a kill at any time, both counters are from
    the same checkpoint, and that is not older than the last known one."""
    with Engine(tmp_path) as engine:
        create_resources(description, engine.endpoint_url)
    floor = 0
    for round_ in range(3):
        with Engine(tmp_path) as engine, closing(Store(engine)) as store:
            if round_:
                kept_secret, kept_item = int(store.secret()), int(store.item("count") or 0)
                assert 0 <= kept_secret - kept_item <= 1
                assert kept_item >= floor
            written = [floor]

            def count(store: Store = store, written: list[int] = written) -> None:
                try:
                    while True:
                        store.put_secret(str(written[0] + 1))
                        store.put_item("count", str(written[0] + 1))
                        written[0] += 1
                except (BotoCoreError, ClientError):
                    return  # killed

            writer = threading.Thread(target=count)
            store.put_secret(str(floor))
            store.put_item("count", str(floor))
            writer.start()
            wait_for_checkpoint(tmp_path, eventually, store)
            known = written[0]
            # The next checkpoint has at least the known count; then kill during a write.
            wait_for_checkpoint(tmp_path, eventually, store)
            engine.kill()
            writer.join()
            floor = known


def test_a_checkpoint_that_was_not_finished_does_not_count(tmp_path: Path, description: Description) -> None:
    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        create_resources(description, engine.endpoint_url)
        store.put_item("key", "complete")
    (complete,) = checkpoints(tmp_path)
    unfinished = tmp_path / "checkpoints" / "unfinished"
    shutil.copytree(tmp_path / "checkpoints" / complete, unfinished)
    (unfinished / "dynamodb.json").write_text('{"half', encoding="utf-8")

    with Engine(tmp_path) as engine, closing(Store(engine)) as store:
        assert store.item("key") == "complete"
    assert not unfinished.exists()


def test_a_checkpoint_replaces_the_former_one(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)

    def write(folder: Path) -> set[str]:
        (folder / "a.json").write_text("1", encoding="utf-8")
        return {"a.json"}

    saved.save(write)
    saved.save(write)
    assert [path.name for path in tmp_path.iterdir()] == ["0000000002"]
    os.close(saved._lock)


def test_a_service_that_could_not_be_saved_keeps_the_former_checkpoint(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)

    def write_both(folder: Path) -> set[str]:
        for name in ("a.json", "b.json"):
            (folder / name).write_text("1", encoding="utf-8")
        return {"a.json", "b.json"}

    def write_one_of_two(folder: Path) -> set[str]:
        (folder / "a.json").write_text("2", encoding="utf-8")
        return {"a.json", "b.json"}

    saved.save(write_both)
    with pytest.raises(OSError, match=r"lacks b\.json"):
        saved.save(write_one_of_two)
    assert saved.current.name == "0000000001"
    assert (saved.current / "a.json").read_text(encoding="utf-8") == "1"
    os.close(saved._lock)


def test_a_service_that_was_not_used_is_carried_over(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path)

    def write(names: set[str]) -> Callable[[Path], set[str]]:
        def into(folder: Path) -> set[str]:
            for name in names:
                (folder / name).write_text(name, encoding="utf-8")
            return names

        return into

    saved.save(write({"a.json", "b.json"}))
    saved.save(write({"a.json"}))
    assert {path.name for path in saved.current.iterdir()} == {"a.json", "b.json"}
    os.close(saved._lock)


def test_two_stores_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(tmp_path), pytest.raises(ProgramError, match="another store uses"):
        Engine(tmp_path).start()


def test_resources_may_be_created_again(memory: Engine, description: Description) -> None:
    with closing(Store(memory)) as store:
        create_resources(description, memory.endpoint_url)
        made = store.secret("playground-MadeSecret")
        store.put_item("kept", "yes")
        create_resources(description, memory.endpoint_url)

        assert store.item("kept") == "yes"
        assert store.secret("playground-MadeSecret") == made
        assert set(json.loads(made)) == {"user", "made"}
        assert len(json.loads(made)["made"]) == 40
        assert json.loads(made)["made"].isalnum()
        expiry = store.dynamodb.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
        assert (expiry["AttributeName"], expiry["TimeToLiveStatus"]) == ("expires_at", "ENABLED")

        create_resources(description, memory.endpoint_url, {"MadeSecret": "given"})
        assert store.secret("playground-MadeSecret") == "given"
        arn = description.functions["EchoFunction"].environment["SECRET"]
        assert store.secret(arn) == "given"


def test_a_table_with_other_keys_is_not_used(memory: Engine, fixtures: Path, tmp_path: Path) -> None:
    text = (fixtures / "template.yaml").read_text(encoding="utf-8")
    changed = tmp_path / "template.yaml"
    changed.write_text(text.replace("AttributeName: pk,", "AttributeName: other,"), encoding="utf-8")
    create_resources(read_template(fixtures / "template.yaml"), memory.endpoint_url)
    with pytest.raises(TableChangedError, match="make clean-state"):
        create_resources(read_template(changed), memory.endpoint_url)


def test_a_stored_table_gets_new_indexes_of_the_template(memory: Engine, fixtures: Path, tmp_path: Path) -> None:
    """They are backfilled, as on AWS."""
    text = (fixtures / "template.yaml").read_text(encoding="utf-8")
    before = "AttributeDefinitions: [{ AttributeName: pk, AttributeType: S }]\n"
    after = """AttributeDefinitions:
        - { AttributeName: pk, AttributeType: S }
        - { AttributeName: ended_at, AttributeType: S }
      GlobalSecondaryIndexes:
        - IndexName: by_end
          KeySchema: [{ AttributeName: pk, KeyType: HASH }, { AttributeName: ended_at, KeyType: RANGE }]
          Projection: { ProjectionType: INCLUDE, NonKeyAttributes: [model] }
"""
    assert before in text
    changed = tmp_path / "template.yaml"
    changed.write_text(text.replace(before, after), encoding="utf-8")
    create_resources(read_template(fixtures / "template.yaml"), memory.endpoint_url)
    with closing(Store(memory)) as store:
        item = {"pk": {"S": "a"}, "ended_at": {"S": "2026"}, "model": {"S": "opus"}, "other": {"S": "x"}}
        store.dynamodb.put_item(TableName=TABLE, Item=item)
        for _ in range(2):
            create_resources(read_template(changed), memory.endpoint_url)
        found = store.dynamodb.query(
            TableName=TABLE,
            IndexName="by_end",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "a"}},
        )["Items"]
        assert found == [{name: value for name, value in item.items() if name != "other"}]


ORPHAN = """
import sys
from local.engine import Engine
with Engine() as engine:
    print(engine.pid, flush=True)
    sys.stdin.read()
"""


def test_the_store_ends_with_its_parent(
    script_environment: dict[str, str], alive: Callable[[int], bool], eventually: Eventually
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN], env=script_environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    eventually(lambda: not alive(pid))


def test_says_when_its_interpreter_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PYTHON", "/nonexistent/python")
    with pytest.raises(ProgramError, match=r"bootstrap\.py engine"):
        Engine().start()


def test_says_when_its_port_is_taken(memory: Engine) -> None:
    with pytest.raises(ProgramError, match="in use") as raised:
        Engine(port=memory.port).start()
    assert raised.value.name == "engine"


def test_listens_on_loopback_only(memory: Engine, alive: Any) -> None:
    """Every listening socket of the store's process is bound to 127.0.0.1."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc")
    sockets = {
        link[8:-1]
        for entry in Path(f"/proc/{memory.pid}/fd").iterdir()
        if (link := os.readlink(entry)).startswith("socket:[")  # noqa: PTH115 - not a path
    }
    listening = [
        fields[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]
        if (fields := line.split())[3] == "0A" and fields[9] in sockets
    ]
    assert listening == [f"0100007F:{memory.port:04X}"]


TARGET = "DynamoDB_20120810."
OWN_TABLE = "bytes"


def request_bytes(action: str, body: Any, *headers: str, path: str = "/") -> bytes:
    content = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/x-amz-json-1.0",
        f"X-Amz-Target: {TARGET}{action}",
        *(headers or (f"Content-Length: {len(content)}",)),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@pytest.fixture(scope="module")
def table(memory: Engine) -> str:
    with closing(client("dynamodb", memory.endpoint_url)) as dynamodb:
        dynamodb.create_table(
            TableName=OWN_TABLE,
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    return OWN_TABLE


@contextmanager
def connected(engine: Engine) -> Iterator[tuple[socket.socket, Callable[[], tuple[int, dict[str, str], bytes]]]]:
    """A connection, and what reads the next answer from it."""
    with (
        socket.create_connection(("127.0.0.1", engine.port), timeout=HANG_SECONDS) as connection,
        connection.makefile("rb") as file,
    ):

        def read() -> tuple[int, dict[str, str], bytes]:
            status = int(file.readline().split()[1])
            headers: dict[str, str] = {}
            while line := file.readline().strip():
                name, _, value = line.decode("latin-1").partition(":")
                assert name.lower() not in headers, line
                headers[name.lower()] = value.strip()
            return status, headers, file.read(int(headers["content-length"]))

        yield connection, read


def test_requests_are_answered_in_order_however_their_bytes_arrive(table: str, memory: Engine) -> None:
    put = request_bytes("PutItem", {"TableName": table, "Item": {"pk": {"S": "bytes"}, "value": {"S": "é"}}})
    get = request_bytes("GetItem", {"TableName": table, "Key": {"pk": {"S": "bytes"}}})
    with connected(memory) as (connection, read):
        connection.sendall(put + get + get[:-7])
        assert read()[0] == 200
        assert json.loads(read()[2])["Item"]["value"] == {"S": "é"}
        for byte in get[-7:]:
            connection.sendall(bytes([byte]))
        assert json.loads(read()[2])["Item"]["value"] == {"S": "é"}
        for begin in range(0, len(get), 40):
            connection.sendall(get[begin : begin + 40])
        assert json.loads(read()[2])["Item"]["value"] == {"S": "é"}


def test_a_connection_serves_any_service_one_after_the_other(table: str, memory: Engine) -> None:
    get = request_bytes("GetItem", {"TableName": table, "Key": {"pk": {"S": "none"}}})
    with connected(memory) as (connection, read):
        connection.sendall(get)
        assert read()[::2] == (200, b"{}")
        connection.sendall(b"PUT /a-bucket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert read()[0] == 200
        body = b"an object"
        put = f"PUT /a-bucket/one HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(put.encode() + body)
        assert read()[0] == 200
        connection.sendall(b"GET /a-bucket/one HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read()[::2] == (200, body)
        connection.sendall(get)
        assert read()[::2] == (200, b"{}")


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("action", "body", "expected"),
    [
        ("DescribeTable", {"TableName": OWN_TABLE}, 200),
        ("Scan", {"TableName": OWN_TABLE, "Limit": 1}, 200),
        ("GetItem", {"TableName": "none", "Key": {"pk": {"S": "a"}}}, 400),
        ("Unheard", {}, 400),
        ("PutItem", [], 500),
    ],
)
def test_short_and_long_way_answer_the_same(memory: Engine, action: str, body: Any, expected: int) -> None:
    """A request with a query goes through all of ministack. HTTP has two ways to send a body."""
    content = json.dumps(body).encode()
    plain = request_bytes(action, body)
    queried = request_bytes(action, body, path="/?a=b")
    chunked = request_bytes(action, body, "Transfer-Encoding: chunked")
    chunked = chunked.removesuffix(content) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    answers = []
    for sent in (plain, queried, chunked):
        with connected(memory) as (connection, read):
            connection.sendall(sent)
            status, headers, answered = read()
            changing = ("date", "server", "x-amzn-requestid", "x-amz-request-id", "x-amz-id-2")
            answers.append((status, {n: v for n, v in headers.items() if n not in changing}, answered))
            assert "date" in headers
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == expected


def test_a_connection_is_closed_when_its_client_says_so_and_at_the_end() -> None:
    get = request_bytes("ListTables", {})
    last = get.replace(b"Host:", b"Connection: close\r\nHost:")
    with Engine() as engine, connected(engine) as (idle, read_idle), connected(engine) as (closing_, read):
        closing_.sendall(last)
        assert read()[0] == 200
        assert closing_.recv(1) == b""
        idle.sendall(get)
        assert read_idle()[0] == 200
        engine.stop()
        assert idle.recv(1) == b""


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"nonsense\r\n\r\n"])
def test_what_is_no_request_is_refused(memory: Engine, sent: bytes) -> None:
    with connected(memory) as (connection, _):
        connection.sendall(sent)
        answered = connection.recv(64)
    assert answered.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) or answered == b""
