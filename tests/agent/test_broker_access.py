"""The shipped configuration of mosquitto, really run: who gets in, and who may say what to whom."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import psutil
import pytest
from brokers import find_mosquitto, free_port

from agent.address import Certificates, parse_url, tls_context
from agent.bus import Bus, require_broker
from agent.credentials import AGENT, broker_url
from agent.inbound import Inbound
from agent.publish import Publisher
from policies.errors import ConfigError, Unreachable

DEPLOY = Path(__file__).parents[2] / "deploy"
CLIENTS = ("loop", "operator", "coder", "other")
WAIT_S = 30.0
LAST = "the last one"
# paho leaves the socket of a failed handshake to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Door:
    """A mosquitto with the shipped files, its paths and ports put in place of the real ones."""

    def __init__(self, folder: Path, plain: int, secure: int) -> None:
        self.folder, self.plain, self.secure = folder, plain, secure
        self.pid = 0

    def certificates(self, client: str) -> Certificates:
        return Certificates(
            self.folder / "ca.crt", self.folder / f"{client}.crt", self.folder / f"{client}.key"
        )

    def password(self, client: str) -> str:
        return (self.folder / f"{client}.password").read_text().strip()

    @property
    def url(self) -> str:
        return f"mqtts://localhost:{self.secure}"

    def plain_url(self, client: str) -> str:
        return f"mqtt://{client}:{self.password(client)}@127.0.0.1:{self.plain}"

    @asynccontextmanager
    async def client(self, name: str, *topics: str) -> AsyncIterator[aiomqtt.Client]:
        """A client by certificate, subscribed to topics (refused ones stay unread)."""
        context = tls_context(parse_url(self.url), self.certificates(name))
        async with aiomqtt.Client("localhost", self.secure, tls_context=context) as client:
            for topic in topics:
                await client.subscribe(topic, qos=1)
            yield client


def broker_user() -> int:
    """Return the user that mosquitto runs as: its own where root starts it and there is one."""
    try:
        return os.geteuid() or pwd.getpwnam("mosquitto").pw_uid
    except KeyError:
        return 0


def documented_set_up(folder: Path) -> None:
    """Do what the head of mosquitto.conf says, in another folder, up to the broker's own restart."""
    lines = (DEPLOY / "mosquitto.conf").read_text().splitlines()
    text = "\n".join(line[4:] for line in lines if line.startswith("#   ")).replace(
        "/etc/heedloop", str(folder)
    )
    if broker_user() == os.geteuid():  # only root gives files away, and only to a user that exists
        text = text.replace(" -o mosquitto", "")
    *commands, restart = text.splitlines()
    assert "systemctl restart" in restart
    for command in commands:
        subprocess.run(["bash", "-euc", command], cwd=DEPLOY.parent, check=True, capture_output=True)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    program = find_mosquitto()
    if program is None:
        if "mosquitto" in os.environ.get("HEEDLOOP_REQUIRE", "").split(","):
            pytest.fail("mosquitto is not installed, and HEEDLOOP_REQUIRE asks for it")
        pytest.skip("mosquitto is not installed")
    with tempfile.TemporaryDirectory() as made:  # others may not enter pytest's own folder
        Path(made).chmod(0o711)
        found = Door(Path(made) / "heedloop", free_port(), free_port())
        documented_set_up(found.folder)
        script = ["bash", str(DEPLOY / "credentials.sh"), str(found.folder), "broker.example", "other"]
        subprocess.run(script, check=True, capture_output=True)
        yield from running(found, program)


def running(found: Door, program: str) -> Iterator[Door]:
    """Run mosquitto until the tests have ended."""
    folder = found.folder
    text = (DEPLOY / "mosquitto.conf").read_text().replace("/etc/heedloop", str(folder))
    assert "listener 1883 127.0.0.1\n" in text
    assert "listener 8883\n" in text
    text = text.replace("listener 1883", f"listener {found.plain}")
    text = text.replace("listener 8883", f"listener {found.secure}")
    user = "user root\n" if broker_user() == 0 else ""
    (folder / "mosquitto.conf").write_text(user + text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=log, stdout=log)
    found.pid = process.pid
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "log").read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", found.secure)) == 0:
                break
        time.sleep(0.05)
    yield found
    process.terminate()
    process.wait(10)


def test_the_broker_reads_its_files_without_root(door: Door) -> None:
    assert psutil.Process(door.pid).uids().real == broker_user()
    assert "Error" not in (door.folder / "log").read_text()
    for name in ("broker.key", "broker.crt", "broker.passwords", "mosquitto.acl"):
        assert (door.folder / name).stat().st_uid == broker_user()


async def received(
    reader: aiomqtt.Client, send: Callable[[], object], until: str
) -> Sequence[tuple[str, str]]:
    """Return what a client gets up to the message `until`."""
    await send()  # type: ignore[misc]
    got: list[tuple[str, str]] = []
    async with asyncio.timeout(WAIT_S):
        async for message in reader.messages:
            assert isinstance(message.payload, bytes)
            if message.payload.decode() == until:
                return got
            got.append((message.topic.value, message.payload.decode()))
    raise AssertionError("the connection ended")


async def test_an_agent_publishes_turns_and_corrections_but_gives_no_commands(door: Door) -> None:
    async with door.client("loop", "heedloop/v1/+/+") as loop, door.client("coder") as coder:

        async def send() -> None:
            await coder.publish("heedloop/v1/coder/commands", "pause", qos=1)
            await coder.publish("heedloop/v1/other/turns", "forged", qos=1)
            await coder.publish("heedloop/v1/coder/status", "all is well", qos=1, retain=True)
            await coder.publish("heedloop/v1/coder/turns", "a turn", qos=1)
            await coder.publish("heedloop/v1/coder/corrections", "a correction", qos=1)
            await coder.publish("heedloop/v1/coder/turns", LAST, qos=1)

        assert await received(loop, send, LAST) == [
            ("heedloop/v1/coder/turns", "a turn"),
            ("heedloop/v1/coder/corrections", "a correction"),
        ]


async def test_an_agent_reads_neither_turns_nor_what_concerns_others(door: Door) -> None:
    wanted = ("#", "heedloop/v1/#", "heedloop/v1/+/turns", "heedloop/v1/other/turns", "heedloop/v1/+/events")
    async with (
        door.client("loop") as loop,
        door.client("other") as other,
        door.client("coder", *wanted) as coder,
    ):

        async def send() -> None:
            await other.publish("heedloop/v1/other/turns", "private", qos=1)
            await other.publish("heedloop/v1/other/corrections", "private", qos=1)
            await loop.publish("heedloop/v1/other/events", "of others", qos=1)
            await loop.publish("heedloop/v1/coder/events", LAST, qos=1)

        assert await received(coder, send, LAST) == []


async def test_the_operator_gives_commands_and_reads_no_turns(door: Door) -> None:
    topics = ("heedloop/v1/+/commands", "heedloop/v1/+/turns")
    async with door.client("loop", *topics) as loop, door.client("operator", "#") as operator:

        async def send() -> None:
            await operator.publish("heedloop/v1/coder/turns", "a turn", qos=1)
            await operator.publish("heedloop/v1/coder/commands", LAST, qos=1)

        assert await received(loop, send, LAST) == []


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """Certificates of the same names by another authority."""
    script = ["bash", str(DEPLOY / "credentials.sh"), str(tmp_path / "strangers"), "broker.test", "loop"]
    subprocess.run(script, check=True, capture_output=True)
    return tmp_path / "strangers"


async def test_nobody_gets_in_without_a_certificate_of_ours(door: Door, strangers: Path) -> None:
    with pytest.raises(Unreachable):
        await require_broker(door.url, Certificates(door.folder / "ca.crt"))
    stranger = Certificates(door.folder / "ca.crt", strangers / "loop.crt", strangers / "loop.key")
    with pytest.raises(Unreachable):
        await require_broker(door.url, stranger)
    await require_broker(door.url, door.certificates("loop"))


async def test_we_do_not_talk_to_a_broker_that_another_authority_signed(door: Door, strangers: Path) -> None:
    theirs = door.certificates("loop")._replace(ca_file=strangers / "ca.crt")
    with pytest.raises(Unreachable, match="certificate"):
        await require_broker(door.url, theirs)


async def test_on_loopback_a_name_and_its_password_are_needed(door: Door) -> None:
    await require_broker(door.plain_url("loop"))
    for url in (
        f"mqtt://127.0.0.1:{door.plain}",
        f"mqtt://loop:wrong@127.0.0.1:{door.plain}",
        f"mqtt://nobody:{door.password('loop')}@127.0.0.1:{door.plain}",
    ):
        with pytest.raises(Unreachable):
            await require_broker(url)


async def test_publisher_and_loop_meet_over_tls(door: Door, tmp_path: Path) -> None:
    got: asyncio.Queue[Inbound] = asyncio.Queue()

    async def handle(batch: Sequence[Inbound]) -> None:
        for one in batch:
            got.put_nowait(one)

    bus = Bus(door.url, "coder", "loop-of-this-test", door.certificates("loop"))
    task = asyncio.create_task(bus.run(handle))
    async with asyncio.timeout(WAIT_S):
        await bus.wait_connected()
        mine = door.certificates("coder")._asdict()
        with Publisher(door.url, agent="coder", spool=tmp_path, **mine) as publisher:
            publisher.turn("c", "user", "Hi over TLS")
            message = await got.get()
        assert (message.agent, message.channel) == ("coder", "turns")
        assert b"Hi over TLS" in message.payload
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_agents_of_the_embedded_broker_give_no_commands_either(amqtt: object) -> None:
    home, port = amqtt.home, amqtt.port  # type: ignore[attr-defined]

    def connected(url: str) -> aiomqtt.Client:
        address = parse_url(url)
        return aiomqtt.Client(
            address.host, address.port, username=address.username, password=address.password
        )

    owner, agent = connected(broker_url(home, port)), connected(broker_url(home, port, AGENT))
    async with owner as loop, agent as coder:
        await loop.subscribe("heedloop/v1/+/+", qos=1)

        async def send() -> None:
            # amqtt closes the connection of who publishes what they may not, or drops it: both are a no.
            await coder.publish("heedloop/v1/embedded/turns", "a turn", qos=1)
            await coder.publish("heedloop/v1/embedded/commands", "pause", qos=0)
            await loop.publish("heedloop/v1/embedded/events", LAST, qos=1)

        assert await received(loop, send, LAST) == [("heedloop/v1/embedded/turns", "a turn")]


@pytest.mark.parametrize(
    ("url", "names", "said"),
    [
        ("mqtt://localhost", ("ca_file",), "mqtts://"),
        ("mqtts://localhost", ("certificate",), "belong together"),
        ("mqtts://localhost", ("key",), "belong together"),
        ("mqtts://localhost", ("ca_file", "certificate", "key"), "bus.certificate = .*cannot be used"),
    ],
)
def test_certificates_that_cannot_be_used_are_one_clear_line(
    tmp_path: Path, url: str, names: Sequence[str], said: str
) -> None:
    files = {name: tmp_path / name for name in names}
    for file in files.values():
        file.write_text("not PEM")
    with pytest.raises(ConfigError, match=said) as error:
        tls_context(parse_url(url), Certificates(**files))
    assert "\n" not in str(error.value)


def test_an_encrypted_key_is_refused_not_asked_about(door: Door, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(door.folder / "loop.key"), "-aes128", "-passout", "pass:secret"]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True)
    with pytest.raises(ConfigError, match="encrypted"):
        tls_context(parse_url(door.url), door.certificates("loop")._replace(key=locked))


def test_old_tls_is_not_spoken(door: Door) -> None:
    context = tls_context(parse_url(door.url), door.certificates("loop"))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname


def test_what_the_script_makes_is_private_and_stays(door: Door) -> None:
    before = {path.name: path.read_bytes() for path in door.folder.glob("*.key")}
    script = ["bash", str(DEPLOY / "credentials.sh"), str(door.folder), "broker.example", *CLIENTS, "fifth"]
    subprocess.run(script, check=True, capture_output=True)
    assert door.folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in door.folder.glob("*.crt")} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in door.folder.glob("*.key")} == {0o600}
    assert (door.folder / "broker.passwords").stat().st_mode & 0o777 == 0o600
    for name, content in before.items():
        assert (door.folder / name).read_bytes() == content
    assert (door.folder / "fifth.crt").exists()
    assert "fifth:$" in (door.folder / "broker.passwords").read_text()
