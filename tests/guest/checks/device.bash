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

check_nvme_plain_identical() { device_round_trip plain; }

# A file as it is sent, on a file system of the other disk, past the page cache. How much of it goes there without a copy depends on
# how the client's packets fall, which in an emulated machine says nothing: it is only told.
check_nvme_file_identical() {
    use main
    local file before
    mke2fs -q -F -t ext4 -O ^has_journal /dev/mapper/flaky
    mkdir "$store/nvme"
    mount -t ext4 /dev/mapper/flaky "$store/nvme"
    file=$(blob 64)
    before=$(metric diskferry_transfer_direct_spliced_bytes_total)
    import nvme/disk-0.bin $disk_bytes
    upload "$file" -H 'Expect: 100-continue' --expect100-timeout 20 "$(plain_url)"
    echo 3 >/proc/sys/vm/drop_caches
    stored nvme/disk-0.bin "$file"
    complete
    echo "$(($(metric diskferry_transfer_direct_spliced_bytes_total) - before)) of $disk_bytes bytes went to the disk without a copy"
}

check_nvme_tls_identical() { device_round_trip tls; }
