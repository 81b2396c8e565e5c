"""A machine of the region is a real one: sshd, tmux, rsync, SFTP, and a disk that lasts."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from orchestrator.sandbox import region, sshd

from .conftest import Cloud, Instance, make_key, processes_of, wait_until


def _outside() -> tuple[set[str], set[tuple[str, float]]]:
    """What the real home and /etc hold (of the home names only: others work there meanwhile)."""
    home, system = Path(pwd.getpwuid(os.getuid()).pw_dir), Path("/etc")
    return {path.name for path in home.iterdir()}, {(str(path), path.lstat().st_mtime) for path in system.iterdir()}


def test_a_file_and_the_address_outlive_a_stop(shared: Cloud) -> None:
    machine = shared.machine()
    assert machine.ask("uname -s; echo kept >file") == "Linux"
    machine.ask("tmux -L gpu new-session -d -s job 'sleep 1000'; nohup setsid sleep 1001 >/dev/null 2>&1 &")
    temporary = machine.ask("echo $TMUX_TMPDIR")
    assert Path(temporary).exists()
    shared.ec2.stop_instances(InstanceIds=[machine.id])
    assert machine.state == "stopping"
    machine.reach("stopped")
    assert processes_of(shared.box / "instances" / machine.id) == {}
    assert not Path(temporary).exists()
    shared.ec2.start_instances(InstanceIds=[machine.id])
    assert machine.state == "pending"
    wait_until(machine.answers, "SSH answers again")
    assert machine.ask("cat file") == "kept"
    [address] = shared.ec2.describe_addresses(PublicIps=[machine.ip])["Addresses"]
    assert (address["PublicIp"], address["InstanceId"]) == (machine.ip, machine.id)


def test_one_way_in_for_shell_command_sftp_and_rsync(shared: Cloud, tmp_path: Path) -> None:
    before = _outside()
    machine = shared.machine()
    home = shared.box / "instances" / machine.id / "home"
    assert machine.ask("pwd; echo $HOME") == f"{home}\n{home}"
    assert machine.run("exit 7").returncode == 7
    assert machine.ask("env | grep -c -e leaked -e SSH_ORIGINAL -e GPU_HOME || true") == "0"
    assert machine.ask("bash -lc 'command -v sudo'").endswith("/bin/sudo")
    assert machine.ask("sudo -n env X=1 sh -c 'echo $X; systemctl enable x; apt-get install -y y'") == "1"
    python = machine.ask("~/gpu/env/bin/python -c 'import yaml, sys; print(sys.prefix)'")
    assert python == str(home / "gpu/env")
    name = "a file's; name"
    (tmp_path / name).write_text("content")
    batch = tmp_path / "batch"
    batch.write_text(f'put "{tmp_path / name}" "by sftp"\n')
    subprocess.run(["sftp", *machine.options, "-b", batch, machine.ip], check=True, capture_output=True)
    assert (home / "by sftp").read_text() == "content"
    remote = " ".join(["ssh", *machine.options])
    subprocess.run(["rsync", "-a", "-e", remote, tmp_path / name, f"{machine.ip}:sub/"], check=True)
    assert (home / "sub" / name).read_text() == "content"
    assert _outside() == before


@pytest.mark.skipif(not sshd.gives_terminals(), reason="/dev/pts is mounted so that only root's sshd gives terminals")
def test_a_shell_with_a_terminal(shared: Cloud) -> None:
    machine = shared.machine()
    shell = subprocess.run(
        ["ssh", "-tt", *machine.options, machine.ip], input="echo in $PWD; exit 3\n", text=True, capture_output=True
    )
    assert shell.returncode == 3
    assert f"in {shared.box / 'instances' / machine.id / 'home'}" in shell.stdout


@pytest.mark.skipif(
    os.getuid() != 0 or not Path("/var/log/wtmp").exists() or bool(os.system("unshare -m true 2>/dev/null")),
    reason="only root's sshd records logins, and only a mount namespace keeps them out",
)
def test_a_login_is_not_in_the_system_s_records(shared: Cloud) -> None:
    machine = shared.machine()
    assert machine.ask("stat -c %t:%T /var/log/wtmp") == "1:3"
    assert Path("/var/log/wtmp").is_file()


def test_only_its_own_keys_are_good(shared: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = shared.machine()
    impostor = tmp_path / "impostor"
    machine.host_key, true = make_key(impostor), machine.host_key
    assert "verification failed" in machine.run("true").stderr
    machine.host_key = true
    monkeypatch.setattr(shared, "key", impostor)
    assert "Permission denied" in machine.run("true").stderr


def test_shutdown_from_inside_stops_it(shared: Cloud) -> None:
    machine = shared.machine()
    machine.run("sudo shutdown -h now")
    machine.reach("stopped")
    [reservation] = shared.ec2.describe_instances(InstanceIds=[machine.id])["Reservations"]
    assert reservation["Instances"][0]["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert reservation["Instances"][0]["StateTransitionReason"] == ""
    shared.ec2.start_instances(InstanceIds=[machine.id])
    wait_until(machine.answers, "SSH answers again")


def test_reboot_ends_processes_and_keeps_the_machine(shared: Cloud) -> None:
    machine = shared.machine()
    machine.ask("nohup setsid sleep 1002 >/dev/null 2>&1 & echo kept >file")
    machine.run("sudo reboot")
    wait_until(lambda: machine.run("! pgrep -fx 'sleep 1002'").returncode == 0, "SSH answers, without the process")
    assert (machine.state, machine.ask("cat file")) == ("running", "kept")


def test_terminate_removes_the_disk(shared: Cloud) -> None:
    machine = shared.machine()
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    assert machine.state == "shutting-down"
    machine.reach("terminated")
    assert not (shared.box / "instances" / machine.id).exists()
    [address] = shared.ec2.describe_addresses(PublicIps=[machine.ip])["Addresses"]
    assert not address.get("InstanceId")


def test_a_folder_with_spaces_and_percents(tmp_path: Path) -> None:
    folder = tmp_path / "it's 100% ours"
    folder.mkdir()
    odd = Cloud(folder)
    # ssh expands % in the names of its files; the sandbox's own folder is what is tried here.
    odd.key, key = tmp_path / "key", odd.key
    odd.key.write_bytes(key.read_bytes())
    odd.key.chmod(0o600)
    try:
        odd.up()
        [made] = odd.ec2.run_instances(**odd.wish())["Instances"]
        address = odd.ec2.allocate_address(Domain="vpc")
        wait_until(
            lambda: odd.ec2.describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running", "run"
        )
        odd.ec2.associate_address(InstanceId=made["InstanceId"], AllocationId=address["AllocationId"])
        host = odd.box / "instances" / made["InstanceId"] / "etc/ssh/ssh_host_ed25519_key.pub"
        wait_until(host.exists, "the host key made there")
        odd.folder = tmp_path
        machine = Instance(odd, made["InstanceId"], address["PublicIp"], host.read_text().strip())
        wait_until(machine.answers, "SSH answers")
        assert machine.ask("pwd; command -v sudo").splitlines()[0] == f"{host.parents[2]}/home"
    finally:
        region.down(folder / "box", purge=True)
    assert not (folder / "box").exists()
