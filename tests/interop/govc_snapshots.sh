#!/usr/bin/env bash
# Snapshots on file systems that share blocks (btrfs and XFS, mounted) and on one that does not (ext4): what govc and pyvmomi make, see,
# export, go back to and remove. What a snapshot gives is what the disk was, whatever was written since; nothing is left of one that is
# removed, that failed, or that the server was killed over.
. "$(dirname "$0")/lib.bash"
[ "$(id -u)" = 0 ] || not_run "needs root to mount a file system"

# mounted <directory> <mkfs command ...>: a new file system there, or failure.
mounted() {
    local device
    truncate -s 600M "$1.image"
    "${@:2}" "$1.image" >"$work/mkfs" 2>&1 || die "${*:2}: $(cat "$work/mkfs")"
    device=$(losetup -f --show "$1.image" 2>/dev/null) || return 1
    loops+=("$device")
    mkdir -p "$1"
    mount "$device" "$1" 2>/dev/null || return 1
    mounts+=("$1")
}
files() { (cd "$1" && find . -type f | sort); }
used() { sync -f "$1"; btrfs filesystem sync "$1" >/dev/null 2>&1 || true; df -B1 --output=used "$1" | tail -n 1; }
# Without the dot that stands for where the machine is.
tree() { govc snapshot.tree -c=false -vm "$@"; }
# exported <machine> <number of the disk>, and exported_at <snapshot> <machine> <number of the disk>: the file that came out.
exported() {
    rm -rf "$work/out"
    mkdir "$work/out"
    govc export.ovf -vm "$1" "$work/out" >/dev/null
    echo "$work/out/$1/$1-disk-$2.vmdk"
}
exported_at() {
    rm -rf "$work/out"
    mkdir -p "$work/out/$2"
    program export_snapshot.py "$2" "$1" "$work/out/$2"
    echo "$work/out/$2/$2-disk-$3.vmdk"
}
# scribble <file>: other contents of the same length, in the same file.
scribble() { dd if="$work/other.raw" of="$1" bs=1M conv=notrunc status=none; }

disk guest 32
disk small 16
disk other 32

snapshots_on() { # <name of the file system>, mounted at $work/fast
    local before stored
    rm -rf "$work/state"
    mkdir -p "$work/fast/web" "$work/plain/old"
    cp --sparse=always "$work/guest.raw" "$work/fast/web/disk-0.raw"
    cp --sparse=always "$work/small.raw" "$work/fast/web/disk-1.raw"
    cp --sparse=always "$work/guest.raw" "$work/plain/old/disk-0.raw"
    web='
[vm.web]
disks = ["[fast] web/disk-0.raw", "[fast] web/disk-1.raw"]
'
    stores="
[datastore.fast]
path = \"$work/fast\"
[datastore.plain]
path = \"$work/plain\"
"
    old='
[vm.old]
disks = ["[plain] old/disk-0.raw"]
'
    site "$stores$web$old"
    sail
    as deckhand "$operator_password"
    stored=$(files "$work/fast")
    before=$(used "$work/fast")

    # A configured machine: the snapshot keeps what the disk was.
    same "$(tree web)" "" "the tree of a machine without snapshots"
    govc snapshot.create -vm web -d "before the change" first
    scribble "$work/fast/web/disk-0.raw"
    [ $(($(used "$work/fast") - before)) -lt $((2 * $(stat -c %s "$work/other.raw"))) ] || die "$1: the snapshot is a full copy"
    same_disk guest.raw "$(exported_at first web 0)"
    same_disk small.raw "$work/out/web/web-disk-1.vmdk"
    same_disk other.raw "$(exported web 0)"
    govc snapshot.create -vm web second
    same "$(tree web | sed 's/ *$//')" $'first\n  second' "the tree"
    says 'before the change' "$(tree web -d)"
    says "^\\[$(date -u +%b) " "$(tree web -D)"
    same "$(govc snapshot.tree -C -vm web)" second "the current snapshot"
    govc snapshot.tree -vm web | tail -n 1 | has '^ *\.$' || die "the machine's place in the tree: $(govc snapshot.tree -vm web)"
    refused 'not found' govc snapshot.remove -vm web third
    echo "$1: govc create, tree, export"

    # Who only reads may look.
    as passenger "$reader_password"
    says 'second' "$(tree web)"
    refused 'ermission' govc snapshot.create -vm web third
    refused 'ermission' govc snapshot.remove -vm web first
    refused 'ermission' govc snapshot.revert -vm web first
    mkdir -p "$work/out3"
    refused 'NoPermission' program export_snapshot.py web first "$work/out3"
    as deckhand "$operator_password"

    # Back, by name and to the current one.
    govc snapshot.revert -vm web first
    cmp "$work/guest.raw" "$work/fast/web/disk-0.raw" || die "$1: revert to first"
    scribble "$work/fast/web/disk-0.raw"
    govc snapshot.revert -vm web
    cmp "$work/guest.raw" "$work/fast/web/disk-0.raw" || die "$1: revert to the current one"
    govc snapshot.revert -vm web second
    cmp "$work/other.raw" "$work/fast/web/disk-0.raw" || die "$1: revert to second"
    same_disk guest.raw "$(exported_at first web 0)"

    # All of it is there after a restart.
    stop
    sail
    as deckhand "$operator_password"
    same "$(tree web | sed 's/ *$//')" $'first\n  second' "the tree after a restart"
    same_disk guest.raw "$(exported_at first web 0)"
    # A machine that is configured no more stays for them; nothing of theirs is lost by a section that is gone for a while.
    stop
    site "$stores$old"
    sail
    as deckhand "$operator_password"
    grep -q 'no longer configured' "$work/server.log" || die "no word about a machine that is configured no more"
    same_disk guest.raw "$(exported_at first web 0)"
    stop
    site "$stores$web$old"
    sail
    as deckhand "$operator_password"
    govc snapshot.remove -vm web first
    same "$(tree web | tr -d ' ')" second "what is left"
    same_disk other.raw "$(exported_at second web 0)"
    govc snapshot.remove -vm web '*'
    same "$(files "$work/fast")" "$stored" "files when all snapshots are removed"
    echo "$1: govc revert, restart, remove"

    # An imported machine, with its files.
    cd "$work"
    govc import.ova -ds fast box.ova >/dev/null
    govc snapshot.create -vm box kept
    qemu-img check -q "$(find "$work/fast/box" -name '*snapshot*.vmdk' ! -name '*-flat.vmdk')" || die "a copy that qemu-img does not open"
    scribble "$work/fast/box/box-flat.vmdk"
    same_disk guest.raw "$(exported_at kept box 0)"
    govc import.ova -ds fast -name again "$work/box.ova" >/dev/null
    # What came out of a snapshot goes in again.
    govc import.ovf -ds fast -name third "$work/out/box/box.ovf" >/dev/null
    same_disk guest.raw "$work/fast/third/third-flat.vmdk"
    program snapshots.py box fast
    for machine in box again third; do govc vm.destroy "$machine"; done
    same "$(files "$work/fast")" "$stored" "files when the machines are gone"
    silent_about 'running' "$(govc tasks -n 100)"

    # Where blocks cannot be shared.
    stored=$(files "$work/plain")
    refused 'not supported.*Hard disk 1 \(\[plain\] old/disk-0.raw\)' govc snapshot.create -vm old first
    same "$(files "$work/plain")" "$stored" "files after a snapshot that failed"
    same "$(tree old)" "" "snapshots after one that failed"
    echo "$1: an imported machine, and one on ext4"

    killed_on "$1"
    stop
}

# The server is killed while snapshots come and go and the machine goes back to them: afterwards each that is shown is whole, no other file
# is there, and the disks are all of the same moment.
killed_on() {
    local round shown current recovered=0
    same "$(files "$work/fast" | grep -c snapshot || true)" 0 "$1: files before"
    govc snapshot.create -vm web a
    cp "$work/fast/web/disk-0.raw" "$work/a-0.raw"
    cp "$work/fast/web/disk-1.raw" "$work/a-1.raw"
    dd if="$work/guest.raw" of="$work/fast/web/disk-0.raw" bs=1M conv=notrunc status=none
    dd if="$work/guest.raw" of="$work/fast/web/disk-1.raw" bs=1M count=16 conv=notrunc status=none
    govc snapshot.create -vm web b
    cp "$work/fast/web/disk-0.raw" "$work/b-0.raw"
    cp "$work/fast/web/disk-1.raw" "$work/b-1.raw"
    cmp -s "$work/a-0.raw" "$work/b-0.raw" && die "the same disk twice"
    # Twelve times, and until one has met a step; about every third does.
    for round in $(seq 40); do
        # That of the round before would be taken for this one's.
        : >"$work/churn"
        program snapshot_churn.py web >"$work/churn" 2>&1 &
        client=$!
        until_true 30 grep -q begun "$work/churn"
        sleep "0.$((RANDOM % 6))$((RANDOM % 10))"
        kill -9 "$server_pid"
        wait "$server_pid" 2>/dev/null || true
        wait "$client" || die "$1: $(cat "$work/churn")"
        sail
        as deckhand "$operator_password"
        ! grep -qE 'after a restart' "$work/server.log" || recovered=$((recovered + 1))
        shown=$(tree web | wc -l)
        same "$(files "$work/fast" | grep -c 'disk-0-.*snapshot' || true)" "$shown" "$1: files beside snapshots after a kill"
        same "$(files "$work/fast" | grep -c 'disk-1-.*snapshot' || true)" "$shown" "$1: those of the second disk"
        same "$(files "$work/fast" | grep -c 'part$' || true)" 0 "$1: parts after a kill"
        current=$(govc snapshot.tree -C -vm web)
        cmp "$work/${current:0:1}-0.raw" "$work/fast/web/disk-0.raw" || die "$1: the first disk at $current"
        cmp "$work/${current:0:1}-1.raw" "$work/fast/web/disk-1.raw" || die "$1: the second disk at $current"
        [ "$round" -lt 12 ] || [ "$recovered" = 0 ] || break
    done
    for name in a b; do
        identical raw vmdk "$work/$name-0.raw" "$(exported_at "$name" web 0)"
        identical raw vmdk "$work/$name-1.raw" "$work/out/web/web-disk-1.vmdk"
    done
    govc snapshot.remove -vm web '*'
    same "$(files "$work/fast" | grep -c snapshot || true)" 0 "$1: files in the end"
    [ "$recovered" -gt 0 ] || die "$1: no kill met a snapshot that was half made, half removed or half gone back to"
    echo "$1: killed $round times, $recovered of them in the midst of a step"
}

cd "$work"
ovf box "guest.vmdk:$((32 << 20))" >box.ovf
ova box.ova box.ovf guest.vmdk
mounted "$work/plain" mkfs.ext4 -q -F || not_run "cannot mount an image"
tried= missing=
try_on() { # <name> <mkfs command ...>
    if command -v "$2" >/dev/null && mounted "$work/fast" "${@:2}"; then
        snapshots_on "$1"
        umount "$work/fast"
        tried="$tried $1"
    else
        missing="$missing $1"
    fi
}
try_on btrfs mkfs.btrfs -q -f
try_on xfs mkfs.xfs -q -f -m reflink=1
[ -z "$missing" ] || not_run "passed:$tried; not tried:$missing"
