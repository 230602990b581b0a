#!/usr/bin/env bash
# Hands the inputs to shipgate as arguments, and becomes it.
set -euo pipefail
# shellcheck source=.github/action/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"

main() {
  local command=${WITH_COMMAND:-run}
  arguments=()
  one_of command "$command" run plan validate finish
  one_of sandbox "${WITH_SANDBOX:-false}" true false
  one_of summary "${WITH_SUMMARY:-true}" true false
  one_of color "${WITH_COLOR:-auto}" auto always never
  one_of log-level "${WITH_LOG_LEVEL:-normal}" quiet normal verbose
  # From where the job begins: a policy of the repository has its path there.
  [ -z "${WITH_SANDBOX_POLICY_REF:-}" ] || fetch_policy
  enter_working_directory ||
    misused "the input \`working-directory\` is \`$WITH_WORKING_DIRECTORY\`, which is no folder that can be entered"
  choose_voice
  case $command in
    run | plan) add_run ;;
    validate) name_unused WITH_CACHE WITH_FROM WITH_INPUTS WITH_LOCK WITH_ONLY WITH_UNTIL ;;
    finish) finish ;;
  esac
  add --report "${WITH_REPORT_DIR:-$(mktemp -d "$RUNNER_TEMP/shipgate-report.XXXXXX")}"
  add_sandbox
  find_pipeline
  become_shipgate "$command" ${talk[@]+"${talk[@]}"} ${arguments[@]+"${arguments[@]}"} "$REPLY"
}

add_run() {
  local line number=0
  add --cache "$WITH_CACHE"
  add --from "$WITH_FROM"
  add --lock "$WITH_LOCK"
  add --only "$WITH_ONLY"
  add --until "$WITH_UNTIL"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%$'\r'}
    line=${line#"${line%%[! $'\t']*}"}
    case $line in
      "" | \#*) ;;
      *=*) arguments+=("--input=$line") ;;
      # Not shown: it may be a part of a secret.
      *) misused "line $number of the input \`inputs\` has no \`=\`; each line is \`name=value\`" ;;
    esac
  done <<<"$WITH_INPUTS"
}

add_sandbox() {
  case ${WITH_SANDBOX:-false} in
    true)
      arguments+=(--sandbox)
      add --policy "$WITH_SANDBOX_POLICY"
      ;;
    # Nobody may believe that a run is capped which is not.
    *)
      [ -z "$WITH_SANDBOX_POLICY$WITH_SANDBOX_POLICY_REF" ] ||
        misused "a policy caps the sandbox, and this run has none: add \`sandbox: true\`"
      ;;
  esac
}

# Takes the policy out of the repository at that ref, and names the copy in its place. Asked of the remote, since a
# branch of this name in the workspace may be anybody's.
fetch_policy() {
  local ref=$WITH_SANDBOX_POLICY_REF path=$WITH_SANDBOX_POLICY copy reason
  [ -n "$path" ] || misused "\`sandbox-policy-ref\` is of no use without \`sandbox-policy\`, the path of the file there"
  git check-ref-format --allow-onelevel "$ref" 2>/dev/null ||
    misused "the input \`sandbox-policy-ref\` is \`$ref\`, which is no name of a branch, tag or commit"
  copy=$(mktemp "$RUNNER_TEMP/shipgate-policy.XXXXXX")
  reason=$(git -C "$GITHUB_WORKSPACE" fetch --quiet --no-tags --depth=1 -- origin "$ref" 2>&1) ||
    misused "can't fetch \`$ref\` to take the policy from: $reason. actions/checkout has to run before, in the workspace"
  reason=$(git -C "$GITHUB_WORKSPACE" cat-file blob "FETCH_HEAD:$path" 2>&1 >"$copy") ||
    misused "can't take the policy \`$path\` from \`$ref\`: $reason"
  WITH_SANDBOX_POLICY=$copy
}

# Adds a flag with its value, unless that is empty. One word: a value that begins with a dash stays one.
add() { # FLAG VALUE
  [ -z "$2" ] || arguments+=("$1=$2")
}

# The same `with:` may serve a `run` elsewhere, so this is no mistake, but nobody should wonder.
name_unused() { # VARIABLE…
  local variable unused=
  for variable; do
    [ -z "${!variable}" ] || unused="$unused $(printf '%s' "${variable#WITH_}" | tr 'A-Z_' 'a-z-')"
  done
  [ -z "$unused" ] || printf 'validate looks at the document alone; not used:%s\n' "$unused"
}

# Sets REPLY to the pipeline's file. Text of more than one line is written to one that only this user can read.
find_pipeline() {
  local pipeline=${WITH_PIPELINE:-pipeline.yml} folder
  # A path that was written as a block ends with a line break.
  while :; do
    case $pipeline in
      *$'\n' | *$'\r') pipeline=${pipeline%?} ;;
      *) break ;;
    esac
  done
  plain_path "${pipeline:-pipeline.yml}"
  case $pipeline in
    *$'\n'*) ;;
    *) return 0 ;;
  esac
  folder=$(mktemp -d "$RUNNER_TEMP/shipgate-inline.XXXXXX")
  REPLY=$folder/pipeline.yml
  (umask 077 && printf '%s\n' "$pipeline" >"$REPLY")
}

finish() {
  add --cache "$WITH_CACHE"
  become_shipgate finish ${talk[@]+"${talk[@]}"} ${arguments[@]+"${arguments[@]}"}
}

main
