#!/usr/bin/env bash
# govc export.ovf of machines whose disks are files of this machine: every disk identical to its source, the manifest's digests those of
# what arrived, the descriptor naming what was written with its true size, and what was exported can be imported again.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/ds/web"
disk web-0 96
disk web-1 24
mv "$work/web-0.raw" "$work/ds/web/disk-0.raw"
mv "$work/web-1.raw" "$work/ds/web/disk-1.raw"
machine='
[vm.web]
guest = "debian11_64Guest"
cpus = 2
memory_mib = 1024
disks = ["[default] web/disk-0.raw", "[default] web/disk-1.raw"]
[vm.bare]
'
for scheme in https http; do
    rm -rf "$work/state" "$work/out"
    site "$machine" "$scheme"
    sail
    [ "$scheme" = https ] || as deckhand "$operator_password"

    for sha in "" 1 256; do
        mkdir -p "$work/out$sha"
        govc export.ovf -vm web ${sha:+-sha "$sha"} "$work/out$sha" >/dev/null
        into=$work/out$sha/web
        [ -s "$into/web.ovf" ] || die "no descriptor"
        same "$(find "$into" -name '*.vmdk' | wc -l)" 2 "disks that came out"
        number=0
        for out in "$into"/*.vmdk; do
            qemu-img check -q "$out" || die "qemu-img check of $out"
            same_disk "$work/ds/web/disk-$number.raw" "$out"
            # The descriptor's size is what a later import expects to arrive.
            grep -q "href=\"${out##*/}\"" "$into/web.ovf" || die "the descriptor does not name ${out##*/}"
            grep "href=\"${out##*/}\"" "$into/web.ovf" | has "size=\"$(stat -c %s "$out")\"" ||
                die "the descriptor does not give the size of ${out##*/}: $(grep href= "$into/web.ovf")"
            number=$((number + 1))
        done
        if [ -z "$sha" ]; then
            [ ! -e "$into/web.mf" ] || die "a manifest nobody asked for"
            continue
        fi
        same "$(wc -l <"$into/web.mf")" 3 "lines of the manifest"
        (cd "$into" && sed -E "s/^SHA$sha\((.*)\)= (.*)\$/\2  \1/" web.mf | "sha${sha}sum" --check --quiet) || die "the manifest lies"
    done
    refused 'file already exists' govc export.ovf -vm web "$work/out"
    govc export.ovf -f -vm web "$work/out" >/dev/null

    # Nothing stays behind: no lease holds the machine, every export is a task that succeeded.
    said=$(govc tasks -n 100)
    says 'ExportVm.* web .*success|web .*success' "$said"
    silent_about 'error|running' "$said"
    silent_about ready "$(admin /leases | jq -r '.. | .state? // empty' | sort -u)"

    # A machine without disks has a descriptor only.
    govc export.ovf -vm bare "$work/out" >/dev/null
    [ -s "$work/out/bare/bare.ovf" ] || die "no descriptor of a machine without disks"

    # What came out goes in again.
    govc import.ovf -name again "$work/out256/web/web.ovf" >/dev/null
    for number in 0 1; do same_disk "$work/ds/web/disk-$number.raw" "$(backing again "$number")"; done
    says 'Memory: +1024MB' "$(govc vm.info again)"
    says 'CPU: +2 vCPU' "$(govc vm.info again)"
    as captain "$admin_password"
    govc vm.destroy again
    stop
    rm -rf "$work"/out*
    echo "$scheme: ok"
done
