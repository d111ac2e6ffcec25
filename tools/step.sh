#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs one step of an installation and shows how far it is: tools/step.sh TITLE COMMAND [ARGUMENT...]
#
# On a terminal one line changes in place; elsewhere a line comes every ten seconds. What the command writes
# goes to the file $LOG (build/install.log); where it fails, the end of that is shown.
set -u
title=$1
shift
log=${LOG:-build/install.log}
every=${STEP_SECONDS:-10}
mkdir -p "$(dirname "$log")"
printf '\n== %s: %s\n' "$title" "$*" >>"$log"
begin=$(stat -c %s "$log")

# The last thing that counts: ninja's [57/120], or apt's percentage.
progress() {
  tail -c "+$((begin + 1))" "$log" | tail -c 4096 |
    grep -aoE '\[[0-9]+/[0-9]+\]|^(dl|pm)status:[^:]*:[0-9]+' | tail -n 1 |
    sed -E 's/^dlstatus:.*:(.*)/(download \1%)/; s/^pmstatus:.*:(.*)/(unpack \1%)/'
}

status_line() {
  local count
  count=$(progress)
  echo "$title ${count:+$count }${SECONDS} s"
}

columns() { stty size <&1 2>/dev/null | cut -d' ' -f2 | grep -xE '[1-9][0-9]*' || echo 80; }

watch_terminal() {
  while sleep 0.5 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    line=$(status_line)
    printf '\r%s\033[K' "${line:0:$(($(columns) - 1))}"
  done
}

watch_pipe() {
  while sleep "$every" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    status_line
  done
}

live=
[ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && live=yes
if [ "$live" ]; then watch_terminal & else echo "$title …"; watch_pipe & fi
watcher=$!
trap 'kill "$watcher" 2>/dev/null' EXIT
# The command stays in the foreground: Ctrl-C reaches it, and sudo may ask.
"$@" </dev/null >>"$log" 2>&1
status=$?
kill "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
[ "$live" ] && printf '\r\033[K'
if [ "$status" != 0 ]; then
  echo "$title failed after ${SECONDS} s. The end of $log:" >&2
  tail -c "+$((begin + 1))" "$log" | tail -n "${STEP_LINES:-40}" | sed 's/^/  | /' >&2
  exit "$status"
fi
echo "$title: ${SECONDS} s"
