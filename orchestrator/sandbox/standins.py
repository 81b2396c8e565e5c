"""Programs that change a real machine's system, replaced on an emulated one: first in its `PATH`."""

from __future__ import annotations

from pathlib import Path

_LOG = """#!/bin/sh
echo "$(date -u +%FT%TZ) ${0##*/} $*" >>"$GPU_ROOT/log/standins.log"
"""

_SUDO = """#!/bin/sh
# Whoever is here is already the only user there is.
while [ $# -gt 0 ]; do
  case $1 in
    -u|-g|-p|-C|-h|-r|-t|-U) shift 2 ;;
    --) shift; break ;;
    -*) shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || exit 0
exec env -- "$@"
"""

_SHUTDOWN = (
    _LOG
    + """
what=poweroff
when=+1
for word; do
  case $word in
    -c) kill "$(cat "$GPU_ROOT/run/shutdown.pid")" 2>/dev/null; rm -f "$GPU_ROOT/run/shutdown.pid"; exit 0 ;;
    -r|--reboot) what=reboot ;;
    now|+[0-9]*) when=$word ;;
  esac
done
case $when in now|+0) exec sh -c 'echo "$1" >"$GPU_ROOT/run/control"' sh "$what" ;; esac
(sleep $((${when#+} * 60)) && echo "$what" >"$GPU_ROOT/run/control") </dev/null >/dev/null 2>&1 &
echo $! >"$GPU_ROOT/run/shutdown.pid"
"""
)

_AT_ONCE = (
    _LOG
    + """
echo "${0##*/}" >"$GPU_ROOT/run/control"
"""
)

_SYSTEMCTL = (
    _LOG
    + """
case " $* " in
  *" poweroff "*|*" halt "*) echo poweroff >"$GPU_ROOT/run/control" ;;
  *" reboot "*) echo reboot >"$GPU_ROOT/run/control" ;;
  *" restart ssh"*|*" reload ssh"*|*" try-reload-or-restart ssh"*) echo sshd >"$GPU_ROOT/run/control" ;;
esac
exit 0
"""
)

STANDINS = {
    "sudo": _SUDO,
    "shutdown": _SHUTDOWN,
    "poweroff": _AT_ONCE,
    "reboot": _AT_ONCE,
    "systemctl": _SYSTEMCTL,
    "apt-get": _LOG,
}
"""Name and POSIX shell text. They tell the supervisor through the FIFO `run/control`."""


def install(folder: Path) -> None:
    """Write them into `folder`, executable."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in STANDINS.items():
        program = folder / name
        program.write_text(text)
        program.chmod(0o755)
