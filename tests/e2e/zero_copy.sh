#!/usr/bin/env bash
# A plain verbatim upload never brings its body into user space: no read or write of body bytes among the system calls, and
# the metric says that every byte was spliced.
. "$(dirname "$0")/lib.bash"
command -v strace >/dev/null || not_run "needs strace"

disk guest 192
size=$(stat -c %s "$work/guest.vmdk")
config http
start strace -f -e trace=read,write,readv,writev,pread64,pwrite64,preadv,pwritev,recvfrom,sendto,recvmsg,sendmsg \
    -o "$work/strace.txt" 2>/dev/null || not_run "strace cannot trace here"
import vm $((192 << 20)) vm/disk-0.vmdk verbatim
: >"$work/strace.txt"
same "$(status -T "$work/guest.vmdk" "$url")" 201 "PUT"
cmp "$work/guest.vmdk" "$work/ds/vm/disk-0.vmdk" || die "the stored stream differs"
same "$(metric 'diskferry_transfer_bytes_total{direction="in",path="spliced"}')" "$size" "spliced bytes"
same "$(metric 'diskferry_transfer_bytes_total{direction="in",path="copied"}')" 0 "copied bytes"
# What the calls returned, in all: the journal, wake-ups and the control plane, but not a body.
moved=$(awk '$NF ~ /^[0-9]+$/ && $(NF-1) == "=" {sum += $NF} END {print sum + 0}' "$work/strace.txt")
echo "body $size bytes; read and written by system calls during the upload: $moved bytes"
[ "$moved" -lt $((size / 20)) ] || die "body bytes were read or written"
complete "$id"
stop
