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
    + r"""
units=$GPU_ROOT/etc/systemd/system verb= named= now=
for word; do
  case $word in
    --now) now=yes ;;
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else named="$named $word"; fi ;;
  esac
done
tell() { echo "$*" >"$GPU_ROOT/run/control"; }
timers() { cat "$GPU_ROOT/run/timers" 2>/dev/null; }
is_active() {
  case $1 in ssh|sshd|ssh.service|sshd.service) return 0 ;; esac
  timers | grep -q "^$1 "
}
day() { if [ "$1" = - ]; then echo n/a; else date -u -d "@$1" '+%F %T UTC'; fi; }
list() {
  echo 'NEXT                    LAST                    UNIT'
  timers | while read -r unit last next; do printf '%-23s %-23s %s\n' "$(day "$next")" "$(day "$last")" "$unit"; done
}
code=0
case $verb in
  poweroff|halt) tell poweroff ;;
  reboot) tell reboot ;;
  list-timers) list ;;
esac
for unit in $named; do
  case $verb$unit in
    enable*.timer)
      [ -f "$units/$unit" ] || { echo "Failed to enable unit: Unit file $unit does not exist." >&2; exit 1; }
      mkdir -p "$units/timers.target.wants" && ln -sf "../$unit" "$units/timers.target.wants/$unit"
      [ -z "$now" ] || tell start "$unit" ;;
    disable*.timer)
      rm -f "$units/timers.target.wants/$unit"
      [ -z "$now" ] || tell stop "$unit" ;;
    is-enabled*)
      if [ -L "$units/timers.target.wants/$unit" ]; then echo enabled; else echo disabled; code=1; fi ;;
    is-active*) if is_active "$unit"; then echo active; else echo inactive; code=3; fi ;;
    status*)
      if is_active "$unit"; then echo "$unit: active"; else echo "$unit: inactive"; code=3; fi
      timers | grep "^$unit " ;;
    try-restartssh.socket) ;;
    restartssh*|try-restartssh*|reloadssh*|try-reload-or-restartssh*|reload-or-restartssh*) tell sshd ;;
    start*.timer|start*.service|restart*.timer|restart*.service|stop*.timer|stop*.service) tell "$verb" "$unit" ;;
  esac
done
exit $code
"""
)

STANDINS = {
    "sudo": _SUDO,
    "shutdown": _SHUTDOWN,
    "poweroff": _AT_ONCE,
    "reboot": _AT_ONCE,
    "systemctl": _SYSTEMCTL,
    "apt-get": _LOG,
    "modprobe": _LOG,
}
"""Name and POSIX shell text. They tell the supervisor through the FIFO `run/control`."""


def install(folder: Path) -> None:
    """Write them into `folder`, executable."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in STANDINS.items():
        program = folder / name
        program.write_text(text)
        program.chmod(0o755)
