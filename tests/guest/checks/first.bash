# Before every group: the guest is what it should be, and the server comes up in it.

check_kernel_has_tls() {
    [ -d /sys/module/tls ] || fail "the module tls is not loaded"
    [ -r /proc/net/tls_stat ] || fail "/proc/net/tls_stat is not there"
}

check_serve_accepts() {
    # A disk that can be made to fail, on the second NVMe disk.
    local sectors
    sectors=$(cat /sys/block/nvme1n1/size)
    dmsetup create flaky --noudevsync --table "0 $sectors linear /dev/nvme1n1 0"
    dmsetup mknodes
    serve main '[datastore.nvme]
device = "/dev/nvme0n1"
[datastore.flaky]
device = "/dev/mapper/flaky"'
    use main
    same "$(said engine)" uring "engine"
    for key in control data data_tls; do [ "$(said $key)" != null ] || fail "serve's first line lacks $key"; done
}

check_serve_says_kernel_records() {
    use main
    same "$(said tls_records)" kernel 'tls_records in the first line of serve'
}

check_lease_command() {
    use main
    import lease/disk-0.bin 1048576
    local lease=(diskferry lease --server "$control" --token-file "$token_file")
    [[ "$("${lease[@]}" list)" = *"$id"* ]] || fail "diskferry lease list does not show $id"
    "${lease[@]}" abort "$id" >/dev/null || fail "diskferry lease abort failed"
    same "$(show .state)" error "state after the abort"
}
