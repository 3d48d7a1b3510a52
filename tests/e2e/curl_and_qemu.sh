#!/usr/bin/env bash
# Disks made by qemu-img go in through plain curl (PUT and POST, plain and TLS, with a length and chunked) and come out again;
# qemu-img is the judge. On both engines.
. "$(dirname "$0")/lib.bash"

disk guest 192
bytes=$((192 << 20))
for engine in uring blocking; do
    for scheme in http https; do
        rm -rf "$work/ds" "$work/state"
        config "$scheme" "[data]
engine = \"$engine\""
        start
        same "$(jq -r .engine "$work/serve.json")" "$engine" "engine"

        import put "$bytes" put/disk-0.raw raw
        same "$(status -T "$work/guest.vmdk" "$url")" 201 "$engine $scheme: PUT"
        same "$(admin "/leases/$id/manifest" | jq -r '.[0].sha1')" "$(sha1sum <"$work/guest.vmdk" | cut -d' ' -f1)" "manifest"
        complete "$id"
        identical raw raw "$work/guest.raw" "$work/ds/put/disk-0.raw"

        import post "$bytes" post/disk-0.raw raw
        same "$(status -X POST -H Expect: --data-binary "@$work/guest.vmdk" "$url")" 200 "$engine $scheme: POST"
        complete "$id"
        identical raw raw "$work/guest.raw" "$work/ds/post/disk-0.raw"

        import chunked "$bytes" chunked/disk-0.raw raw
        same "$(status -H 'Transfer-Encoding: chunked' -H 'Content-Type;' -T "$work/guest.vmdk" "$url")" 201 "chunked PUT"
        complete "$id"
        identical raw raw "$work/guest.raw" "$work/ds/chunked/disk-0.raw"

        import raw "$bytes" raw/disk-0.raw raw
        same "$(status -T "$work/guest.raw" "$url")" 201 "PUT of raw bytes"
        complete "$id"
        cmp "$work/guest.raw" "$work/ds/raw/disk-0.raw" || die "raw bytes differ"
        [ "$(du -k "$work/ds/raw/disk-0.raw" | cut -f1)" -lt $((bytes / 1024)) ] || die "a raw upload lost its holes"

        import kept "$bytes" kept/disk-0.vmdk verbatim
        same "$(status -T "$work/guest.vmdk" "$url")" 201 "PUT of a verbatim disk"
        complete "$id"
        cmp "$work/guest.vmdk" "$work/ds/kept/disk-0.vmdk" || die "a verbatim disk differs"

        export_lease put put/disk-0.raw raw
        same "$(into="$work/out.vmdk" status "$url")" 200 "GET"
        qemu-img check -q "$work/out.vmdk" || die "qemu-img check"
        identical raw vmdk "$work/guest.raw" "$work/out.vmdk"
        same "$(admin "/leases/$id/manifest" | jq -r '.[0].sha1')" "$(sha1sum <"$work/out.vmdk" | cut -d' ' -f1)" "manifest of an export"
        same "$(into="$work/out.raw" status "$url?format=raw")" 200 "GET of raw bytes"
        cmp "$work/guest.raw" "$work/out.raw" || die "raw bytes differ on the way out"
        complete "$id"

        export_lease kept kept/disk-0.vmdk verbatim
        same "$(into="$work/part" status "$url" -r 1000000-1999999)" 206 "GET of a range"
        cmp "$work/part" <(tail -c +1000001 "$work/guest.vmdk" | head -c 1000000) || die "a range differs"
        etag=$(curl -skI "$url" | tr -d '\r' | awk 'tolower($1) == "etag:" {print $2}')
        same "$(into=/dev/null status "$url" -r 0-9 -H "If-Range: $etag")" 206 "If-Range that matches"
        same "$(into=/dev/null status "$url" -r 0-9 -H 'If-Range: "another"')" 200 "If-Range that does not match"
        same "$(into=/dev/null status "$url" -r 99999999999-)" 416 "a range behind the end"
        complete "$id"
        stop
        echo "$engine $scheme: ok"
    done
done
