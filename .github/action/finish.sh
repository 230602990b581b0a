#!/usr/bin/env bash
# Ends what a killed run left open, and says so where nothing is.
#
# Its step ignores SIGINT and SIGTERM until shipgate minds them itself.
set -euo pipefail
# shellcheck source=.github/action/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"

# Only a run can leave something open.
[ "${WITH_COMMAND:-run}" = run ] || exit 0
# Where `run` was refused nothing is open.
enter_working_directory || exit 0
choose_voice
arguments=()
[ -z "$WITH_CACHE" ] || arguments+=("--cache=$WITH_CACHE")
become_shipgate finish ${talk[@]+"${talk[@]}"} ${arguments[@]+"${arguments[@]}"}
