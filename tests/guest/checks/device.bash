# An NVMe disk as a datastore: raw bytes in and out, past the page cache.

disk_bytes=$((64 << 20))

# device_round_trip <plain or tls>: in, and over plain HTTP out again.
device_round_trip() {
    use main
    local file from
    file=$(blob 64)
    import_disk nvme $disk_bytes
    from=$url
    [ "$1" = tls ] || from=$(plain_url)
    upload "$file" -H 'Expect: 100-continue' --expect100-timeout 20 "$from"
    complete
    cmp "$file" /dev/nvme0n1 || fail "the disk differs"
    [ "$1" = plain ] || return 0
    export_disk nvme
    download "$file" "$(plain_url)?format=raw"
    complete
}

check_nvme_plain_identical() {
    use main
    metric diskferry_transfer_direct_spliced_bytes_total >"$state_dir/direct.before"
    device_round_trip plain
    metric diskferry_transfer_direct_spliced_bytes_total >"$state_dir/direct.after"
}

check_nvme_plain_spliced_past_the_page_cache() {
    local before after
    before=$(cat "$state_dir/direct.before")
    after=$(cat "$state_dir/direct.after")
    [ -n "$after" ] || skip "this program has no metric diskferry_transfer_direct_spliced_bytes_total"
    same $((after - ${before:-0})) $disk_bytes "bytes spliced past the page cache"
}

check_nvme_tls_identical() { device_round_trip tls; }
