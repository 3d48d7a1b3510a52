#!/usr/bin/env bash
# Task and TaskManager as pyvmomi uses them: WaitForTask on tasks that succeed and fail, CancelTask, UpdateProgress, SetTaskState,
# SetTaskDescription with the faults the reference names; who may see and change whose tasks and leases; sessions that end.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/ds/web"
truncate -s 32M "$work/ds/web/disk-0.raw"
disk guest 16
# One user whose password is nowhere, only its hash.
hash=$("$DISKFERRY" hash-password <<<coal-and-steam)
site "
[vm.web]
disks = [\"[default] web/disk-0.raw\"]
[user.stoker]
role = \"operator\"
password_hash = \"$hash\"
[vsphere]
session_idle_s = 5
"
sail
as deckhand "$operator_password"
cd "$work"
ovf box "guest.vmdk:$((16 << 20))" >box.ovf
program tasks.py box.ovf
program sessions.py web
stop
