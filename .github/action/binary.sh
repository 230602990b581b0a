#!/usr/bin/env bash
# Finds shipgate, or builds it from the action's own repository, and names it in the output `path`.
set -euo pipefail
# shellcheck source=.github/action/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"

main() {
  local version path
  SANDBOX=${WITH_SANDBOX:-false}
  one_of sandbox "$SANDBOX" true false
  own_version
  version=$REPLY
  # A tag may be written with its v.
  [ -z "$WITH_VERSION" ] || [ "${WITH_VERSION#v}" = "$version" ] ||
    misused "version $WITH_VERSION is expected, and this revision of the action is shipgate $version. There are no \
releases yet: pin the action to the revision of the version that you want, or leave \`version\` out."
  if [ -n "$WITH_BINARY" ]; then
    find_binary
    path=$REPLY
    check_version "$path" "$version"
  else
    build "$version"
    path=$REPLY
  fi
  printf 'path=%s\n' "$path" >>"$GITHUB_OUTPUT"
}

# Sets REPLY to the version that this revision builds.
own_version() {
  local line
  REPLY=
  while IFS= read -r line; do
    case $line in
      'version = "'*)
        line=${line#*\"}
        REPLY=${line%%\"*}
        return
        ;;
    esac
  done <"$ACTION/Cargo.toml"
  refuse unexpected 1 "the action's Cargo.toml names no version: its checkout is not whole"
}

# Sets REPLY to the program that the input `binary` means.
find_binary() {
  case $WITH_BINARY in
    *$'\n'* | *$'\r'*) misused "the input \`binary\` has more than one line: $WITH_BINARY" ;;
    */* | *\\*) absolute_path "$WITH_BINARY" ;;
    *)
      REPLY=$(type -P -- "$WITH_BINARY") ||
        misused "no program on PATH is called \`$WITH_BINARY\`, as the input \`binary\` has it"
      absolute_path "$REPLY"
      ;;
  esac
  [ ! -d "$REPLY" ] && [ -x "$REPLY" ] && return
  misused "\`$REPLY\`, of the input \`binary\`, is no program that can be run"
}

# The flags that the action passes are those of its own revision: another version may read them otherwise.
check_version() { # PATH VERSION
  local found
  found=$("$1" --version 2>/dev/null) ||
    misused "\`$1 --version\` failed: the input \`binary\` has to name a shipgate"
  [ "$found" = "shipgate $2" ] ||
    misused "the input \`binary\` names \`$found\`, and this revision of the action needs \`shipgate $2\`"
  printf 'Using %s, %s\n' "$(escape "$1")" "shipgate $2"
}

# Sets REPLY to the program, built from this revision; docs/github-action.md has the figures for why unoptimised.
build() { # VERSION
  local target=${WITH_BUILD_DIR:-$RUNNER_TEMP/shipgate-build} began=$SECONDS
  absolute_path "$target"
  target=$REPLY
  needs_for_sandbox
  command -v cargo >/dev/null || refuse unexpected 1 "cargo is not on this runner's PATH, and there are no \
releases yet, so shipgate is built from source. Install Rust before this step (https://rustup.rs; hosted runners have \
it), or name a shipgate that is already there with the input \`binary\`."
  printf '::group::Building shipgate %s\n' "$1"
  if ! (cd "$ACTION" && compile "$target"); then
    printf '::endgroup::\n'
    refuse unexpected 1 "shipgate could not be built; what cargo said stands in the log above"
  fi
  printf '::endgroup::\nBuilt shipgate %s in %s s\n' "$1" "$((SECONDS - began))"
  REPLY=$target/debug/shipgate
  [ -x "$REPLY" ] || REPLY=$REPLY.exe
}

compile() { # TARGET-FOLDER
  shield
  # What a workflow sets for its own Rust code would change this build, and where it puts its results.
  unset CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS RUSTC_WORKSPACE_WRAPPER RUSTC_WRAPPER RUSTFLAGS RUSTUP_TOOLCHAIN
  export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never
  cargo build --locked --target-dir "$1" --package shipgate --bin shipgate &&
    { [ "$SANDBOX" = false ] || compile_sandbox "$1"; }
}

# The launcher looks for the component beside it, and shipgate for the launcher. The component is optimised: the
# launcher compiles it at every start, and there is much more of it unoptimised.
compile_sandbox() { # TARGET-FOLDER
  cargo build --locked --target-dir "$1" --package shipgate-wasm &&
    cargo build --locked --release --target wasm32-wasip2 --target-dir "$1" --package shipgate --features hosted \
      --bin shipgate-hosted &&
    cp "$1/wasm32-wasip2/release/shipgate-hosted.wasm" "$1/debug/shipgate-hosted.wasm"
}

needs_for_sandbox() {
  local tool
  [ "$SANDBOX" = true ] || return 0
  for tool in clang llvm-ar; do
    command -v "$tool" >/dev/null || refuse unexpected 1 "$tool is not on this runner's PATH, and the component of \
the sandbox is built with it. Install clang and llvm before this step, for instance with apt-get, or leave \
\`sandbox\` out."
  done
}

# Takes away every variable but those that a build needs: build scripts of dependencies have no business with the
# secrets of a step. Not on Windows, where compilers are found by variables that nobody can list.
shield() {
  local name
  [ "${RUNNER_OS:-}" != Windows ] || return 0
  for name in $(compgen -e); do
    case $name in
      AR | AR_* | CC | CC_* | CXX | DEVELOPER_DIR | HOME | LANG | LOGNAME | PATH | SDKROOT | SHELL | TERM | TMPDIR | USER) ;;
      CARGO_HOME | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTR* | CARGO_SOURCE_* | RUSTUP_*) ;;
      LC_* | NIX_SSL_CERT_FILE | SSL_CERT_* | *_PROXY | *_proxy) ;;
      *) unset "$name" ;;
    esac
  done
}

main
