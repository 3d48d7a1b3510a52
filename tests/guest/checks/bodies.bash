# Ways to frame a body, over TLS in the kernel: at once behind its head, chunked, in parts.

# The manifest's digest is that of the stream, wherever it was computed.
check_tls_manifest() {
    use main
    local file
    file=$(blob 16)
    import manifest/disk-0.bin $((16 << 20))
    upload "$file" "$url"
    same "$(admin GET "/leases/$id/manifest" | jq -r '.[0].sha1')" "$(sha1sum <"$file" | cut -d' ' -f1)" "SHA-1 of the manifest"
    complete
}

# Without 100-continue the body follows its head at once: what came along with the head may be copied, not more.
check_tls_upload_without_expect() {
    use main
    local file before
    file=$(blob 16)
    import eager/disk-0.bin $((16 << 20))
    before=$(counters)
    upload "$file" -H Expect: "$url"
    since "$before"
    stored eager/disk-0.bin "$file"
    complete
    [ "${grown[0]}" -ge $(((16 << 20) - 131072)) ] || fail "PUT: ${grown[0]} of $((16 << 20)) bytes spliced, ${grown[1]} copied"
}

check_tls_upload_chunked() {
    use main
    local file
    file=$(blob 16)
    import chunked/disk-0.bin $((16 << 20))
    upload "$file" -H 'Transfer-Encoding: chunked' "$url"
    stored chunked/disk-0.bin "$file"
    complete
}

check_tls_range() {
    use main
    local file
    file=$(blob 16)
    cp "$file" "$store/range.bin"
    export_file range.bin
    same "$(into="$state_dir/part" curl_to -r 1000000-4999999 "$url")" 206 "GET of a range"
    same "$(stat -c %s "$state_dir/part")" 4000000 "length of the range"
    cmp -i 1000000:0 -n 4000000 "$file" "$state_dir/part" || fail "the range differs"
    complete
}
