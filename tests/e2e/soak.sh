#!/usr/bin/env bash
# The short form of the soak: random clients for some seconds, on both engines; tests/soak/run --long is the whole one.
# Alone: it judges threads and memory under a load of its own.
set -euo pipefail
: "${DISKFERRY:?the path of the built program; tests/run sets it}"
soak=$(dirname "$0")/../soak/run
seconds=12
[ -z "${DISKFERRY_LONG-}" ] || seconds=120
status=0
python3 "$soak" --seconds "$seconds" --engine auto || status=$?
python3 "$soak" --seconds "$seconds" --engine blocking || status=$?
exit "$status"
