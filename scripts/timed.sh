#!/usr/bin/env bash
# Runs a command and says how long it took: "time: STEP: 1.2 min". Where MOEBIUS_TIMES names a file,
# the line is appended to it too. The exit status is the command's.
# usage: scripts/timed.sh STEP COMMAND...
set -uo pipefail
step=$1
shift
begin=$(date +%s)
"$@"
status=$?
seconds=$(($(date +%s) - begin))
line=$(printf 'time: %s: %d.%d min' "$step" $((seconds / 60)) $((seconds % 60 / 6)))
[ $status = 0 ] || line+=", failed"
echo "$line"
[ -z "${MOEBIUS_TIMES:-}" ] || echo "$line" >>"$MOEBIUS_TIMES"
exit $status
