#!/usr/bin/env bash
# What a new user does wrong: every mistake is said in words that help, before anything is touched; a full disk leaves nothing; and
# what the command says suits where it is read.
. "$(dirname "$0")/lib.bash"

disk guest 48
chmod 755 "$work"
cp "$work/guest.raw" "$work/source.raw"
cd "$work"
mkdir out

complaints=0
complain() { echo "COMPLAINT: $*"; complaints=$((complaints + 1)); }
unchanged() { [ "$1" = "$2" ] || complain "$3: expected '$2', got '$1'"; }

# wrong <exit codes> <text> <arguments of convert>: nothing may change.
wrong() {
    local code=0 before
    before=$(ls -AlR --time-style=full-iso "$work/out" source.raw guest.raw guest.vmdk)
    "$DISKFERRY" convert "${@:3}" >stdout 2>err </dev/null || code=$?
    [[ "$code" =~ ^($1)$ ]] || complain "convert ${*:3}: exit code $code: $(cat err)"
    grep -qiE -- "$2" err || complain "convert ${*:3}: the message does not say '$2': $(cat err)"
    [ ! -s stdout ] || complain "convert ${*:3}: something on standard output: $(head -c 300 stdout)"
    ! grep -qE 'panicked|RUST_BACKTRACE|Os \{|Error\(' err || complain "convert ${*:3}: that is for programmers: $(cat err)"
    [ "$(wc -l <err)" -le 20 ] || complain "convert ${*:3}: a page of text: $(cat err)"
    unchanged "$(ls -AlR --time-style=full-iso "$work/out" source.raw guest.raw guest.vmdk)" "$before" "convert ${*:3}: what changed"
}

arguments() {
    wrong 2 'source|usage'
    wrong 2 'target' source.raw
    wrong 2 'out/c|unexpected' source.raw out/b out/c
    wrong 2 'frobnicate' source.raw out/b --frobnicate
    for format in qcow2 vhdx ''; do
        wrong 2 'raw.*streamOptimized.*monolithicSparse.*monolithicFlat' source.raw out/b --to "$format"
        wrong 2 'raw.*streamOptimized.*monolithicSparse.*monolithicFlat' source.raw out/b --from "$format"
    done
    wrong 2 'streamOptimized.*monolithicSparse.*monolithicFlat' source.raw out/b --to vmdk
    wrong 2 'fast.*balanced.*default.*best' source.raw out/b.vmdk --level 11
    wrong 2 'scan.*holes.*off' source.raw out/b --sparse yes
    wrong 2 'ide.*buslogic.*lsilogic.*legacyESX' source.raw out/b.vmdk --adapter scsi
    for number in 0 -1 many 1000000; do wrong 2 'threads' source.raw out/b.vmdk "--threads=$number"; done
    wrong 2 'hw-version' source.raw out/b.vmdk --hw-version new
    wrong 2 'tools-version' source.raw out/b.vmdk --tools-version=-7
    wrong 2 'capacity' - out/b.vmdk --from raw --capacity 10parsecs
    wrong 2 'capacity|512' - out/b.vmdk --from raw --capacity 0
    wrong 2 'check|target|unexpected|cannot be used' --check guest.vmdk out/b
    wrong 2 'info|target|unexpected|cannot be used' --info guest.vmdk out/b
    wrong 2 'cannot be used|--check|--info' --check --info guest.vmdk
    # In any case, by any of its names.
    for format in STREAM streamoptimized StreamOptimized stream; do
        "$DISKFERRY" convert --quiet --no-sync --to "$format" source.raw - | qemu_says streamOptimized
    done
    for format in sparse MONOLITHICSPARSE; do
        "$DISKFERRY" convert --quiet --no-sync --force --to "$format" source.raw any.vmdk
        qemu_says monolithicSparse <any.vmdk
    done
    rm any.vmdk
}
qemu_says() {
    cat >said.vmdk
    same "$(qemu-img info -f vmdk --output=json said.vmdk | jq -r '."format-specific".data."create-type"')" "$1" "the format"
    rm said.vmdk
}

files() {
    wrong '2|74' 'nothing.raw.*(no such|not found|does not exist)|(no such|not found|does not exist).*nothing.raw' nothing.raw out/b
    wrong '2|74' 'nowhere' source.raw nowhere/b
    wrong 2 'nowhere/.*does not exist' source.raw nowhere/
    wrong 2 'out/.*directory' source.raw out/
    wrong '2|74' 'directory' out out2
    wrong 2 'directory' source.raw out
    wrong '2|74' 'no such|not found|does not exist' --check nothing.vmdk
    wrong '2|74' 'no such|not found|does not exist' --info nothing.vmdk
    wrong '2|74' 'directory' --check out
    # An existing target, of either file.
    echo precious >out/b.vmdk
    wrong 2 '--force' source.raw out/b.vmdk
    wrong 2 '--force' source.raw out/b.vmdk --to flat
    mv out/b.vmdk out/b-flat.vmdk
    wrong 2 '--force' source.raw out/b.vmdk --to flat
    "$DISKFERRY" convert --quiet --force --to flat source.raw out/b.vmdk
    identical vmdk raw out/b.vmdk source.raw
    rm out/*
    # The same file under any name.
    ln -s source.raw link.raw
    ln source.raw hard.raw
    for name in source.raw ./source.raw "$work/source.raw" link.raw hard.raw; do
        wrong 2 'same|overwritten' source.raw "$name" --force
        wrong 2 'same|overwritten' "$name" source.raw --force
    done
    "$DISKFERRY" convert --quiet --to flat source.raw flat.vmdk
    before=$(sha256sum flat.vmdk flat-flat.vmdk)
    wrong 2 'same|overwritten' flat.vmdk flat-flat.vmdk --force --to raw
    wrong 2 'same|overwritten' flat.vmdk flat-flat.vmdk --force --to stream
    wrong 2 'same|overwritten' flat.vmdk flat.vmdk --force --to stream
    wrong 2 'same|overwritten' flat-flat.vmdk flat.vmdk --from raw --to flat --force
    unchanged "$(sha256sum flat.vmdk flat-flat.vmdk)" "$before" "the two files"
    rm flat* hard.raw link.raw
    # A target that is a link to a file is the file.
    echo precious >out/there.raw
    ln -s there.raw out/link.raw
    wrong 2 '--force' source.raw out/link.raw
    # With --force it is the link that is replaced, as the help says.
    "$DISKFERRY" convert --quiet --force source.raw out/link.raw
    [ ! -L out/link.raw ] && cmp -s source.raw out/link.raw || complain "a link as the target is not replaced"
    unchanged "$(cat out/there.raw)" precious "the file that the link named"
    rm out/*

    if [ "$(id -u)" = 0 ]; then
        cp source.raw secret.raw
        chmod 600 secret.raw
        mkdir -m 755 closed open
        chmod 777 open
        as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$DISKFERRY" convert "$@" >stdout 2>err </dev/null && code=0 || code=$?; }
        if setpriv --reuid=65534 --regid=65534 --clear-groups "$DISKFERRY" --version >/dev/null 2>&1; then
            as_nobody secret.raw open/b
            [[ "$code" = 74 ]] && grep -qiE 'secret.raw.*permission|permission.*secret.raw' err || die "an unreadable source: exit code $code: $(cat err)"
            as_nobody source.raw closed/b
            [[ "$code" = 74 ]] && grep -qiE 'closed.*permission|permission.*closed' err || die "a closed directory: exit code $code: $(cat err)"
            same "$(ls -A open closed | grep -v :)" "" "what is left of both"
        else
            echo "not tried: unreadable files (the program itself cannot be run by nobody)"
        fi
    fi
}

foreign() {
    local format
    for pair in qcow2:qcow2 vdi:VDI vhdx:VHDX vpc:VHD qed:QED; do
        qemu-img create -q -f "${pair%:*}" "foreign.img" 10M 2>/dev/null || { echo "not tried: ${pair%:*} (qemu-img cannot make one)"; continue; }
        for arguments in "foreign.img out/b" "foreign.img out/b.vmdk"; do
            # shellcheck disable=SC2086
            wrong '1|2' "${pair#*:}" $arguments
        done
        code=0
        "$DISKFERRY" convert --check foreign.img >stdout 2>err || code=$?
        [[ "$code" = [12] ]] && cat stdout err | has "${pair#*:}" || complain "--check of a ${pair%:*}: exit code $code: $(cat stdout err)"
        ! grep -q -- --salvage stdout || complain "--check of a ${pair%:*} advises to salvage it: $(cat stdout)"
        "$DISKFERRY" convert --quiet --from raw foreign.img out/b
        cmp foreign.img out/b || die "--from raw of a ${pair%:*}"
        rm out/b foreign.img
    done
    { printf 'COWD\1\0\0\0\3\0\0\0'; head -c 100000 /dev/zero; } >foreign.vmdk
    wrong '1|2' 'COWD' foreign.vmdk out/b
    { printf '\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0'; head -c 100000 /dev/zero; } >foreign.vmdk
    wrong '1|2' 'seSparse' foreign.vmdk out/b
    # A format that the file has not.
    wrong '1|2' 'KDMV|not a VMDK' source.raw out/b --from stream
    wrong '1|2' 'KDMV|not a VMDK' source.raw out/b --from sparse
    wrong '1|2' 'streamOptimized|not a sparse' guest.vmdk out/b --from sparse
    wrong '1|2' 'descriptor' source.raw out/b --from flat
    qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse source.raw sparse.vmdk
    wrong '1|2' 'monolithicSparse|sparse' sparse.vmdk out/b --from stream
}

no_space() {
    [ "$(id -u)" = 0 ] || { echo "not tried: a full disk (needs root for a small tmpfs)"; return 0; }
    mkdir small
    mount -t tmpfs -o size=6m none small 2>/dev/null || { echo "not tried: a full disk (tmpfs cannot be mounted)"; return 0; }
    mounts+=("$work/small")
    for to in raw stream sparse flat; do
        for way in '' '--no-sync' '--sparse=off' '--threads=1'; do
            [ "$to" = raw ] || [ "$to" = flat ] || [ "$way" != --sparse=off ] || continue
            name=$([ $to = raw ] && echo b.raw || echo b.vmdk)
            code=0
            # shellcheck disable=SC2086
            "$DISKFERRY" convert $way --to $to source.raw small/$name >stdout 2>err || code=$?
            same "$code" 74 "$to $way to a full file system: $(cat err)"
            grep -qi 'space' err || die "$to $way: the message does not speak of space: $(cat err)"
            same "$(ls -A small)" "" "$to $way: what is left on a full file system"
        done
    done
    code=0
    "$DISKFERRY" convert --quiet --to raw guest.vmdk - 2>err >/dev/full || code=$?
    same "$code" 74 "/dev/full as standard output: $(cat err)"
    # An old target survives it.
    echo precious >small/b.vmdk
    "$DISKFERRY" convert --quiet --force source.raw small/b.vmdk 2>err && die "it fits"
    same "$(cat small/b.vmdk)" precious "an old target on a full file system"
}

what_it_says() {
    "$DISKFERRY" convert --help >help
    for word in raw streamOptimized monolithicSparse monolithicFlat fast balanced default best scan holes off --check --info --force --salvage --json --quiet --threads \
        --capacity --adapter --no-sync lsilogic; do
        grep -qF -- "$word" help || die "the help does not mention $word"
    done
    "$DISKFERRY" --help | has -E '^ +convert ' || die "diskferry --help does not list convert"
    # Text, and much of it, so that there is something to see.
    python3 -c '
import sys
text = b"".join(b"%d: %x\n" % (i, i * i * 2654435761) for i in range(1 << 20))
for part in range(8): sys.stdout.buffer.write(text)' >long.raw
    # No terminal: plain lines, and few.
    "$DISKFERRY" convert --no-sync long.raw out/plain.vmdk >stdout 2>err
    ! grep -qP '[\r\x1b\x08]' err || die "control characters for no terminal: $(head -c 300 err | od -c | head)"
    [ "$(wc -l <err)" -le 30 ] || die "$(wc -l <err) lines of progress"
    [ ! -s stdout ] || die "something on standard output: $(head -c 300 stdout)"
    "$DISKFERRY" convert --no-sync --quiet --force long.raw out/plain.vmdk >stdout 2>err
    [ ! -s stdout ] && [ ! -s err ] || die "--quiet is not quiet: $(cat stdout err)"
    # A terminal: a bar that moves, with how much, how fast, how long.
    script -qec "'$DISKFERRY' convert --no-sync --force --level best long.raw out/plain.vmdk" /dev/null >terminal </dev/null
    grep -qP '\r|\x1b\[' terminal || die "no progress on a terminal: $(head -c 500 terminal)"
    grep -qE '[0-9] ?%' terminal && grep -qE '[MG]i?B/s' terminal || die "no percentage or rate on a terminal: $(head -c 500 terminal)"
    # --json: one object, whatever else is said.
    "$DISKFERRY" convert --no-sync --json --force long.raw out/plain.vmdk 2>err | jq -es 'length == 1 and .[0].target.path == "out/plain.vmdk"' >/dev/null || die "--json is not one object"
    # A refusal under --json is in words on standard error, and an object.
    "$DISKFERRY" convert --json source.raw out/plain.vmdk >stdout 2>err && die "it replaced a file"
    grep -q -- --force err || die "no message under --json"
    jq -es 'length == 1 and (.[0] | .error.kind == "usage" and (.error.message | test("--force")) and .target.path == "out/plain.vmdk")' stdout >/dev/null ||
        die "no object for a refusal: $(cat stdout)"
    for action in --check --info; do
        "$DISKFERRY" convert "$action" --json nothing.vmdk >stdout 2>err && die "$action of nothing"
        jq -es 'length == 1 and .[0].source.path == "nothing.vmdk" and (.[0].error.message | length > 0)' stdout >/dev/null ||
            die "no object for a failed $action: $(cat stdout)"
    done
    # Settings that mean nothing for the target are named, and change nothing.
    "$DISKFERRY" convert --no-sync --force --level best --adapter ide source.raw out/plain.raw 2>err
    cmp source.raw out/plain.raw || die "a setting without effect had one"
    same "$(grep -cE 'warning: --(level|adapter).*no effect' err)" 2 "settings without effect: $(cat err)"
    "$DISKFERRY" convert --no-sync --json --force --level best source.raw out/plain.raw | jq -es '.[0].warnings | length == 1' >/dev/null ||
        die "no warnings in the object"
    # --check and --info for people.
    "$DISKFERRY" convert --check out/plain.vmdk >stdout
    [ -s stdout ] || die "--check says nothing"
    "$DISKFERRY" convert --info out/plain.vmdk | jq -es 'length == 1 and .[0].format == "streamOptimized"' >/dev/null || die "--info is not one object"
}

arguments
files
foreign
no_space
what_it_says
[ "$complaints" = 0 ] || die "$complaints complaints, see above"
