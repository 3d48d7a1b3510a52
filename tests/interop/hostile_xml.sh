#!/usr/bin/env bash
# Envelopes nobody should send: malformed, foreign, nested, enormous, with entities that unfold, with arguments of wrong types, cut short,
# 1,000 waiting clients at once. Each is answered with a named fault or an HTTP status, is logged once at most, and the server goes on
# serving, with no more memory than before and nothing left behind.
# Alone: a thousand clients wait at once.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/ds/web"
truncate -s 16M "$work/ds/web/disk-0.raw"
site '
[vm.web]
disks = ["[default] web/disk-0.raw"]
'
ulimit -n "$(ulimit -Hn)"
sail
# The first requests make what is made once.
govc vm.info web >/dev/null
before=$(stored)
program hostile_xml.py "$server_pid" "$work/server.log"
same "$(machines)" "/ha-datacenter/vm/web" "machines afterwards"
same "$(stored)" "$before" "files afterwards"
same "$(admin /leases | jq '[.. | objects | select(.state? == "ready" or .state? == "initializing")] | length')" 0 "leases afterwards"
if grep -Ei 'panicked|stack overflow' "$work/server.log"; then die "the server panicked"; fi
stop
