"""The real `sshd` of one instance: its configuration and the one door into the instance."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path

from .disk import Disk, sftp_server

PORT = 2222
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ENTRY = """#!/bin/sh
# Every session of this instance begins here, whatever was asked for.
asked=${{SSH_ORIGINAL_COMMAND+yes}} command=$SSH_ORIGINAL_COMMAND
unset SSH_ORIGINAL_COMMAND MAIL BASH_ENV ENV OLDPWD
export HOME={home} USER={user} LOGNAME={user} SHELL={shell} GPU_ROOT={root}
export PATH={path} TMUX_TMPDIR={temporary} TMPDIR={temporary} LANG="${{LANG:-C.UTF-8}}"
cd "$HOME" || exit 1
unset OLDPWD
case $asked$command in
  "") exec {shell} -l ;;
  yesinternal-sftp*|yes*/sftp-server*) exec {sftp} -d "$HOME" ;;
  *) exec {shell} -c "$command" ;;
esac
"""

_CONFIG = """ListenAddress {address}
Port {port}
HostKey "{host_key}"
PidFile none
AuthorizedKeysFile "{authorized_keys}"
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
UsePAM {pam}
StrictModes no
PermitUserRC no
PermitUserEnvironment no
AcceptEnv LANG LC_*
SetEnv "HOME={home}"
ForceCommand {entry}
Subsystem sftp internal-sftp
AllowAgentForwarding no
X11Forwarding no
AllowTcpForwarding yes
GatewayPorts no
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 200:30:400
MaxSessions 200
LoginGraceTime 60
LogLevel INFO
"""

_IF_KNOWN = "PerSourcePenalties no\n"
"""Newer versions lock out an address that failed often; here all callers share one."""


def program() -> str | None:
    """The path of sshd (it insists on an absolute one), or None."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def gives_terminals() -> bool:
    """Whether sshd can hand a terminal to who runs the sandbox.

    It wants the terminal to belong to the group `tty` and, unless it is root, cannot change that: it ends the session
    where /dev/pts is mounted without `gid=5` (`pty_setowner` in OpenSSH's sshpty.c).
    """
    if os.getuid() == 0:
        return True
    try:
        wanted = grp.getgrnam("tty").gr_gid
    except KeyError:
        return True
    master, slave = os.openpty()
    try:
        return os.fstat(slave).st_gid == wanted
    finally:
        os.close(master)
        os.close(slave)


def user() -> str:
    """Who runs the sandbox, and so the only one who can log in."""
    return pwd.getpwuid(os.getuid()).pw_name


def configure(disk: Disk, address: str, temporary: str) -> list[str]:
    """Write the configuration for this boot; the command line that runs sshd in the foreground."""
    sshd = program() or "/usr/sbin/sshd"
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    _write_entry(disk, temporary)
    config = disk.run / "sshd_config"
    text = _CONFIG.format(
        address=address,
        port=PORT,
        host_key=disk.host_key,
        authorized_keys=str(disk.authorized_keys).replace("%", "%%"),
        user=user(),
        pam="yes" if _locked_root() else "no",
        home=disk.home,
        entry=shlex.quote(str(disk.run / "entry")),
    )
    config.write_text(text + _IF_KNOWN)
    if subprocess.run([sshd, "-t", "-f", str(config)], capture_output=True, check=False).returncode:
        config.write_text(text)
    return [sshd, "-D", "-e", "-f", str(config)]


def _write_entry(disk: Disk, temporary: str) -> None:
    entry = disk.run / "entry"
    quoted = {
        "home": disk.home,
        "root": disk.root,
        "user": user(),
        "temporary": temporary,
        "shell": shutil.which("bash", path=SYSTEM_PATH) or "/bin/sh",
        "path": f"{disk.standins}:{disk.root}/usr/local/bin:{disk.home}/gpu/env/bin:{SYSTEM_PATH}",
        "sftp": sftp_server() or "/usr/lib/openssh/sftp-server",
    }
    entry.write_text(_ENTRY.format(**{name: shlex.quote(str(value)) for name, value in quoted.items()}))
    entry.chmod(0o755)


def _locked_root() -> bool:
    """Without PAM, sshd turns away an account whose password begins with «!», as root's does on some desktops."""
    if os.getuid() != 0:
        return False
    with contextlib.suppress(OSError):
        for line in Path("/etc/shadow").read_text().splitlines():
            if line.startswith("root:"):
                return line.split(":")[1].startswith("!")
    return False
