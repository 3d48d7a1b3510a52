# A network that loses and delays, and a disk that starts to fail in the middle of an upload.

# bad_network <netem arguments>, and back to a good one.
bad_network() { tc qdisc add dev lo root netem "$@" || fail "netem is not to be had"; }
good_network() { tc qdisc del dev lo root 2>/dev/null || true; }

# lossy <plain or tls>: in and out again.
lossy() {
    use main
    local file from before
    file=$(blob 16)
    trap good_network EXIT
    before=$(counters)
    import "lossy_$1/disk-0.bin" $((16 << 20))
    from=$url
    [ "$1" = tls ] || from=$(plain_url)
    bad_network delay 2ms 1ms loss 1% limit 10000
    upload "$file" --expect100-timeout 20 "$from"
    stored "lossy_$1/disk-0.bin" "$file"
    complete
    export_file "lossy_$1/disk-0.bin"
    from=$url
    [ "$1" = tls ] || from=$(plain_url)
    download "$file" "$from"
    complete
    tc -s qdisc show dev lo | grep 'dropped [1-9]' >/dev/null || fail "the network lost nothing: netem does not work"
    since "$before"
    echo "${grown[*]}" >"$state_dir/lossy_$1.counters"
}
check_lossy_network_plain() { lossy plain; }
check_lossy_network_tls() { lossy tls; }
check_lossy_network_tls_spliced() {
    [ -s "$state_dir/lossy_tls.counters" ] || fail "its transfers failed"
    read -ra grown <"$state_dir/lossy_tls.counters"
    spliced_in $((16 << 20))
    spliced_out $((16 << 20))
}

# flaky_table <table>: changes what the disk does, under whoever has it open.
flaky_table() {
    dmsetup suspend --nolockfs --noflush flaky
    dmsetup load flaky --table "$1"
    dmsetup resume flaky --noudevsync
}
flaky_sectors() { cat /sys/block/nvme1n1/size; }
flaky_fails() { flaky_table "0 $(flaky_sectors) flakey /dev/nvme1n1 0 0 3600 1 error_writes"; }
flaky_works() { flaky_table "0 $(flaky_sectors) linear /dev/nvme1n1 0"; }

# import_flaky <bytes> [seconds]: as soon as nobody holds the disk.
import_flaky() {
    flaky_leased() { (import_disk flaky "$1" && echo "$id $url" >"$state_dir/flaky.lease") 2>/dev/null; }
    wait_until "${2-15}" "a lease on the disk that had failed" flaky_leased "$1"
    read -r id url <"$state_dir/flaky.lease"
}
# What was stored while the disk failed is erased when it ends; if that fails too, once more after half a minute.
let_go() {
    use main
    import_flaky $((1 << 20)) 50
    abort
}

# failing_disk <plain or tls>
failing_disk() {
    use main
    local from client status fault
    flaky_works
    import_flaky $((64 << 20))
    # Whatever comes of it, the next check finds a disk that works and that nobody holds.
    trap 'flaky_works; abort' EXIT
    from=$url
    [ "$1" = tls ] || from=$(plain_url)
    curl -sk --limit-rate 2M -m 40 -T "$(blob 64)" -o "$state_dir/flaky" -w '%{http_code}' "$from" >"$state_dir/flaky.status" &
    client=$!
    wait_until 20 "the upload's first bytes" moving_over $((1 << 20))
    flaky_fails
    wait $client || true
    flaky_works
    status=$(cat "$state_dir/flaky.status")
    [[ "$status" = 5* || "$status" = 000 ]] || fail "a disk that failed was answered with $status"
    wait_until 10 "the end of the lease" state_is error
    fault=$(show '.error.localizedMessage')
    [[ "$fault" = *flaky* || "$fault" = *disk-0.bin* ]] || fail "the lease does not name the disk: $fault"
    echo "$status; $fault"
}
check_failing_disk_plain() { failing_disk plain; }
check_failing_disk_is_let_go() { let_go; }
check_failing_disk_tls() { failing_disk tls; }
check_failing_disk_is_let_go_again() { let_go; }

check_failing_disk_works_again() {
    use main
    flaky_works
    import_flaky $((16 << 20))
    upload "$(blob 16)" "$url"
    complete
    cmp -n $((16 << 20)) "$(blob 16)" /dev/mapper/flaky || fail "the disk differs"
}
