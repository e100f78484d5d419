# aiokafka and redis-py are partly untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""The devkit's servers: the properties that the services rely on, and that a kill loses no stored data."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from minio import Minio
from minio.error import S3Error
from redis.asyncio import Redis

from districam_common.s3.s3_requests import request
from districam_devkit.servers import Servers, ServerUnavailable, all_running, ports, seaweedfs, tansu, valkey
from districam_devkit.servers.process import ProcessSpec, running

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

LOG_APPEND_TIME = 1  # message.timestamp.type in consumed records


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Servers]:
    async with all_running(tmp_path_factory.mktemp("devkit")) as started:
        yield started


async def create_topic(bootstrap_servers: str, name: str, configs: dict[str, str] | None = None):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs or {})])
        (error,) = answer.to_object()["topic_errors"]
        assert error["error_code"] == 0, answer
    finally:
        await admin.close()


async def produce(bootstrap_servers: str, topic: str, values: list[bytes], *, idempotent: bool = True):
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=idempotent, acks="all", max_request_size=10 << 20
    ) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, timestamp_ms=1000)


async def read(bootstrap_servers: str, topic: str, count: int) -> list[ConsumerRecord[bytes, bytes]]:
    records: list[ConsumerRecord[bytes, bytes]] = []
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(15):
            while len(records) < count:
                records.append(await consumer.getone())
    return records


def client_of(servers: Servers) -> Minio:
    return Minio(servers.s3.endpoint, servers.s3.access_key, servers.s3.secret_key, secure=False)


def put(client: Minio, bucket: str, key: str, data: bytes):
    client.put_object(bucket, key, io.BytesIO(data), len(data))


def get(client: Minio, bucket: str, key: str) -> bytes:
    response = client.get_object(bucket, key)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


async def test_kafka_sets_append_times_and_accepts_idempotent_producers(servers: Servers):
    at = servers.kafka.bootstrap_servers
    await create_topic(at, "stamped", {"message.timestamp.type": "LogAppendTime"})
    before_ms = time.time() * 1000
    await produce(at, "stamped", [b"one", b"two"])
    records = await read(at, "stamped", 2)
    assert [record.value for record in records] == [b"one", b"two"]
    assert all(record.timestamp_type == LOG_APPEND_TIME for record in records)
    assert all(before_ms - 1 <= record.timestamp <= time.time() * 1000 + 1 for record in records)


async def test_kafka_accepts_an_8_mib_record_and_creates_no_topic_automatically(servers: Servers):
    at = servers.kafka.bootstrap_servers
    await create_topic(at, "large", {"max.message.bytes": str(9 << 20)})
    await produce(at, "large", [bytes(8 << 20)])
    admin = AIOKafkaAdminClient(bootstrap_servers=at)
    await admin.start()
    try:
        await admin.describe_topics(["unasked"])
        assert "unasked" not in await admin.list_topics()
    finally:
        await admin.close()


async def test_a_killed_kafka_is_back_within_15_s_with_all_acknowledged_records(servers: Servers):
    at = servers.kafka.bootstrap_servers
    await create_topic(at, "kept")
    await produce(at, "kept", [b"%d" % n for n in range(200)])
    pid = servers.kafka.pid
    await servers.kafka.kill()
    assert servers.kafka.pid is None
    async with asyncio.timeout(15):
        await servers.kafka.restart()
    assert servers.kafka.pid not in (None, pid)
    await produce(at, "kept", [b"after"])
    assert [record.value for record in await read(at, "kept", 201)] == [*(b"%d" % n for n in range(200)), b"after"]


async def test_s3_rejects_a_second_conditional_write_of_a_key(servers: Servers):
    client = client_of(servers)
    await asyncio.to_thread(client.make_bucket, "once")
    body = os.urandom(300_000)
    await asyncio.to_thread(put, client, "once", "a/b", body)
    assert await asyncio.to_thread(get, client, "once", "a/b") == body
    with pytest.raises(S3Error) as refused:
        request(client, "PUT", "once", "a/b", body=b"other", headers={"If-None-Match": "*"})
    assert refused.value.code == "PreconditionFailed"
    assert refused.value.response.status == 412
    assert await asyncio.to_thread(get, client, "once", "a/b") == body


async def test_s3_requires_keys_and_creates_no_bucket_automatically(servers: Servers):
    stranger = Minio(servers.s3.endpoint, servers.s3.access_key, "wrong", secure=False)
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        await asyncio.to_thread(stranger.list_buckets)
    with pytest.raises(S3Error, match="NoSuchBucket"):
        await asyncio.to_thread(put, client_of(servers), "unasked", "key", b"x")


async def test_a_killed_s3_server_keeps_what_it_stored(servers: Servers):
    client = client_of(servers)
    await asyncio.to_thread(client.make_bucket, "kept")
    await asyncio.to_thread(put, client, "kept", "key", b"stored")
    await servers.s3.kill()
    async with asyncio.timeout(15):
        await servers.s3.restart()
    assert await asyncio.to_thread(get, client, "kept", "key") == b"stored"
    await asyncio.to_thread(put, client, "kept", "another", b"stored too")
    assert await asyncio.to_thread(get, client, "kept", "another") == b"stored too"


async def test_redis_has_the_settings_the_index_requires(servers: Servers):
    async with Redis.from_url(servers.redis.url, decode_responses=True) as client:
        await client.set("key", "value")
        assert await client.get("key") == "value"
        assert await client.config_get("appendonly", "appendfsync", "maxmemory-policy", "save", "bind") == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "bind": "127.0.0.1",
        }
        await client.zadd("hour", {f"member-{n}": n for n in range(512)})
        assert await client.object("ENCODING", "hour") == "listpack"


async def test_a_killed_redis_keeps_what_it_had_written(servers: Servers):
    async with Redis.from_url(servers.redis.url, decode_responses=True) as client:
        await client.set("kept", "1")
        async with asyncio.timeout(10):  # during an fsync, the next write waits for up to 2 s
            while (await client.info("persistence"))["aof_buffer_length"]:  # it can only be polled
                await asyncio.sleep(0.05)
    await servers.redis.kill()  # data handed to the kernel survives the process
    await servers.redis.restart()
    async with Redis.from_url(servers.redis.url, decode_responses=True) as client:
        assert await client.get("kept") == "1"


async def test_servers_listen_on_loopback_only(servers: Servers):
    sockets = {
        str(fd.readlink())
        for server in (servers.kafka, servers.s3, servers.redis)
        for fd in Path(f"/proc/{server.pid}/fd").iterdir()
    }
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in sockets
    ]
    assert len(listening) >= 3
    loopback = ("0100007F:", "0000000000000000FFFF00000100007F:", "00000000000000000000000001000000:")
    assert [address for address in listening if not address.startswith(loopback)] == []


async def test_no_secret_is_on_a_command_line(servers: Servers):
    for server in (servers.kafka, servers.s3, servers.redis):
        assert servers.s3.secret_key.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert servers.s3.secret_key not in repr(servers)


async def test_a_folder_in_use_is_rejected(servers: Servers, tmp_path: Path):
    async with all_running(tmp_path, broker="tansu"):
        with pytest.raises(ServerUnavailable, match="in use"):
            async with all_running(tmp_path, broker="tansu"):
                pass


async def test_tansu_replaces_kafka_and_reports_its_limitations(tmp_path: Path):
    async with tansu.running(tmp_path, log_dir=tmp_path) as broker:
        await create_topic(broker.bootstrap_servers, "some")
        await produce(broker.bootstrap_servers, "some", [b"value"], idempotent=False)
        assert [record.value for record in await read(broker.bootstrap_servers, "some", 1)] == [b"value"]
        assert not broker.idempotent
        assert "does not survive a restart" in broker.note


async def test_data_survives_a_restart_of_the_servers(tmp_path: Path):
    async with all_running(tmp_path) as first:
        await create_topic(first.kafka.bootstrap_servers, "kept")
        await produce(first.kafka.bootstrap_servers, "kept", [b"value"])
        await asyncio.to_thread(client_of(first).make_bucket, "kept")
        await asyncio.to_thread(put, client_of(first), "kept", "key", b"stored")
    async with all_running(tmp_path) as second:
        assert [record.value for record in await read(second.kafka.bootstrap_servers, "kept", 1)] == [b"value"]
        assert await asyncio.to_thread(get, client_of(second), "kept", "key") == b"stored"
        await asyncio.to_thread(put, client_of(second), "kept", "new", b"stored too")


async def test_a_port_in_use_is_named(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ServerUnavailable, match=f"port {port} is taken"):
            async with valkey.running(tmp_path, log_dir=tmp_path, port=port):
                pass


@pytest.mark.parametrize("server", [valkey, seaweedfs], ids=["redis", "s3"])
async def test_a_port_taken_before_start_is_replaced(
    server: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another process takes the port between choosing it and listening."""
    require_free = ports.require_free
    holders: list[socket.socket] = []

    def snatched(name: str, chosen: Sequence[int]) -> None:
        require_free(name, chosen)
        if not holders:
            holders.append(socket.create_server((ports.HOST, chosen[0])))

    monkeypatch.setattr(ports, "require_free", snatched)
    monkeypatch.setattr(seaweedfs, "_READY_S", 8)
    async with server.running(tmp_path / "data", log_dir=tmp_path) as running_server:
        assert running_server.pid is not None
    holders[0].close()


def script(tmp_path: Path, code: str, *, ready: bool, ready_s: float = 5, stop_s: float = 5) -> ProcessSpec:
    async def is_ready() -> bool:
        return ready and Path(tmp_path, "ready").exists()

    argv = (sys.executable, "-u", "-c", code)
    return ProcessSpec("some server", argv, tmp_path, tmp_path / "some.log", is_ready, ready_s=ready_s, stop_s=stop_s)


async def test_a_server_that_exits_at_once_shows_the_end_of_its_log(tmp_path: Path):
    code = "import sys; print(*range(100), sep='\\n'); sys.exit('no such disk')"
    with pytest.raises(ServerUnavailable, match=r"exited with code 1 (.|\n)* 99\n +no such disk") as failed:
        async with running(script(tmp_path, code, ready=True)):
            pass
    assert " 80\n" not in str(failed.value)


async def test_a_server_that_is_never_ready_is_killed(tmp_path: Path):
    code = "import os, time; print('pid', os.getpid()); time.sleep(60)"
    with pytest.raises(ServerUnavailable, match=r"not ready within 0.5 s"):
        async with running(script(tmp_path, code, ready=False, ready_s=0.5)):
            pass
    assert not is_alive(int((tmp_path / "some.log").read_text().split()[1]))


async def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w').close(); time.sleep(60)"
    )
    async with running(script(tmp_path, code, ready=True, stop_s=0.3)) as child:
        pid = child.pid
        assert pid is not None
        assert is_alive(pid)
    assert not is_alive(pid)


async def test_an_error_in_the_block_propagates_and_stops_the_server(tmp_path: Path):
    pids: list[int | None] = []

    async def fail():
        async with valkey.running(tmp_path, log_dir=tmp_path) as redis:
            pids.append(redis.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert pids[0] is not None
    assert not is_alive(pids[0])


PARENT = """
import asyncio, pathlib, sys
from districam_devkit.servers import valkey
async def main():
    home = pathlib.Path(sys.argv[1])
    async with valkey.running(home, log_dir=home) as redis:
        print(redis.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_children_of_a_killed_parent_end(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert is_alive(pid)
        parent.kill()
    async with asyncio.timeout(5):
        while is_alive(pid):
            await asyncio.sleep(0.02)


async def test_the_command_prints_addresses_and_ends_with_ctrl_c(tmp_path: Path):
    command = [sys.executable, "-m", "districam_devkit.servers", "--home", str(tmp_path), "--broker", "tansu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as servers:
        assert servers.stdout
        lines = [await asyncio.to_thread(servers.stdout.readline) for _ in range(6)]
        servers.send_signal(signal.SIGINT)
        _, output = await asyncio.to_thread(servers.communicate, timeout=30)
    keys = [line.partition("=")[0] for line in lines]
    assert keys == [
        f"DISTRICAM_{name}"
        for name in (
            "KAFKA__BOOTSTRAP_SERVERS",
            "S3__ENDPOINT",
            "S3__ACCESS_KEY",
            "S3__SECRET_KEY",
            "REDIS__URL",
            "KAFKA__IDEMPOTENT",
        )
    ]
    assert servers.returncode == 0
    assert "no idempotent producer" in output


def is_alive(pid: int) -> bool:
    """Whether the process runs; false for a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
