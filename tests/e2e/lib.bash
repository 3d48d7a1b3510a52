# Sourced by the end-to-end scripts: a server of one's own, its admin API, disks to send.
# Not a script by itself: tests/run starts only *.sh.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
: "${DISKFERRY:?the path of the built program; tests/run sets it}"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/diskferry-e2e-XXXXXX")
server_pid=
loops=()
mounts=()

cleanup() {
    [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null || true
    for mount in "${mounts[@]}"; do umount -l "$mount" 2>/dev/null || true; done
    for loop in "${loops[@]}"; do losetup -d "$loop" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

die() { echo "FAILED: $*" >&2; [ ! -s "$work/server.log" ] || tail -n 20 "$work/server.log" >&2; exit 1; }
# has <grep arguments>: whether what comes in has that. It reads to the end, as `grep -q` does not: whoever writes would then be ended by
# its next line, and with it, by pipefail, the pipeline.
has() { local all; all=$(cat); grep -q "$@" <<<"$all"; }
not_run() { echo "$*"; exit 77; }
same() { [ "$1" = "$2" ] || die "$3: expected '$2', got '$1'"; }

# config <scheme of device URLs> [more TOML]: writes the configuration and makes the datastore directory.
config() {
    mkdir -p "$work/ds"
    cat >"$work/diskferry.toml" <<TOML
[listen]
control = "127.0.0.1:0"
data = "127.0.0.1:0"
data_tls = "127.0.0.1:0"
lease_urls = "$1"
control_plain = true
[state]
dir = "$work/state"
[datastore.default]
path = "$work/ds"
${2-}
TOML
}

# start [command in front]: starts the server and waits until it accepts.
start() {
    # That of an earlier start would be taken for this one's.
    rm -f "$work/serve.json"
    "$@" "$DISKFERRY" serve --config "$work/diskferry.toml" >"$work/serve.json" 2>"$work/server.log" &
    server_pid=$!
    for _ in $(seq 100); do
        [ ! -s "$work/serve.json" ] || break
        kill -0 "$server_pid" 2>/dev/null || die "the server ended at once"
        sleep 0.1
    done
    control=$(jq -r .control "$work/serve.json" | sed s/https/http/)
    token=$(cat "$work/state/admin.token")
}

stop() {
    kill -TERM "$(pgrep -P "$server_pid" -x diskferry || echo "$server_pid")"
    wait "$server_pid" || die "the server ended with $?"
    server_pid=
}

admin() { curl -sS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$control/admin/v1$1" "${@:2}"; }

# import <entity> <capacity> <path> <form> [datastore]; sets id and url.
import() { lease import "$1" "\"capacityBytes\":$2," "$3" "$4" "${5-default}"; }
# export_lease <entity> <path> <form> [datastore]; sets id and url.
export_lease() { lease export "$1" "" "$2" "$3" "${4-default}"; }
lease() {
    admin /leases -d "{\"kind\":\"$1\",\"entity\":\"$2\",\"disks\":[{\"name\":\"disk-0.vmdk\",$3\"target\":{\"datastore\":\"$6\",\"path\":\"$4\",\"form\":\"$5\"}}]}" >"$work/lease.json"
    id=$(jq -r .id "$work/lease.json")
    url=$(jq -r '.info.deviceUrl[0].url' "$work/lease.json")
}
complete() { same "$(admin "/leases/$1/complete" -X POST | jq -r .state)" done "complete of $1"; }
state() { admin "/leases/$1" | jq -r .state; }
# status <curl arguments>: prints the HTTP status, keeps the body in $work/answer, or in the file named by $into.
status() { curl -sk -o "${into-$work/answer}" -w '%{http_code}' "$@" || true; }
metric() { curl -sS "$control/metrics" | grep -F "$1 " | awk '{print $NF}'; }
identical() { qemu-img compare -f "$1" -F "$2" "$3" "$4" >/dev/null || die "$3 and $4 differ"; }

# disk <name> <MiB>: a real ext4 image $work/<name>.raw and the stream qemu-img makes of it, $work/<name>.vmdk.
disk() {
    local files="$work/files.$1"
    mkdir -p "$files"
    # At most a third of the disk, so that there are holes; errors of a changing source do not matter.
    find /usr/share /usr/bin -xdev -type f -size +1k -size -2M -print0 2>/dev/null | sort -z |
        python3 -c '
import os, shutil, sys
room, target = int(sys.argv[1]) * 2**20 // 3, sys.argv[2]
for number, name in enumerate(sys.stdin.buffer.read().split(b"\0")):
    try:
        room -= os.path.getsize(name)
        if room < 0: break
        shutil.copy(name, os.path.join(target, str(number)))
    except OSError: pass
' "$2" "$files"
    truncate -s "$2M" "$work/$1.raw"
    mke2fs -q -F -t ext4 -d "$files" "$work/$1.raw"
    rm -rf "$files"
    qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$work/$1.raw" "$work/$1.vmdk"
}

# loop <MiB>: sets device to a new loop device, or is not run.
loop() {
    [ "$(id -u)" = 0 ] || not_run "needs root for a loop device"
    truncate -s "$1M" "$work/loop.$1.img"
    device=$(losetup -f --show "$work/loop.$1.img" 2>/dev/null) || not_run "no loop devices here"
    loops+=("$device")
}
