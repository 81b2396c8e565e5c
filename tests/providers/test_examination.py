"""What `gpu doctor` sees in an account and on this computer: each thing broken in turn, and nothing else reported."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from werkzeug.serving import make_server

from orchestrator.bounded import TooLong, within
from orchestrator.errors import GpuError
from orchestrator.providers.aws import clock, examination, keys
from orchestrator.providers.aws.session import Session, Unanswered
from orchestrator.providers.base import Finding
from orchestrator.settings import Home, Profile
from orchestrator.state import Belonging, StateFile

from .conftest import Cloud

NAMES = [
    *("keys", "credentials", "region name", "network", "clock", "identity", "region"),
    *("belonging", "image", "machine", "key pair", "door", "protection", "spot"),
]


def look(cloud: Cloud) -> dict[str, Finding]:
    session = Session(cloud.profile, cloud.endpoint)
    found = {finding.name: finding for finding in examination.examine(session, cloud.profile, cloud.home, "t2")}
    assert list(found) == NAMES
    return found


def wrong(cloud: Cloud) -> Finding:
    """The one thing that is wrong; everything else is well."""
    found = look(cloud)
    [bad] = [finding for finding in found.values() if not finding.good]
    assert bad.good is False
    assert bad.remedy
    return bad


def start(cloud: Cloud) -> None:
    cloud.start()
    # The bare emulator forgets that the machine was made with this.
    machine = cloud.provider().state().machine_id
    cloud.client.modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": True})


def test_before_the_first_machine_all_is_well(cloud: Cloud) -> None:
    found = look(cloud)
    assert [finding for finding in found.values() if not finding.good] == []
    assert "gpu start" in found["machine"].what
    assert "t2.micro" in found["image"].what


def test_with_a_machine_all_is_well_and_nothing_is_changed(cloud: Cloud) -> None:
    start(cloud)
    made = len(cloud.calls)
    found = look(cloud)
    assert [finding for finding in found.values() if not finding.good] == []
    assert len(cloud.calls) == made
    assert "is running at" in found["machine"].what
    assert "days old" in found["image"].what
    assert "this computer" in found["door"].what


def test_each_thing_that_is_broken_is_the_one_that_is_named(cloud: Cloud) -> None:
    """One machine, broken and mended again and again: a start takes longer than all of this."""
    start(cloud)
    ec2, own = cloud.client, cloud.provider()._ec2
    machine, group = str(cloud.provider().state().machine_id), own.inventory().groups[0].id
    [address] = own.addresses("t2")
    world = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    [mine] = [rule for rule in own.inventory().groups[0].rules if rule.cidr == "127.0.0.1/32"]

    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[world])
    bad = wrong(cloud)
    assert (bad.name, "the whole world" in bad.what) == ("door", True)
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[world])

    ec2.modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": False})
    bad = wrong(cloud)
    assert (bad.name, machine in bad.remedy) == ("protection", True)
    ec2.modify_instance_attribute(InstanceId=machine, DisableApiTermination={"Value": True})

    ec2.disassociate_address(AssociationId=address.association)
    bad = wrong(cloud)
    assert (bad.name, "gpu start" in bad.remedy) == ("machine", True)
    ec2.associate_address(AllocationId=address.id, InstanceId=machine)

    key = keys.client_key(cloud.home, cloud.profile.name)
    key.chmod(0o644)
    found = look(cloud)
    assert (found["keys"].good, key.name in found["keys"].what) == (False, True)
    assert "chmod" in found["keys"].remedy
    key.chmod(0o600)
    cloud.home.keys.chmod(0o755)
    assert "keys" in look(cloud)["keys"].what
    cloud.home.keys.chmod(0o700)

    kept = key.read_bytes()
    key.write_text("no key at all\n")
    assert "not an OpenSSH private key" in look(cloud)["keys"].what
    key.unlink()
    keys.ensure(key)
    bad = wrong(cloud)
    assert (bad.name, "made with another key" in bad.what) == ("key pair", True)
    key.write_bytes(kept)

    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[mine.id])
    bad = wrong(cloud)
    assert (bad.name, "open to nobody" in bad.what) == ("door", True)


def test_a_key_pair_that_is_gone(cloud: Cloud) -> None:
    start(cloud)
    [name] = cloud.provider()._ec2.inventory().keys
    cloud.client.delete_key_pair(KeyName=name)
    assert wrong(cloud).name == "key pair"


def test_an_image_that_does_not_exist(cloud: Cloud) -> None:
    cloud.profile = replace(cloud.profile, image="ami-00000000000000000")
    bad = wrong(cloud)
    assert (bad.name, "`image`" in bad.remedy) == ("image", True)


def test_the_things_of_another_account(cloud: Cloud) -> None:
    StateFile(cloud.home, cloud.profile.name, cloud.said.append).belong(Belonging("999/user/eve", "eu-west-1"))
    bad = wrong(cloud)
    assert (bad.name, "999/user/eve in eu-west-1" in bad.what) == ("belonging", True)


def test_a_state_file_of_garbage(cloud: Cloud) -> None:
    state = StateFile(cloud.home, cloud.profile.name, cloud.said.append)
    state.select_kind("t2")
    state.file.write_text("{")
    assert wrong(cloud).name == "belonging"


def test_a_region_that_does_not_exist(cloud: Cloud) -> None:
    cloud.profile = replace(cloud.profile, region="us-wset-2")
    found = look(cloud)
    assert "us-west-2" in found["region name"].remedy
    after = NAMES[NAMES.index("region name") + 1 :]
    assert [found[name].good for name in after] == [None] * len(after)


def test_no_credentials_at_all(cloud: Cloud) -> None:
    cloud.profile = replace(cloud.profile, emulated=False)
    found = look(cloud)
    assert found["credentials"].good is False
    assert "aws configure" in found["credentials"].remedy
    assert (found["network"].good, found["clock"].good) == (True, True)
    assert (found["identity"].good, found["machine"].good) == (None, None)


def test_credentials_that_are_found(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    cloud.profile = replace(cloud.profile, emulated=False)
    found = look(cloud)
    assert found["credentials"].what == "the access key that ends with MPLE"
    assert "account 123456789012" in found["identity"].what


Answer = Callable[[dict[str, Any]], tuple[str, list[tuple[str, str]], bytes]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """A server with one answer to everything."""
    servers = []

    def begin(answer: Answer) -> str:
        def app(environ: dict[str, Any], start_response: Any) -> Any:
            status, headers, body = answer(environ)
            start_response(status, headers)
            return [body]

        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield begin
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def dated() -> Iterator[Callable[[str], str]]:
    """A server that says nothing but a date, its own."""
    with contextlib.ExitStack() as stack:

        def begin(date: str) -> str:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def answer() -> None:
                with listening.accept()[0] as connection:
                    connection.recv(65536)
                    connection.sendall(f"HTTP/1.1 403 Forbidden\r\n{date}Content-Length: 0\r\n\r\n".encode())

            thread = Thread(target=answer, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

        yield begin


@pytest.mark.parametrize(("seconds", "right"), [(0, True), (200, True), (-200, True), (300, False), (-4000, False)])
def test_a_clock_that_is_off(seconds: int, right: bool, dated: Callable[[str], str]) -> None:
    date = formatdate(time.time() - seconds, usegmt=True)
    answer = clock.ask(dated(f"Date: {date}\r\n"), direct=True)
    if right:
        assert clock.check(answer)
    else:
        with pytest.raises(GpuError, match="ahead of AWS" if seconds > 0 else "behind AWS") as error:
            clock.check(answer)
        assert "timedatectl" in error.value.remedy


@pytest.mark.parametrize("header", ["Date: yesterday\r\n", ""])
def test_a_date_that_is_none(header: str, dated: Callable[[str], str]) -> None:
    with pytest.raises(Unanswered, match="does not tell its time"):
        clock.check(clock.ask(dated(header), direct=True))


def test_a_refusal_to_say_is_no_bad_news(cloud: Cloud, serve: Callable[[Answer], str]) -> None:
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
    cloud.endpoint = serve(lambda _: ("403 Forbidden", [("Content-Type", "text/xml")], body))
    found = look(cloud)
    assert found["identity"].good is None
    assert "permission" in found["identity"].remedy
    assert found["door"].good is None


def test_keys_that_aws_does_not_know(cloud: Cloud, serve: Callable[[Answer], str]) -> None:
    body = b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>no</Message></Error></ErrorResponse>"
    cloud.endpoint = serve(lambda _: ("403 Forbidden", [("Content-Type", "text/xml")], body))
    assert look(cloud)["identity"].good is False


def test_a_network_that_swallows_everything(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        cloud.endpoint = f"http://127.0.0.1:{hole.getsockname()[1]}"
        began = time.monotonic()
        found = look(cloud)
        assert time.monotonic() - began < 5
    assert found["network"].good is False
    assert found["machine"].good is None


@pytest.mark.parametrize(("drops", "answers"), [(1, True), (2, False)])
def test_one_dropped_connection_is_no_news(drops: int, answers: bool) -> None:
    """A reset, as of a proxy that is busy: once it is asked again, twice it is the network's trouble."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for number in range(2):
                with listening.accept()[0] as connection:
                    if number < drops:
                        # Closed with nobody told and something unread: the other end sees a reset.
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        continue
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        if answers:
            assert clock.ask(url, direct=True).url == url
        else:
            with pytest.raises(GpuError, match="does not answer"):
                clock.ask(url, direct=True)
        thread.join(5)
        assert not thread.is_alive()


def test_a_look_ends_by_the_clock() -> None:
    began = time.monotonic()
    with pytest.raises(TooLong):
        within(0.1, lambda: time.sleep(3))
    assert time.monotonic() - began < 2
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


def test_a_folder_of_keys_that_cannot_be_read(tmp_path: Path) -> None:
    home = Home(tmp_path / "c", tmp_path / "s", tmp_path / "d")
    home.keys.parent.mkdir(parents=True)
    home.keys.write_text("a file where the folder should be")
    home.keys.chmod(0o600)
    profile = Profile("p", region="nowhere")
    found = {f.name: f for f in examination.examine(Session(profile, "http://127.0.0.1:1"), profile, home, "t2")}
    assert found["keys"].good is not None
