#!/usr/bin/env bash
# Standard input and output: the same bytes as from and to files, whatever the size of the pieces; what a pipe cannot carry is
# refused before anything is written; an input that ends early leaves nothing.
. "$(dirname "$0")/lib.bash"

disk guest 48
length=$(stat -c %s "$work/guest.raw")
mkdir "$work/out"

convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }
nothing_left() { same "$(ls -A "$work/out")" "" "$1: what is left"; }
refused() { # <exit codes> <text> <what> <arguments of convert>; reads standard input
    local code=0
    "$DISKFERRY" convert --no-sync "${@:4}" >"$work/stdout" 2>"$work/err" || code=$?
    [[ "$code" =~ ^($1)$ ]] || die "$3: exit code $code: $(cat "$work/err")"
    grep -qiE -- "$2" "$work/err" || die "$3: the message does not say '$2': $(cat "$work/err")"
    nothing_left "$3"
}
# In pieces of odd sizes, some of them late.
dribble() {
    python3 - "$1" <<'P'
import random, sys, time
sizes, left = random.Random(5), open(sys.argv[1], 'rb').read()
at = 0
while at < len(left):
    size = sizes.choice((1, 11, 12, 13, 511, 512, 513, 4096, 65535, 100_003, 1_000_003))
    sys.stdout.buffer.write(left[at:at + size])
    sys.stdout.buffer.flush()
    at += size
    if sizes.random() < 0.05: time.sleep(0.005)
P
}

# Files are the measure.
convert "$work/guest.raw" "$work/file.vmdk"

# Out.
convert "$work/guest.raw" - --to stream >"$work/piped.vmdk"
cmp "$work/file.vmdk" "$work/piped.vmdk" || die "standard output differs from a file"
convert "$work/guest.raw" - --to stream | cat >"$work/piped.vmdk"
cmp "$work/file.vmdk" "$work/piped.vmdk" || die "a pipe differs from a file"
convert "$work/guest.vmdk" - --to raw | cmp - "$work/guest.raw" || die "a raw disk through a pipe"
convert "$work/guest.raw" - --to raw >"$work/copy.raw"
cmp "$work/copy.raw" "$work/guest.raw" || die "a raw disk to standard output"
qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse "$work/guest.raw" "$work/sparse.vmdk"
convert "$work/sparse.vmdk" - --to raw | cmp - "$work/guest.raw" || die "a sparse disk through a pipe"
# A reader that is slow gets the same; what waits for it does not fill the memory.
python3 - "$DISKFERRY" "$work/guest.vmdk" "$work/guest.raw" <<'P'
import subprocess, sys, time
run = subprocess.Popen([sys.argv[1], 'convert', '--quiet', '--to', 'raw', sys.argv[2], '-'], stdout=subprocess.PIPE)
time.sleep(1)
memory = [line for line in open(f'/proc/{run.pid}/status') if line.startswith('VmHWM')][0]
if int(memory.split()[1]) > 48 << 10: sys.exit('with a reader that waits: ' + memory)
if run.stdout.read() != open(sys.argv[3], 'rb').read(): sys.exit('a slow reader got something else')
if run.wait(): sys.exit(f'exit code {run.returncode}')
P
# One that goes away is an I/O error, and no crash.
python3 - "$DISKFERRY" "$work/guest.vmdk" <<'P'
import subprocess, sys
run = subprocess.Popen([sys.argv[1], 'convert', '--quiet', '--to', 'raw', sys.argv[2], '-'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
run.stdout.read(100_000)
run.stdout.close()
said = run.stderr.read().decode()
if run.wait() != 74 or not said.strip() or 'panic' in said: sys.exit(f'a reader that went away: exit code {run.returncode}: {said}')
P

# In.
for form in file guest; do
    dribble "$work/$form.vmdk" | convert - "$work/out/disk.raw"
    cmp "$work/out/disk.raw" "$work/guest.raw" || die "$form.vmdk from a pipe"
    rm "$work/out/disk.raw"
    convert - "$work/out/disk.raw" <"$work/$form.vmdk"
    cmp "$work/out/disk.raw" "$work/guest.raw" || die "$form.vmdk as standard input"
    rm "$work/out/disk.raw"
    dribble "$work/$form.vmdk" | convert - "$work/out/disk.vmdk" --to stream
    identical vmdk raw "$work/out/disk.vmdk" "$work/guest.raw"
    rm "$work/out/disk.vmdk"
    dribble "$work/$form.vmdk" | "$DISKFERRY" convert --check - >"$work/check" || die "--check of standard input: $(cat "$work/check")"
done
dribble "$work/guest.raw" | convert --from raw - "$work/out/disk.raw"
cmp "$work/out/disk.raw" "$work/guest.raw" || die "a raw disk from a pipe"
[ "$(du -B1 "$work/out/disk.raw" | cut -f1)" -lt $((length * 3 / 4)) ] || die "a raw disk from a pipe has no holes: $(du -B1 "$work/out/disk.raw")"
rm "$work/out/disk.raw"
for to in stream sparse flat; do
    dribble "$work/guest.raw" | convert --from raw --capacity "$length" --to "$to" - "$work/out/disk.vmdk"
    identical vmdk raw "$work/out/disk.vmdk" "$work/guest.raw"
    [ "$to" != stream ] || cmp "$work/out/disk.vmdk" "$work/file.vmdk" || die "the stream of a piped disk is another one"
    rm "$work"/out/disk*
done
# Through three of them.
convert "$work/guest.raw" - --to stream | convert - - --from stream --to raw | convert --from raw --capacity 48MiB - - --to stream | cmp - "$work/file.vmdk" ||
    die "three in a row"
convert - "$work/out/old.raw" --force <"$work/guest.vmdk"
head -c 60000000 /dev/urandom >"$work/out/old.raw"
convert - "$work/out/old.raw" --force <"$work/guest.vmdk"
cmp "$work/out/old.raw" "$work/guest.raw" || die "old data shows through"
rm "$work/out/old.raw"

# /dev/null and other character devices take it.
convert "$work/guest.vmdk" /dev/null --to raw
convert "$work/guest.raw" /dev/null --to stream
[ -c /dev/null ] || die "/dev/null is no longer a device"
[ ! -e /dev/null.part ] || die "/dev/null.part"

# What cannot be.
refused 2 '--to' "a pipe without a format" "$work/guest.raw" - </dev/null
refused 2 'monolithicSparse' "sparse to a pipe" --to sparse "$work/guest.raw" - </dev/null
refused 2 'monolithicFlat' "flat to a pipe" --to flat "$work/guest.raw" - </dev/null
refused '1|2' 'sparse' "sparse from a pipe" - "$work/out/disk.raw" <"$work/sparse.vmdk"
refused '1|2' 'sparse' "sparse named from a pipe" --from sparse - "$work/out/disk.raw" <"$work/sparse.vmdk"
refused 2 '--capacity' "a raw disk of unknown size" --from raw --to stream - "$work/out/disk.vmdk" <"$work/guest.raw"
refused 2 'capacity' "a size that is none" --from raw --capacity much --to stream - "$work/out/disk.vmdk" <"$work/guest.raw"
refused 1 "$((length + 512))" "an input that is too short" --from raw --capacity $((length + 512)) - "$work/out/disk.vmdk" <"$work/guest.raw"
refused 1 'longer|more than|after' "an input that is too long" --from raw --capacity $((length - 512)) - "$work/out/disk.vmdk" <"$work/guest.raw"
head -c 1000000 "$work/guest.vmdk" >"$work/cut.vmdk"
refused 1 'offset 1000000' "an input that ends early" - "$work/out/disk.raw" <"$work/cut.vmdk"
# Nobody wants a disk on his terminal.
code=0
script -qec "'$DISKFERRY' convert --to stream '$work/guest.raw' -" /dev/null >"$work/terminal" </dev/null || code=$?
same "$code" 2 "a stream to a terminal: $(head -c 300 "$work/terminal")"
grep -qi terminal "$work/terminal" || die "a stream to a terminal: $(head -c 300 "$work/terminal")"
# The object of --json and the stream must not get mixed up.
code=0
"$DISKFERRY" convert --json --to stream "$work/guest.raw" - >"$work/mixed" 2>"$work/err" || code=$?
[ "$code" = 2 ] && [ ! -s "$work/mixed" ] || cmp "$work/mixed" "$work/file.vmdk" || die "--json to standard output (exit code $code)"
nothing_left "the end"
