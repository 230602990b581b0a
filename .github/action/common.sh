# shellcheck shell=bash
# What the three scripts share. They run on bash 3.2 as well, which macOS has.

# The action's own repository, at the revision that runs.
# shellcheck disable=SC2034 # for those who read this file
ACTION=${BASH_SOURCE[0]%/*}/../..

# Ends the step: the reason as one annotation, its exit code by name as the output `status`.
refuse() { # STATUS CODE MESSAGE
  printf '::error title=shipgate::%s\n' "$(escape "$3")"
  printf 'status=%s\n' "$1" >>"$GITHUB_OUTPUT"
  exit "$2"
}

misused() { refuse usage 2 "$1"; } # MESSAGE

# Writes a text so that it can't end the line of a workflow command and begin another.
escape() { # TEXT
  local text=$1
  text=${text//\%/%25}
  text=${text//$'\r'/%0D}
  printf '%s' "${text//$'\n'/%0A}"
}

# Refuses a value that is none of the words.
one_of() { # INPUT VALUE WORD…
  local input=$1 value=$2 word
  shift 2
  for word; do
    [ "$value" != "$word" ] || return 0
  done
  misused "the input \`$input\` is \`$value\`; it can be: $*"
}

# Sets REPLY to a path that no program takes for an option.
plain_path() { # PATH
  REPLY=$1
  case $REPLY in -*) REPLY=./$REPLY ;; esac
}

# Sets REPLY to a path that means the same in every folder.
absolute_path() { # PATH
  REPLY=$1
  case $REPLY in
    /* | [A-Za-z]:[/\\]* | \\\\*) ;;
    *) REPLY=$PWD/$REPLY ;;
  esac
}

# Fails if there is no such folder.
enter_working_directory() {
  [ -n "$WITH_WORKING_DIRECTORY" ] || return 0
  plain_path "$WITH_WORKING_DIRECTORY"
  cd -- "$REPLY" 2>/dev/null || return
}

# Sets `talk` to the flags that say how shipgate speaks. Words that are none were refused before.
choose_voice() {
  talk=()
  case ${WITH_COLOR:-auto} in auto | always | never) talk+=("--color=${WITH_COLOR:-auto}") ;; esac
  case ${WITH_LOG_LEVEL:-} in
    quiet) talk+=(--quiet) ;;
    verbose) talk+=(--verbose) ;;
    # The runner sets this where somebody runs a job again with debug logging.
    "") [ "${RUNNER_DEBUG:-}" != 1 ] || talk+=(--verbose) ;;
  esac
  [ "${WITH_SUMMARY:-true}" = true ] || unset GITHUB_STEP_SUMMARY
}

# Becomes shipgate, in this very process, which is the one that the runner signals.
become_shipgate() { # ARGUMENT…
  local binary=$SHIPGATE_BINARY
  # shellcheck disable=SC2086 # names without blanks
  unset SHIPGATE_BINARY ${!WITH_@}
  # Git's bash on Windows would rewrite arguments that look like paths; elsewhere nothing reads this.
  export MSYS_NO_PATHCONV=1 MSYS2_ARG_CONV_EXCL='*'
  exec "$binary" "$@"
}
