"""What user data asks for is done at the first boot of an instance, and inside its folder only."""

from __future__ import annotations

import base64
import gzip
import subprocess
import time
from pathlib import Path

import yaml

from orchestrator.providers.aws.userdata import LIMIT, user_data
from orchestrator.sandbox import firstboot
from orchestrator.sandbox.disk import Disk

from .conftest import Cloud, make_key, wait_until


def _disk(tmp_path: Path, name: str = "i-1", **config: object) -> Disk:
    disk = Disk(tmp_path / name)
    disk.make(("#cloud-config\n" + yaml.safe_dump(config)).encode(), "ssh-ed25519 AAAA me")
    return disk


def _run(disk: Disk, script: Path) -> None:
    environment = {"PATH": f"{disk.standins}:/usr/bin:/bin", "GPU_ROOT": str(disk.root)}
    subprocess.run(["/bin/sh", script], env=environment, cwd=disk.root, check=True)


def test_files_are_written_whatever_their_encoding(tmp_path: Path) -> None:
    text = b"line\n\xff\n"
    packed = base64.b64encode(gzip.compress(text)).decode()
    disk = _disk(
        tmp_path,
        write_files=[
            {"path": "/etc/plain", "content": "line\n"},
            {"path": "/usr/bin/packed", "encoding": "gz+b64", "permissions": "0755", "content": packed},
            {"path": "/etc/coded", "encoding": "b64", "content": base64.b64encode(text).decode()},
            {"path": "/etc/plain", "append": True, "content": "more\n"},
        ],
    )
    assert firstboot.script(disk)
    assert (disk.root / "etc/plain").read_text() == "line\nmore\n"
    assert (disk.root / "etc/coded").read_bytes() == text
    assert (disk.root / "usr/bin/packed").read_bytes() == text
    assert (disk.root / "usr/bin/packed").stat().st_mode & 0o777 == 0o755


def test_no_file_is_written_outside(tmp_path: Path) -> None:
    disk = _disk(
        tmp_path,
        write_files=[
            {"path": "/../outside", "content": "x"},
            {"path": "/etc/link/outside", "content": "x"},
            {"content": "x"},
            {"path": "/etc/odd", "permissions": "rwx", "content": "x"},
            "no mapping",
            {"path": "/etc/good", "content": "x"},
        ],
    )
    (disk.root / "etc/link").symlink_to(tmp_path)
    assert firstboot.script(disk)
    assert not (tmp_path / "outside").exists()
    assert (disk.root / "etc/good").read_text() == "x"
    assert (disk.log / "cloud-init-output.log").read_text().count("write_files:") == 5


def test_commands_run_once_an_instance(tmp_path: Path) -> None:
    commands = ['echo "$GPU_ROOT" >>ran', ["touch", "a name"], "false", "echo after >>ran"]
    disk = _disk(tmp_path, runcmd=commands)
    script = firstboot.script(disk)
    assert script
    _run(disk, script)
    assert (disk.root / "ran").read_text() == f"{disk.root}\nafter\n"
    assert (disk.root / "a name").exists()
    assert firstboot.script(disk), "one that was interrupted is begun anew"
    firstboot.finish(disk)
    assert firstboot.script(disk) is None


def test_a_copy_of_a_disk_is_another_instance(tmp_path: Path) -> None:
    disk = _disk(tmp_path, runcmd=["touch one"])
    (disk.home / "result").write_text("kept")
    firstboot.finish(disk)
    subprocess.run(["cp", "-a", disk.root, tmp_path / "i-2"], check=True)
    copy = _disk(tmp_path, "i-2", runcmd=["touch two"])
    assert (copy.home / "result").read_text() == "kept"
    script = firstboot.script(copy)
    assert script
    _run(copy, script)
    assert (copy.root / "two").exists()
    assert not (copy.root / "one").exists()


def test_user_data_that_is_no_cloud_config_asks_for_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "i-1")
    disk.make(b"\x00\xff no text", "ssh-ed25519 AAAA me")
    script = firstboot.script(disk)
    assert script
    assert script.read_text() == "#!/bin/sh\n"


def test_our_own_user_data_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    key = tmp_path / "key"
    public = make_key(key)
    first = user_data(key, public, port=2222, user="ubuntu", autostop=45, max_hours=0)
    time.sleep(1.1)
    assert user_data(key, public, port=2222, user="ubuntu", autostop=45, max_hours=0) == first
    assert len(first) < LIMIT - 2000
    document = yaml.safe_load(first)
    assert document["ssh_keys"]["ed25519_public"] == public
    assert document["runcmd"][0].endswith("install --user ubuntu --autostop 45m --max 0h")
    assert "'Port 2222\\n" in document["runcmd"][1] and "try-restart ssh.socket" in document["runcmd"][1]
    assert "Port" not in yaml.safe_load(user_data(key, public, port=22))["runcmd"][1]


def test_a_command_that_lasts_does_not_hold_ssh_up_and_ends_with_the_machine(cloud: Cloud) -> None:
    data = "#cloud-config\nruncmd:\n- sleep 4712.5\n"
    [made] = cloud.ec2.run_instances(**cloud.wish(UserData=data))["Instances"]
    log = cloud.box / "instances" / made["InstanceId"] / "log/sshd.log"
    address = cloud.ec2.allocate_address(Domain="vpc")
    wait_until(lambda: log.parent.exists(), "the disk")
    wait_until(
        lambda: cloud.ec2.describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running", "run"
    )
    cloud.ec2.associate_address(InstanceId=made["InstanceId"], AllocationId=address["AllocationId"])
    wait_until(lambda: log.exists() and "listening" in log.read_text(), "sshd listens")
    assert subprocess.run(["pgrep", "-fx", "sleep 4712.5"], capture_output=True, check=False).returncode == 0
    cloud.ec2.stop_instances(InstanceIds=[made["InstanceId"]])
    wait_until(
        lambda: subprocess.run(["pgrep", "-fx", "sleep 4712.5"], capture_output=True, check=False).returncode, "its end"
    )
