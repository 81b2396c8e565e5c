#!/bin/bash
# gpu-selfstop: stops this machine when nobody needs it any more. No credentials, no server elsewhere.
#
#   install [--user NAME] [--autostop TIME] [--max TIME]   put it in place and arm its timer (root); safe to repeat
#   tick                           the timer, once a minute: look, note, warn, and in the end `shutdown -h now` (root)
#   status                         what keeps the machine awake and when it would stop, as JSON
#   keep +SECONDS|EPOCH|off        until then neither idleness nor the longest stay stops it
#   deadline +SECONDS|EPOCH|off [WHY]   then it stops, whatever else is said
#   set [autostop=TIME] [max=TIME] [warn=TIME]   stand over those of the installation; TIME: 90s 30m 24h 2d, 0: never
#
# Root reads and writes nothing in the user's home: whatever is to be seen or left there is seen or left by a copy of
# this script that has become the user, and its words are taken as text of a known form, never as commands.
#
# A look that fails says neither idle nor busy: while some do, idleness has to last twice as long. Times since boot are
# in hundredths of a second (the wall clock may jump); settings are in seconds.
set -u
shopt -s nullglob
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
umask 022

VERSION=2
CPU_PERCENT=20      # of one core, between two ticks
NETWORK_KB=50       # a second, between two ticks
GPU_PERCENT=5
LONGEST_GAP=15000   # more idleness than this is not counted from one tick to the next: nobody looked
KERNEL_RECENT=120   # seconds since a Jupyter kernel's last activity
LONGEST_KEEP=$((31 * 86400))
MOST_REASONS=20

root=${GPU_ROOT-}
here=${BASH_SOURCE[0]}
program=$root/usr/local/bin/gpu-selfstop
settings=$root/etc/gpu/selfstop.conf
units=$root/etc/systemd/system
notes=$root/run/gpu-selfstop

fail() {
  printf 'gpu-selfstop: %s\n' "$1" >&2
  exit 1
}

# Text of others, fit for JSON and for a terminal: printable ASCII, no quote, no backslash, not long.
plain() {
  local text=${1:0:160}
  text=${text//[^ -~]/?}
  text=${text//\"/\'}
  printf '%s' "${text//\\//}"
}

is_number() { [[ $1 =~ ^[0-9]{1,12}$ ]]; }

# TIME in seconds.
seconds() {
  [[ $1 =~ ^([0-9]{1,8})([smhd]?)$ ]] || return 1
  local -A unit=([s]=1 [m]=60 [h]=3600 [d]=86400)
  printf '%d' $((10#${BASH_REMATCH[1]} * ${unit[${BASH_REMATCH[2]:-s}]}))
}

# An emulated machine shares its computer's kernel: who it is, when it booted and which process is its first one stands
# in a file of its own.
read_clocks() {
  local up booted=0 number=1
  boot=unknown init=1
  read -r up _ </proc/uptime
  read -r boot </proc/sys/kernel/random/boot_id
  [[ -n $root ]] && read -r boot booted number 2>/dev/null <"$root/run/boot"
  [[ $booted =~ ^-?[1-9][0-9]{0,11}$ ]] || booted=0
  is_number "$number" && init=$number
  now=$((10#${up/./} - booted))
  printf -v wall '%(%s)T' -1
}

# Whatever is wrong with the file, there are settings that stop the machine.
read_settings() {
  local line value
  user=ubuntu autostop=1800 longest=86400 warning=300
  [[ -r $settings ]] || return 0
  while IFS= read -r line; do
    value=${line#*=}
    case $line in
      USER=*) [[ $value =~ ^[A-Za-z_][A-Za-z0-9_.-]{0,31}$ ]] && user=$value ;;
      AUTOSTOP=*) is_number "$value" && autostop=$((10#$value)) ;;
      MAX=*) is_number "$value" && longest=$((10#$value)) ;;
    esac
  done <"$settings"
}

# ---- The processes of this machine: below its first one, without this script's own -------------------------------

# Lines of: pid parent group terminal foreground-group start cpu(clock ticks, reaped children too) name
processes() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v init="$init" -v own="${1:-$$}" '
    /^[0-9]+ \(.*\) / {
      rest = $0; sub(/^.*\) /, "", rest)
      name = substr($0, index($0, "(") + 1); name = substr(name, 1, length(name) - length(rest) - 2)
      if (split(rest, f, " ") < 20 || f[1] == "Z") next
      parent[$1] = f[2]
      line[$1] = $1 " " f[2] " " f[3] " " f[5] " " f[6] " " f[20] " " (f[12] + f[13] + f[14] + f[15]) " " name
    }
    END {
      for (pid in line) {
        at = pid; steps = 0
        while (at != init && at != own && at in parent && steps++ < 1000) at = parent[at]
        if (at == init && pid != init) print line[pid]
      }
    }'
}

# By how much the counters in lines of "name counter" on stdin have grown since the last call; nothing at the first.
growth() {
  local old="$notes/$1" new="$notes/$1.new"
  cat >"$new" || return
  [[ -f $old ]] && awk 'NR == FNR { was[$1] = $2; next } { more = $2 - was[$1]; if (more > 0) sum += more }
    END { printf "%.0f", sum }' "$old" "$new"
  mv -f "$new" "$old"
}

# Bytes through each network interface; an emulated machine has none of its own, but its processes have sockets.
traffic() {
  if [[ -z $root ]]; then
    awk -F: 'NR > 2 { gsub(/ /, "", $1); split($2, f, " "); if ($1 != "lo") printf "%s %.0f\n", $1, f[1] + f[9] }' /proc/net/dev
    return
  fi
  ss -tinpHO 2>/dev/null | awk -v pids="$(awk '{ printf "%s ", $1 }' <<<"$1")" '
    BEGIN { n = split(pids, listed, " "); for (i = 1; i <= n; i++) ours[listed[i]] = 1 }
    {
      mine = bytes = 0
      for (i = 1; i <= NF; i++) {
        if ($i ~ /^users:/) { n = split($i, parts, "pid="); for (j = 2; j <= n; j++) if ((parts[j] + 0) in ours) mine = 1 }
        if ($i ~ /^bytes_(sent|received):/) { sub(/^.*:/, "", $i); bytes += $i }
      }
      if (mine) printf "%s-%s %.0f\n", $4, $5, bytes
    }'
}

# ---- What the user sees: run as the user, answers in lines of "word text" -----------------------------------------

say() { printf '%s %s\n' "$1" "$(plain "$2")"; }

home_folder() {
  if [[ -n $root ]]; then
    printf '%s' "$root/home"
  else
    getent passwd "$EUID" | cut -d: -f6
  fi
}

look() {
  local table home
  read_clocks
  home=$(home_folder)
  wishes "$home/gpu/selfstop"
  table=$(processes "$1") || say failed "the processes cannot be listed"
  runs "$home/gpu"
  terminals "$table"
  foreground "$table"
  syncs "$table"
  kernels "$home/.local/share/jupyter/runtime" "$table"
  # Last: with a driver that has crashed it may hang beyond any signal.
  graphics
  say looked all
}

# What was asked for in the home folder.
wishes() {
  local name line
  for name in keep deadline settings; do
    [[ -f $1/$name ]] || continue
    while IFS= read -r line; do
      say "$name" "$line"
    done < <(head -c 400 -- "$1/$name" 2>/dev/null | tr -d '\0' | head -n 3)
  done
}

# The kernel's locks, never a file's presence; the newest hundred runs are enough, their lock `gpu/lock` is one for all.
runs() {
  local folders=("$1"/runs/*/) folder name found=''
  ((${#folders[@]} > 100)) && folders=("${folders[@]: -100}")
  for folder in "${folders[@]}"; do
    name=${folder%/}
    locked "$folder/lock" && found=yes && say busy "run ${name##*/}"
  done
  locked "$1/lock" && [[ -z $found ]] && say busy "a run"
}

locked() {
  [[ -f $1 ]] || return 1
  timeout 2 flock --nonblock --shared --conflict-exit-code 99 "$1" true 2>/dev/null
  case $? in
    0) return 1 ;;
    99) return 0 ;;
    *) say failed "the lock $1 cannot be looked at"; return 1 ;;
  esac
}

# A login shell whose parent is sshd and that has a terminal.
terminals() {
  awk '{ name[$1] = $8; parent[$1] = $2; terminal[$1] = $4 }
    END { for (pid in parent) if (name[parent[pid]] ~ /^sshd/ && int(terminal[pid] / 256) % 4096 == 136)
      print "busy an SSH session with a terminal (pts/" terminal[pid] % 256 + int(terminal[pid] / 1048576) * 256 ")" }
    ' <<<"$1"
}

# What tmux calls pane_current_command, asked of the kernel: a server may hang, or be anywhere. A shell counts when it
# runs a script, Jupyter's keeper never.
foreground() {
  local word process rest argument arguments
  awk 'BEGIN { n = split("bash sh dash zsh fish ksh mksh tcsh csh ash login su sudo", s, " ")
      for (i = 1; i <= n; i++) shell[s[i]] = 1 }
    { pid[NR] = p = $1; parent[p] = $2; group[p] = $3; terminal[p] = $4; front[p] = $5
      name[p] = $0; for (i = 1; i <= 7; i++) sub(/^[^ ]* /, "", name[p]) }
    END {
      for (i = 1; i <= NR; i++) {
        p = pid[i]
        if (name[parent[p]] ~ /^(tmux|screen|SCREEN)/ && terminal[p]) shown[terminal[p]] = front[p]
      }
      for (i = 1; i <= NR; i++) {
        p = pid[i]
        if (!(terminal[p] in shown) || group[p] != shown[terminal[p]]) continue
        print ((name[p] in shell) ? "shell" : "program"), p, name[p]
      }
    }' <<<"$1" | while read -r word process rest; do
    mapfile -d '' -t -n 8 arguments 2>/dev/null <"/proc/$process/cmdline"
    if [[ $word == program ]]; then
      [[ ${arguments[*]} == *" -m agent keep gpu-notebook" ]] || say busy "program $rest in a tmux pane"
      continue
    fi
    for argument in "${arguments[@]:1}"; do
      case $argument in
        --rcfile | --init-file) break ;;
        -*) continue ;;
      esac
      say busy "script $argument in a tmux pane"
      break
    done
  done
}

# rsync, SFTP, scp, an archive on its way, and the far end of a copy of our own.
syncs() {
  local pid name arguments
  while read -r pid _ _ _ _ _ _ name; do
    case $name in
      rsync | sftp-server | scp | tar) say busy "a sync ($name)" ;;
      python*)
        mapfile -d '' -t -n 8 arguments 2>/dev/null <"/proc/$pid/cmdline"
        [[ " ${arguments[*]}" == *" gpu-sync" ]] && say busy "a sync (gpu)"
        ;;
    esac
  done <<<"$1" | sort -u
}

# An emulated machine has the graphics card that was put into its folder, if any, never its computer's.
graphics() {
  local tool answer
  tool=$(type -P nvidia-smi) || return 0
  [[ $tool == "$root"/* ]] || return 0
  answer=$(timeout -k 1 10 nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null) ||
    { say failed "nvidia-smi does not answer"; return; }
  awk -v least="$GPU_PERCENT" '/^ *[0-9]+ *$/ && $1 >= least { if ($1 > most) most = $1 }
    END { if (most) print "busy GPU at " most " %" }' <<<"${answer:0:1000}"
}

# The token goes through a pipe: a command line can be read by everyone.
kernels() {
  local file facts pid port sock where token base answer stamp age
  for file in "$1"/jpserver-*.json "$1"/nbserver-*.json; do
    [[ -f $file ]] || continue
    facts=$(head -c 4000 -- "$file" 2>/dev/null | tr -d '\0\n')
    [[ $facts =~ \"pid\":\ *([0-9]{1,9}) ]] && pid=${BASH_REMATCH[1]} || continue
    grep -q "^$pid " <<<"$2" || continue
    [[ $facts =~ \"port\":\ *([0-9]{1,5}) ]] && port=${BASH_REMATCH[1]} || continue
    token='' base=/ sock='' where="port $port"
    [[ $facts =~ \"sock\":\ *\"(/[A-Za-z0-9._~/+@-]+)\" ]] && sock=${BASH_REMATCH[1]} where='its socket'
    [[ $facts =~ \"token\":\ *\"([A-Za-z0-9._~-]*)\" ]] && token=${BASH_REMATCH[1]}
    [[ $facts =~ \"base_url\":\ *\"(/[A-Za-z0-9._~/-]*)\" ]] && base=${BASH_REMATCH[1]}
    answer=$(timeout -k 1 5 bash "$here" ask "${sock:-$port}" "${base}api/kernels" <<<"$token" 2>/dev/null | tr -d '\0')
    if [[ ! $answer =~ ^HTTP/1\.[01]\ 200 ]]; then
      say failed "Jupyter at $where does not answer"
    elif [[ $answer =~ \"execution_state\":\ *\"busy\" ]]; then
      say busy "Jupyter kernel at $where, busy"
    else
      # One never used says "starting" for ever.
      while IFS= read -r stamp; do
        stamp=$(date -d "$stamp" +%s 2>/dev/null) || continue
        age=$((wall - stamp))
        ((age > -KERNEL_RECENT && age < KERNEL_RECENT)) && say busy "Jupyter kernel at $where, used just now" && break
      done < <(grep -oE '"last_activity": *"[0-9TZ:.+-]{10,40}"' <<<"$answer" | cut -d'"' -f4 | head -n 20)
    fi
  done
}

# Bash has no UNIX sockets; Jupyter has a Python.
ask() {
  local token request python
  IFS= read -r token
  printf -v request 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: token %s\r\n\r\n' "$2" "$token"
  if [[ $1 != /* ]]; then
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return
    printf %s "$request" >&3
    head -c 200000 <&3
    return
  fi
  python=$(home_folder)/gpu/env/bin/python
  [[ -x $python ]] || python=python3
  printf %s "$request" | "$python" -I -S -c '
import socket, sys
wire = socket.socket(socket.AF_UNIX)
wire.connect(sys.argv[1])
wire.sendall(sys.stdin.buffer.read())
sys.stdout.buffer.write(wire.makefile("rb").read(200000))' "$1"
}

# stdin becomes status.json, all of it or nothing of it.
publish() {
  local folder new
  folder=$(home_folder)/gpu/selfstop
  mkdir -p -- "$folder" && new=$(mktemp -- "$folder/.status.XXXXXX") || return
  if head -c 65536 >"$new" && chmod 644 "$new" && mv -fT -- "$new" "$folder/status.json"; then
    return 0
  fi
  rm -f -- "$new"
  return 1
}

# ---- Root's side ---------------------------------------------------------------------------------------------------

# The words before a command that make it the user's own. On an emulated machine there is only one user.
become_user() {
  local entry number group
  drop=()
  [[ -z $root && $EUID == 0 ]] || return 0
  entry=$(getent passwd "$user") || entry=$(getent passwd nobody) || entry=nobody:x:65534:65534
  IFS=: read -r entry _ number group _ <<<"$entry"
  ((number)) || return 0
  drop=(env -i "PATH=$PATH" setpriv --reuid "$number" --regid "$group")
  if [[ $entry == "$user" ]]; then drop+=(--init-groups --); else drop+=(--clear-groups --); fi
}

# As the user, in bounded time; it must not inherit the lock, or a program of the user's could keep it for ever.
as_user() { timeout -k 1 40 "${drop[@]}" bash "$here" "$@" 9>&-; }

forget() {
  last=$now idle=0 failed=0 open=0 warned=0 warned_at=0 strikes=0 looked='' keep='' deadline='' why_deadline='' chosen=''
  reasons=() troubles=()
}

# What earlier ticks of this boot left; anything else is forgotten.
recall() {
  local line value
  forget
  [[ -f $notes/state && -r $notes/state ]] || return 1
  IFS= read -r line <"$notes/state"
  [[ $line == "boot=$boot" ]] || return 1
  while IFS= read -r line; do
    value=${line#*=}
    case $line in
      last=* | idle=* | failed=* | open=* | warned=* | warned_at=* | strikes=* | looked=*)
        is_number "$value" && printf -v "${line%%=*}" '%d' "$((10#$value))" ;;
      keep=* | deadline=* | why_deadline=* | chosen=*) printf -v "${line%%=*}" '%s' "$value" ;;
      reason=*) reasons+=("$value") ;;
      trouble=*) troubles+=("$value") ;;
    esac
  done < <(head -c 65536 "$notes/state")
}

remember() {
  local new="$notes/state.new" name one
  {
    printf 'boot=%s\n' "$boot"
    for name in last idle failed open warned warned_at strikes looked keep deadline why_deadline chosen; do
      printf '%s=%s\n' "$name" "${!name}"
    done
    for one in "${reasons[@]}"; do printf 'reason=%s\n' "$one"; done
    for one in "${troubles[@]}"; do printf 'trouble=%s\n' "$one"; done
  } >"$new" && mv -f "$new" "$notes/state"
}

# The words of `look`, on stdin.
take() {
  local word text complete='' new_keep='' new_deadline='' new_why='' new_chosen=''
  while read -r word text; do
    text=$(plain "$text")
    case $word in
      busy) ((${#reasons[@]} < MOST_REASONS)) && reasons+=("$text") ;;
      failed) ((${#troubles[@]} < MOST_REASONS)) && troubles+=("$text") ;;
      keep) new_keep=${new_keep:-$text} ;;
      deadline) if [[ -z $new_deadline ]]; then new_deadline=$text; else new_why=${new_why:-$text}; fi ;;
      settings) new_chosen+=" $text" ;;
      looked) complete=yes ;;
    esac
  done
  # The wishes are the first words: after any word they are known, and what is not there any more is over.
  if [[ -n $complete$new_keep$new_deadline$new_chosen ]] || ((${#reasons[@]} + ${#troubles[@]})); then
    keep=$new_keep deadline=$new_deadline why_deadline=$new_why chosen=$new_chosen
  fi
  [[ -n $complete ]] || troubles+=("the look at the home folder did not end")
}

choose() {
  local pair value
  for pair in $chosen; do
    value=${pair#*=}
    is_number "$value" && ((10#$value <= 400 * 86400)) || continue
    case $pair in
      autostop=*) autostop=$((10#$value)) ;;
      max=*) longest=$((10#$value)) ;;
      warn=*) ((10#$value >= 1 && 10#$value <= 300)) && warning=$((10#$value)) ;;
    esac
  done
}

# "EPOCH [BOOT HUNDREDTHS]" as hundredths since this boot: by the clock that cannot jump where it is the same boot.
moment() {
  local epoch where at
  read -r epoch where at _ <<<"$1"
  # What is not of this century is garbage.
  is_number "${epoch:-x}" && ((10#$epoch >= 1000000000)) || return 1
  if [[ ${where-} == "$boot" ]] && is_number "${at:-x}"; then
    printf '%d' "$((10#$at))"
  else
    printf '%d' $((now + (10#$epoch - wall) * 100))
  fi
}

sooner() {
  if [[ -z $due ]] || (($1 < due)); then due=$1 why=$2 firm=${3-}; fi
}

# Sets `due` (hundredths since boot; empty: never), `why`, `firm` (no keep can help), `kept` and `ends` (when the keep
# and the deadline are over).
judge() {
  local limit at
  due='' why='' firm='' kept='' ends=''
  at=$(moment "$keep") && ((at > now && at - now <= LONGEST_KEEP * 100)) && kept=$at
  ends=$(moment "$deadline") || ends=''
  if ((autostop > 0)) && ((${#reasons[@]} == 0)); then
    limit=$((autostop * 100 * (failed ? 2 : 1)))
    # Idleness begins to count when the keep ends.
    if [[ -n $kept ]]; then at=$((kept + limit)); else at=$((now + limit - idle)); fi
    sooner "$at" "idle for $(spoken $((limit / 100)))"
  fi
  if ((longest > 0)); then
    at=$((longest * 100))
    [[ -n $kept ]] && ((kept > at)) && at=$kept
    sooner "$at" "it has run for $(spoken $((at / 100)))"
  fi
  [[ -n $ends ]] && sooner "$ends" "${why_deadline:-its deadline}" firm
  # Whoever starts it has the time to say otherwise.
  [[ -n $due ]] && ((due < warning * 100)) && due=$((warning * 100))
  return 0
}

spoken() {
  if (($1 >= 7200)); then
    printf '%d hours' $((($1 + 1800) / 3600))
  elif (($1 >= 120)); then
    printf '%d minutes' $((($1 + 30) / 60))
  else
    printf '%d seconds' "$1"
  fi
}

# Two warnings, then the end; never without the second one's time.
act() {
  local left first=$((warning * 100)) last_call=$((warning * 20)) level=0
  [[ -n $due ]] || { warned=0; return 0; }
  left=$((due - now))
  ((left <= first)) && level=1
  ((left <= last_call)) && level=2
  ((level == 0)) && warned=0
  if ((level > warned)); then
    tell $((left > last_call ? left : last_call))
    warned=$level warned_at=$now
  elif ((left <= 0 && (now - warned_at) * 4 >= last_call * 3)); then
    strikes=$((strikes + 1))
    strike
  fi
}

# To every terminal of the machine, as wall(1) does; a terminal that takes nothing must not hold us up.
tell() {
  local text number
  text="This machine stops in $(spoken $((($1 + 50) / 100))): $why."
  [[ -n $firm ]] || text+=" Keep it awake with: gpu-selfstop keep +7200 (here), gpu keep 2h (at home)."
  printf '%s\n' "$text"
  for number in $(processes | awk '$4 && int($4 / 256) % 4096 == 136 { print $4 % 256 + int($4 / 1048576) * 256 }' | sort -un); do
    timeout -k 1 2 bash -c 'printf "\r\n*** %s ***\r\n" "$1" >"$2"' tell "$text" "/dev/pts/$number" 2>/dev/null 9>&- &
  done
  wait
}

# What does not work the first time is asked for more firmly.
strike() {
  printf 'stopping: %s\n' "$why"
  remember
  if ((strikes <= 2)); then
    shutdown -h now
  elif ((strikes <= 4)); then
    systemctl poweroff --force
  else
    systemctl poweroff --force --force
  fi
}

measure() {
  local table spent bytes elapsed=$1 hertz
  hertz=$(getconf CLK_TCK) || hertz=100
  table=$(processes) || troubles+=("the processes cannot be listed")
  spent=$(awk '{ print $1 ":" $6, $7 }' <<<"$table" | growth cpu) || troubles+=("the use of the CPU cannot be noted")
  bytes=$(traffic "$table" | growth network) || troubles+=("the use of the network cannot be noted")
  ((elapsed > 0)) || return 0
  [[ -n $spent ]] && spent=$((spent * 10000 / hertz / elapsed)) && ((spent >= CPU_PERCENT)) &&
    reasons+=("CPU at $spent % of a core")
  [[ -n $bytes ]] && bytes=$((bytes / 10 / elapsed)) && ((bytes >= NETWORK_KB)) && reasons+=("network at $bytes kB/s")
  return 0
}

tick() {
  local gap known
  mkdir -p "$notes"
  # Nobody else may hold the lock; where nothing can be written the times are kept all the same.
  umask 077
  if exec 9>"$notes/lock"; then
    flock --nonblock --conflict-exit-code 99 9
    (($? == 99)) && exit 0
  fi
  umask 022
  read_settings
  read_clocks
  become_user
  if ! recall; then rm -f "$notes/cpu" "$notes/network"; fi
  gap=$((now > last ? now - last : 0))
  idle=$((idle + (gap < LONGEST_GAP ? gap : LONGEST_GAP)))
  # The tick before did not get to its end. The next may not either, so what is due is done before anything is looked at.
  if ((open)); then
    failed=1 reasons=()
    choose
    judge
    act
  fi
  open=1 last=$now
  remember
  known=$(as_user look "$$" 2>/dev/null | timeout -k 1 45 head -c 65536)
  reasons=() troubles=()
  take <<<"$known"
  measure "$gap"
  settle
}

settle() {
  ((${#troubles[@]})) && failed=1
  choose
  judge
  if ((${#reasons[@]})) || [[ -n $kept ]]; then
    idle=0 failed=0
    ((${#troubles[@]})) && failed=1
    judge
  fi
  open=0 looked=$now
  report | as_user publish
  act
  # Without a memory no warning can have been given: what is due is done.
  remember || { [[ -n $due ]] && ((due <= now)) && strike; }
}

# ---- What is said to the user --------------------------------------------------------------------------------------

list() {
  local one text=''
  for one; do text+="${text:+, }\"$(plain "$one")\""; done
  printf '[%s]' "$text"
}

epoch() { if [[ -n $1 ]]; then printf '%d' $((wall + ($1 - now) / 100)); else printf null; fi; }

report() {
  printf '{"version": %d, "armed": %s, "now": %d, "up": %d, "looked": %s,\n' "$VERSION" \
    "$([[ -L $units/timers.target.wants/gpu-selfstop.timer ]] && printf true || printf false)" \
    "$wall" $((now / 100)) "$([[ -n $looked ]] && printf '%d' $((looked / 100)) || printf null)"
  printf ' "reasons": %s,\n "troubles": %s,\n' "$(list "${reasons[@]}")" "$(list "${troubles[@]}")"
  printf ' "idle": %d, "autostop": %d, "max": %d,\n' $((idle / 100)) "$autostop" "$longest"
  printf ' "stop_at": %s, "why": "%s", "kept_until": %s,\n' "$(epoch "$due")" "$(plain "$why")" "$(epoch "$kept")"
  printf ' "deadline": %s, "why_deadline": "%s"}\n' "$(epoch "$ends")" "$(plain "$why_deadline")"
}

# What the last tick found, with what has been asked for since.
status() {
  read_settings
  read_clocks
  become_user
  recall
  take < <(as_user wished 9>&-)
  ((${#reasons[@]})) || idle=$((idle + (now - last < LONGEST_GAP ? now - last : LONGEST_GAP)))
  choose
  judge
  report
}

wished() {
  wishes "$(home_folder)/gpu/selfstop"
  say looked all
}

# The verbs of the user; root means the user of the machine too.
wish() {
  read_settings
  become_user
  if ((${#drop[@]})); then as_user "$@"; exit; fi
  read_clocks
  case $1 in
    keep | deadline) wish_moment "$@" ;;
    set) wish_settings "${@:2}" ;;
  esac
}

wish_moment() {
  local seconds name=$1 time=${2-}
  case $time in
    off) leave "$name" && return ;;
    +*) seconds=${time#+} ;;
    *) seconds=$time ;;
  esac
  is_number "$seconds" || fail "$name takes +SECONDS, seconds since 1970, or off, not: $(plain "$time")"
  seconds=$((10#$seconds))
  [[ $time == +* ]] || seconds=$((seconds > wall ? seconds - wall : 0))
  [[ $name != keep ]] || ((seconds <= LONGEST_KEEP)) || fail "keep holds for at most $((LONGEST_KEEP / 86400)) days"
  leave "$name" "$((wall + seconds)) $boot $((now + seconds * 100))" "$(plain "${*:3}")" && printf '%d\n' $((wall + seconds))
}

wish_settings() {
  local pair lines=() value
  for pair; do
    [[ $pair =~ ^(autostop|max|warn)= ]] && value=$(seconds "${pair#*=}") ||
      fail "set takes autostop=TIME and max=TIME, not: $(plain "$pair")"
    lines+=("${pair%%=*}=$value")
  done
  leave settings "${lines[@]}"
}

# A file of the home folder, line by line, all of it or nothing of it; without lines it goes away.
leave() {
  local folder new
  folder=$(home_folder)/gpu/selfstop
  if (($# == 1)); then
    rm -f -- "$folder/$1" || fail "$folder/$1 cannot be removed"
    return
  fi
  mkdir -p -- "$folder" && new=$(mktemp -- "$folder/.$1.XXXXXX") || fail "$folder cannot be written"
  printf '%s\n' "${@:2}" >"$new" && chmod 644 "$new" && mv -fT -- "$new" "$folder/$1" && return
  rm -f -- "$new"
  fail "$folder/$1 cannot be written"
}

# ---- Installation --------------------------------------------------------------------------------------------------

install_selfstop() {
  read_settings
  while (($#)); do
    case $1 in
      --user) [[ ${2-} =~ ^[A-Za-z_][A-Za-z0-9_.-]{0,31}$ ]] && user=$2 || fail "no user can be called: $(plain "${2-}")" ;;
      --autostop) autostop=$(seconds "${2-}") || fail "--autostop takes a TIME such as 30m" ;;
      --max) longest=$(seconds "${2-}") || fail "--max takes a TIME such as 24h" ;;
      *) fail "install does not know: $(plain "$1")" ;;
    esac
    shift 2
  done
  [[ -n $root || $EUID == 0 ]] || fail "install needs root: sudo bash $(plain "$here") install"
  type -P systemctl >/dev/null || fail "this machine has no systemd, which would have to run it"
  put 755 "$program" <"$here"
  printf '# Seconds; 0: never. Written by: gpu-selfstop install\nUSER=%s\nAUTOSTOP=%d\nMAX=%d\n' \
    "$user" "$autostop" "$longest" | put 644 "$settings"
  service | put 644 "$units/gpu-selfstop.service"
  timer | put 644 "$units/gpu-selfstop.timer"
  systemctl daemon-reload
  systemctl enable gpu-selfstop.timer && systemctl restart gpu-selfstop.timer || fail "systemd does not take its timer"
}

# stdin into a file, all of it or nothing of it.
put() {
  local new
  mkdir -p -- "${2%/*}" && new=$(mktemp -- "$2.XXXXXX") || fail "$2 cannot be written"
  if cat >"$new" && [[ -s $new ]] && chmod "$1" "$new" && mv -fT -- "$new" "$2"; then return; fi
  rm -f -- "$new"
  fail "$2 cannot be written"
}

service() {
  cat <<'END'
[Unit]
Description=Stop this machine when nobody needs it any more

[Service]
Type=oneshot
ExecStart=/usr/local/bin/gpu-selfstop tick
TimeoutStartSec=150
KillMode=process
OOMScoreAdjust=-900
END
}

timer() {
  cat <<'END'
[Unit]
Description=Look every minute whether anybody needs this machine

[Timer]
OnBootSec=60
OnUnitActiveSec=60
AccuracySec=5

[Install]
WantedBy=timers.target
END
}

main() {
  drop=()
  case ${1-} in
    install) install_selfstop "${@:2}" ;;
    tick) [[ -n $root || $EUID == 0 ]] || fail "tick is root's"; tick ;;
    status) status ;;
    keep | deadline | set) wish "$@" ;;
    look) look "${2:-$$}" ;;
    wished) wished ;;
    publish) publish ;;
    ask) ask "$2" "$3" ;;
    version) printf '%d\n' "$VERSION" ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$here"; exit 2 ;;
  esac
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
