#!/usr/bin/env bash
# The two commands of the README's first screen do what they promise, and leave nothing behind.
. "$(dirname "$0")/lib.bash"

export TMPDIR="$work/tmp"
mkdir "$TMPDIR"
"$DISKFERRY" demo --size 256MiB | tee "$work/table"
grep -q 'every byte of the exported disk equals the source' "$work/table" || die "the table does not say so"
"$DISKFERRY" demo --size 256MiB --tls --json >"$work/demo.json" 2>"$work/demo.err"
[ ! -s "$work/demo.err" ] || die "--json is not alone: $(cat "$work/demo.err")"
jq -e '.verified and .abort_cleaned and (.stall_fault | contains("no byte moved"))
    and .disk_bytes == 268435456 and .stream_bytes > 0 and (.engine | length > 0)
    and (.import | has("seconds") and has("gib_per_s") and has("cpu_s_per_gib") and has("spliced_bytes") and has("copied_bytes"))
    and .export.seconds > 0' "$work/demo.json" >/dev/null || die "the object: $(cat "$work/demo.json")"
same "$(ls -A "$TMPDIR")" "" "what the demos left"

# One's own disk, of an odd size.
head -c 3000001 /dev/urandom >"$work/odd.raw"
"$DISKFERRY" demo --disk "$work/odd.raw" --json | jq -e '.verified and .disk_bytes == 3000001' >/dev/null || die "an odd disk"
if "$DISKFERRY" demo --disk "$work/none.raw" 2>"$work/err"; then die "a missing disk was accepted"; fi
grep -q none.raw "$work/err" || die "the missing disk is not named"

# Whoever stops it, at whatever stage, finds nothing left.
for signal in INT TERM; do
    for after in 0.3 4; do
        "$DISKFERRY" demo --size 1GiB >/dev/null 2>&1 &
        demo=$!
        sleep "$after"
        kill -s "$signal" "$demo" 2>/dev/null || true
        code=0
        wait "$demo" || code=$?
        same "$code" 130 "the exit code of a demo that got SIG$signal after $after s"
        same "$(ls -A "$TMPDIR")" "" "what a demo left that got SIG$signal after $after s"
    done
done
