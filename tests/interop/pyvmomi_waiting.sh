#!/usr/bin/env bash
# Long polls: 100 clients that wait in WaitForUpdatesEx cost less than 1 % of a CPU while nothing happens, a lease that changes reaches a
# waiting client within 100 ms, and waiting ends when it should: with its time, by CancelWaitForUpdates, with its collector or session.
# Alone: it measures how fast a waiting client hears of a change, and an idle processor.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/ds/web"
truncate -s 32M "$work/ds/web/disk-0.raw"
disk guest 16
site '
[vm.web]
disks = ["[default] web/disk-0.raw"]
'
sail
as deckhand "$operator_password"
cd "$work"
ovf box "guest.vmdk:$((16 << 20))" >box.ovf
# The server itself: `sail` starts nothing in front of it here.
program waiting.py web "$server_pid" box.ovf
stop
